"""What results of several models say in words, and which differences are more than random variation."""

import math
from collections.abc import Callable, Sequence

from limner.evaluation.metrics import metric_of
from limner.evaluation.results import Result, decimals, fixed, table_rows
from limner.reports.page import Row

SURE = 2.0
"""A difference counts from so many times its spread. With three seeds each, whose means are compared, random
variation alone exceeds that in about 3 of 100 comparisons (Student's t, 4 degrees of freedom)."""


def verdict(names: Sequence[str], columns: Sequence[Sequence[Result]]) -> Row:
    """What the results say in words: a `headline` and `sentences`. One column of results for each name."""
    found = [{result.metric: result for result in column} for column in columns]
    distances = (metric for metric in found[0] if metric_of(metric).ranks and all(metric in of for of in found))
    metric = next(distances, None)
    if metric is None:
        return {"headline": "Nothing to rank by: no distance was measured of every model", "sentences": []}
    ranked = sorted(((name, of[metric]) for name, of in zip(names, found, strict=True)), key=lambda pair: pair[1].value)
    (best, first), (next_best, second) = ranked[:2]
    sure = _sure(first, second)
    if sure is None:
        headline = f"{best} comes out ahead; one seed cannot rule out random variation"
    elif sure:
        headline = f"{best} is better"
    else:
        headline = f"Between {best} and {next_best}, no difference that these numbers can show"
    digits = decimals([result for _, result in ranked])
    sentences = [_against((best, first), other, digits) for other in ranked[1:]]
    if floor := first.floor:
        above = ", ".join(f"{name} {fixed(result.value - floor.value, digits)}" for name, result in ranked)
        sentences.append(
            f"Real training images ({floor.n_other:,} of them) in place of the generated ones score "
            f"{fixed(floor.value, digits)}, and nothing can be expected to do better. Above that floor remain: {above}."
        )
    for other in found[0]:
        if other == metric or not all(other in of for of in found):
            continue
        leader = leader_of(names, [of[other] for of in found])
        if leader not in (None, best):
            places = decimals([of[other] for of in found])
            values = ", ".join(
                f"{name} {fixed(of[other].value, places)}" for name, of in zip(names, found, strict=True)
            )
            sentences.append(f"By {other}, however, {leader} is ahead ({values}).")
    if sure is not None:
        sentences.append(
            "The spread is that of sampling other faces from the same model. Training the same recipe once more gives "
            "another model, which may differ by more than that."
        )
    return {"headline": headline, "sentences": sentences}


def ranked_rows(names: Sequence[str], columns: Sequence[Sequence[Result]]) -> list[Row]:
    """The rows of `table_rows`, in which the cell of the model that leads by a metric is marked as the best."""
    rows = table_rows(columns)
    for row in rows:
        found = [next((r for r in column if r.metric == row["metric"]), None) for column in columns]
        leader = leader_of(names, [r for r in found if r]) if all(found) else None
        for name, cell in zip(names, row["cells"], strict=True):
            if cell:
                cell["best"] = name == leader
    return rows


def _against(better: tuple[str, Result], worse: tuple[str, Result], digits: int | None) -> str:
    """How far the better of two results is ahead, and what that is worth."""
    (best, first), (name, result) = better, worse
    gap = result.value - first.value
    share = f" ({gap / result.value:.0%})" if result.value > 0 else ""
    texts = [
        fixed(each.value, digits) + ("" if each.spread is None else f" ± {fixed(each.spread, digits)}")
        for each in (first, result)
    ]
    values = f"{first.metric} of {best} is {texts[0]}, of {name} {texts[1]}"
    sure, spread = _sure(first, result), _spread(first, result)
    if sure is None or spread is None:
        return f"{values}: {fixed(gap, digits)} lower{share}. Without a spread, of three seeds each, that says little."
    if sure:
        times = f"{gap / spread:.0f} times" if spread > 0 else "far more than"
        return f"{values}: {fixed(gap, digits)} lower{share}, {times} the spread of that difference."
    return (
        f"{values}: the difference of {fixed(gap, digits)} is no more than random variation easily causes "
        f"({fixed(SURE * spread, digits)})."
    )


def _spread(one: Result, other: Result) -> float | None:
    """Standard deviation of the difference of two results; `None` where either has none."""
    if one.spread is None or other.spread is None:
        return None
    return math.hypot(one.spread, other.spread)


def _sure(one: Result, other: Result) -> bool | None:
    """Whether two results differ by more than random variation; `None` where their spread is not known."""
    spread = _spread(one, other)
    return None if spread is None else abs(one.value - other.value) > SURE * spread


def leader_of(names: Sequence[str], results: Sequence[Result]) -> str | None:
    """The name whose result is better than each other one by more than random variation."""
    if results[0].better is None:
        return None
    pick: Callable[..., Result] = max if results[0].better == "higher" else min
    best = pick(results, key=lambda result: result.value)
    if all(_sure(best, other) for other in results if other is not best):
        return names[[*map(id, results)].index(id(best))]
    return None
