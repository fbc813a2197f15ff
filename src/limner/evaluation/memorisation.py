"""Does a generator copy the images it was trained on? Its nearest neighbours say.

A generator that learned the distribution generates images that lie as near to held-out images as to training images;
one that copies lies nearer to what it has seen. Held-out images are the yardstick, for how near is "near" depends on
the data and on the features.

There are more training than held-out images, so some training image is nearer by numbers alone. Sampling as many
training images as there are held-out ones would mend that but miss most copies: of 16,000 images copied,
2,000 sampled ones show one copy in eight. So all training images are compared, and the numbers are divided out.

A copy may be mirrored, as training images are when they are augmented. Where features tell an image from its mirror
image, `mirror` searches for both and the nearer one counts: for training and held-out images alike.

Shapes: N generated images, M references, D features. Any features will do. Pixels too: `images_NHWC.reshape(N, -1)`
is taken as uint8, and only the batch at hand becomes float32.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from limner.core.batching import batches_of
from limner.core.files import release
from limner.images.grid import face_grid

PAIRS = 16
BATCH = 1024
HELDOUT_QUERIES = 2048
SHEET_COLUMNS = 4  # pairs in a row of the sheet
SHEET_SIDE = 128  # pixels; smaller images are enlarged by a whole number, so that a person can see them

Features = NDArray[np.float32] | NDArray[np.uint8]
Mirror = Callable[[Features], Features]
"""From features of images to those of the same images mirrored."""


class Pair(NamedTuple):
    """A generated image and the training image nearest to it."""

    fake: int
    """Row of `fake_ND`."""
    train: int
    """Row of `train_ND`."""
    distance: float
    """Euclidean, in the units of the features."""


class Memorisation(NamedTuple):
    """How much nearer generated images lie to training images than to held-out ones."""

    closer_to_train: float
    """0.5: no copying; 1: every generated image is a copy. It is the share of generated images whose nearest
    reference is a training image, had there been as many of these as of held-out images: t / (t + h), where t is
    how many generated images have their nearest reference among the training images, per training image, and h
    the same of held-out images."""
    median_ratio: float
    """Median over the generated images of (distance to the nearest training image / to the nearest held-out one).
    0 for copies; else to be compared with `heldout_ratio`."""
    heldout_ratio: float
    """The same of held-out images, each against the training images and the *other* held-out ones: the ratio
    without any copying. A little under 1 where training images are more; over 1 where the same people come several
    times among the held-out images and never among the training images."""
    closest: tuple[Pair, ...]
    """The at most 16 generated images that lie nearest to any training image, nearest first."""


def memorisation(
    fake_ND: Features,
    train_MD: Features,
    heldout_MD: Features,
    mirror: Mirror | None = None,
    known_ratio: float | None = None,
) -> Memorisation:
    """Compare generated images with training images and held-out images, in the same features.

    With `mirror`, a distance is the smaller of that of the image as it is and that of its mirror image. `known_ratio`
    is the `heldout_ratio` of these references, where that was computed before.

    If generated images owe no more to the training than to the held-out images, each of these is as likely as any
    other to be the nearest. Then `closer_to_train` is 0.5 with a standard error of 1 / sqrt(16 h (1 - h) N), where h is
    the share of held-out images among all references (somewhat more where a few references are nearest to many). An
    equal distance to both sides counts half for each.

    At least two held-out images are needed. Time grows with N x M, memory does not: distances are taken 1024 x 1024
    at a time.
    """
    train_N, to_train_N = nearest(fake_ND, train_MD, mirror=mirror)
    _, to_heldout_N = nearest(fake_ND, heldout_MD, mirror=mirror)
    tied = np.mean(to_train_N == to_heldout_N) / 2
    train_wins = (np.mean(to_train_N < to_heldout_N) + tied) / len(train_MD)
    heldout_wins = (np.mean(to_train_N > to_heldout_N) + tied) / len(heldout_MD)

    closest = np.argsort(to_train_N, kind="stable")[:PAIRS]
    return Memorisation(
        closer_to_train=float(train_wins / (train_wins + heldout_wins)),
        median_ratio=_median_ratio(to_train_N, to_heldout_N),
        heldout_ratio=heldout_ratio(train_MD, heldout_MD, mirror) if known_ratio is None else known_ratio,
        closest=tuple(Pair(int(row), int(train_N[row]), float(to_train_N[row])) for row in closest),
    )


def heldout_ratio(train_MD: Features, heldout_MD: Features, mirror: Mirror | None = None) -> float:
    """`Memorisation.heldout_ratio` of these references, the same whatever was generated; of 2,048 held-out images."""
    # Evenly spread, for the images of a folder may be in some order.
    count = min(HELDOUT_QUERIES, len(heldout_MD))
    rows = np.linspace(0, len(heldout_MD), count, endpoint=False).astype(np.int64)
    _, to_train_N = nearest(heldout_MD[rows], train_MD, mirror=mirror)
    _, to_others_N = nearest(heldout_MD[rows], heldout_MD, rows, mirror)
    return _median_ratio(to_train_N, to_others_N)


def nearest(
    query_ND: Features, reference_MD: Features, but: NDArray[np.int64] | None = None, mirror: Mirror | None = None
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The row of the nearest reference to each query, and its Euclidean distance; of equally near rows any one.

    `but` names for each query one row that does not count: the query itself, where it is among the references. With
    `mirror`, the mirrored queries are searched for too, and the nearer of both counts.
    """
    row_N, distance_N = np.zeros(len(query_ND), np.int64), np.full(len(query_ND), np.inf)
    for part in batches_of(len(query_ND), BATCH):
        for view_BD in (query_ND[part], *([mirror(query_ND[part])] if mirror else [])):
            row_B, distance_B = _nearest(view_BD, reference_MD, None if but is None else but[part])
            row_N[part] = np.where(distance_B < distance_N[part], row_B, row_N[part])
            distance_N[part] = np.minimum(distance_B, distance_N[part])
    return row_N, distance_N


