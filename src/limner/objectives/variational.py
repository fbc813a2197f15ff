"""The two terms of a variational autoencoder's bound, Kingma and Welling (2014), in nats per image.

log p(x) >= -(reconstruction_error + kl_divergence), up to the Gaussian's constant. Shapes: B batch, Z latent, C
channels, H and W the image's height and width. Whatever the networks' precision, all is computed in fp32.
"""

from typing import Literal

import torch
from torch import Tensor

from limner.objectives.precision import widen

SMALLEST = torch.finfo(torch.float32).tiny


def reparameterise(mean_BZ: Tensor, log_variance_BZ: Tensor, noise_BZ: Tensor) -> Tensor:
    """A sample from N(mean, variance), differentiable by both: mean + sqrt(variance) noise, for noise from N(0, 1)."""
    return widen(mean_BZ) + (widen(log_variance_BZ) / 2).exp() * widen(noise_BZ)


def kl_divergence(mean_BZ: Tensor, log_variance_BZ: Tensor) -> Tensor:
    """KL(N(mean, variance) || N(0, 1)), summed over Z: B nats, each at least 0."""
    mean_BZ, log_variance_BZ = widen(mean_BZ), widen(log_variance_BZ)
    return (mean_BZ.square() + log_variance_BZ.expm1() - log_variance_BZ).sum(dim=1) / 2


def reconstruction_error(x_BCHW: Tensor, decoded_BCHW: Tensor, kind: Literal["gaussian", "bernoulli"]) -> Tensor:
    """-log p(x | z), summed over each image: B nats.

    `gaussian`: `decoded_BCHW` is the mean of a Gaussian of variance 1 in the pixels' own unit; its constant
    C H W log(2 pi) / 2 is left out. `bernoulli`: pixels and probabilities `decoded_BCHW` are in [0, 1]. The log of
    a probability too small for fp32's normal numbers is -100, torch's own value at 0, and has no gradient. The decoder
    must take its sigmoid in fp32: in bf16 every probability above 0.998 becomes 1.
    """
    x_BCHW, decoded_BCHW = widen(x_BCHW), widen(decoded_BCHW)
    if kind == "gaussian":
        error_BCHW = (x_BCHW - decoded_BCHW).square() / 2
    else:  # not torch's own: it stops the process at a NaN, and the training loop could not roll back
        error_BCHW = -(x_BCHW * _log(decoded_BCHW) + (1 - x_BCHW) * _log(1 - decoded_BCHW))
    return error_BCHW.flatten(1).sum(dim=1)


def _log(p: Tensor) -> Tensor:
    # A clamp after the log would have NaN for its gradient at 0, and 1 / p overflows before p is 0.
    zero = p.abs() < SMALLEST
    return p.masked_fill(zero, 1).log().masked_fill(zero, -100)
