"""Report 000's networks: two generators and the average-pooling discriminator that both play against.

Images are in [0, 255] ("feature scaling: none"): the generators end in a ReLU, which is open above. Weights start as
torch starts them. Shapes: B batch, Z latent, C channels, H and W the image's height and width, O outputs.
"""

from typing import Literal

from torch import Tensor, nn

from limner.core.errors import UserError
from limner.networks.layers import BatchNorm2d
from limner.networks.settings import NetworkSettings


class _GeneratorSettings(NetworkSettings):
    @property
    def pixel_ranges(self) -> tuple[str, ...]:
        return ("byte", "unit")  # from 0 upwards


class AvgpoolGeneratorSettings(_GeneratorSettings):
    network: Literal["avgpool"]


class AutoencoderGeneratorSettings(_GeneratorSettings):
    network: Literal["autoencoder"]


class AvgpoolDiscriminatorSettings(NetworkSettings):
    network: Literal["avgpool"]


class AvgpoolGenerator(nn.Module):
    """The report's "paper-based" generator: transposed convolutions from 5 x 5 x 5, batch norm after the ReLU."""

    def __init__(self, settings: AvgpoolGeneratorSettings, size: int, latent: int) -> None:
        super().__init__()
        if size != 64:
            raise UserError(f"data.size is {size}; the generator avgpool makes images of 64 only.")
        if latent != 5 * 5 * 5:
            raise UserError(f"latent.size is {latent}; the generator avgpool takes 125, and no attributes beside them.")
        self.main = nn.Sequential(
            nn.Unflatten(1, (5, 5, 5)),
            nn.ConvTranspose2d(5, 128, 4, 1, 2),
            nn.ReLU(),
            BatchNorm2d(128),
            nn.ConvTranspose2d(128, 64, 3, 3, 2),
            nn.ReLU(),
            BatchNorm2d(64),
            nn.ConvTranspose2d(64, 32, 4, 2, 1),
            nn.ReLU(),
            BatchNorm2d(32),
            nn.ConvTranspose2d(32, 16, 4, 2, 1),
            nn.ReLU(),
            nn.ConvTranspose2d(16, 3, 2, 2),
            nn.ReLU(),
        )

    def forward(self, z_BZ: Tensor) -> Tensor:
        """B x 125 -> B x 3 x 64 x 64, from 0 upwards."""
        return self.main(z_BZ)  # type: ignore[no-any-return]


class AutoencoderGenerator(nn.Module):
    """The report's "autoencoder": noise of the image's own shape through five convolutions of stride 1."""

    def __init__(self, settings: AutoencoderGeneratorSettings, size: int, latent: int) -> None:
        super().__init__()
        if latent != 3 * size * size:
            raise UserError(
                f"latent.size is {latent}; the generator autoencoder takes 3 x {size} x {size} = {3 * size * size}, "
                "and no attributes beside them."
            )
        self.main = nn.Sequential(
            nn.Unflatten(1, (3, size, size)),
            nn.Conv2d(3, 64, 3, 1, 1),
            nn.LeakyReLU(0.01, inplace=True),
            nn.Conv2d(64, 128, 5, 1, 2),
            nn.LeakyReLU(0.01, inplace=True),
            nn.Conv2d(128, 256, 7, 1, 3),
            nn.LeakyReLU(0.01, inplace=True),
            nn.Conv2d(256, 64, 3, 1, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(64, 3, 3, 1, 1),
            nn.ReLU(inplace=True),
        )

    def forward(self, z_BZ: Tensor) -> Tensor:
        """B x (3 * H * W) -> B x 3 x H x W, from 0 upwards."""
        return self.main(z_BZ)  # type: ignore[no-any-return]


class AvgpoolDiscriminator(nn.Module):
    """The report's discriminator: average pools, then strided convolutions, then one linear layer.

    The printed sigmoid is left to the objective, which works on logits.
    """

    def __init__(self, settings: AvgpoolDiscriminatorSettings, size: int, channels: int = 3, outputs: int = 1) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(channels, 32, 7, 1, "same"),
            nn.AvgPool2d(2),
            nn.LeakyReLU(0.01, inplace=True),
            nn.Conv2d(32, 64, 5, 1, "same"),
            nn.AvgPool2d(2),
            nn.LeakyReLU(0.01, inplace=True),
            nn.Conv2d(64, 128, 3, 2, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(128, 256, 3, 2, 1),
            nn.ReLU(inplace=True),
            nn.Flatten(),
            nn.Linear(256 * (size // 16) ** 2, outputs),
        )

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """B x C x H x W -> B x O."""
        return self.main(x_BCHW)  # type: ignore[no-any-return]
