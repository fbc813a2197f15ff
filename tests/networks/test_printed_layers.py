"""The recipes' networks are the reports' printed layers, in number and kind (recipes.md gives the same)."""

import pytest
import torch
from torch import nn

from limner.networks import build_discriminator, build_generator
from limner.recipes.load import load_recipe

REPORT_000_GENERATOR = """
ConvTranspose2d(5, 128, kernel_size=(4, 4), stride=(1, 1), padding=(2, 2))
ReLU()
BatchNorm2d(128, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True)
ConvTranspose2d(128, 64, kernel_size=(3, 3), stride=(3, 3), padding=(2, 2))
ReLU()
BatchNorm2d(64, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True)
ConvTranspose2d(64, 32, kernel_size=(4, 4), stride=(2, 2), padding=(1, 1))
ReLU()
BatchNorm2d(32, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True)
ConvTranspose2d(32, 16, kernel_size=(4, 4), stride=(2, 2), padding=(1, 1))
ReLU()
ConvTranspose2d(16, 3, kernel_size=(2, 2), stride=(2, 2))
ReLU()
""".strip().splitlines()
REPORT_000_AUTOENCODER = """
Conv2d(3, 64, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))
LeakyReLU(negative_slope=0.01, inplace=True)
Conv2d(64, 128, kernel_size=(5, 5), stride=(1, 1), padding=(2, 2))
LeakyReLU(negative_slope=0.01, inplace=True)
Conv2d(128, 256, kernel_size=(7, 7), stride=(1, 1), padding=(3, 3))
LeakyReLU(negative_slope=0.01, inplace=True)
Conv2d(256, 64, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))
ReLU(inplace=True)
Conv2d(64, 3, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))
ReLU(inplace=True)
""".strip().splitlines()
REPORT_000_DISCRIMINATOR = """
Conv2d(3, 32, kernel_size=(7, 7), stride=(1, 1), padding=same)
AvgPool2d(kernel_size=2, stride=2, padding=0)
LeakyReLU(negative_slope=0.01, inplace=True)
Conv2d(32, 64, kernel_size=(5, 5), stride=(1, 1), padding=same)
AvgPool2d(kernel_size=2, stride=2, padding=0)
LeakyReLU(negative_slope=0.01, inplace=True)
Conv2d(64, 128, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1))
ReLU(inplace=True)
Conv2d(128, 256, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1))
ReLU(inplace=True)
Linear(in_features=4096, out_features=1, bias=True)
""".strip().splitlines()
REPORT_001_GENERATOR = """
Linear(in_features=100, out_features=4096, bias=True)
ConvTranspose2d(256, 128, kernel_size=(4, 4), stride=(2, 2), padding=(1, 1), bias=False)
BatchNorm2d(128, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True)
ReLU(inplace=True)
ConvTranspose2d(128, 64, kernel_size=(4, 4), stride=(2, 2), padding=(1, 1), bias=False)
BatchNorm2d(64, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True)
ReLU(inplace=True)
ConvTranspose2d(64, 3, kernel_size=(4, 4), stride=(2, 2), padding=(1, 1), bias=False)
Tanh()
""".strip().splitlines()
REPORT_001_DISCRIMINATOR = """
Conv2d(3, 64, kernel_size=(4, 4), stride=(2, 2), padding=(1, 1), bias=False)
LeakyReLU(negative_slope=0.2, inplace=True)
Conv2d(64, 128, kernel_size=(4, 4), stride=(2, 2), padding=(1, 1), bias=False)
BatchNorm2d(128, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True)
LeakyReLU(negative_slope=0.2, inplace=True)
Conv2d(128, 256, kernel_size=(4, 4), stride=(2, 2), padding=(1, 1), bias=False)
BatchNorm2d(256, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True)
LeakyReLU(negative_slope=0.2, inplace=True)
Linear(in_features=4096, out_features=1, bias=True)
""".strip().splitlines()
REPORT_002_GENERATOR = """
ConvTranspose2d(100, 1024, kernel_size=(4, 4), stride=(1, 1), bias=False)
BatchNorm2d(1024, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True)
ReLU(inplace=True)
ConvTranspose2d(1024, 512, kernel_size=(4, 4), stride=(2, 2), padding=(1, 1), bias=False)
BatchNorm2d(512, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True)
ReLU(inplace=True)
ConvTranspose2d(512, 256, kernel_size=(4, 4), stride=(2, 2), padding=(1, 1), bias=False)
BatchNorm2d(256, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True)
ReLU(inplace=True)
ConvTranspose2d(256, 128, kernel_size=(4, 4), stride=(2, 2), padding=(1, 1), bias=False)
BatchNorm2d(128, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True)
ReLU(inplace=True)
ConvTranspose2d(128, 3, kernel_size=(4, 4), stride=(2, 2), padding=(1, 1), bias=False)
Tanh()
""".strip().splitlines()
REPORT_002_DISCRIMINATOR = """
Conv2d(3, 64, kernel_size=(4, 4), stride=(2, 2), padding=(1, 1), bias=False)
LeakyReLU(negative_slope=0.2, inplace=True)
Conv2d(64, 128, kernel_size=(4, 4), stride=(2, 2), padding=(1, 1), bias=False)
BatchNorm2d(128, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True)
LeakyReLU(negative_slope=0.2, inplace=True)
Conv2d(128, 256, kernel_size=(4, 4), stride=(2, 2), padding=(1, 1), bias=False)
BatchNorm2d(256, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True)
LeakyReLU(negative_slope=0.2, inplace=True)
Conv2d(256, 512, kernel_size=(4, 4), stride=(2, 2), padding=(1, 1), bias=False)
BatchNorm2d(512, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True)
LeakyReLU(negative_slope=0.2, inplace=True)
Conv2d(512, 1, kernel_size=(4, 4), stride=(1, 1), bias=False)
""".strip().splitlines()
PAINTER_GENERATOR = """
Linear(in_features=5, out_features=128, bias=True)
ReLU()
Linear(in_features=128, out_features=15, bias=True)
""".strip().splitlines()
PAINTER_DISCRIMINATOR = """
Linear(in_features=15, out_features=128, bias=True)
ReLU()
Linear(in_features=128, out_features=1, bias=True)
""".strip().splitlines()


