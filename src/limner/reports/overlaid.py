"""Runs laid over one another: their losses and metrics in common charts, and what differs in their recipes.

`names` are what a page calls the runs, one for each of `paths`. A path that is no run, such as a model folder, has no
line in a chart.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from limner.evaluation.metrics import metric_of, note
from limner.evaluation.results import read_metrics
from limner.reports.charts import charts_of
from limner.reports.page import Row
from limner.runs.run import Run, is_run, read_log

CURVES = ("overlap", "diversity", "nearest_training")  # and every loss


def training_charts(names: Sequence[str], paths: Sequence[Path]) -> list[Row]:
    """Losses, overlap, diversity and nearness to training images, one line a run."""
    logs = [_kept_rows(read_log(path)) if is_run(path) else [] for path in paths]
    keys = dict.fromkeys(key for log in logs for row in log for key in row if key.startswith("loss/") or key in CURVES)
    charts = []
    for key in [*(key for key in CURVES if key in keys), *(key for key in keys if key not in CURVES)]:
        lines = [[(row["images_seen"], row[key]) for row in log if key in row] for log in logs]
        title = f"Loss: {key.partition('/')[2].replace('_', ' ')}" if key.startswith("loss/") else ""
        charts += _chart(names, key.replace("/", " "), lines, title, "")
    return charts


def metric_charts(names: Sequence[str], paths: Sequence[Path]) -> list[Row]:
    """Every metric along the trainings; numbers of different conditions never share a chart."""
    points: dict[Any, dict[int, dict[int, float]]] = {}  # (conditions, metric) -> run -> images -> value
    for position, path in enumerate(paths):
        for result in read_metrics(path) if is_run(path) else []:
            if not metric_of(result.metric).compared:
                continue
            lines = points.setdefault((result.conditions(), result.metric), {})
            lines.setdefault(position, {})[result.images_seen] = result.value
    charts = []
    for (conditions, metric), lines in points.items():
        if max(map(len, lines.values())) > 1:
            title = f"{metric} ({conditions.protocol})"
            by_run = [sorted(lines.get(position, {}).items()) for position in range(len(paths))]
            charts += _chart(names, metric, by_run, title, note(metric))
    return charts


def differing_settings(paths: Sequence[Path]) -> list[Row]:
    """The settings in which the runs' recipes differ; none unless all are runs."""
    if not all(map(is_run, paths)):
        return []
    recipes = [Run(path).recipe for path in paths]
    keys: dict[str, Any] = {}
    others = [recipes[0].differences(recipe) for recipe in recipes]
    for differences in others:
        keys.update({key: first for key, (first, _) in differences.items()})
    return [
        {"key": key, "values": [differences.get(key, (first, first))[1] for differences in others]}
        for key, first in keys.items()
        if key not in ("name", "follows", "summary")
    ]


def _chart(
    names: Sequence[str], group: str, lines: Sequence[Sequence[tuple[int, float]]], title: str, note: str
) -> list[Row]:
    """One chart with a line for each run that has points (images, value); without `title`, that of its group."""
    by_images: dict[int, Row] = {}
    for position, points in enumerate(lines):
        for images, value in points:
            by_images.setdefault(images, {"images_seen": images})[f"{group}/{position}"] = value
    charts = charts_of([by_images[images] for images in sorted(by_images)])
    for chart in charts:
        chart |= {"apart": True} | ({"title": title, "note": note} if title else {})
        for series in chart["series"]:
            series["colour"] = int(series["name"])
            series["name"] = names[series["colour"]]
        chart["series"].sort(key=lambda series: series["colour"])
    return charts


def _kept_rows(log: list[Row]) -> list[Row]:
    """The log lines of a run without those that a rollback took back."""
    kept: list[Row] = []
    for row in log:
        if row.get("event") == "rollback":
            kept = [line for line in kept if line["images_seen"] <= row["to_images"]]
        elif row.get("event") == "log":
            kept.append(row)
    return kept
