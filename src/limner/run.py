"""The Run: one training, as a folder that a person can read."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.errors import UserError
from limner.report import read_log

if TYPE_CHECKING:
    from limner.model import Model
    from limner.recipe import Recipe

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
        from limner.recipe import load_recipe

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
        from limner.model import Model

        return Model.load(self.path)
