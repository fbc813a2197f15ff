"""Generators and discriminators by name. A new network is one file here and one line in each table below."""

from torch import nn

from limner.networks import dcgan
from limner.networks.settings import NetworkSettings

GENERATORS: dict[type[NetworkSettings], type[nn.Module]] = {
    dcgan.DcganGeneratorSettings: dcgan.DcganGenerator,
    dcgan.Dcgan32GeneratorSettings: dcgan.Dcgan32Generator,
}
DISCRIMINATORS: dict[type[NetworkSettings], type[nn.Module]] = {
    dcgan.DcganDiscriminatorSettings: dcgan.DcganDiscriminator,
    dcgan.Dcgan32DiscriminatorSettings: dcgan.Dcgan32Discriminator,
}


def build_generator(settings: NetworkSettings, size: int, latent: int) -> nn.Module:
    """The generator that `settings` describe: latents B x `latent` -> pictures B x 3 x `size` x `size` in [-1, 1]."""
    return GENERATORS[type(settings)](settings, size, latent)


def build_discriminator(settings: NetworkSettings, size: int) -> nn.Module:
    """The discriminator that `settings` describe: pictures B x 3 x `size` x `size` in [-1, 1] -> B logits."""
    return DISCRIMINATORS[type(settings)](settings, size)
