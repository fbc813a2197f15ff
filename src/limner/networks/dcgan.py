"""The DCGAN of Radford et al. (2016) as reports 001 and 002 print it: generator and discriminator.

Shapes: B batch, Z latent, C channels, H and W the image's height and width, O outputs. `init_std` is the standard
deviation of the normal from which all convolution and linear weights start; scales of batch norm start at N(1,
init_std) as in the paper, biases at zero.
"""

from collections.abc import Callable
from functools import partial
from math import log2
from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from limner.networks.layers import BatchNorm2d, Conv2d, ConvTranspose2d, WideSigmoid, init_normal
from limner.networks.settings import NetworkSettings

# `layer` normalises over all of an image's channels and places: the norm for critics under a gradient penalty, which
# images of one batch must not share (Gulrajani et al. 2017). With `none` every convolution has a bias: ours, since
# without one the network could only scale with its input.
Norm = Literal["batch", "layer", "none"]
OUTPUTS: dict[str, type[nn.Module]] = {"tanh": nn.Tanh, "sigmoid": WideSigmoid}
# Report 002 prints ReLU in its generator, and among its tricks LeakyReLU in both networks.
ACTIVATIONS: dict[str, Callable[..., nn.Module]] = {"relu": nn.ReLU, "leaky-relu": partial(nn.LeakyReLU, 0.2)}


class _GeneratorSettings(NetworkSettings):
    """`width`: channels at 4x4, halved at each upsampling. `output`: tanh for [-1, 1], sigmoid for [0, 1].

    `activation`: between the convolutions; `leaky-relu` has the discriminator's slope, 0.2.
    """

    width: int = Field(ge=64, le=4096, multiple_of=32)
    norm: Norm = "batch"
    activation: Literal["relu", "leaky-relu"] = "relu"
    output: Literal["tanh", "sigmoid"] = "tanh"
    init_std: float = Field(default=0.02, gt=0)

    @property
    def pixel_ranges(self) -> tuple[str, ...]:
        return ("signed",) if self.output == "tanh" else ("unit",)


class _DiscriminatorSettings(NetworkSettings):
    """`width`: channels after the first convolution, doubled at each downsampling.

    `downsampling`: how the resolution is halved. `stride` is the DCGAN's; the pools follow a 3x3 convolution of stride
    1; `hybrid` has strides in the first half and average pools in the second. Report 002 tried "a hybrid network" and
    "pooling" and says no more of them: what they are here is ours.
    """

    width: int = Field(ge=4, le=2048)
    norm: Norm = "batch"
    downsampling: Literal["stride", "average-pool", "max-pool", "hybrid"] = "stride"
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
    """Report 002's generator: transposed convolutions from a 1x1 latent to the image, batch norm, ReLU, tanh."""

    def __init__(self, settings: DcganGeneratorSettings, size: int, latent: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            ConvTranspose2d(latent, settings.width, 4, 1, 0, bias=_bias(settings)),
            *_norm(settings, settings.width),
            ACTIVATIONS[settings.activation](inplace=True),
            *_upsampling(settings, size),
        )
        init_normal(self, settings.init_std)

    def forward(self, z_BZ: Tensor) -> Tensor:
        """B x Z -> B x 3 x H x W in the range of `output`."""
        return self.main(z_BZ[:, :, None, None])  # type: ignore[no-any-return]


class DcganDiscriminator(nn.Module):
    """Report 002's discriminator: strided convolutions, batch norm on all but the first and last, LeakyReLU(0.2).

    The printed sigmoid is left to the objective, which works on logits.
    """

    def __init__(self, settings: DcganDiscriminatorSettings, size: int, channels: int = 3, outputs: int = 1) -> None:
        super().__init__()
        top = settings.width * size // 8
        head = Conv2d(top, outputs, 4, 1, 0, bias=_bias(settings))
        self.main = nn.Sequential(*_downsampling(settings, size, channels), head)
        init_normal(self, settings.init_std)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """B x C x H x W -> B x O."""
        return self.main(x_BCHW).flatten(1)  # type: ignore[no-any-return]


class Dcgan32Generator(nn.Module):
    """Report 001's generator, the mirror of its discriminator: linear to 4x4, transposed convolutions, tanh."""

    def __init__(self, settings: Dcgan32GeneratorSettings, size: int, latent: int) -> None:
        super().__init__()
        self.linear = nn.Linear(latent, settings.width * 4 * 4)
        self.main = nn.Sequential(nn.Unflatten(1, (settings.width, 4, 4)), *_upsampling(settings, size))
        init_normal(self, settings.init_std)

    def forward(self, z_BZ: Tensor) -> Tensor:
        """B x Z -> B x 3 x H x W in the range of `output`."""
        return self.main(self.linear(z_BZ))  # type: ignore[no-any-return]


class Dcgan32Discriminator(nn.Module):
    """Report 001's discriminator: strided convolutions, batch norm on all but the first, a linear layer to a logit."""

    def __init__(self, settings: Dcgan32DiscriminatorSettings, size: int, channels: int = 3, outputs: int = 1) -> None:
        super().__init__()
        self.main = nn.Sequential(*_downsampling(settings, size, channels), nn.Flatten())
        self.linear = nn.Linear(settings.width * size // 8 * 4 * 4, outputs)
        init_normal(self, settings.init_std)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """B x C x H x W -> B x O."""
        return self.linear(self.main(x_BCHW))  # type: ignore[no-any-return]


def _upsampling(settings: _GeneratorSettings, size: int) -> list[nn.Module]:
    """Transposed convolutions from `settings.width` channels at 4x4 to an image of `size`."""
    layers: list[nn.Module] = []
    width = settings.width
    for _ in range(int(log2(size // 8))):
        layers.append(ConvTranspose2d(width, width // 2, 4, 2, 1, bias=_bias(settings)))
        layers += [*_norm(settings, width // 2), ACTIVATIONS[settings.activation](inplace=True)]
        width //= 2
    return [*layers, ConvTranspose2d(width, 3, 4, 2, 1, bias=_bias(settings)), OUTPUTS[settings.output]()]


def _downsampling(settings: _DiscriminatorSettings, size: int, channels: int) -> list[nn.Module]:
    """Convolutions from an image of `size` to 4x4, the channels doubling; no norm after the first."""
    layers: list[nn.Module] = []
    steps = int(log2(size // 4))
    width = settings.width
    for step in range(steps):
        layers += _downsample(settings, channels, width, first_half=2 * step < steps)
        layers += _norm(settings, width) if step > 0 else []
        layers.append(nn.LeakyReLU(0.2, inplace=True))
        channels, width = width, 2 * width
    return layers


def _downsample(settings: _DiscriminatorSettings, channels: int, width: int, first_half: bool) -> list[nn.Module]:
    """One convolution that downsamples, or one and a pool."""
    kind = settings.downsampling
    if kind == "stride" or (kind == "hybrid" and first_half):
        return [Conv2d(channels, width, 4, 2, 1, bias=_bias(settings))]
    # The pool comes before norm and activation, as in report 000: they then have a quarter of the places to work on.
    pool = nn.MaxPool2d(2) if kind == "max-pool" else nn.AvgPool2d(2)
    return [Conv2d(channels, width, 3, 1, 1, bias=_bias(settings)), pool]


def _norm(settings: _GeneratorSettings | _DiscriminatorSettings, channels: int) -> list[nn.Module]:
    if settings.norm == "none":
        return []
    return [BatchNorm2d(channels) if settings.norm == "batch" else nn.GroupNorm(1, channels)]


def _bias(settings: _GeneratorSettings | _DiscriminatorSettings) -> bool:
    return settings.norm == "none"
