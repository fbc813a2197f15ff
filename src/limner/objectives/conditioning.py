"""How attributes enter the game: as input maps (CGAN), as an auxiliary task (AC-GAN), as a projection.

A recipe's table `[conditioning]` becomes one `Conditioning`, which says what the discriminator is given of the
attributes, what its outputs mean, and which losses they add for either network.

Shapes: B batch, C channels, H and W the image's height and width, A attributes, O the discriminator's outputs.
Attributes y_BA are 1 where the face has the attribute and 0 where it has not, in any precision.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limner.objectives.precision import widen
from limner.recipes.schema import Classifier, Concatenation, Projection


@dataclass(frozen=True)
class Conditioning:
    """What a discriminator is given of the attributes, and what it has to say of them; by default nothing."""

    maps: bool = False
    """The attributes are constant maps behind the image's own channels (CGAN)."""
    projected: bool = False
    """The logit gains the product of the attributes and the features (projection)."""
    weight: float = 0.0
    """Of the auxiliary loss on the attributes of real images; 0: none."""
    on_fakes: bool = False
    """The auxiliary loss counts on generated images too, for both networks (AC-GAN)."""

    @classmethod
    def of(cls, settings: Concatenation | Classifier | Projection | None) -> "Conditioning":
        """The conditioning that a recipe's settings describe."""
        if isinstance(settings, Concatenation):
            return cls(maps=True)
        if isinstance(settings, Classifier):
            return cls(weight=settings.weight, on_fakes=True)
        return cls() if settings is None else cls(projected=True, weight=settings.weight)

    def shape(self, attributes: int) -> tuple[int, int]:
        """The channels that a discriminator of images is given and the outputs that it gives, for so many
        attributes.
        """
        return (3 + attributes, 1) if self.maps else (3, 1 + attributes)

    def discriminate(self, discriminator: nn.Module, x_BCHW: Tensor, y_BA: Tensor) -> tuple[Tensor, Tensor | None]:
        """The discriminator's logits, B in fp32, and its weighted auxiliary loss on the attributes, if it has one."""
        outputs_BO = discriminator(with_maps(x_BCHW, y_BA) if self.maps else x_BCHW).float()
        logits_B = projection(outputs_BO, y_BA) if self.projected else outputs_BO[:, 0]
        return logits_B, self.weight * attribute_loss(outputs_BO[:, 1:], y_BA) if self.weight else None

    def discriminator_losses(self, real: Tensor | None, fake: Tensor | None) -> list[Tensor]:
        """The auxiliary losses that the discriminator minimises, of those on real and on generated images."""
        return [loss for loss, counts in ((real, True), (fake, self.on_fakes)) if counts and loss is not None]

    def generator_losses(self, fake: Tensor | None) -> list[Tensor]:
        """The auxiliary losses that the generator minimises, of that on generated images."""
        return [fake] if self.on_fakes and fake is not None else []


def with_maps(x_BCHW: Tensor, y_BA: Tensor) -> Tensor:
    """B x (C + A) x H x W: every attribute as one more channel that is 0 or 1 all over, CGAN of Mirza et al. (2014)."""
    # Channels last in memory, as the networks are: of images so laid out and expanded maps, cat would make NCHW.
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
