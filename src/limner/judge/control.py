"""Attribute control: whether generated faces show the attributes that were requested, as a classifier sees them.

Shapes: N images, A attributes.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from limner.judge.judge import Judge

RAREST = 10


class AttributeControl(NamedTuple):
    """How well a conditional generator does what it is asked for, as far as the judge can see.

    A generator that ignores what it is asked for has a balanced accuracy of 0.5, so its ratio is about 0.6, not 0.
    """

    attribute_names: tuple[str, ...]
    accuracy_A: NDArray[np.float64]
    """Balanced accuracy of what the judge finds against what was asked for; nan where a class was never asked for."""
    ceiling_A: NDArray[np.float64]
    """The judge's own balanced accuracy on held-out real pictures; nan where that is not known."""
    ratio_A: NDArray[np.float64]
    """Accuracy / ceiling; over 1 where generated pictures show what they are asked for more plainly than real ones."""
    mean_ratio: float
    """Over the attributes whose ratio is known; nan where none is."""
    rarest: tuple[str, ...]
    """The ten attributes (all, where there are fewer) that fewest real pictures have, rarest first."""
    mean_ratio_rarest: float


def attribute_control(
    asked_NA: NDArray[np.uint8], found_NA: NDArray[np.uint8], judge: Judge, frequencies_A: NDArray[np.float64]
) -> AttributeControl:
    """Compare what a generator was asked for with what the judge finds in its pictures (`judge.decide`).

    `asked_NA` and `frequencies_A` are in the order of `judge.attribute_names`. A frequency is the share of the data
    set's pictures that have the attribute, and inf for one that cannot be asked for. The rarest are those with the
    lowest share: `No_Beard`, which few pictures lack, is not among them.
    """
    names = judge.attribute_names
    accuracy_A = balanced_accuracy(asked_NA, found_NA)
    ceiling_A = np.array([judge.balanced_accuracy[name] for name in names])
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


def balanced_accuracy(asked_NA: NDArray[np.uint8], found_NA: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The mean of sensitivity and specificity of each attribute, A values of 0 to 1; 0.5 for mere guessing.

    nan where `asked_NA` lacks one of the two classes.
    """
    asked, found = asked_NA.astype(bool), found_NA.astype(bool)
    with np.errstate(invalid="ignore"):
        sensitivity_A = (asked & found).sum(axis=0) / asked.sum(axis=0)
        specificity_A = (~asked & ~found).sum(axis=0) / (~asked).sum(axis=0)
    mean_A: NDArray[np.float64] = (sensitivity_A + specificity_A) / 2
    return mean_A


def _known_mean(values_A: NDArray[np.float64]) -> float:
    known = values_A[~np.isnan(values_A)]
    return float(known.mean()) if len(known) else float("nan")
