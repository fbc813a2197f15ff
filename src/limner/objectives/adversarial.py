"""Adversarial losses as pure functions of logits: means over the batch, in nats.

A discriminator's logit is positive where it believes the picture real. `Objective.discriminator(real, fake)` is what
the discriminator minimises, `Objective.generator(fake)` what the generator minimises.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor


class Objective(NamedTuple):
    """One game: both players' losses."""

    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor], Tensor]


def discriminator_bce(real_B: Tensor, fake_B: Tensor) -> Tensor:
    """-mean(log p(real) + log(1 - p(fake))), Goodfellow et al. (2014), with p = sigmoid(logit) and never log(0)."""
    return F.softplus(-real_B).mean() + F.softplus(fake_B).mean()


def generator_minimax(fake_B: Tensor) -> Tensor:
    """mean(log(1 - p(fake))): the generator maximises the discriminator's loss; saturates where p(fake) is near 0."""
    return -F.softplus(fake_B).mean()


def generator_non_saturating(fake_B: Tensor) -> Tensor:
    """-mean(log p(fake)), the remedy of Goodfellow et al. (2014): its gradient is largest where p(fake) is near 0."""
    return F.softplus(-fake_B).mean()


OBJECTIVES: dict[str, Objective] = {
    "minimax": Objective(discriminator_bce, generator_minimax),
    "non-saturating": Objective(discriminator_bce, generator_non_saturating),
}