def _nearest(
    query_BD: Features, reference_MD: Features, but_B: NDArray[np.int64] | None
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """`nearest` of one batch of queries."""
    x_BD = query_BD.astype(np.float32)
    # A common shift changes no distance, and near the origin float32 keeps more digits of them.
    origin_D = x_BD.mean(axis=0)
    x_BD -= origin_D
    row_B = np.zeros(len(x_BD), np.int64)
    best_B = np.full(len(x_BD), np.inf, np.float32)
    for part in batches_of(len(reference_MD), BATCH):
        first, reference_CD = part.start, reference_MD[part].astype(np.float32) - origin_D
        # |q - r|^2 without |q|^2, which is the same for every reference.
        square_BC = np.einsum("cd,cd->c", reference_CD, reference_CD) - 2 * (x_BD @ reference_CD.T)
        if but_B is not None:
            inside = np.flatnonzero((but_B >= first) & (but_B < part.stop))
            square_BC[inside, but_B[inside] - first] = np.inf
        here_B = square_BC.argmin(axis=1)
        found_B = square_BC[np.arange(len(here_B)), here_B]
        better = np.flatnonzero(found_B < best_B)
        best_B[better] = found_B[better]
        row_B[better] = first + here_B[better]
        release(reference_MD)
    # The difference of large squares has lost the digits of a small distance, and small ones are what matters.
    difference_BD = query_BD.astype(np.float64) - reference_MD[row_B]
    return row_B, np.sqrt(np.einsum("bd,bd->b", difference_BD, difference_BD))


def nearest_sheet(fakes_NHWC: NDArray[np.uint8], train_MHWC: NDArray[np.uint8], pairs: Sequence[Pair]) -> Image.Image:
    """Each generated image (left) beside its nearest training image (right), four pairs in a row, in their order.

    Where training images show real people, so does the sheet.
    """
    tiles_NHWC = np.stack([np.hstack([fakes_NHWC[pair.fake], train_MHWC[pair.train]]) for pair in pairs])
    enlarged = max(1, SHEET_SIDE // fakes_NHWC.shape[1])
    return face_grid(tiles_NHWC.repeat(enlarged, axis=1).repeat(enlarged, axis=2), SHEET_COLUMNS, padding=12)


def _median_ratio(to_train_N: NDArray[np.float64], to_heldout_N: NDArray[np.float64]) -> float:
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio_N = to_train_N / to_heldout_N
    ratio_N[to_train_N == to_heldout_N] = 1.0  # 0 / 0 is among them: the same image on both sides
    return float(np.median(ratio_N))
