"""The painter's curves: what they are in closed form, and that their number in the stream is all they depend on."""

import numpy as np
import pytest
import torch

from limner.data.curves import Curves

CPU = torch.device("cpu")


def heights(seed: int = 0, first: int = 0, count: int = 4096) -> np.ndarray:
    return Curves(seed, CPU).at(first, count).x_BCHW.double().numpy()


def test_every_curve_is_a_parabola_between_the_bounds() -> None:
    y_NP = heights()
    assert y_NP.shape == (4096, 15)
    x_P = np.arange(-7, 8) / 7
    c_N, a_N = y_NP[:, 7], y_NP[:, 14] - y_NP[:, 7]  # x = 0 is the eighth point, x = 1 the last
    assert np.abs(y_NP - (a_N[:, None] * x_P**2 + c_N[:, None])).max() < 1e-6
    assert (y_NP >= x_P**2 - 1e-6).all()
    assert (y_NP <= 2 * x_P**2 + 1 + 1e-6).all()
    # Uniform and independent: the largest gap to the straight line that the sorted values should make (4096: 0.02).
    for uniform_N in (a_N - 1, c_N):
        assert np.abs(np.sort(uniform_N) - np.linspace(0, 1, 4096)).max() < 0.03
    assert abs(np.corrcoef(a_N, c_N)[0, 1]) < 0.06


def test_the_number_of_a_curve_is_all_that_it_depends_on() -> None:
    curves = Curves(3, CPU)
    together = curves.at(640, 96).x_BCHW
    backwards = [Curves(3, CPU).at(first, 16).x_BCHW for first in range(720, 639, -16)]
    assert torch.equal(together, torch.cat(backwards[::-1]))
    assert torch.equal(together, curves.at(640, 96).x_BCHW)
    assert len({row.tobytes() for row in heights(count=4096)}) == 4096
    assert not torch.equal(together, Curves(4, CPU).at(640, 96).x_BCHW)
    assert np.isfinite(heights(first=10**12, count=2)).all()


@pytest.mark.parametrize("world", [1, 2, 4])
def test_processes_share_a_batch_without_overlap(world: int) -> None:
    whole = Curves(0, CPU).at(8, 8)
    shares = [Curves(0, CPU).at(8, 8, rank, world) for rank in range(world)]
    assert torch.equal(torch.cat([share.x_BCHW for share in shares]), whole.x_BCHW)
    assert all(share.y_BA.shape == (8 // world, 0) for share in shares)
