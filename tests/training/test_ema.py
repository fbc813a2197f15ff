"""The EMA against its closed form, and the spectral norms of an averaged network against singular values."""

from copy import deepcopy
from pathlib import Path

import pytest
import torch
from torch import nn

from limner.data.packed import PackedFaces
from limner.model.model import Model
from limner.networks import build_generator
from limner.networks.sngan import SnganGeneratorSettings
from limner.training.ema import settle_spectral_norms, update_ema
from limner.training.session import train


def linear(value: float) -> nn.Module:
    network = nn.Linear(2, 2).double()
    for parameter in network.parameters():
        nn.init.constant_(parameter, value)
    return network


@pytest.mark.parametrize("batch", [8, 50, 100])
def test_half_the_way_to_a_constant_target_after_a_halflife_of_images(batch: int) -> None:
    mean, target = linear(0.0), linear(1.0)
    start, halflife = 1_000_000, 400
    for images in range(start + batch, start + halflife + batch, batch):
        update_ema(mean, target, images, batch, halflife)
    for parameter in mean.parameters():
        torch.testing.assert_close(parameter.data, torch.full_like(parameter, 0.5), rtol=1e-12, atol=0)


def test_a_moving_target_is_weighted_by_how_long_ago_it_was() -> None:
    mean, batch, halflife, start = linear(3.0), 10, 70.0, 10_000
    history = [0.5, -2.0, 7.0, 1.0, 4.0]
    for step, value in enumerate(history, 1):
        update_ema(mean, linear(value), start + step * batch, batch, halflife)
    keep = 2 ** (-batch / halflife)
    weights = [keep ** (len(history) - 1 - step) * (1 - keep) for step in range(len(history))]
    expected = 3.0 * keep ** len(history) + sum(w * v for w, v in zip(weights, history, strict=True))
    assert next(mean.parameters())[0, 0].item() == pytest.approx(expected, rel=1e-12)


def test_early_on_the_mean_looks_back_over_a_twentieth_of_the_run() -> None:
    mean = linear(0.0)
    update_ema(mean, linear(1.0), images=2000, batch=100, halflife_images=10_000)  # a twentieth of 2000 is 100
    assert next(mean.parameters())[0, 0].item() == pytest.approx(0.5, rel=1e-12)


def test_without_a_halflife_the_mean_is_the_network() -> None:
    mean, network = linear(0.0), linear(0.3)
    update_ema(mean, network, 8, 8, 0)
    assert all(torch.equal(own, new) for own, new in zip(mean.parameters(), network.parameters(), strict=True))


def test_statistics_of_batch_norm_are_averaged_and_its_counter_copied() -> None:
    mean, network = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
    for _ in range(5):
        network(torch.randn(4, 3, 2, 2))
    network.running_mean.fill_(8.0)
    update_ema(mean, network, 1_000_000, 100, 100)
    assert mean.running_mean.tolist() == pytest.approx([4.0] * 3)
    assert mean.num_batches_tracked.item() == 5
    assert network.running_mean.tolist() == [8.0] * 3


@pytest.mark.parametrize("halflife", [0.0, 400.0])
def test_spectral_norms_of_the_average_are_one(halflife: float) -> None:
    """Against the largest singular value of each layer's matrix, while the network's weights wander far."""
    torch.manual_seed(0)
    network = build_generator(SnganGeneratorSettings(network="sngan-pixelnorm", width=64), 32, 16)
    mean = deepcopy(network).eval().requires_grad_(False)
    optimizer = torch.optim.Adam(network.parameters(), 0.01, (0.5, 0.999))
    goal = torch.randn(8, 3, 32, 32)
    for step in range(1, 101):
        (network(torch.randn(8, 16)) - goal).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        update_ema(mean, network, 8 * step, 8, halflife)
    settle_spectral_norms(mean)
    layers = [layer for layer in mean.modules() if isinstance(layer, nn.ConvTranspose2d)]
    assert len(layers) == 4
    for layer in layers:
        matrix = layer.weight.transpose(0, 1).flatten(1)  # a row for each channel that comes out
        assert torch.linalg.matrix_norm(matrix, 2).item() == pytest.approx(1.0, abs=1e-4)


def test_the_saved_model_of_a_run_has_spectral_norms_of_one(tmp_path: Path, faces32: PackedFaces) -> None:
    small = ("generator.width=64", "discriminator.width=8", "data.size=32", "schedule.batch=8", "record.grid=4")
    train("sngan-pixelnorm", faces32, tmp_path / "run", images=800, overrides=small, quiet=True)
    generator = Model.load(tmp_path / "run").generator
    for layer in generator.modules():
        if isinstance(layer, nn.ConvTranspose2d):
            matrix = layer.weight.transpose(0, 1).flatten(1)
            assert torch.linalg.matrix_norm(matrix, 2).item() == pytest.approx(1.0, abs=1e-3)
