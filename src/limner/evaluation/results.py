"""A Result: one number with everything that a reader must know of it, and where results are kept."""

import json
import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from rich.table import Table

from limner.core.arguments import checked
from limner.core.errors import UserError
from limner.core.files import write_file
from limner.evaluation.metrics import note

METRICS = "metrics.jsonl"
FORMAT = "limner results"
NARROWEST = 10  # columns of a terminal that the name of a metric is wrapped into
DIGITS = 5  # that are printed of a number, at most
CHOOSES = (
    "Not to be reported: images of the split {split} also choose (train the weights, val the model in best/). "
    "Only the split test reports."
)


Whole = Annotated[int, Field(ge=0, lt=1 << 63)]
"""Of what can be counted; larger ones no array and no chart takes."""


class Conditions(BaseModel):
    """What must be the same before two numbers may stand in one column."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    protocol: str
    n_real: Whole
    n_fake: Whole
    split: str
    """Of the real images."""
    crop: str
    resolution: Whole
    """Width and height of the images in pixels."""
    data_hash: str
    extractor: str
    extractor_sha256: str
    resize: str
    """How the extractor brings images to its own size, in words."""
    truncation: float

    def conditions(self) -> "Conditions":
        """The conditions alone, of whatever else has them."""
        return Conditions(**{name: getattr(self, name) for name in Conditions.model_fields})

    @checked
    def differences(self, other: "Conditions") -> list[str]:
        """In what the two differ, in words; empty where their numbers may be compared."""
        pairs = ((name, getattr(self, name), getattr(other, name)) for name in Conditions.model_fields)
        return [f"{name} {_short(mine)} against {_short(others)}" for name, mine, others in pairs if mine != others]


class Floor(BaseModel):
    """What training images score in the generated ones' place: no generator is to be expected to do better."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    value: float
    n_real: Whole
    n_other: Whole
    """Training images that stood in for generated ones."""


class Result(Conditions):
    """One metric of one model."""

    metric: str
    better: Literal["lower", "higher"] | None
    """`None`: neither; a memorisation share should be one half."""
    value: float
    """The mean over the seeds."""
    spread: float | None = Field(ge=0)
    """Standard deviation over the seeds; `None` for one seed."""
    values: tuple[float, ...]
    """One for each seed."""
    seeds: tuple[Whole, ...]
    standard_error: float | None = Field(default=None, ge=0)
    """Of a kernel distance, from its subsets; the mean over the seeds."""
    floor: Floor | None = None
    details: dict[str, Any] = {}
    """What the number is made of: neighbours or subsets, accuracy by attribute, or the closest pairs."""
    chooses: bool
    """Whether the split's images also chose something (val: the model in best/), so that the number flatters."""

    model: str
    model_sha256: str
    recipe: str
    weights: Literal["ema", "raw"]
    images_seen: Whole
    """Images seen in training."""
    warnings: tuple[str, ...]
    seconds: float
    """That the whole evaluation took, of which this is one number."""
    machine: str
    evaluated: str
    """Date and time, ISO 8601."""
    limner: str


def write_results(out: Path, results: Sequence[Result]) -> None:
    """Write results as one JSON file, in one step."""
    content = {"format": FORMAT, "results": [result.model_dump(mode="json") for result in results]}
    write_file(out, (json.dumps(content, indent=1) + "\n").encode())


def append_metrics(run: Path, results: Iterable[Result]) -> None:
    """Add results to `metrics.jsonl` of the run folder `run`, one line each."""
    with (run / METRICS).open("a+b") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 1))
        whole = file.read() in (b"", b"\n")  # else a process was killed within the last line
        lines = "".join(f"{result.model_dump_json()}\n" for result in results)
        file.write((lines if whole else "\n" + lines).encode())


def read_metrics(run: Path) -> list[Result]:
    """The results in `metrics.jsonl` of the run folder `run`, oldest first; none where there is no such file.

    A line that is no whole Result is left out: a killed run may leave half a last line.
    """
    try:
        lines = (run / METRICS).read_text(encoding="utf-8", errors="replace").split("\n")
    except FileNotFoundError:
        return []
    results = []
    for line in lines:
        try:
            results.append(Result.model_validate_json(line))
        except ValidationError:
            continue
    return results


def refuse_mixed(results: Sequence[Result]) -> None:
    """Raise UserError, naming the first difference, where results of one metric differ in their conditions."""
    first: dict[str, Result] = {}
    for result in results:
        before = first.setdefault(result.metric, result)
        if differences := before.differences(result):
            raise UserError(
                f"{before.metric} of {before.model} and of {result.model} cannot stand in one column "
                f"({'; '.join(differences)}): evaluate both with the same protocol and data."
            )


