"""Does a generator copy the pictures it was trained on? Its nearest neighbours say.

A generator that learned the distribution draws pictures that lie as near to held-out pictures as to training pictures;
one that copies lies nearer to what it has seen. Held-out pictures are the yardstick, for how near is "near" depends on
the data and on the features.

There are more training than held-out pictures, so some training picture is nearer by numbers alone. Drawing as many
training pictures as there are held-out ones would mend that but look away from most copies: of 16,000 pictures copied,
2,000 drawn ones show one copy in eight. So every training picture is looked at, and the numbers are divided out.

A copy may be mirrored, as training pictures are when they are augmented. Where features tell a picture from its mirror
image, `mirror` searches for both and the nearer one counts: for training and held-out pictures alike.

Shapes: N generated pictures, M references, D features. Any features will do. Pixels too: `images_NHWC.reshape(N, -1)`
is taken as uint8, and only the portion at hand becomes float32.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from limner.images.grid import face_grid

PAIRS = 16
PORTION = 1024
HELDOUT_QUERIES = 2048
SHEET_COLUMNS = 4  # pairs in a row of the sheet
SHEET_SIDE = 128  # pixels; smaller pictures are enlarged by a whole number, so that a person can see them

Features = NDArray[np.float32] | NDArray[np.uint8]
Mirror = Callable[[Features], Features]
"""From features of pictures to those of the same pictures mirrored."""


class Pair(NamedTuple):
    """A generated picture and the training picture nearest to it."""

    fake: int
    """Row of `fake_ND`."""
    train: int
    """Row of `train_ND`."""
    distance: float
    """Euclidean, in the units of the features."""


class Memorisation(NamedTuple):
    """How much nearer generated pictures lie to training pictures than to held-out ones."""

    closer_to_train: float
    """0.5: no copying; 1: every generated picture is a copy. It is the share of generated pictures whose nearest
    reference is a training picture, had there been as many of these as of held-out pictures: t / (t + h), where t is
    how many generated pictures have their nearest reference among the training pictures, per training picture, and h
    the same of held-out pictures."""
    median_ratio: float
    """Median over the generated pictures of (distance to the nearest training picture / to the nearest held-out one).
    0 for copies; else to be compared with `heldout_ratio`."""
    heldout_ratio: float
    """The same of held-out pictures, each against the training pictures and the *other* held-out ones: the ratio
    without any copying. A little under 1 where training pictures are more; over 1 where the same people come several
    times among the held-out pictures and never among the training pictures."""
    closest: tuple[Pair, ...]
    """The at most 16 generated pictures that lie nearest to any training picture, nearest first."""


def memorisation(
    fake_ND: Features, train_MD: Features, heldout_MD: Features, mirror: Mirror | None = None
) -> Memorisation:
    """Compare generated pictures with training pictures and held-out pictures, in the same features.

    With `mirror`, a distance is the smaller of that of the picture as it is and that of its mirror image.

    If generated pictures owe no more to the training than to the held-out pictures, each of these is as likely as any
    other to be the nearest. Then `closer_to_train` is 0.5 with a standard error of 1 / sqrt(16 h (1 - h) N), where h is
    the share of held-out pictures among all references (somewhat more where a few references are nearest to many). An
    equal distance to both sides counts half for each.

    At least two held-out pictures are needed. Time grows with N x M, memory does not: distances are taken 1024 x 1024
    at a time.
    """
    train_N, to_train_N = nearest(fake_ND, train_MD, mirror=mirror)
    _, to_heldout_N = nearest(fake_ND, heldout_MD, mirror=mirror)
    tied = np.mean(to_train_N == to_heldout_N) / 2
    train_wins = (np.mean(to_train_N < to_heldout_N) + tied) / len(train_MD)
    heldout_wins = (np.mean(to_train_N > to_heldout_N) + tied) / len(heldout_MD)

    # Evenly spread, for the pictures of a folder may be in some order.
    count = min(HELDOUT_QUERIES, len(heldout_MD))
    rows = np.linspace(0, len(heldout_MD), count, endpoint=False).astype(np.int64)
    _, heldout_to_train = nearest(heldout_MD[rows], train_MD, mirror=mirror)
    _, heldout_to_others = nearest(heldout_MD[rows], heldout_MD, rows, mirror)

    closest = np.argsort(to_train_N, kind="stable")[:PAIRS]
    return Memorisation(
        closer_to_train=float(train_wins / (train_wins + heldout_wins)),
        median_ratio=_median_ratio(to_train_N, to_heldout_N),
        heldout_ratio=_median_ratio(heldout_to_train, heldout_to_others),
        closest=tuple(Pair(int(row), int(train_N[row]), float(to_train_N[row])) for row in closest),
    )


def nearest(
    query_ND: Features, reference_MD: Features, but: NDArray[np.int64] | None = None, mirror: Mirror | None = None
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The row of the nearest reference to each query, and its Euclidean distance; of equally near rows any one.

    `but` names for each query one row that does not count: the query itself, where it is among the references. With
    `mirror`, the mirrored queries are searched for too, and the nearer of both counts.
    """
    row_N, distance_N = np.zeros(len(query_ND), np.int64), np.full(len(query_ND), np.inf)
    for start in range(0, len(query_ND), PORTION):
        part = slice(start, start + PORTION)
        for view_BD in (query_ND[part], *([mirror(query_ND[part])] if mirror else [])):
            row_B, distance_B = _nearest(view_BD, reference_MD, None if but is None else but[part])
            row_N[part] = np.where(distance_B < distance_N[part], row_B, row_N[part])
            distance_N[part] = np.minimum(distance_B, distance_N[part])
    return row_N, distance_N


