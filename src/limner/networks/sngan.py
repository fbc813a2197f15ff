"""Report 004's networks: spectral norm on every convolution, pixel norm, a minibatch standard deviation.

The report says so much in words; the images of its networks are lost. The layers here are ours: DCGAN's 4x4
convolutions of stride 2 with LeakyReLU(0.2) throughout, as in the papers that the report's layers come from (Miyato et
al. 2018, Karras et al. 2018). Shapes: B batch, Z latent, C channels, H and W the image's height and width, O outputs.
"""

from math import log2
from typing import Literal

from pydantic import Field
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from limner.networks.layers import Conv2d, ConvTranspose2d, MinibatchStandardDeviation, PixelNorm, init_normal
from limner.networks.settings import NetworkSettings


class SnganGeneratorSettings(NetworkSettings):
    """`width`: channels at 4x4, halved at each upsampling. `init_std`: of weights before spectral norm."""

    network: Literal["sngan-pixelnorm"]
    width: int = Field(ge=64, le=4096, multiple_of=32)
    init_std: float = Field(default=0.02, gt=0)


class SnganDiscriminatorSettings(NetworkSettings):
    """`width`: channels after the first convolution, doubled at each downsampling.

    `stddev_group`: images over which the minibatch standard deviation is taken, 0: all of the batch.
    """

    network: Literal["sngan-pixelnorm"]
    width: int = Field(ge=4, le=2048)
    stddev_group: int = Field(default=0, ge=0)
    init_std: float = Field(default=0.02, gt=0)


class SnganGenerator(nn.Module):
    """Transposed convolutions with spectral norm, each but the last followed by pixel norm and LeakyReLU(0.2)."""

    def __init__(self, settings: SnganGeneratorSettings, size: int, latent: int) -> None:
        super().__init__()
        width = settings.width
        layers: list[nn.Module] = [
            ConvTranspose2d(latent, width, 4, 1, 0),
            PixelNorm(),
            nn.LeakyReLU(0.2, inplace=True),
        ]
        for _ in range(int(log2(size // 8))):
            layers += [ConvTranspose2d(width, width // 2, 4, 2, 1), PixelNorm(), nn.LeakyReLU(0.2, inplace=True)]
            width //= 2
        # No pixel norm on the image: it would fix every pixel's brightness.
        self.main = nn.Sequential(*layers, ConvTranspose2d(width, 3, 4, 2, 1), nn.Tanh())
        init_normal(self, settings.init_std)
        _normalise_convolutions(self)

    def forward(self, z_BZ: Tensor) -> Tensor:
        """B x Z -> B x 3 x H x W in [-1, 1]."""
        return self.main(z_BZ[:, :, None, None])  # type: ignore[no-any-return]


class SnganDiscriminator(nn.Module):
    """Strided convolutions to 4x4, the minibatch standard deviation, two more convolutions; all with spectral norm."""

    def __init__(self, settings: SnganDiscriminatorSettings, size: int, channels: int = 3, outputs: int = 1) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = settings.width
        for _ in range(int(log2(size // 4))):
            layers += [Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(0.2, inplace=True)]
            channels, width = width, 2 * width
        self.main = nn.Sequential(
            *layers,
            MinibatchStandardDeviation(settings.stddev_group),
            Conv2d(channels + 1, channels, 3, 1, 1),
            nn.LeakyReLU(0.2, inplace=True),
            Conv2d(channels, outputs, 4, 1, 0),
        )
        init_normal(self, settings.init_std)
        _normalise_convolutions(self)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """B x C x H x W -> B x O."""
        return self.main(x_BCHW).flatten(1)  # type: ignore[no-any-return]


def _normalise_convolutions(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            spectral_norm(module)
