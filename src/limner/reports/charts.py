"""Log lines as charts, thinned out to what a page can show."""

import math
from typing import TypeGuard

import numpy as np
from numpy.typing import NDArray

from limner.reports.page import Row, is_number

POINTS = 1000  # log lines kept per chart
AXES = ("images_seen", "seconds", "step")


def charts_of(rows: list[Row]) -> list[Row]:
    """One chart per group of keys: `group/series`, or a bare key alone.

    A chart has the x values that its series share, and for each series `at` (positions in them) and `values` (None: not
    finite). A long log is thinned out to its extremes; then `means` has the mean around each value, for smoothing.
    """
    keys: dict[str, None] = {}  # in order of appearance
    for row in rows:
        for key, value in row.items():
            if key not in keys and key not in AXES and is_number(value):
                keys[key] = None
    groups: dict[str, list[str]] = {}
    for key in keys:
        groups.setdefault(key.partition("/")[0], []).append(key)
    x_R = {axis: [_number(row.get(axis)) for row in rows] for axis in ("images_seen", "seconds")}

    charts = []
    for group, members in groups.items():
        present_SR = np.array([[key in row for row in rows] for key in members])
        values_SR = np.array([[_number(row.get(key)) for row in rows] for key in members])
        used_R = np.flatnonzero(present_SR.any(0))
        present_SR, values_SR = present_SR[:, used_R], values_SR[:, used_R]
        kept_K, means_SK = _thin_out(values_SR, present_SR)
        series = []
        for s, key in enumerate(members):
            at = np.flatnonzero(present_SR[s, kept_K])
            entry = {"name": key.partition("/")[2] or key, "at": at.tolist()}
            entry["values"] = _rounded(values_SR[s, kept_K[at]])
            if means_SK is not None:
                entry["means"] = _rounded(means_SK[s, at])
            series.append(entry)
        x_K = {axis: [values[r] for r in used_R[kept_K]] for axis, values in x_R.items()}
        charts.append({"group": group, **x_K, "series": series})
    return charts


def _thin_out(
    values_SR: NDArray[np.float64], present_SR: NDArray[np.bool_]
) -> tuple[NDArray[np.intp], NDArray[np.float64] | None]:
    """Choose K <= POINTS of R log lines: from each of equal stretches every series' least, greatest and first gap.

    Returns:
        Their positions, in order, and S x K the means of the stretches they lie in; no means where all lines are kept.
    """
    S, R = values_SR.shape
    if R <= POINTS:
        return np.arange(R), None
    kept: list[NDArray[np.intp]] = [np.array([0])]
    means: list[NDArray[np.float64]] = [values_SR[:, :1]]
    for stretch in np.array_split(np.arange(1, R), max(1, POINTS // (3 * S + 1))):
        part = values_SR[:, stretch]
        finite = np.isfinite(part)
        chosen = [
            np.where(finite, part, np.inf).argmin(1),
            np.where(finite, part, -np.inf).argmax(1),
            (present_SR[:, stretch] & ~finite).argmax(1),
            [len(stretch) - 1] if stretch[-1] == R - 1 else [],
        ]
        kept.append(stretch[np.unique(np.concatenate(chosen).astype(np.intp))])
        with np.errstate(invalid="ignore"):
            mean = np.where(finite, part, 0).sum(1) / finite.sum(1)
        means.append(np.repeat(mean[:, None], len(kept[-1]), axis=1))
    return np.concatenate(kept), np.concatenate(means, axis=1)


def is_finite(value: object) -> TypeGuard[float]:
    """Whether `value` is a finite number."""
    return is_number(value) and math.isfinite(value)


def _number(value: object) -> float:
    return value if is_number(value) else math.nan


def _rounded(values: NDArray[np.float64]) -> list[float | None]:
    return [float(f"{value:.6g}") if math.isfinite(value) else None for value in values]