def build(name: str, *overrides: str) -> tuple[nn.Module, nn.Module]:
    recipe = load_recipe(name, overrides)
    generator = build_generator(recipe.generator, recipe.data.size, recipe.latent.size)
    return generator, build_discriminator(recipe.discriminator, recipe.data.size)


def printed(network: nn.Module) -> list[str]:
    layers = [layer for layer in network.modules() if not list(layer.children())]
    # Newer versions of torch also print batch norm's bias, which the reports' had too.
    return [
        repr(layer).replace(", bias=True, track", ", track")
        for layer in layers
        if not isinstance(layer, nn.Unflatten | nn.Flatten)
    ]


@pytest.mark.parametrize(
    ("recipe", "generator_layers", "discriminator_layers"),
    [
        ("avgpool-bce", REPORT_000_GENERATOR, REPORT_000_DISCRIMINATOR),
        ("autoencoder-bce", REPORT_000_AUTOENCODER, REPORT_000_DISCRIMINATOR),
        ("dcgan32", REPORT_001_GENERATOR, REPORT_001_DISCRIMINATOR),
        ("dcgan", REPORT_002_GENERATOR, REPORT_002_DISCRIMINATOR),
        ("dcgan-ttur", REPORT_002_GENERATOR, REPORT_002_DISCRIMINATOR),
        ("painter", PAINTER_GENERATOR, PAINTER_DISCRIMINATOR),
    ],
)
def test_layers_are_the_reports(recipe: str, generator_layers: list[str], discriminator_layers: list[str]) -> None:
    generator, discriminator = build(recipe)
    assert printed(generator) == generator_layers
    # The sigmoid that reports 000 and 002 print last and 001's logit are one number: the loss takes logits.
    assert printed(discriminator) == discriminator_layers


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_parameter_counts_of_report_000() -> None:
    generator, discriminator = build("avgpool-bce")
    # Kernel * kernel * in * out and a bias for every out; batch norms 2 a channel.
    weights = 16 * 5 * 128 + 9 * 128 * 64 + 16 * 64 * 32 + 16 * 32 * 16 + 4 * 16 * 3
    assert count(generator) == weights + (128 + 64 + 32 + 16 + 3) + 2 * (128 + 64 + 32)
    weights = 49 * 3 * 32 + 25 * 32 * 64 + 9 * 64 * 128 + 9 * 128 * 256 + 4096
    assert count(discriminator) == weights + (32 + 64 + 128 + 256 + 1)
    autoencoder, _ = build("autoencoder-bce")
    weights = 9 * 3 * 64 + 25 * 64 * 128 + 49 * 128 * 256 + 9 * 256 * 64 + 9 * 64 * 3
    assert count(autoencoder) == weights + (64 + 128 + 256 + 64 + 3)


