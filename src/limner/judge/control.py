"""Attribute control: whether generated faces show the attributes that were requested, as a classifier sees them.

Shapes: N images, A attributes.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

RAREST = 10


class AttributeControl(NamedTuple):
    """How well a conditional generator shows the requested attributes, as far as the judge can tell.

    A generator that ignores the request has a balanced accuracy of 0.5, so its ratio is about 0.6, not 0.
    """

    attribute_names: tuple[str, ...]
    accuracy_A: NDArray[np.float64]
    """Balanced accuracy of the judge's predictions against the request; nan where a class was never requested."""
    ceiling_A: NDArray[np.float64]
    """The judge's own balanced accuracy on held-out real images; nan where that is not known."""
    ratio_A: NDArray[np.float64]
    """Accuracy / ceiling; over 1 where generated images show the requested attributes more clearly than real ones."""
    mean_ratio: float
    """Over the attributes whose ratio is known; nan where none is."""
    rarest: tuple[str, ...]
    """The ten attributes (all, where there are fewer) that fewest real images have, rarest first."""
    mean_ratio_rarest: float


def attribute_control(
    requested_NA: NDArray[np.uint8],
    predicted_NA: NDArray[np.uint8],
    ceiling: Mapping[str, float],
    frequencies_A: NDArray[np.float64],
) -> AttributeControl:
    """Compare the requested attributes with the judge's predictions for the images (`judge.decide`).

    `ceiling` is the judge's balanced accuracy on real images, by attribute; all arrays are in its order. A frequency is
    the share of the data set's images that have the attribute, and inf for one that cannot be requested. The rarest are
    those with the lowest share: `No_Beard`, which few images lack, is not among them.
    """
    names = tuple(ceiling)
    accuracy_A = balanced_accuracy(requested_NA, predicted_NA)
    ceiling_A = np.array([*ceiling.values()])
    ratio_A = accuracy_A / ceiling_A
    rarest = np.argsort(frequencies_A, kind="stable")[: min(RAREST, np.isfinite(frequencies_A).sum())]
    return AttributeControl(
        attribute_names=names,
        accuracy_A=accuracy_A,
        ceiling_A=ceiling_A,
        ratio_A=ratio_A,
        mean_ratio=_known_mean(ratio_A),
        rarest=tuple(names[position] for position in rarest),
        mean_ratio_rarest=_known_mean(ratio_A[rarest]),
    )


def balanced_accuracy(requested_NA: NDArray[np.uint8], predicted_NA: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The mean of sensitivity and specificity of each attribute, A values of 0 to 1; 0.5 for mere guessing.

    nan where `requested_NA` lacks one of the two classes.
    """
    requested, predicted = requested_NA.astype(bool), predicted_NA.astype(bool)
    with np.errstate(invalid="ignore"):
        sensitivity_A = (requested & predicted).sum(axis=0) / requested.sum(axis=0)
        specificity_A = (~requested & ~predicted).sum(axis=0) / (~requested).sum(axis=0)
    mean_A: NDArray[np.float64] = (sensitivity_A + specificity_A) / 2
    return mean_A


def _known_mean(values_A: NDArray[np.float64]) -> float:
    known = values_A[~np.isnan(values_A)]
    return float(known.mean()) if len(known) else float("nan")
