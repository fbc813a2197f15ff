"""The recipes' networks are the reports' printed layers, and our layers compute what torch's do."""

import pytest
import torch
from torch import nn

from limner.networks import build_discriminator, build_generator, layers
from limner.recipe import load_recipe

# As report 002 prints them (recipes.md gives the same), module by module.
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
        ("dcgan", REPORT_002_GENERATOR, REPORT_002_DISCRIMINATOR),
        ("dcgan-ttur", REPORT_002_GENERATOR, REPORT_002_DISCRIMINATOR),
        ("dcgan32", REPORT_001_GENERATOR, REPORT_001_DISCRIMINATOR),
    ],
)
def test_layers_are_the_reports(recipe: str, generator_layers: list[str], discriminator_layers: list[str]) -> None:
    generator, discriminator = build(recipe)
    assert printed(generator) == generator_layers
    # Report 002's printed sigmoid and 001's logit are one number: the loss takes logits.
    assert printed(discriminator) == discriminator_layers


def test_parameter_counts() -> None:
    generator, discriminator = build("dcgan")
    # Convolutions 4*4*in*out, batch norms 2 a channel.
    convolutions = 16 * (100 * 1024 + 1024 * 512 + 512 * 256 + 256 * 128 + 128 * 3)
    assert sum(p.numel() for p in generator.parameters()) == convolutions + 2 * (1024 + 512 + 256 + 128)
    convolutions = 16 * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 512 + 512 * 1)
    assert sum(p.numel() for p in discriminator.parameters()) == convolutions + 2 * (128 + 256 + 512)


@pytest.mark.parametrize("name", ["dcgan", "dcgan32"])
@pytest.mark.parametrize("size", [32, 64, 128])
def test_every_size(name: str, size: int) -> None:
    generator, discriminator = build(name, f"data.size={size}", "generator.width=64", "discriminator.width=4")
    x_BCHW = generator(torch.randn(2, 100))
    assert x_BCHW.shape == (2, 3, size, size)
    assert x_BCHW.abs().max() <= 1
    assert discriminator(x_BCHW).shape == (2,)


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


@pytest.mark.parametrize("ours", [layers.Conv2d, layers.ConvTranspose2d])
@pytest.mark.parametrize(
    ("stride", "padding", "side"), [(2, 1, 8), (1, 0, 4), (2, 1, 9), (2, 0, 7), (1, 2, 5), (3, 2, 9)]
)
def test_product_is_the_convolution(
    monkeypatch: pytest.MonkeyPatch, ours: type[nn.Module], stride: int, padding: int, side: int
) -> None:
    """Values, gradients and gradients of gradients equal torch's own convolution's."""
    monkeypatch.setattr(layers, "GEMM_MIN_CHANNELS", 1)
    torch.manual_seed(0)
    layer = ours(5, 7, 4, stride, padding).double()
    plain = (nn.Conv2d if ours is layers.Conv2d else nn.ConvTranspose2d)(5, 7, 4, stride, padding).double()
    plain.load_state_dict(layer.state_dict())
    x_BCHW = torch.randn(2, 5, side, side, dtype=torch.double, requires_grad=True)
    results = []
    for network in (layer, plain):
        y_BCHW = network(x_BCHW)
        first = torch.autograd.grad(y_BCHW.square().sum(), [x_BCHW, *network.parameters()], create_graph=True)
        second = torch.autograd.grad(first[0].square().sum(), [x_BCHW, *network.parameters()])
        results.append([y_BCHW, *first, *second])
    for mine, theirs in zip(*results, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_the_product_is_what_runs_for_wide_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    gather = layers.gather_windows
    monkeypatch.setattr(layers, "gather_windows", lambda *args: seen.append(args) or gather(*args))
    layers.Conv2d(128, 128, 4, 2, 1)(torch.randn(1, 128, 8, 8))
    assert len(seen) == 1
    layers.Conv2d(3, 8, 4, 2, 1)(torch.randn(1, 3, 8, 8))
    assert len(seen) == 1


def test_product_keeps_the_picture_channels_last() -> None:
    """A layout that flips between layers costs more in batch norm than the product gains."""
    x_BCHW = torch.randn(4, 256, 8, 8).to(memory_format=torch.channels_last)
    for layer in (layers.Conv2d(256, 512, 4, 2, 1), layers.ConvTranspose2d(256, 128, 4, 2, 1)):
        assert layer(x_BCHW).is_contiguous(memory_format=torch.channels_last)
