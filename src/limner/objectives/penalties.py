"""Penalties on the discriminator's slope. The caller multiplies them by lambda or gamma.

Inputs are images B x C x H x W or curves B x P. All are means over the batch of a norm taken PER SAMPLE, in fp32; the
network itself runs in the precision of the caller's context. Both penalties can be differentiated by the network's
weights. A network with batch norm lets samples see each other, and then "per sample" no longer means the slope at one
image: Gulrajani et al. (2017) leave batch norm out of the critic for this reason.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from limner.objectives.precision import widen


def gradient_penalty(
    critic: Callable[[Tensor], Tensor], real_BCHW: Tensor, fake_BCHW: Tensor, epsilon_B: Tensor
) -> Tensor:
    """mean((||grad critic(x)|| - 1)^2) at x = epsilon real + (1 - epsilon) fake: WGAN-GP, Gulrajani et al. (2017).

    `critic` returns B outputs; `epsilon_B` is uniform in [0, 1]. No gradient reaches whatever made the images.
    """
    epsilon = epsilon_B.view(-1, *[1] * (real_BCHW.ndim - 1))
    x_BCHW = (epsilon * real_BCHW + (1 - epsilon) * fake_BCHW).detach().requires_grad_()
    # The plain root has an infinite slope at zero: one sample with a flat critic would make every weight NaN.
    norm_B = (_squared_slopes(critic(x_BCHW), x_BCHW) + 1e-12).sqrt()
    return (norm_B - 1).square().mean()


def zero_centred_penalty(outputs_B: Tensor, x_BCHW: Tensor) -> Tensor:
    """mean(||grad D(x)||^2) / 2 for `outputs_B` = D(x), Mescheder et al. (2018): R1 at real images, R2 at generated.

    `x_BCHW` must have had `requires_grad` set before D saw it.
    """
    return _squared_slopes(outputs_B, x_BCHW).mean() / 2


def clip_weights_(network: nn.Module, limit: float) -> None:
    """Clamp every parameter to [-limit, limit] in place: the plain WGAN of Arjovsky et al. (2017), with limit 0.01.

    0 is no limit.
    """
    if not limit:
        return
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.clamp_(-limit, limit)


def _squared_slopes(outputs_B: Tensor, x_BCHW: Tensor) -> Tensor:
    """The squared Euclidean norm of every sample's own gradient, B, still differentiable by the weights."""
    # Sample i of the sum's gradient is the gradient of output i, because no other output looks at sample i.
    (slope_BCHW,) = torch.autograd.grad(outputs_B.sum(), x_BCHW, create_graph=True)
    return widen(slope_BCHW).flatten(1).square().sum(dim=1)