def test_parameter_counts_of_report_002() -> None:
    generator, discriminator = build("dcgan")
    weights = 16 * (100 * 1024 + 1024 * 512 + 512 * 256 + 256 * 128 + 128 * 3)
    assert count(generator) == weights + 2 * (1024 + 512 + 256 + 128)
    weights = 16 * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 512 + 512 * 1)
    assert count(discriminator) == weights + 2 * (128 + 256 + 512)


def test_sides_of_report_000s_generator() -> None:
    """A latent of 5x5x5 gives 5 -> 4 -> 8 -> 16 -> 32 -> 64."""
    generator, _ = build("avgpool-bce")
    sides = []
    for module in generator.modules():
        if isinstance(module, nn.ConvTranspose2d):
            module.register_forward_hook(lambda _, inputs, output: sides.append((inputs[0].shape[2], output.shape[2])))
    generator(torch.randn(2, 125))
    assert sides == [(5, 4), (4, 8), (8, 16), (16, 32), (32, 64)]


def test_report_004_in_words() -> None:
    """Spectral norm on every convolution, pixel norm after each of the generator's, a minibatch standard deviation."""
    generator, discriminator = build("sngan-pixelnorm")
    names = [type(layer).__name__ for layer in generator.main]
    hidden = ["ParametrizedConvTranspose2d", "PixelNorm", "LeakyReLU"]
    assert names == hidden * 4 + ["ParametrizedConvTranspose2d", "Tanh"]
    names = [type(layer).__name__ for layer in discriminator.main]
    halving = ["ParametrizedConv2d", "LeakyReLU"]
    assert names == halving * 4 + ["MinibatchStandardDeviation", *halving, "ParametrizedConv2d"]
    for network in (generator, discriminator):
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                (norm,) = module.parametrizations.weight
                assert type(norm).__name__ == "_SpectralNorm"
    weights = 16 * (128 * 512 + 512 * 256 + 256 * 128 + 128 * 64 + 64 * 3)
    assert count(generator) == weights + (512 + 256 + 128 + 64 + 3)
    weights = 16 * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 512 + 512 * 1) + 9 * 513 * 512
    assert count(discriminator) == weights + (64 + 128 + 256 + 512 + 512 + 1)


@pytest.mark.parametrize("std", [0.02, 0.002])
def test_weights_start_where_the_reports_say(std: float) -> None:
    torch.manual_seed(0)
    for network in build("dcgan32", f"generator.init_std={std}", f"discriminator.init_std={std}"):
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                assert module.weight.std().item() == pytest.approx(std, rel=0.1)
                assert module.bias is None or not module.bias.any()
            elif isinstance(module, nn.BatchNorm2d):
                assert module.weight.mean().item() == pytest.approx(1, abs=10 * std)
                assert not module.bias.any()


def test_weights_below_spectral_norm_start_there_too() -> None:
    torch.manual_seed(0)
    for network in build("sngan-pixelnorm"):
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                assert module.parametrizations.weight.original.std().item() == pytest.approx(0.02, rel=0.1)
                assert not module.bias.any()
