"""The Run: one training, as a folder that a person can read."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from limner.core.arguments import checked
from limner.core.errors import UserError
from limner.core.files import check_path, sweep
from limner.core.locks import try_lock
from limner.core.records import parse_json, read_record

if TYPE_CHECKING:
    from limner.model.model import Model
    from limner.recipes.schema import Recipe

RECIPE, INFO, LOG, SAMPLES, CHECKPOINTS, MODEL, BEST, FILM, EVENTS = (
    "recipe.toml",
    "run.json",
    "log.jsonl",
    "samples",
    "checkpoints",
    "model",
    "best",
    "painting.png",
    "events",
)
# Of the lines of a log: whole numbers, numbers, words, and what a line of a kind always has.
COUNTS, MEASURES, WORDS = (
    ("images_seen", "to_images"),
    ("seconds", "images_per_second"),
    ("verdict", "remedy", "reason"),
)
NEEDED = {"log": "images_seen", "rollback": "to_images"}


class _Info(BaseModel):
    """What resuming needs of run.json."""

    model_config = ConfigDict(extra="allow")

    seed: int
    budget: dict[str, float | int | None]
    data: dict[str, Any]
    machine: dict[str, Any]
    torch: str
    processes: int


@dataclass(frozen=True)
class Run:
    """One training; every part is a file or folder below `path`."""

    path: Path

    @classmethod
    @checked
    def open(cls, path: str | Path) -> "Run":
        """The run at `path`; raises UserError where there is none, or the path is not UTF-8."""
        run = cls(Path(path))
        check_path(run.path)
        if not (run.path / RECIPE).is_file() or not (run.path / INFO).is_file():
            raise UserError(f"{path} is not a run (it has no {RECIPE} and {INFO}): start one with limner train.")
        return run

    @cached_property
    def recipe(self) -> "Recipe":
        """The recipe with every setting resolved."""
        from limner.recipes.load import load_recipe

        return load_recipe(self.path / RECIPE)

    @cached_property
    def info(self) -> dict[str, Any]:
        """run.json: data, machine, seed, budget, command."""
        return read_record(self.path / INFO, _Info, "start the run anew with --force").model_dump()

    @property
    def log(self) -> list[dict[str, Any]]:
        """The events of log.jsonl, oldest first."""
        return read_log(self.path)

    @contextmanager
    def sole_writer(self) -> Iterator[None]:
        """Be the only training that writes this run; raises UserError where another process is one.

        The lock lies on log.jsonl, which is never replaced.
        """
        with (self.path / LOG).open("ab") as log:
            if not try_lock(log.fileno()):
                raise UserError(f"Another process is training {self.path}: wait for its end, or stop it first.")
            yield

    @property
    def model(self) -> "Model":
        """The model as it was at the newest checkpoint."""
        from limner.model.model import Model

        return Model.load(self.path)


def how_ended(log: Sequence[Mapping[str, Any]]) -> str | None:
    """The reason for which a run stopped (`finished`, `interrupted`, `diverged`); `None` where it has not."""
    return log[-1].get("reason") if log and log[-1].get("event") == "stop" else None


def read_log(run: Path) -> list[dict[str, Any]]:
    """The events of `run/log.jsonl`, oldest first; none where there is no log yet."""
    try:
        return rows_of((run / LOG).read_text(encoding="utf-8", errors="replace"))
    except FileNotFoundError:
        return []


def rows_of(text: str) -> list[dict[str, Any]]:
    """The events in the text of a log.

    A line that is no whole event is left out: a killed run leaves half a last line, and a resumed one writes on
    after it. `NaN` and `Infinity` come back as the floats they are.
    """
    rows = []
    for line in text.split("\n"):
        try:
            row = parse_json(line)
        except ValueError:
            continue
        if _is_event(row):
            rows.append(row)
    return rows


def _is_event(row: Any) -> bool:
    """Whether a line of a log is one that a training writes, as far as its readers rely on it."""
    if not isinstance(row, dict) or not isinstance(row.get("event"), str):
        return False
    counts = [row[key] for key in COUNTS if key in row]
    return (
        all(type(count) is int for count in counts)
        and all(type(row.get(key, 0)) in (int, float) for key in MEASURES)
        and all(isinstance(row.get(key, ""), str | NoneType) for key in WORDS)
        and NEEDED.get(row["event"], "event") in row
    )


def sweep_run(run: Path) -> None:
    """Remove what killed processes left half-written in a run."""
    for folder in (run, run / SAMPLES, run / CHECKPOINTS):
        sweep(folder)


def is_run(path: Path) -> bool:
    """Whether `path` is the folder of a run, where results are kept."""
    return (path / RECIPE).is_file() and (path / INFO).is_file()
