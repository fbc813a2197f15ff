"""The DCGAN of Radford et al. (2016) as reports 001 and 002 print it: generator and discriminator side by side.

Shapes: B batch, Z latent, H and W the picture's sides. Pictures are in [-1, 1]. `init_std` is the standard deviation of
the normal from which all convolution and linear weights start; scales of batch norm start at N(1, init_std) as in the
paper, biases at zero.
"""

from math import log2
from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from limner.networks.layers import Conv2d, ConvTranspose2d
from limner.networks.settings import NetworkSettings


class _GeneratorSettings(NetworkSettings):
    """`width`: channels at 4x4, halved at each doubling of the side."""

    width: int = Field(ge=64, le=4096, multiple_of=32)
    norm: Literal["batch", "none"] = "batch"
    init_std: float = Field(default=0.02, gt=0)


class _DiscriminatorSettings(NetworkSettings):
    """`width`: channels after the first convolution, doubled at each halving of the side."""

    width: int = Field(ge=4, le=2048)
    norm: Literal["batch", "none"] = "batch"
    init_std: float = Field(default=0.02, gt=0)


class DcganGeneratorSettings(_GeneratorSettings):
    network: Literal["dcgan"]


class DcganDiscriminatorSettings(_DiscriminatorSettings):
    network: Literal["dcgan"]


class Dcgan32GeneratorSettings(_GeneratorSettings):
    network: Literal["dcgan32"]


class Dcgan32DiscriminatorSettings(_DiscriminatorSettings):
    network: Literal["dcgan32"]


class DcganGenerator(nn.Module):
    """Report 002's generator: transposed convolutions from a 1x1 latent to the picture, batch norm, ReLU, tanh."""

    def __init__(self, settings: DcganGeneratorSettings, size: int, latent: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            ConvTranspose2d(latent, settings.width, 4, 1, 0, bias=False),
            *_norm(settings, settings.width),
            nn.ReLU(inplace=True),
            *_doublings(settings, size),
        )
        _init(self, settings.init_std)

    def forward(self, z_BZ: Tensor) -> Tensor:
        """B x Z -> B x 3 x H x W in [-1, 1]."""
        return self.main(z_BZ[:, :, None, None])  # type: ignore[no-any-return]


class DcganDiscriminator(nn.Module):
    """Report 002's discriminator: strided convolutions, batch norm on all but the first and last, LeakyReLU(0.2).

    The printed sigmoid is left to the objective, which works on logits.
    """

    def __init__(self, settings: DcganDiscriminatorSettings, size: int) -> None:
        super().__init__()
        top = settings.width * size // 8
        self.main = nn.Sequential(*_halvings(settings, size), Conv2d(top, 1, 4, 1, 0, bias=False))
        _init(self, settings.init_std)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """B x 3 x H x W in [-1, 1] -> B logits."""
        return self.main(x_BCHW).flatten()  # type: ignore[no-any-return]


class Dcgan32Generator(nn.Module):
    """Report 001's generator, the mirror of its discriminator: linear to 4x4, transposed convolutions, tanh."""

    def __init__(self, settings: Dcgan32GeneratorSettings, size: int, latent: int) -> None:
        super().__init__()
        self.linear = nn.Linear(latent, settings.width * 4 * 4)
        self.main = nn.Sequential(nn.Unflatten(1, (settings.width, 4, 4)), *_doublings(settings, size))
        _init(self, settings.init_std)

    def forward(self, z_BZ: Tensor) -> Tensor:
        """B x Z -> B x 3 x H x W in [-1, 1]."""
        return self.main(self.linear(z_BZ))  # type: ignore[no-any-return]


class Dcgan32Discriminator(nn.Module):
    """Report 001's discriminator: strided convolutions, batch norm on all but the first, a linear layer to a logit."""

    def __init__(self, settings: Dcgan32DiscriminatorSettings, size: int) -> None:
        super().__init__()
        self.main = nn.Sequential(*_halvings(settings, size), nn.Flatten())
        self.linear = nn.Linear(settings.width * size // 8 * 4 * 4, 1)
        _init(self, settings.init_std)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """B x 3 x H x W in [-1, 1] -> B logits."""
        return self.linear(self.main(x_BCHW)).flatten()  # type: ignore[no-any-return]


def _doublings(settings: _GeneratorSettings, size: int) -> list[nn.Module]:
    """Transposed convolutions from `settings.width` channels at 4x4 to a picture of `size`; the last ends in tanh."""
    layers: list[nn.Module] = []
    width = settings.width
    for _ in range(int(log2(size // 8))):
        layers += [ConvTranspose2d(width, width // 2, 4, 2, 1, bias=False), *_norm(settings, width // 2)]
        layers.append(nn.ReLU(inplace=True))
        width //= 2
    return [*layers, ConvTranspose2d(width, 3, 4, 2, 1, bias=False), nn.Tanh()]


def _halvings(settings: _DiscriminatorSettings, size: int) -> list[nn.Module]:
    """Strided convolutions from a picture of `size` to 4x4, the channels doubling; no batch norm after the first."""
    layers: list[nn.Module] = [Conv2d(3, settings.width, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, inplace=True)]
    width = settings.width
    for _ in range(int(log2(size // 8))):
        layers += [Conv2d(width, 2 * width, 4, 2, 1, bias=False), *_norm(settings, 2 * width)]
        layers.append(nn.LeakyReLU(0.2, inplace=True))
        width *= 2
    return layers


def _norm(settings: _GeneratorSettings | _DiscriminatorSettings, channels: int) -> list[nn.Module]:
    return [nn.BatchNorm2d(channels)] if settings.norm == "batch" else []


def _init(network: nn.Module, std: float) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(module.weight, 0.0, std)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, std)
