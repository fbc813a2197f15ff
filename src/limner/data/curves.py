"""Report 002's toy data: curves y = a x^2 + c on 15 points of x in [-1, 1], a uniform in [1, 2] and c in [0, 1].

They lie between the bounds x^2 and 2x^2 + 1. There is no end of them, so that none is shown twice. Shapes: B batch,
P points of a curve.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from limner.core.batching import block_of
from limner.core.randomness import stream
from limner.data.batches import Batch

POINTS = 15
X_P: NDArray[np.float64] = np.linspace(-1, 1, POINTS)
LOWER_P, UPPER_P = X_P**2, 2 * X_P**2 + 1


class Curves:
    """The curves of `seed`, numbered: curve k is the same whatever is read beside it."""

    def __init__(self, seed: int, device: torch.device) -> None:
        self.seed, self.device = seed, device

    def at(self, images: int, count: int, rank: int = 0, world: int = 1) -> Batch:
        """The `count` curves from number `images` on, B x P; of those, the `rank`-th of `world` equal blocks."""
        random = stream(self.seed, "curves")
        random.bit_generator.advance(images)  # type: ignore[attr-defined]  # one step of Philox is four numbers
        a_B, c_B = random.random((count, 4))[block_of(count, rank, world), :2].T
        x_BP = (1 + a_B[:, None]) * X_P**2 + c_B[:, None]
        return Batch(torch.from_numpy(x_BP).float().to(self.device), torch.empty(len(x_BP), 0, device=self.device))
