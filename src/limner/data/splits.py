"""Which images train, which choose and which report: the three splits of a data set.

`train` is what a generator learns from. `val` chooses: hyper-parameters, the best checkpoint, the thresholds of a
classifier. `test` reports, and has chosen nothing. A person's images are all in one split, where identities are known.
"""

from collections.abc import Sequence

import numpy as np

from limner.core.errors import UserError

SPLITS = ("train", "val", "test")
LARGEST_VAL = 2_000
LARGEST_HELDOUT = 20_000
SHARE = 10
"""One image in so many is held out where nothing else is said."""


def official_splits(official: Sequence[str], persons: Sequence[str], seed: int) -> list[str] | None:
    """The source's own splits by row, made three where one is missing; `None` where it holds nothing out.

    Where there is no `test`, the source's `val` reports in its place. Where there is no `val` then, images of `train`
    become it: 2,000, or a fifth where that is fewer, of whole `persons` (by row; "" is nobody known).

    Raises UserError where nothing is in `train`.
    """
    if "train" not in official:
        raise UserError("no image is in the source's split 'train': use --heldout N to choose at random")
    if set(official) == {"train"}:
        return None
    splits = list(official)
    if "test" not in splits:
        splits = ["test" if split == "val" else split for split in splits]
    if "val" not in splits:
        train = [row for row, split in enumerate(splits) if split == "train"]
        count = min(LARGEST_VAL, len(train) // 5)
        for row in choose_rows(_by_person(train, persons), count, np.random.default_rng([seed, 2])):
            splits[row] = "val"
    return splits


def random_splits(persons: Sequence[str], heldout: int | None, test: int | None, seed: int) -> list[str]:
    """Splits by row: `heldout` random images are not for training, and `test` of them report, the others choose.

    By default a tenth is held out, 2 to 20,000 images, and all of it but 2,000 images, or but half where that is
    fewer, reports. Persons stay whole, so a few images less may be held out, and a few more of them report.

    Raises UserError where `heldout` images were requested and every person has more.
    """
    count = heldout
    if count is None:
        count = min(max(2, round(len(persons) / SHARE)), LARGEST_HELDOUT, len(persons) - 1)
    random = np.random.default_rng([seed, 1])
    rows = choose_rows(_by_person(range(len(persons)), persons), count, random)
    if heldout and not rows:
        raise UserError(f"heldout {heldout:,} is too few: whole persons are held out, and every person has more images")
    splits = ["train"] * len(persons)
    for row in rows:
        splits[row] = "test"
    choosing = min(LARGEST_VAL, len(rows) // 2) if test is None else max(0, len(rows) - test)
    for row in choose_rows(_by_person(rows, persons), choosing, random):
        splits[row] = "val"
    return splits


def choose_rows(persons: list[list[int]], count: int, random: np.random.Generator) -> list[int]:
    """The rows of random persons, `count` rows in all or the nearest number below that whole persons make.

    Persons come in random order until some of those seen make exactly `count`: `last[n]` is the person who first made
    n possible, together with earlier ones, so following it back from `count` names them.
    """
    order = random.permutation(len(persons))
    last = np.full(count + 1, -1)
    reached = np.zeros(count + 1, bool)
    reached[0] = True
    for person in order:
        rows = len(persons[person])
        if reached[count]:
            break
        new = np.zeros_like(reached)
        new[rows:] = reached[: max(0, count + 1 - rows)]
        new &= ~reached
        last[new] = person
        reached |= new
    total = int(np.flatnonzero(reached)[-1])
    chosen: list[int] = []
    while total:
        chosen += persons[last[total]]
        total -= len(persons[last[total]])
    return chosen


def _by_person(rows: Sequence[int], persons: Sequence[str]) -> list[list[int]]:
    """The rows grouped by person; a row of nobody known is a person of its own."""
    groups: dict[str, list[int]] = {}
    for row in rows:
        groups.setdefault(persons[row] or f"nobody known, {row}", []).append(row)
    return [*groups.values()]
