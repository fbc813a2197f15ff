"""What a sweep varies: keys of a recipe, each over a range or a list."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from limner.core.errors import UserError, brief
from limner.recipes.load import load_recipe
from limner.recipes.toml import flatten, read_toml, toml_value

if TYPE_CHECKING:
    import optuna

Value = bool | int | float | str


@dataclass(frozen=True)
class Range:
    """All numbers from `low` to `high`; with `log`, equal ratios are equally likely."""

    key: str
    low: int | float
    high: int | float
    log: bool

    @property
    def probes(self) -> Sequence[Value]:
        """Values to try the recipe with before a sweep begins."""
        return self.low, self.high

    def suggest(self, trial: "optuna.Trial") -> Value:
        """The trial's value of this key."""
        if isinstance(self.low, int) and isinstance(self.high, int):
            return trial.suggest_int(self.key, self.low, self.high, log=self.log)
        return trial.suggest_float(self.key, self.low, self.high, log=self.log)


@dataclass(frozen=True)
class Choice:
    """One of `values`."""

    key: str
    values: tuple[Value, ...]

    @property
    def probes(self) -> Sequence[Value]:
        """Values to try the recipe with before a sweep begins."""
        return self.values

    def suggest(self, trial: "optuna.Trial") -> Value:
        """The trial's value of this key."""
        value = trial.suggest_categorical(self.key, self.values)
        assert value is not None
        return value


Axis = Range | Choice


def read_space(vary: Sequence[str], recipe: str | Path, overrides: Sequence[str]) -> tuple[Axis, ...]:
    """The axes for `recipe` with `overrides`; `vary` has `KEY=LOW..HIGH`, `KEY=LOW..HIGH,log` or `KEY=A,B,C` for each.

    Raises UserError for a description that is of none of these forms, a key that is given twice, and a value that the
    recipe does not take.
    """
    if not vary:
        raise UserError("--vary is missing: say what to vary, such as --vary optimizer.generator.lr=1e-5..1e-3,log.")
    settings = dict(flatten(load_recipe(recipe, overrides).model_dump(exclude_none=True)))
    axes = tuple(_read_axis(text, settings) for text in vary)
    keys = [axis.key for axis in axes]
    taken = {override.partition("=")[0].strip() for override in overrides}
    for position, key in enumerate(keys):
        if key in keys[:position]:
            raise UserError(f"--vary {key} is given twice: give each key once.")
        if key in taken:
            raise UserError(f"{key} is in --set and in --vary: leave it out of one of them.")
    for axis in axes:
        for value in axis.probes:
            load_recipe(recipe, [*overrides, *as_overrides({axis.key: value})])
    return axes


def grid(axes: Sequence[Axis]) -> list[dict[str, Value]]:
    """Every combination of lists, the last key varying fastest; raises UserError where an axis is a range."""
    for axis in axes:
        if isinstance(axis, Range):
            raise UserError(f"--vary {axis.key} is a range, which has no end of values: say how many --trials.")
    keys = [axis.key for axis in axes]
    return [dict(zip(keys, values, strict=True)) for values in product(*(axis.probes for axis in axes))]


def as_overrides(point: Mapping[str, Value]) -> list[str]:
    """The point as `key=value`, as `load_recipe` takes them."""
    return [f"{key}={json.dumps(value)}" for key, value in point.items()]


def _read_axis(text: str, settings: Mapping[str, object]) -> Axis:
    key, equals, described = (part.strip() for part in text.partition("="))
    parts = [part.strip() for part in described.split(",")]
    if not key or not equals or not all(parts):
        raise UserError(f"--vary {brief(text)} is not of the form KEY=LOW..HIGH, KEY=LOW..HIGH,log or KEY=A,B,C.")
    if ".." in parts[0]:
        return _read_range(text, key, parts, isinstance(settings.get(key), float))
    values = [toml_value(part) for part in parts]
    if not all(isinstance(value, Value) for value in values):
        raise UserError(f"--vary {brief(text)} has a list, a table or a date among its values; give numbers and words.")
    if len(set(values)) < len(values) or len(values) < 2:
        raise UserError(f"--vary {brief(text)} needs at least two values, each once; --set is for a single one.")
    return Choice(key, tuple(values))


def _read_range(text: str, key: str, parts: Sequence[str], real: bool) -> Range:
    try:
        low, high = (read_toml(f"value = {end}")["value"] for end in parts[0].split(".."))
        numbers = all(type(end) in (int, float) and math.isfinite(end) for end in (low, high))
    except ValueError:  # not TOML, or no number that a setting could take
        numbers = False
    if not numbers or parts[1:] not in ([], ["log"]):
        raise UserError(f"--vary {brief(text)} is not of the form KEY=LOW..HIGH or KEY=LOW..HIGH,log with two numbers.")
    log = parts[1:] == ["log"]
    if low >= high or (log and low <= 0):
        raise UserError(f"--vary {brief(text)}: LOW must be below HIGH, and above 0 with log.")
    if real or float in (type(low), type(high)):
        low, high = float(low), float(high)
    return Range(key, low, high, log)
