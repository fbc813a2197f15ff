"""Our own networks: DCGAN's convolutions without norm in the discriminator, residual blocks between them if wanted.

Every upsampling and downsampling is one 4x4 convolution of stride 2, as in Radford et al. (2016): of all ways to
change the resolution it moves the least memory for what it computes. Between two of them lie `depth` residual blocks
whose last convolution starts at zero, without norm, as in R3GAN (Huang et al. 2024). The discriminator ends in a
minibatch standard deviation (Karras et al. 2018) and one linear layer. Weights start as He et al. (2015) have it. What
each part is worth: docs/modern.md. Shapes: B batch, Z latent, C channels, H and W the image's height and width, O
outputs.
"""

from collections.abc import Iterable, Sequence
from math import log2
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from limner.networks.layers import (
    BatchNorm2d,
    Conv2d,
    ConvTranspose2d,
    MinibatchStandardDeviation,
    PixelNorm,
    he_std,
)
from limner.networks.settings import NetworkSettings

SLOPE = 0.2


class _Settings(NetworkSettings):
    """`width`: channels at half the image's resolution, twice as many at each downsampling, at most `max_width`.

    `depth`: residual blocks at each resolution from 4x4 to half the image's.
    """

    network: Literal["modern"]
    width: int = Field(ge=4, le=1024)
    max_width: int = Field(default=512, ge=4, le=4096)
    depth: int = Field(default=0, ge=0, le=8)


class ModernGeneratorSettings(_Settings):
    """`norm`: what follows each convolution of stride 2; `modulated`: see `ModulatedBatchNorm`."""

    norm: Literal["batch", "modulated", "pixel", "none"] = "batch"


class ModernDiscriminatorSettings(_Settings):
    """`stddev_group`: images over which the minibatch standard deviation is taken, 0: none."""

    stddev_group: int = Field(default=4, ge=0)


class ModernGenerator(nn.Module):
    """A linear layer to 4x4, then doublings with norm and LeakyReLU, residual blocks, tanh."""

    def __init__(self, settings: ModernGeneratorSettings, size: int, latent: int) -> None:
        super().__init__()
        widths = _widths(settings, size)
        layers: list[nn.Module] = [nn.Unflatten(1, (widths[0], 4, 4))]
        for width, wider in zip(widths, [None, *widths], strict=False):
            if wider is not None:
                layers.append(ConvTranspose2d(wider, width, 4, 2, 1))
            layers += [*_norm(settings.norm, width, latent), nn.LeakyReLU(SLOPE, inplace=True)]
            layers += [Residual(width) for _ in range(settings.depth)]
        self.linear = nn.Linear(latent, widths[0] * 4 * 4)
        self.main = nn.Sequential(*layers, ConvTranspose2d(widths[-1], 3, 4, 2, 1), nn.Tanh())
        _init(self)

    def forward(self, z_BZ: Tensor) -> Tensor:
        """B x Z -> B x 3 x H x W in [-1, 1]."""
        return through(self.main, self.linear(z_BZ), z_BZ)


class ModernDiscriminator(nn.Module):
    """Halvings with LeakyReLU and residual blocks to 4x4, a minibatch standard deviation, a linear layer."""

    def __init__(self, settings: ModernDiscriminatorSettings, size: int, channels: int = 3, outputs: int = 1) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width in reversed(_widths(settings, size)):
            layers += [Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(SLOPE, inplace=True)]
            layers += [Residual(width) for _ in range(settings.depth)]
            channels = width
        if settings.stddev_group:
            layers.append(MinibatchStandardDeviation(settings.stddev_group))
            channels += 1
        self.main = nn.Sequential(*layers, nn.Flatten())
        self.linear = nn.Linear(channels * 4 * 4, outputs)
        _init(self)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """B x C x H x W -> B x O."""
        return self.linear(self.main(x_BCHW))  # type: ignore[no-any-return]


def through(layers: Iterable[nn.Module], x_BCHW: Tensor, z_BZ: Tensor) -> Tensor:
    """What consecutive layers of a generator make of `x_BCHW`; those that follow the latent are given it."""
    for layer in layers:
        x_BCHW = layer(x_BCHW, z_BZ) if isinstance(layer, ModulatedBatchNorm) else layer(x_BCHW)
    return x_BCHW


class ModulatedBatchNorm(nn.Module):
    """Batch norm whose scale and shift are linear in the latent, and so in the attributes beside it.

    It is the self-modulation of Chen et al. (2019), and conditional batch norm where there are attributes: what a face
    shall be is given to every resolution, not to 4x4 alone. Starts as plain batch norm.
    """

    def __init__(self, width: int, latent: int) -> None:
        super().__init__()
        self.norm = BatchNorm2d(width, affine=False)
        self.modulation = nn.Linear(latent, 2 * width)

    def forward(self, x_BCHW: Tensor, z_BZ: Tensor) -> Tensor:
        """B x C x H x W and B x Z -> B x C x H x W."""
        scale_BC11, shift_BC11 = self.modulation(z_BZ)[:, :, None, None].chunk(2, dim=1)
        return torch.addcmul(shift_BC11, self.norm(x_BCHW), 1 + scale_BC11)


class Residual(nn.Module):
    """x + two 3x3 convolutions of x with LeakyReLU between and after; starts as the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.last = Conv2d(width, width, 3, 1, 1), Conv2d(width, width, 3, 1, 1)
        self.activation = nn.LeakyReLU(SLOPE, inplace=True)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """B x C x H x W -> the same shape."""
        return x_BCHW + self.last(self.activation(self.first(x_BCHW)))  # type: ignore[no-any-return]


def _widths(settings: _Settings, size: int) -> Sequence[int]:
    """Channels at 4x4, 8x8 and so on up to half of `size`."""
    resolutions = int(log2(size // 4))
    return [min(settings.width * 2 ** (resolutions - 1 - step), settings.max_width) for step in range(resolutions)]


def _norm(norm: str, width: int, latent: int) -> list[nn.Module]:
    match norm:
        case "modulated":
            return [ModulatedBatchNorm(width, latent)]
        case "batch":
            return [BatchNorm2d(width)]
        case "pixel":
            return [PixelNorm()]
    return []


def _init(network: nn.Module) -> None:
    """He et al. (2015) for all weights, zero for biases and for the last convolution of every residual block."""
    for module in network.modules():
        if (std := he_std(module)) is not None:
            nn.init.normal_(module.weight, 0.0, std)  # type: ignore[arg-type]
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]
    for module in network.modules():
        if isinstance(module, Residual):
            nn.init.zeros_(module.last.weight)
        elif isinstance(module, ModulatedBatchNorm):
            nn.init.zeros_(module.modulation.weight)
