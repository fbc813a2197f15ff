"""Augmentation: every image is changed by its own chance, as plain formulas have it, and differentiable twice."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from limner.core.pixels import from_pixels, to_pixels
from limner.recipes.tables import Augment
from limner.training.augment import augment, cut_out, move, recolour, zoom


@pytest.fixture
def x_BCHW() -> torch.Tensor:
    pixels = np.random.default_rng(3).integers(0, 256, (16, 8, 8, 3), np.uint8)
    return from_pixels(torch.from_numpy(pixels), "signed")


def test_nothing_asked_for_is_nothing_done(x_BCHW: torch.Tensor) -> None:
    assert augment(x_BCHW, Augment(), "signed") is x_BCHW


def test_move_shifts_every_image_by_whole_pixels_and_uncovers_grey(x_BCHW: torch.Tensor) -> None:
    torch.manual_seed(0)
    moved = move(x_BCHW, 0.25).numpy()
    offsets = set()
    for image, found in zip(x_BCHW.numpy(), moved, strict=True):
        padded = np.pad(image, ((0, 0), (2, 2), (2, 2)))
        fitting = [
            (top, left)
            for top in range(5)
            for left in range(5)
            if np.array_equal(padded[:, top : top + 8, left : left + 8], found)
        ]
        assert len(fitting) == 1
        offsets.add(fitting[0])
    assert len(offsets) > 5
    assert {top for top, _ in offsets} == {left for _, left in offsets} == set(range(5))


def test_recolour_is_the_plain_formula_one_image_at_a_time(x_BCHW: torch.Tensor) -> None:
    torch.manual_seed(0)
    changed = recolour(x_BCHW, 0.8)
    torch.manual_seed(0)
    brightness, saturation, contrast = torch.rand(3, 16).numpy() - 0.5
    for k, image in enumerate(x_BCHW.numpy()):
        grey = image.mean(0)
        expected = grey + (image - grey) * (1 + 2 * 0.8 * saturation[k])
        expected = expected * (1 + 0.8 * contrast[k]) + 0.8 * brightness[k]
        np.testing.assert_allclose(changed[k].numpy(), expected, rtol=0, atol=2e-6)


def test_colours_hold_their_strength(x_BCHW: torch.Tensor) -> None:
    grey = torch.zeros(4096, 3, 1, 1)
    brightness = recolour(grey, 0.6)[:, 0, 0, 0]  # contrast and saturation leave mid-grey alone
    assert 0.28 < brightness.max() <= 0.3
    assert -0.3 <= brightness.min() < -0.28


def test_zoom_enlarges_as_torch_resamples_and_keeps_the_mean_when_it_shrinks(x_BCHW: torch.Tensor) -> None:
    torch.manual_seed(0)
    scales = torch.exp2(0.5 * torch.randn(16))
    torch.manual_seed(0)
    zoomed = zoom(x_BCHW, 0.5)
    theta = torch.zeros(16, 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = 1 / scales
    grid = F.affine_grid(theta, [16, 3, 8, 8], align_corners=False)
    expected = F.grid_sample(x_BCHW, grid, align_corners=False)
    larger = scales > 1
    assert 4 < larger.sum() < 12
    torch.testing.assert_close(zoomed[larger], expected[larger], rtol=0, atol=1e-5)
    torch.manual_seed(0)
    white = zoom(torch.ones(16, 1, 8, 8), 0.5)[~larger]
    torch.testing.assert_close(white.mean((1, 2, 3)), scales[~larger] ** 2, rtol=0.05, atol=0)


def test_cut_out_greys_one_square_around_any_pixel(x_BCHW: torch.Tensor) -> None:
    torch.manual_seed(0)
    white = torch.ones(4096, 3, 8, 8)
    holes_BHW = (cut_out(white, 0.5) == 0).all(1).numpy()
    for hole_HW in holes_BHW[:64]:
        rows, columns = np.flatnonzero(hole_HW.any(1)), np.flatnonzero(hole_HW.any(0))
        assert hole_HW.sum() == len(rows) * len(columns)  # a rectangle, and no larger than the square
        assert {len(rows), len(columns)} <= {2, 3, 4}
    # The square lies around every pixel equally often: 4 of 8 places reach the middle, 3 the corner.
    middle = holes_BHW.mean(0)[4, 4]
    assert middle == pytest.approx((4 / 8) ** 2, abs=0.03)
    assert holes_BHW.mean(0)[0, 0] == pytest.approx((3 / 8) ** 2, abs=0.02)
    changed = cut_out(x_BCHW, 0.5)
    assert torch.equal(changed[changed != 0], x_BCHW[changed != 0])


@pytest.mark.parametrize("pixel_range", ["unit", "byte"])
def test_the_pixel_range_makes_no_difference(x_BCHW: torch.Tensor, pixel_range: str) -> None:
    settings = Augment(colour=0.5, zoom=0.3, shift=0.25, cutout=0.5)
    pixels = torch.from_numpy(to_pixels(x_BCHW, "signed"))
    torch.manual_seed(5)
    signed = augment(x_BCHW, settings, "signed").clamp(-1, 1)
    torch.manual_seed(5)
    other = augment(from_pixels(pixels, pixel_range), settings, pixel_range)
    # Rounding may fall to either side.
    assert np.abs(to_pixels(signed, "signed").astype(int) - to_pixels(other, pixel_range)).max() <= 1


def test_it_can_be_differentiated_twice() -> None:
    x_BCHW = torch.randn(2, 3, 4, 4, dtype=torch.float64, requires_grad=True)

    def changed(x_BCHW: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(1)
        return augment(x_BCHW, Augment(colour=0.5, zoom=0.3, shift=0.25, cutout=0.5), "signed").pow(3)

    assert torch.autograd.gradcheck(changed, x_BCHW)
    assert torch.autograd.gradgradcheck(changed, x_BCHW)
