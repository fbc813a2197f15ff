"""Our own networks: their widths, how they start, what the discriminator sees of a batch."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from limner.networks import build_discriminator, build_generator
from limner.networks.modern import (
    ModernDiscriminatorSettings,
    ModernGeneratorSettings,
    ModulatedBatchNorm,
    Residual,
)


def channels(network: nn.Module) -> list[tuple[int, int]]:
    """Channels in and out of every layer that changes the side."""
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d) and m.stride == (2, 2)]
    return [(layer.in_channels, layer.out_channels) for layer in layers]


@pytest.mark.parametrize(
    ("size", "widths"), [(32, [64, 32, 16]), (64, [100, 64, 32, 16]), (128, [100, 100, 64, 32, 16])]
)
def test_widths_double_up_to_the_most(size: int, widths: list[int]) -> None:
    generator = build_generator(ModernGeneratorSettings(network="modern", width=16, max_width=100), size, 9)
    assert channels(generator) == [*pairwise(widths), (16, 3)]
    settings = ModernDiscriminatorSettings(network="modern", width=16, max_width=100)
    up = widths[::-1]
    assert channels(build_discriminator(settings, size)) == [(3, 16), *pairwise(up)]


def test_every_layer_starts_with_signals_of_one_size() -> None:
    """He et al. (2015): what comes out of each is about as large, whatever its width."""
    torch.manual_seed(0)
    sizes: list[float] = []
    generator = build_generator(ModernGeneratorSettings(network="modern", width=32, norm="none"), 64, 64)
    settings = ModernDiscriminatorSettings(network="modern", width=32, stddev_group=0)
    discriminator = build_discriminator(settings, 64, outputs=64)
    for network in (generator, discriminator):
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                layer.register_forward_hook(lambda _, __, y: sizes.append(y.square().mean().sqrt().item()))
    with torch.no_grad():
        discriminator(torch.randn(64, 3, 64, 64))
        generator(torch.randn(64, 64))
    assert len(sizes) == 10
    # A border of zeros takes some of it.
    assert all(0.7 < size < 1.8 for size in sizes), sizes


def test_residual_blocks_start_as_nothing() -> None:
    torch.manual_seed(0)
    network = build_discriminator(ModernDiscriminatorSettings(network="modern", width=8, max_width=8, depth=2), 32)
    blocks = [module for module in network.modules() if isinstance(module, Residual)]
    assert len(blocks) == 2 * 3
    block, x_BCHW = blocks[-1], torch.randn(2, 8, 4, 4)
    assert torch.equal(block(x_BCHW), x_BCHW)
    nn.init.normal_(block.last.weight)
    inside = nn.functional.leaky_relu(nn.functional.conv2d(x_BCHW, block.first.weight, block.first.bias, 1, 1), 0.2)
    expected = x_BCHW + nn.functional.conv2d(inside, block.last.weight, block.last.bias, 1, 1)
    torch.testing.assert_close(block(x_BCHW), expected)


def test_modulated_batch_norm_is_batch_norm_with_a_scale_and_shift_of_each_latent_s_own() -> None:
    torch.manual_seed(0)
    layer, x_BCHW, z_BZ = ModulatedBatchNorm(8, 5), torch.randn(6, 8, 4, 4) * 3 + 1, torch.randn(6, 5)
    nn.init.normal_(layer.modulation.weight)
    nn.init.normal_(layer.modulation.bias)
    y_BCHW = layer(x_BCHW, z_BZ)
    normed_BCHW = (x_BCHW - x_BCHW.mean((0, 2, 3), keepdim=True)) / (
        x_BCHW.var((0, 2, 3), unbiased=False, keepdim=True) + 1e-5
    ).sqrt()
    for face in range(6):
        scale_C, shift_C = (z_BZ[face] @ layer.modulation.weight.T + layer.modulation.bias).split(8)
        expected = normed_BCHW[face] * (1 + scale_C)[:, None, None] + shift_C[:, None, None]
        torch.testing.assert_close(y_BCHW[face], expected)


def test_modulated_generator_starts_as_one_with_batch_norm() -> None:
    plain = build_generator(ModernGeneratorSettings(network="modern", width=8, depth=1), 32, 7)
    modulated = build_generator(ModernGeneratorSettings(network="modern", width=8, depth=1, norm="modulated"), 32, 7)
    shared = {key: value for key, value in plain.state_dict().items() if key in modulated.state_dict()}
    modulated.load_state_dict(shared, strict=False)
    z_BZ = torch.randn(4, 7)
    torch.testing.assert_close(modulated(z_BZ), plain(z_BZ))
    norms = [module for module in modulated.modules() if isinstance(module, ModulatedBatchNorm)]
    assert [norm.modulation.out_features for norm in norms] == [2 * 32, 2 * 16, 2 * 8]


@pytest.mark.parametrize(("group", "alone"), [(0, True), (2, False)])
def test_only_the_minibatch_deviation_looks_at_other_images(group: int, alone: bool) -> None:
    torch.manual_seed(0)
    network = build_discriminator(ModernDiscriminatorSettings(network="modern", width=8, stddev_group=group), 32)
    x_BCHW = torch.randn(4, 3, 32, 32)
    other_BCHW = torch.cat([x_BCHW[:1], torch.randn(3, 3, 32, 32)])
    assert torch.allclose(network(x_BCHW)[:1], network(other_BCHW)[:1], rtol=1e-4) == alone
