"""Runs side by side as they are now, on one page: verdicts, curves, and what was measured of them while they trained.

Nothing is measured for the page: that is what `limner.reports.compare` does.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from limner.core.version import __version__
from limner.evaluation.results import Conditions, Result, describe, evaluations, read_metrics
from limner.reports.overlaid import differing_settings, metric_charts, training_charts
from limner.reports.page import Row, build_page
from limner.reports.verdict import ranked_rows, verdict
from limner.runs.progress import Progress


def runs_page(runs: Sequence[Path]) -> bytes:
    """The page that shows `runs`, finished or live, side by side; it needs no network.

    Raises UserError where a recipe cannot be read.
    """
    names = [run.name for run in runs]
    columns = _newest_shared([read_metrics(run) for run in runs])
    measured = [column for column in columns if column]
    remarks = dict.fromkeys(remark for column in measured for remark in describe(column))
    contents = {
        "names": names,
        "verdict": verdict(names, columns) if len(measured) == len(runs) else None,
        "runs": _facts([Progress(run).look() for run in runs]),
        "rows": ranked_rows(names, columns),
        "remarks": [*remarks],
        "grids": [],
        "settings": differing_settings(runs),
        "charts": [*metric_charts(names, runs), *training_charts(names, runs)],
        "attributes": None,
        "nearest": [],
        "source": None,
        "licence": None,
        "events": [],
        "verdicts": [],
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "limner": __version__,
    }
    return build_page("compare.html", contents)


def _facts(runs: Sequence[Progress]) -> list[Row]:
    """What the trainings say of themselves, a row each."""
    rows: dict[str, list[Any]] = {
        "Recipe": [run.recipe for run in runs],
        "State": [run.ended or "not ended" for run in runs],
        "Images seen": [run.images_seen for run in runs],
        "Minutes": [None if run.seconds is None else round(run.seconds / 60, 1) for run in runs],
        "Verdict": [run.verdict for run in runs],
        "What to do": [run.remedy for run in runs],
    }
    return [{"key": key, "values": values} for key, values in rows.items() if any(values)]


def _newest_shared(results: Sequence[Sequence[Result]]) -> list[list[Result]]:
    """The newest evaluation of each run under the conditions that most of them share; none where it has none."""
    by_run: list[dict[Conditions, list[Result]]] = [
        {evaluation[0].conditions(): evaluation for evaluation in evaluations(of_run)} for of_run in results
    ]
    counts = {conditions: sum(conditions in found for found in by_run) for found in by_run for conditions in found}
    shared = max(counts, key=lambda conditions: counts[conditions], default=None)
    return [found.get(shared, []) if shared else [] for found in by_run]
