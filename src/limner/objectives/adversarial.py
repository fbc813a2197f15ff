"""Adversarial losses as pure functions of logits: means over the batch, finite for every finite logit.

A discriminator's logit (a critic's output) is large where it believes the image real. Both functions of an
`Objective` take the logits of real and of generated images, B each and in fp32, and return what the player minimises.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor


class Objective(NamedTuple):
    """One game: both players' losses, each of (real_B, fake_B).

    `paired`: the generator's loss needs the logits of real images too; the others do not use them. `log_odds`: a
    logit is the log odds of being real, and 0 is the border. `critic`: it scores, and a critic that tells all apart
    still has a slope.
    """

    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor, Tensor], Tensor]
    paired: bool = False
    log_odds: bool = False
    critic: bool = False


def discriminator_bce(real_B: Tensor, fake_B: Tensor) -> Tensor:
    """-mean(log p(real) + log(1 - p(fake))), Goodfellow et al. (2014), with p = sigmoid(logit) and never log(0)."""
    return F.softplus(-real_B).mean() + F.softplus(fake_B).mean()


def generator_minimax(_real_B: Tensor, fake_B: Tensor) -> Tensor:
    """mean(log(1 - p(fake))): the generator maximises the discriminator's loss; saturates where p(fake) is near 0."""
    return -F.softplus(fake_B).mean()


def generator_non_saturating(_real_B: Tensor, fake_B: Tensor) -> Tensor:
    """-mean(log p(fake)), the remedy of Goodfellow et al. (2014): its gradient is largest where p(fake) is near 0."""
    return F.softplus(-fake_B).mean()


def discriminator_hinge(real_B: Tensor, fake_B: Tensor) -> Tensor:
    """mean(max(0, 1 - real)) + mean(max(0, 1 + fake)), Lim and Ye (2017): no gradient beyond the margin."""
    return F.relu(1 - real_B).mean() + F.relu(1 + fake_B).mean()


def discriminator_least_squares(real_B: Tensor, fake_B: Tensor) -> Tensor:
    """(mean((real - 1)^2) + mean(fake^2)) / 2, Mao et al. (2017)."""
    return ((real_B - 1).square().mean() + fake_B.square().mean()) / 2


def generator_least_squares(_real_B: Tensor, fake_B: Tensor) -> Tensor:
    """mean((fake - 1)^2) / 2, Mao et al. (2017)."""
    return (fake_B - 1).square().mean() / 2


def discriminator_wasserstein(real_B: Tensor, fake_B: Tensor) -> Tensor:
    """mean(fake) - mean(real), Arjovsky et al. (2017): minus the distance, if the critic's slope is at most one."""
    return fake_B.mean() - real_B.mean()


def generator_mean(_real_B: Tensor, fake_B: Tensor) -> Tensor:
    """-mean(fake): the generator's side of both the Wasserstein and the hinge loss."""
    return -fake_B.mean()


def discriminator_relativistic(real_B: Tensor, fake_B: Tensor) -> Tensor:
    """-mean(log sigmoid(real - fake)), RpGAN of Jolicoeur-Martineau (2018): each image against one of the other kind.

    Only differences of logits count.
    """
    return F.softplus(fake_B - real_B).mean()


def generator_relativistic(real_B: Tensor, fake_B: Tensor) -> Tensor:
    """-mean(log sigmoid(fake - real)), the generator's side of RpGAN."""
    return F.softplus(real_B - fake_B).mean()


OBJECTIVES: dict[str, Objective] = {
    "minimax": Objective(discriminator_bce, generator_minimax, log_odds=True),
    "non-saturating": Objective(discriminator_bce, generator_non_saturating, log_odds=True),
    "hinge": Objective(discriminator_hinge, generator_mean),
    "least-squares": Objective(discriminator_least_squares, generator_least_squares),
    "wasserstein": Objective(discriminator_wasserstein, generator_mean, critic=True),
    "relativistic": Objective(discriminator_relativistic, generator_relativistic, paired=True),
}