def _nearest(
    query_BD: Features, reference_MD: Features, but_B: NDArray[np.int64] | None
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """`nearest` of one portion of queries."""
    x_BD = query_BD.astype(np.float32)
    # A common shift changes no distance, and near the origin float32 keeps more digits of them.
    origin_D = x_BD.mean(axis=0)
    x_BD -= origin_D
    row_B = np.zeros(len(x_BD), np.int64)
    best_B = np.full(len(x_BD), np.inf, np.float32)
    for first in range(0, len(reference_MD), PORTION):
        reference_CD = reference_MD[first : first + PORTION].astype(np.float32) - origin_D
        # |q - r|^2 without |q|^2, which is the same for every reference.
        square_BC = np.einsum("cd,cd->c", reference_CD, reference_CD) - 2 * (x_BD @ reference_CD.T)
        if but_B is not None:
            inside = np.flatnonzero((but_B >= first) & (but_B < first + PORTION))
            square_BC[inside, but_B[inside] - first] = np.inf
        here_B = square_BC.argmin(axis=1)
        found_B = square_BC[np.arange(len(here_B)), here_B]
        better = np.flatnonzero(found_B < best_B)
        best_B[better] = found_B[better]
        row_B[better] = first + here_B[better]
    # The difference of large squares has lost the digits of a small distance, and small ones are what matters.
    difference_BD = query_BD.astype(np.float64) - reference_MD[row_B]
    return row_B, np.sqrt(np.einsum("bd,bd->b", difference_BD, difference_BD))


def nearest_sheet(fakes_NHWC: NDArray[np.uint8], train_MHWC: NDArray[np.uint8], pairs: Sequence[Pair]) -> Image.Image:
    """Each generated picture (left) beside its nearest training picture (right), four pairs in a row, in their order.

    Where training pictures show real people, so does the sheet.
    """
    tiles_NHWC = np.stack([np.hstack([fakes_NHWC[pair.fake], train_MHWC[pair.train]]) for pair in pairs])
    enlarged = max(1, SHEET_SIDE // fakes_NHWC.shape[1])
    return face_grid(tiles_NHWC.repeat(enlarged, axis=1).repeat(enlarged, axis=2), SHEET_COLUMNS, padding=12)


def _median_ratio(to_train_N: NDArray[np.float64], to_heldout_N: NDArray[np.float64]) -> float:
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio_N = to_train_N / to_heldout_N
    ratio_N[to_train_N == to_heldout_N] = 1.0  # 0 / 0 is among them: the same picture on both sides
    return float(np.median(ratio_N))
