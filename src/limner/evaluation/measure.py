"""The distances between two sets of features, each under the only name that it may bear.

Shapes: N real and M other images, D features.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from limner.evaluation.distances import Moments, frechet_distance, kernel_distance, manifold
from limner.evaluation.metrics import metric_name

STEPS = 3  # that `measure` advances by
SUBSET, SUBSETS = 1000, 100  # of a kernel distance, as everybody takes them
NEIGHBOURS = 5  # that a ball of precision, recall, density and coverage reaches to


class Measured(NamedTuple):
    """One value, its standard error where the metric has one, and what a reader must know of how it was made."""

    value: float
    standard_error: float | None = None
    details: Mapping[str, Any] = {}


def moments(features_ND: NDArray[np.float32]) -> Moments:
    """Number, mean and covariance of features."""
    found = Moments()
    found.add(features_ND)
    return found


def measure(
    real_ND: NDArray[np.float32],
    real: Moments,
    other_MD: NDArray[np.float32],
    extractor: str,
    advance: Callable[[int], None],
) -> dict[str, Measured]:
    """Every distance of `other_MD` from `real_ND`, whose moments are `real`, by the metric's name."""
    frechet = frechet_distance(real, moments(other_MD))
    advance(1)
    images = min(len(real_ND), len(other_MD))
    size, subsets = min(SUBSET, images // 2), enough_subsets(images)
    kid = kernel_distance(real_ND, other_MD, size, subsets)
    advance(1)
    shares = manifold(real_ND, other_MD, NEIGHBOURS)
    advance(1)
    measured = {
        "fd": Measured(frechet),
        "kid": Measured(*kid, {"subsets": subsets, "subset_size": size}),
        **{kind: Measured(value, None, {"k": NEIGHBOURS}) for kind, value in shares._asdict().items()},
    }
    return {metric_name(kind, extractor): value for kind, value in measured.items()}


def enough_subsets(images: int) -> int:
    """Random subsets for a kernel distance of so many images: the usual 100, or fewer where more would say no more.

    Subsets of few images overlap. Once the choice of subsets adds a twentieth to the variance that the images
    themselves bring, more of them cost time and tell nothing.
    """
    size = min(SUBSET, images // 2)
    return min(SUBSETS, math.ceil(20 * (images - size) / size))
