"""Generators, discriminators and encoders by name. A new network is one file here and its lines in the tables below."""

from torch import nn

from limner.networks import avgpool, dcgan, modern, painter, sngan, vae
from limner.networks.settings import NetworkSettings

GENERATORS: dict[type[NetworkSettings], type[nn.Module]] = {
    dcgan.DcganGeneratorSettings: dcgan.DcganGenerator,
    dcgan.Dcgan32GeneratorSettings: dcgan.Dcgan32Generator,
    avgpool.AvgpoolGeneratorSettings: avgpool.AvgpoolGenerator,
    avgpool.AutoencoderGeneratorSettings: avgpool.AutoencoderGenerator,
    sngan.SnganGeneratorSettings: sngan.SnganGenerator,
    modern.ModernGeneratorSettings: modern.ModernGenerator,
    painter.PainterGeneratorSettings: painter.PainterGenerator,
}
DISCRIMINATORS: dict[type[NetworkSettings], type[nn.Module]] = {
    dcgan.DcganDiscriminatorSettings: dcgan.DcganDiscriminator,
    dcgan.Dcgan32DiscriminatorSettings: dcgan.Dcgan32Discriminator,
    avgpool.AvgpoolDiscriminatorSettings: avgpool.AvgpoolDiscriminator,
    sngan.SnganDiscriminatorSettings: sngan.SnganDiscriminator,
    modern.ModernDiscriminatorSettings: modern.ModernDiscriminator,
    painter.PainterDiscriminatorSettings: painter.PainterDiscriminator,
}
ENCODERS: dict[type[NetworkSettings], type[nn.Module]] = {
    dcgan.DcganDiscriminatorSettings: vae.ConvolutionalEncoder,
    dcgan.Dcgan32DiscriminatorSettings: vae.ConvolutionalEncoder,
}


def build_generator(settings: NetworkSettings, size: int, latent: int) -> nn.Module:
    """The generator that `settings` describe: latents B x `latent` -> images B x 3 x `size` x `size`.

    Raises UserError where the network is not made for that size or latent.
    """
    return GENERATORS[type(settings)](settings, size, latent)


def build_discriminator(settings: NetworkSettings, size: int, channels: int = 3, outputs: int = 1) -> nn.Module:
    """The discriminator that `settings` describe: B x `channels` x `size` x `size` -> B x `outputs`.

    More than three `channels`: attributes as maps behind the image's own. Raises UserError where the network is not
    made for that size.
    """
    return DISCRIMINATORS[type(settings)](settings, size, channels, outputs)


def build_encoder(settings: NetworkSettings, size: int, latent: int) -> nn.Module:
    """The encoder that `settings` describe: B x 3 x `size` x `size` -> means and log variances, each B x `latent`."""
    return ENCODERS[type(settings)](settings, size, latent)
