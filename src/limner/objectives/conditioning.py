"""How attributes enter the game: as input maps (CGAN), as an auxiliary task (AC-GAN), as a projection.

Shapes: B batch, C channels, H and W the picture's sides, A attributes, O the discriminator's outputs. Attributes y_BA
are 1 where the face has the attribute and 0 where it has not, in any number format.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from limner.objectives.precision import widen


def with_maps(x_BCHW: Tensor, y_BA: Tensor) -> Tensor:
    """B x (C + A) x H x W: every attribute as one more channel that is 0 or 1 all over, CGAN of Mirza et al. (2014)."""
    # Channels last in memory, as the networks are: of pictures so laid out and expanded maps, cat would make NCHW.
    maps_BHWA = y_BA[:, None, None].to(x_BCHW.dtype).expand(-1, *x_BCHW.shape[2:], -1)
    return torch.cat([x_BCHW.permute(0, 2, 3, 1), maps_BHWA], dim=3).permute(0, 3, 1, 2)


def attribute_loss(outputs_BA: Tensor, y_BA: Tensor) -> Tensor:
    """-mean(log p(y_a | x)) over batch and attributes, in nats, with p = sigmoid(output): "BCE each" of report 004.

    It is the auxiliary term of AC-GAN, Odena et al. (2017), which both players minimise. Taken to the letter, that is
    the likelihood of the whole vector, the sum over attributes: A times this. The mean is what BCE means in every
    library, and keeps 40 attributes from drowning the one adversarial term; a weight of A gives the sum.
    """
    outputs_BA = widen(outputs_BA)
    return F.binary_cross_entropy_with_logits(outputs_BA, y_BA.to(outputs_BA.dtype))


def projection(outputs_BO: Tensor, y_BA: Tensor) -> Tensor:
    """B logits from O = 1 + A linear outputs: o_0 + sum_a (2 y_a - 1) o_a / sqrt(A), Miyato and Koyama (2018).

    Their inner product of the label's embedding with the last features is, for a vector of attributes, one linear
    output per attribute, added where the attribute is present. Here the label is centred, so that lacking an
    attribute is evidence as much as having it. The root keeps the sum at the size of one output whatever A is; it
    changes no function that the network can express.
    """
    outputs_BO = widen(outputs_BO)
    signs_BA = 2 * y_BA.to(outputs_BO.dtype) - 1
    return outputs_BO[:, 0] + (outputs_BO[:, 1:] * signs_BA).sum(dim=1) / math.sqrt(y_BA.shape[1])
