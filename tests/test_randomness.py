"""Streams that depend on nothing but their name and position, and the latents drawn from them."""

import math

import numpy as np
import pytest
import torch

from limner.core.device import seed_generators
from limner.core.randomness import stream, torch_seed
from limner.latent.latents import face_latents, training_latents

COUNT, SIZE = 4000, 100


def test_a_stream_depends_on_seed_purpose_and_position_alone() -> None:
    def draw(*key: object) -> tuple[float, ...]:
        return tuple(stream(*key).random(4))  # type: ignore[arg-type]

    keys = [
        (0, "order"),
        (0, "order", 0),
        (1, "order"),
        (2**32, "order"),
        (0, "flip"),
        (0, "order", 1),
        (0, "order", 2),
        (0, "order", 1, 1),
    ]
    forwards = [draw(*key) for key in keys]
    assert [draw(*key) for key in reversed(keys)] == forwards[::-1]
    assert len(set(forwards)) == len(keys)


def test_neighbouring_streams_are_not_correlated() -> None:
    draws = np.array([stream(0, "latents", position).standard_normal(50) for position in range(400)])
    correlations = np.corrcoef(draws)[np.triu_indices(400, 1)]
    assert abs(correlations.mean()) < 0.002
    assert correlations.std() == pytest.approx(1 / math.sqrt(50), rel=0.05)


def test_torch_seeds_are_in_range_and_differ() -> None:
    seeds = {torch_seed(seed, "step", position) for seed in range(20) for position in range(0, 6400, 64)}
    assert len(seeds) == 2000
    assert min(seeds) >= 0
    assert max(seeds) < 2**63
    assert max(seeds) > 2**61  # and fill it: 32 bits would collide in a long run


def test_streams_stay_what_they_were() -> None:
    """Every run and every face of a seed hangs on these numbers; a change of them must be meant."""
    assert stream(0, "face", 0).integers(2**32, size=3).tolist() == FIRST_FACE
    assert torch_seed(7, "step", 64, 1) == STEP_SEED


FIRST_FACE, STEP_SEED = [2469476366, 1684770315, 3640639668], 2884032507186631242


def draw(kind: str, distribution: str) -> torch.Tensor:
    if kind == "face":
        return face_latents(3, 0, COUNT, SIZE, distribution)
    return training_latents(COUNT, SIZE, distribution, torch.Generator().manual_seed(3))


@pytest.mark.parametrize("kind", ["face", "training"])
@pytest.mark.parametrize(
    ("distribution", "variance", "kurtosis"),
    [
        ("gaussian", 1.0, 3.0),
        ("uniform", 1 / 3, 1.8),
        ("spherical", 1.0, 3 * SIZE / (SIZE + 2)),  # E z^4 on the sphere of radius sqrt(n) in n dimensions
    ],
)
def test_latents_have_their_distributions_moments(
    kind: str, distribution: str, variance: float, kurtosis: float
) -> None:
    z_BZ = draw(kind, distribution)
    assert (z_BZ.shape, z_BZ.dtype) == ((COUNT, SIZE), torch.float32)
    z = z_BZ.double()
    assert z.mean().item() == pytest.approx(0, abs=0.006)
    assert z.var().item() == pytest.approx(variance, rel=0.01)
    assert (z**4).mean().item() / variance**2 == pytest.approx(kurtosis, rel=0.02)
    assert z.mean(dim=0).abs().max() < 5 * math.sqrt(variance / COUNT)
    assert torch.corrcoef(z.T[:10]).fill_diagonal_(0).abs().max() < 5 / math.sqrt(COUNT)


@pytest.mark.parametrize("kind", ["face", "training"])
def test_spherical_latents_lie_on_the_sphere_and_uniform_ones_in_the_cube(kind: str) -> None:
    torch.testing.assert_close(draw(kind, "spherical").norm(dim=1), torch.full((COUNT,), math.sqrt(SIZE)))
    uniform = draw(kind, "uniform")
    assert uniform.min() >= -1
    assert uniform.max() <= 1
    assert uniform.max() > 0.999


@pytest.mark.parametrize("distribution", ["gaussian", "uniform", "spherical"])
def test_face_k_is_the_same_whatever_is_drawn_beside_it(distribution: str) -> None:
    many = face_latents(5, 0, 20, SIZE, distribution)
    for first, count in ((0, 1), (7, 1), (7, 13), (19, 1)):
        assert torch.equal(face_latents(5, first, count, SIZE, distribution), many[first : first + count])
    assert not torch.equal(face_latents(6, 0, 1, SIZE, distribution), many[:1])
    assert len(torch.unique(many, dim=0)) == 20


def test_generators_are_seeded_without_a_stack_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch.manual_seed takes three of them on a CPU, a fifth of a step of `painter`."""

    def no_trace() -> list[str]:
        raise AssertionError

    monkeypatch.setattr("traceback.format_stack", no_trace)
    seed_generators(7, torch.device("cpu"))
    expected = torch.rand(5, generator=torch.Generator().manual_seed(7))
    assert torch.equal(torch.rand(5), expected)
