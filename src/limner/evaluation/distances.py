"""How far apart two sets of features are: Fréchet and kernel distance; precision, recall, density and coverage.

Everything is computed in float64, for each of these numbers is a small difference of large ones, and in batches, so
that memory grows neither with N x N nor, for the Fréchet distance, with N.

Shapes: N real and M generated images, D features, B and C images of a batch.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from limner.core.batching import batches_of
from limner.core.errors import UserError
from limner.core.randomness import stream

BATCH = 1024  # a square of distances then takes 8 MiB

Features = NDArray[np.float32] | NDArray[np.float64]
Array = NDArray[np.float64]


class Moments:
    """Number, mean and covariance of features that come in batches; memory is D x D whatever their number.

    The update is that of Chan, Golub and LeVeque ("Updating formulae and a pairwise algorithm for computing sample
    variances", 1979): squares are summed about the mean so far, so a large common offset costs no digits.
    """

    def __init__(self) -> None:
        self.count = 0
        """Images so far. With D or fewer, the covariance is singular and the Fréchet distance far too large."""
        self.mean_D: Array = np.zeros(())
        self._scatter_DD: Array = np.zeros(())

    def add(self, features_ND: Features) -> None:
        """Take in N more images' features, any N."""
        for part in batches_of(len(features_ND), BATCH):
            features_BD = features_ND[part].astype(np.float64)
            before, self.count = self.count, self.count + len(features_BD)
            mean_D = features_BD.mean(axis=0)
            shift_D = mean_D - self.mean_D
            # The shift of the mean enters the scatter as one more row.
            row_D = shift_D * np.sqrt(before * len(features_BD) / self.count)
            rows_BD = np.vstack([features_BD - mean_D, row_D])
            self._scatter_DD = self._scatter_DD + rows_BD.T @ rows_BD
            self.mean_D = self.mean_D + shift_D * (len(features_BD) / self.count)

    @property
    def covariance_DD(self) -> Array:
        """The unbiased covariance, as numpy.cov. Raises UserError for fewer than two images."""
        _require("a covariance", 2, self.count)
        return self._scatter_DD / (self.count - 1)


def frechet_distance(one: Moments, other: Moments) -> float:
    """The squared Fréchet distance between Gaussians of these moments, |m1 - m2|^2 + tr(S1 + S2 - 2 sqrt(S1 S2)) >= 0.

    Called FID where the features are Inception's (Heusel et al., "GANs Trained by a Two Time-Scale Update Rule", 2017).

    S1 S2 has the eigenvalues of A' S2 A for every A with A A' = S1, be it S1^(1/2) or a Cholesky factor, and the trace
    of the square root is the sum of their roots. A' S2 A is symmetric, so they are real, and found far faster than the
    square root of a matrix. Those that rounding leaves just below 0 are clipped.

    Raises UserError where either has fewer than two images.
    """
    few, many = sorted((one, other), key=lambda moments: moments.count)
    few_DD, many_DD = torch.from_numpy(few.covariance_DD), torch.from_numpy(many.covariance_DD)
    # Where images are fewer than features, the factor of the fewer is the narrower one. With it A' S A has full rank;
    # with the other, zeros come out as rounding noise, of which the roots are large.
    root_DR = _factor(few_DD)
    eigenvalues_R = torch.linalg.eigvalsh(root_DR.T @ many_DD @ root_DR)
    overlap = float(eigenvalues_R.clamp(min=0).sqrt().sum())
    shift_D = one.mean_D - other.mean_D
    return max(0.0, float(shift_D @ shift_D + few_DD.trace() + many_DD.trace()) - 2 * overlap)


class Kid(NamedTuple):
    """A kernel distance and its standard error."""

    value: float
    standard_error: float


def kernel_distance(real_ND: Features, fake_MD: Features, subset: int = 1000, subsets: int = 100, seed: int = 0) -> Kid:
    """The mean of `squared_mmd` over random subsets; below 0 by randomness alone, where the two sets are alike.

    Called KID where the features are Inception's (Binkowski et al., "Demystifying MMD GANs", 2018). Each subset has
    `subset` images of both sets, sampled without replacement; half of the smaller set's where that is less.

    The standard error is that of the whole measurement on N and M images, by the delete-d jackknife (Shao and Wu,
    "A General Theory for Jackknife Variance Estimation", 1989), and of taking only some of the subsets. Their spread
    divided by the root of their number would be the latter alone, and go to 0 for more subsets of the same images.
    Where N and M differ, or the two sets are alike, it is too large rather than too small.

    Raises UserError for fewer than four images in a set.
    """
    fewest = min(len(real_ND), len(fake_MD))
    _require("a kernel distance", 4, fewest)
    size = min(subset, fewest // 2)
    values = np.empty(subsets)
    for index in range(subsets):
        random = stream(seed, "kid", index)
        real_rows, fake_rows = (random.choice(len(some), size, replace=False) for some in (real_ND, fake_MD))
        values[index] = squared_mmd(real_ND[real_rows], fake_MD[fake_rows])
    variance = values.var(ddof=1) * (size / (fewest - size) + 1 / subsets)
    return Kid(float(values.mean()), float(np.sqrt(variance)))


def squared_mmd(x_ND: Features, y_MD: Features) -> float:
    """The unbiased estimate of the squared maximum mean discrepancy under the kernel (x.y / D + 1)^3.

    It is the U-statistic of Gretton et al. ("A Kernel Two-Sample Test", 2012, eq. 3); each set needs two images.
    """
    x_ND, y_MD = x_ND.astype(np.float64), y_MD.astype(np.float64)
    within = 0.0
    for some_ND in (x_ND, y_MD):
        kernel_NN = _cubic_kernel(some_ND, some_ND)
        within += (kernel_NN.sum() - kernel_NN.trace()) / (len(some_ND) * (len(some_ND) - 1))
    return float(within - 2 * _cubic_kernel(x_ND, y_MD).mean())


class Manifold(NamedTuple):
    """How two sets of images lie in each other. All are shares, in [0, 1], but density, which may exceed 1."""

    precision: float
    """Of the fakes, those in the ball of some real image: quality."""
    recall: float
    """Of the reals, those in the ball of some fake: variety, but one odd fake's large ball may hold many."""
    density: float
    """The number of real balls that a fake lies in, divided by k: quality, less moved by one odd real image."""
    coverage: float
    """Of the reals, those with a fake in their own ball: variety."""


def manifold(real_ND: Features, fake_MD: Features, k: int = 5) -> Manifold:
    """Precision, recall, density and coverage of the fakes. An image's ball reaches to its k-th nearest own kind.

    Precision and recall follow Kynkäänniemi et al. ("Improved Precision and Recall Metric", 2019), density and coverage
    Naeem et al. ("Reliable Fidelity and Diversity Metrics", 2020); balls are closed. All depend on N and M, so only
    values of the same N and M compare. Time grows with (N + M)^2.

    Raises UserError where either set has no k + 1 images.
    """
    _require(f"manifolds of {k} neighbours", k + 1, min(len(real_ND), len(fake_MD)))
    origin_D = real_ND.mean(axis=0, dtype=np.float64)
    real_radius_N = _squared_radii(real_ND, origin_D, k)
    fake_radius_M = _squared_radii(fake_MD, origin_D, k)
    covered_N = np.zeros(len(real_ND), np.bool_)
    recalled_N = np.zeros(len(real_ND), np.bool_)
    balls_M = np.zeros(len(fake_MD), np.int64)
    for rows, columns, squared_BC in _squared_distances(real_ND, fake_MD, origin_D):
        inside_BC = squared_BC <= real_radius_N[rows, None]
        balls_M[columns] += inside_BC.sum(axis=0)
        covered_N[rows] |= inside_BC.any(axis=1)
        recalled_N[rows] |= (squared_BC <= fake_radius_M[columns]).any(axis=1)
    return Manifold(
        precision=float((balls_M > 0).mean()),
        recall=float(recalled_N.mean()),
        density=float(balls_M.mean() / k),
        coverage=float(covered_N.mean()),
    )


def _factor(covariance_DD: Tensor) -> Tensor:
    """A matrix A, D x R, with A A' = S; R is the rank of S, or D where rounding hides that S is singular."""
    root_DD: Tensor
    root_DD, failed = torch.linalg.cholesky_ex(covariance_DD)
    if not failed:
        return root_DD
    variance_D, axes_DD = torch.linalg.eigh(covariance_DD)
    noise = variance_D[-1] * len(variance_D) * torch.finfo(torch.float64).eps
    kept = variance_D > noise
    root_DR: Tensor = axes_DD[:, kept] * variance_D[kept].sqrt()
    return root_DR


def _cubic_kernel(x_ND: Array, y_MD: Array) -> Array:
    kernel_NM: Array = (x_ND @ y_MD.T / x_ND.shape[1] + 1) ** 3
    return kernel_NM


def _squared_radii(features_ND: Features, origin_D: Array, k: int) -> Array:
    """The squared distance of each image to its k-th nearest other one."""
    nearest_NK = np.full((len(features_ND), k), np.inf)

    def keep_nearest(rows: slice, squared_BC: Array) -> None:
        both = np.concatenate([nearest_NK[rows], squared_BC], axis=1)
        both.partition(k - 1, axis=1)
        nearest_NK[rows] = both[:, :k]

    for rows, columns, squared_BC in _squared_distances(features_ND, features_ND, origin_D, upper=True):
        if rows == columns:
            np.fill_diagonal(squared_BC, np.inf)  # nobody is a neighbour of his own
        else:
            keep_nearest(columns, squared_BC.T)
        keep_nearest(rows, squared_BC)
    radius_N: Array = nearest_NK.max(axis=1)
    return radius_N


def _squared_distances(
    x_ND: Features, y_MD: Features, origin_D: Array, upper: bool = False
) -> Iterator[tuple[slice, slice, Array]]:
    """Squared Euclidean distances, square by square: rows, columns, B x C.

    Taken about an origin near both sets, where |x|^2 + |y|^2 - 2 x.y loses few digits. `upper` leaves out the squares
    below the diagonal.
    """
    for rows in batches_of(len(x_ND), BATCH):
        x_BD = x_ND[rows] - origin_D
        for columns in batches_of(len(y_MD), BATCH, first=rows.start if upper else 0):
            y_CD = y_MD[columns] - origin_D
            squared_BC = x_BD @ y_CD.T
            squared_BC *= -2
            squared_BC += np.einsum("bd,bd->b", x_BD, x_BD)[:, None]
            squared_BC += np.einsum("cd,cd->c", y_CD, y_CD)
            yield rows, columns, squared_BC


def _require(what: str, least: int, count: int) -> None:
    if count < least:
        raise UserError(f"{what} needs at least {least} images, and there are only {count}: give it more")
