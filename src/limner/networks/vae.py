"""The encoder of a convolutional VAE (Kingma and Welling 2014); its decoder is a DCGAN generator.

Report 003 compares a VAE with two GANs and does not print its networks. Here the encoder is the DCGAN discriminator
with a mean and a log variance of the latent in place of the logit, so that the three models compare like for like.
"""

from torch import Tensor, nn

from limner.networks.dcgan import (
    Dcgan32Discriminator,
    Dcgan32DiscriminatorSettings,
    DcganDiscriminator,
    DcganDiscriminatorSettings,
)


class ConvolutionalEncoder(nn.Module):
    """Images -> means and log variances of a Gaussian with independent dimensions."""

    def __init__(
        self, settings: DcganDiscriminatorSettings | Dcgan32DiscriminatorSettings, size: int, latent: int
    ) -> None:
        super().__init__()
        self.main: nn.Module
        if isinstance(settings, DcganDiscriminatorSettings):
            self.main = DcganDiscriminator(settings, size, outputs=2 * latent)
        else:
            self.main = Dcgan32Discriminator(settings, size, outputs=2 * latent)

    def forward(self, x_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """B x 3 x H x W -> mean and log variance, each B x Z."""
        mean_BZ, log_variance_BZ = self.main(x_BCHW).chunk(2, 1)
        return mean_BZ, log_variance_BZ
