"""Report 002's toy: a generator and a discriminator of curves, each with one hidden layer.

The report prints the losses and no layers. The names in them (`prob_artist0`) are those of a tutorial that many have
copied, and so are these layers: 5 latents, 128 hidden units, 15 points. Shapes: B batch, Z latent, P points of a curve,
O outputs.
"""

from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from limner.networks.settings import NetworkSettings


class _Settings(NetworkSettings):
    """`width`: hidden units."""

    network: Literal["painter"]
    width: int = Field(default=128, ge=1, le=4096)


class PainterGeneratorSettings(_Settings):
    pass


class PainterDiscriminatorSettings(_Settings):
    pass


class PainterGenerator(nn.Module):
    """Latent - hidden units - the heights of a curve's points."""

    def __init__(self, settings: PainterGeneratorSettings, size: int, latent: int) -> None:
        super().__init__()
        self.main = nn.Sequential(nn.Linear(latent, settings.width), nn.ReLU(), nn.Linear(settings.width, size))

    def forward(self, z_BZ: Tensor) -> Tensor:
        """B x Z -> B x P, any height."""
        return self.main(z_BZ)  # type: ignore[no-any-return]


class PainterDiscriminator(nn.Module):
    """The heights of a curve's points - hidden units - outputs. A curve has no channels: `channels` is not used."""

    def __init__(self, settings: PainterDiscriminatorSettings, size: int, channels: int = 3, outputs: int = 1) -> None:
        super().__init__()
        self.main = nn.Sequential(nn.Linear(size, settings.width), nn.ReLU(), nn.Linear(settings.width, outputs))

    def forward(self, x_BP: Tensor) -> Tensor:
        """B x P -> B x O."""
        return self.main(x_BP)  # type: ignore[no-any-return]