def evaluations(results: Iterable[Result]) -> list[list[Result]]:
    """Results, as `read_metrics` gives them, by the evaluation that they come from."""
    groups: list[list[Result]] = []
    for result in results:
        last = groups[-1] if groups else []
        if last and last[0].evaluated == result.evaluated and all(other.metric != result.metric for other in last):
            last.append(result)
        else:
            groups.append([result])
    return groups


def table_rows(columns: Sequence[Sequence[Result]]) -> list[dict[str, Any]]:
    """The rows of a table with one column for each model's results, as the pages' script wants them."""
    by_column = [{result.metric: result for result in column} for column in columns]
    metrics = dict.fromkeys(metric for column in by_column for metric in column)
    rows = []
    for metric in metrics:
        found = [column.get(metric) for column in by_column]
        floor = next(result.floor for result in found if result)
        digits = decimals([result for result in found if result])
        rows.append(
            {
                "metric": metric,
                "note": note(metric),
                "floor": floor and fixed(floor.value, digits),
                "cells": [result and _cell(result, digits) for result in found],
            }
        )
    return rows


def _cell(result: Result, digits: int | None) -> dict[str, str | None]:
    """A value and what stands below it, in words."""
    return {
        "value": fixed(result.value, digits),
        "spread": "one seed" if result.spread is None else f"± {fixed(result.spread, digits)}",
        "error": None if result.standard_error is None else fixed(result.standard_error, digits),
    }


def results_table(results: Sequence[Result], width: int) -> Table:
    """The results of one model as a table for a terminal of `width` columns: value, spread, floor, standard error.

    No number is ever cut: names of metrics are wrapped, and where that is not enough the last columns are left out.
    """
    rows = table_rows([results])
    cells = [row["cells"][0] for row in rows]
    columns = {
        "metric": [row["metric"] for row in rows],
        "value": [cell["value"] for cell in cells],
        "spread": [cell["spread"] for cell in cells],
        "floor": [row["floor"] or "–" for row in rows],
        "standard error": [cell["error"] or "–" for cell in cells],
    }
    widths = {name: max(map(len, (name, *texts))) for name, texts in columns.items()}
    while len(columns) > 2 and NARROWEST + sum(2 + widths[name] for name in [*columns][1:]) > width:
        columns.popitem()
    table = Table(box=None, pad_edge=False)
    for name in columns:
        if name == "metric":
            table.add_column(name, overflow="fold")
        else:
            table.add_column(name, justify="right", no_wrap=True, min_width=widths[name])
    for texts in zip(*columns.values(), strict=True):
        table.add_row(*texts)
    return table


def describe(results: Sequence[Result], warnings: bool = True) -> list[str]:
    """The conditions of one model's results and their `warnings`, a sentence each: to be printed with the table."""
    main = results[0]
    floor = main.floor
    seeds = f"{len(main.seeds)} seeds" if len(main.seeds) > 1 else "one seed: no spread"
    return [
        f"Protocol {main.protocol}: {main.n_fake:,} generated against {main.n_real:,} real images "
        f"(split {main.split}, crop {main.crop}, {main.resolution} x {main.resolution}), features of {main.extractor}, "
        f"{seeds}, truncation {main.truncation:g}.",
        *([f"Floor: {floor.n_other:,} training images in the place of the generated ones."] if floor else []),
        *([CHOOSES.format(split=main.split)] if main.chooses else []),
        *(f"Warning: {warning}" for warning in main.warnings if warnings),
    ]


def decimals(results: Sequence[Result]) -> int | None:
    """How many decimals say something: two digits of the smallest spread or error, but no more than five digits of the
    largest value; `None`: neither spread nor error is known.
    """
    noises = [noise for result in results for noise in (result.spread, result.standard_error) if noise]
    largest = max(abs(result.value) for result in results) or 1.0
    if not noises:
        return None
    return max(0, min(1 - math.floor(math.log10(min(noises))), DIGITS - 1 - math.floor(math.log10(largest))))


def fixed(value: float, digits: int | None) -> str:
    """A number with so many decimals; with `None` of them, with four digits that count."""
    return f"{value:.4g}" if digits is None else f"{value:.{digits}f}"


def _short(value: object) -> str:
    text = f"{value:,}" if isinstance(value, int) else str(value)
    return f"{text[:12]}…" if len(text) > 40 and " " not in text else text
