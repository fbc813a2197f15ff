"""Our layers against torch's own, numpy and closed forms."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from limner.core.errors import UserError
from limner.networks import layers
from limner.networks.layers import MinibatchStandardDeviation, PixelNorm


@pytest.mark.parametrize("ours", [layers.Conv2d, layers.ConvTranspose2d])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "side"),
    [(4, 2, 1, 8), (4, 1, 0, 4), (4, 2, 1, 9), (4, 2, 0, 7), (4, 1, 2, 5), (4, 3, 2, 9), (3, 1, 1, 5), (3, 2, 1, 8)],
)
def test_product_is_the_convolution(
    monkeypatch: pytest.MonkeyPatch, ours: type[nn.Module], kernel: int, stride: int, padding: int, side: int
) -> None:
    """Values, gradients and gradients of gradients equal torch's own convolution's."""
    monkeypatch.setattr(layers, "GEMM_MIN_CHANNELS", 1)
    torch.manual_seed(0)
    layer = ours(5, 7, kernel, stride, padding).double()
    plain = (nn.Conv2d if ours is layers.Conv2d else nn.ConvTranspose2d)(5, 7, kernel, stride, padding).double()
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


def test_the_product_is_what_runs_where_it_is_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    """On wide layers, and with kernels of 3x3 only on small images."""
    seen = []
    gather = layers.gather_windows
    monkeypatch.setattr(layers, "gather_windows", lambda *args: seen.append(args) or gather(*args))
    for channels, kernel, side, runs in [
        (128, 4, 8, True),
        (127, 4, 8, False),
        (363, 3, 8, True),
        (362, 3, 8, False),
        (363, 3, 9, False),
    ]:
        seen.clear()
        layers.Conv2d(channels, channels, kernel, 2, 1)(torch.randn(1, channels, side, side))
        assert bool(seen) == runs


def test_product_keeps_the_image_channels_last() -> None:
    """A layout that flips between layers costs more in batch norm than the product gains."""
    x_BCHW = torch.randn(4, 256, 8, 8).to(memory_format=torch.channels_last)
    for layer in (layers.Conv2d(256, 512, 4, 2, 1), layers.ConvTranspose2d(256, 128, 4, 2, 1)):
        assert layer(x_BCHW).is_contiguous(memory_format=torch.channels_last)


def test_pixel_norm_is_its_formula() -> None:
    torch.manual_seed(0)
    x_BCHW = torch.randn(3, 5, 4, 2, dtype=torch.double)
    expected = x_BCHW.numpy() / np.sqrt((x_BCHW.numpy() ** 2).mean(1, keepdims=True) + 1e-8)
    np.testing.assert_allclose(PixelNorm()(x_BCHW).numpy(), expected, rtol=1e-12)
    # Closed form: (3, 4) has the mean square 12.5.
    y_BCHW = PixelNorm()(torch.tensor([3.0, 4.0], dtype=torch.double).view(1, 2, 1, 1))
    np.testing.assert_allclose(y_BCHW.flatten().numpy(), np.array([3, 4]) / np.sqrt(12.5), rtol=1e-8)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_pixel_norm_keeps_type_and_layout(dtype: torch.dtype) -> None:
    x_BCHW = torch.randn(4, 64, 8, 8).to(dtype, memory_format=torch.channels_last)
    y_BCHW = PixelNorm()(x_BCHW)
    assert y_BCHW.dtype == dtype
    assert y_BCHW.is_contiguous(memory_format=torch.channels_last)
    assert y_BCHW.float().square().mean(1).sub(1).abs().max() < (0.02 if dtype == torch.bfloat16 else 1e-5)


def test_pixel_norm_of_nothing_is_nothing() -> None:
    x_BCHW = torch.zeros(1, 3, 2, 2, requires_grad=True)
    y_BCHW = PixelNorm()(x_BCHW)
    y_BCHW.sum().backward()
    assert not y_BCHW.any()
    assert torch.isfinite(x_BCHW.grad).all()


def test_pixel_norms_gradient() -> None:
    x_BCHW = torch.randn(2, 3, 2, 2, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(PixelNorm(), (x_BCHW,))
    assert torch.autograd.gradgradcheck(PixelNorm(), (x_BCHW,))


@pytest.mark.parametrize("group", [0, 1, 2, 3, 6])
def test_minibatch_standard_deviation_is_numpys(group: int) -> None:
    rng = np.random.default_rng(0)
    x_BCHW = rng.normal(size=(6, 4, 3, 2))
    y_BCHW = MinibatchStandardDeviation(group)(torch.from_numpy(x_BCHW)).numpy()
    assert y_BCHW.shape == (6, 5, 3, 2)
    np.testing.assert_array_equal(y_BCHW[:, :4], x_BCHW)
    for start in range(0, 6, group or 6):
        own = slice(start, start + (group or 6))
        expected = np.sqrt(x_BCHW[own].var(0) + 1e-8).mean()
        np.testing.assert_allclose(y_BCHW[own, 4], expected, rtol=1e-12)


def test_minibatch_standard_deviation_in_closed_form() -> None:
    """Of a pair +a and -a it is |a|; here a is 1 in one channel and 3 in the other."""
    a_CHW = torch.tensor([1.0, -3.0], dtype=torch.double)[:, None, None].expand(2, 4, 4)
    y_BCHW = MinibatchStandardDeviation()(torch.stack([a_CHW, -a_CHW]))
    torch.testing.assert_close(y_BCHW[:, 2], torch.full((2, 4, 4), 2.0, dtype=torch.double))


def test_minibatch_standard_deviation_sees_small_differences_in_bf16() -> None:
    """1 and the next number of bf16, 1 + 1/128, are 1/256 from their mean, which bf16 cannot write."""
    x_BCHW = torch.tensor([1.0, 1.0 + 1 / 128]).bfloat16()[:, None, None, None].expand(2, 8, 4, 4)
    y_BCHW = MinibatchStandardDeviation()(x_BCHW)
    assert y_BCHW.dtype == torch.bfloat16
    assert y_BCHW[:, 8].float().sub(1 / 256).abs().max() < 1e-4


def test_minibatch_standard_deviations_gradient() -> None:
    torch.manual_seed(0)
    x_BCHW = torch.randn(4, 2, 2, 2, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(MinibatchStandardDeviation(2), (x_BCHW,))
    assert torch.autograd.gradgradcheck(MinibatchStandardDeviation(2), (x_BCHW,))


def test_minibatch_standard_deviation_of_equal_images_has_a_gradient() -> None:
    """What a collapsed generator gives: the plain root would make every weight not a number."""
    x_BCHW = torch.ones(4, 2, 2, 2, requires_grad=True)
    y_BCHW = MinibatchStandardDeviation()(x_BCHW)
    (gradient_BCHW,) = torch.autograd.grad(y_BCHW[:, 2].sum(), x_BCHW, create_graph=True)
    assert not gradient_BCHW.any()
    (second_BCHW,) = torch.autograd.grad(gradient_BCHW[0].square().sum() + gradient_BCHW[0].sum(), x_BCHW)
    assert torch.isfinite(second_BCHW).all()


def test_groups_that_do_not_fill_the_batch_are_refused() -> None:
    with pytest.raises(UserError, match=r"^A batch of 6 cannot be cut into groups of 4 .*$"):
        MinibatchStandardDeviation(4)(torch.zeros(6, 1, 1, 1))


@pytest.mark.parametrize("layer", [layers.Conv2d(2, 3, 4, 2, 1), layers.ConvTranspose2d(2, 3, 4, 2, 1)])
@pytest.mark.parametrize("as_product", [False, True])
def test_one_power_iteration_for_one_pass(
    monkeypatch: pytest.MonkeyPatch, layer: nn.Conv2d | nn.ConvTranspose2d, as_product: bool
) -> None:
    """In training; every access to a normalised weight is one, so a layer must take it just once."""
    monkeypatch.setattr(layers, "GEMM_MIN_CHANNELS", 1 if as_product else 1 << 30)
    normed = spectral_norm(type(layer)(2, 3, 4, 2, 1).double())
    norm = normed.parametrizations.weight[0]
    weight = normed.parametrizations.weight.original.detach()
    matrix = (weight if isinstance(layer, nn.Conv2d) else weight.transpose(0, 1)).flatten(1).numpy()
    assert matrix.shape == (3, 2 * 4 * 4)  # outputs by everything else
    norm._v.copy_(torch.ones(32, dtype=torch.double) / np.sqrt(32))
    u = matrix @ np.ones(32) / np.sqrt(32)
    u /= np.linalg.norm(u)
    v = matrix.T @ u
    v /= np.linalg.norm(v)

    x_BCHW = torch.randn(1, 2, 8, 8, dtype=torch.double)
    y_BCHW = normed(x_BCHW)
    np.testing.assert_allclose(norm._u.numpy(), u, rtol=1e-10)
    np.testing.assert_allclose(norm._v.numpy(), v, rtol=1e-10)

    plain = (nn.Conv2d if isinstance(layer, nn.Conv2d) else nn.ConvTranspose2d)(2, 3, 4, 2, 1).double()
    plain.load_state_dict({"weight": weight / (u @ matrix @ v), "bias": normed.bias})
    torch.testing.assert_close(y_BCHW, plain(x_BCHW))
    normed.eval()(x_BCHW)
    np.testing.assert_allclose(norm._u.numpy(), u, rtol=1e-10)  # looking at a network does not change it
