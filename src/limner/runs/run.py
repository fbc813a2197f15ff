"""The Run: one training, as a folder that a person can read."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.core.errors import UserError

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


@dataclass(frozen=True)
class Run:
    """One training; every part is a file or folder below `path`."""

    path: Path

    @classmethod
    def open(cls, path: str | Path) -> "Run":
        """The run at `path`; raises UserError where there is none."""
        run = cls(Path(path))
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
        try:
            info: dict[str, Any] = json.loads((self.path / INFO).read_text(encoding="utf-8"))
        except ValueError:
            raise UserError(f"{self.path / INFO} is damaged: start the run anew with --force.") from None
        return info

    @property
    def log(self) -> list[dict[str, Any]]:
        """The events of log.jsonl, oldest first."""
        return read_log(self.path)

    @property
    def model(self) -> "Model":
        """The model as it was at the newest checkpoint."""
        from limner.model.model import Model

        return Model.load(self.path)


def how_ended(log: Sequence[Mapping[str, Any]]) -> str | None:
    """The reason for which a run stopped (`finished`, `interrupted`, `diverged`); `None` where it has not."""
    return log[-1].get("reason") if log and log[-1].get("event") == "stop" else None


def read_log(run: Path) -> list[dict[str, Any]]:
    """The events of `run/log.jsonl`, oldest first; none where there is no log yet.

    A line that is no whole JSON object is left out: a killed run leaves half a last line, and a resumed one writes on
    after it. `NaN` and `Infinity` come back as the floats they are.
    """
    try:
        text = (run / "log.jsonl").read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    rows = []
    for line in text.split("\n"):
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


def is_run(path: Path) -> bool:
    """Whether `path` is the folder of a run, where results are kept."""
    return (path / RECIPE).is_file() and (path / INFO).is_file()
