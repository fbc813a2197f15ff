"""The adversarial losses against their papers' formulas, written out in numpy."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from limner.objectives.adversarial import OBJECTIVES

LOGITS = [-30.0, -3.0, -0.5, 0.0, 0.7, 2.0, 11.0]
REAL, FAKE = [1.3, -0.2, 4.0], [-2.0, 0.1, 0.9]
Array = NDArray[np.float64]


def probability(logits: object) -> Array:
    return 1 / (1 + np.exp(-np.array(logits, dtype=np.float64)))


def cross_entropy(real: Array, fake: Array) -> Array:
    return -np.log(probability(real)) - np.log(1 - probability(fake))


# As printed in Goodfellow et al. (2014), Lim and Ye (2017), Mao et al. (2017), Arjovsky et al. (2017) and
# Jolicoeur-Martineau (2018); the mean over the batch is taken below.
PRINTED: dict[str, tuple[Callable[[Array, Array], Array], Callable[[Array, Array], Array]]] = {
    "minimax": (cross_entropy, lambda real, fake: np.log(1 - probability(fake))),
    "non-saturating": (cross_entropy, lambda real, fake: -np.log(probability(fake))),
    "hinge": (
        lambda real, fake: -np.minimum(0, -1 + real) - np.minimum(0, -1 - fake),
        lambda real, fake: -fake,
    ),
    "least-squares": (
        lambda real, fake: 0.5 * (real - 1) ** 2 + 0.5 * (fake - 0) ** 2,
        lambda real, fake: 0.5 * (fake - 1) ** 2,
    ),
    "wasserstein": (lambda real, fake: fake - real, lambda real, fake: -fake),
    "relativistic": (
        lambda real, fake: -np.log(probability(real - fake)),
        lambda real, fake: -np.log(probability(fake - real)),
    ),
}


def double(values: object) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_losses_are_the_printed_formulas(name: str) -> None:
    objective = OBJECTIVES[name]
    for ours, printed in zip((objective.discriminator, objective.generator), PRINTED[name], strict=True):
        expected = np.mean(printed(np.array(REAL), np.array(FAKE)))
        assert ours(double(REAL), double(FAKE)).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    for loss in (OBJECTIVES[name].discriminator, OBJECTIVES[name].generator):
        assert torch.autograd.gradcheck(loss, (double(REAL), double(FAKE)))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_generator_looks_at_real_logits_only_where_it_says_so(name: str) -> None:
    objective = OBJECTIVES[name]
    with_these, with_others = (objective.generator(double(real), double(FAKE)) for real in (REAL, [9.0, -7.0, 3.0]))
    assert (with_these.item() != with_others.item()) == objective.paired


def test_the_relativistic_game_ignores_what_all_logits_share() -> None:
    objective = OBJECTIVES["relativistic"]
    for loss in (objective.discriminator, objective.generator):
        moved = loss(double(REAL) + 123.0, double(FAKE) + 123.0)
        assert moved.item() == pytest.approx(loss(double(REAL), double(FAKE)).item(), rel=1e-12)
    # Each real image meets one generated image: not their means, which give another value.
    real, fake = [10.0, -10.0], [10.0, -10.0]
    assert objective.discriminator(double(real), double(fake)).item() == pytest.approx(math.log(2), rel=1e-12)
    assert objective.discriminator(double(real), double(fake[::-1])).item() == pytest.approx(10, rel=1e-6)


def test_hinge_has_no_gradient_beyond_the_margin_and_a_constant_one_before_it() -> None:
    real_B, fake_B = double([3.0, 1.001, 0.999, -50.0]), double([-3.0, -1.001, -0.999, 50.0])
    OBJECTIVES["hinge"].discriminator(real_B, fake_B).backward()
    np.testing.assert_array_equal(real_B.grad.numpy(), [0, 0, -0.25, -0.25])
    np.testing.assert_array_equal(fake_B.grad.numpy(), [0, 0, 0.25, 0.25])


@pytest.mark.parametrize(
    ("name", "slope"),
    [("minimax", lambda p: -p), ("non-saturating", lambda p: p - 1)],  # d/dlogit log(1 - p) and -log p
)
def test_the_generators_gradient_is_the_sigmoid_form(name: str, slope: Callable[[Array], Array]) -> None:
    fake_B = double(LOGITS)
    OBJECTIVES[name].generator(double(LOGITS), fake_B).backward()
    np.testing.assert_allclose(fake_B.grad.numpy(), slope(probability(LOGITS)) / len(LOGITS), rtol=1e-9, atol=1e-300)


def test_the_discriminators_gradient_is_the_sigmoid_form() -> None:
    real_B, fake_B = double(LOGITS), double(LOGITS)
    OBJECTIVES["non-saturating"].discriminator(real_B, fake_B).backward()
    p = probability(LOGITS)
    np.testing.assert_allclose(real_B.grad.numpy(), (p - 1) / len(p), rtol=1e-9, atol=1e-300)
    np.testing.assert_allclose(fake_B.grad.numpy(), p / len(p), rtol=1e-9, atol=1e-300)


# Logits of +-1e4, right about both kinds or wrong about both; this far out ln(1 + e^x) is max(x, 0).
SATURATED = {
    "minimax": ((0.0, 0.0), (2e4, -1e4)),
    "non-saturating": ((0.0, 1e4), (2e4, 0.0)),
    "hinge": ((0.0, 1e4), (2e4 + 2, -1e4)),
    "least-squares": (((9999.0**2 + 1e8) / 2, 10001.0**2 / 2), ((10001.0**2 + 1e8) / 2, 9999.0**2 / 2)),
    "wasserstein": ((-2e4, 1e4), (2e4, -1e4)),
    "relativistic": ((0.0, 2e4), (2e4, 0.0)),
}


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("right", [True, False])
def test_extreme_logits_give_finite_losses_and_gradients(name: str, right: bool) -> None:
    logit = 1e4 if right else -1e4
    for loss, expected in zip(
        (OBJECTIVES[name].discriminator, OBJECTIVES[name].generator), SATURATED[name][not right], strict=True
    ):
        real_B, fake_B = (torch.full((4,), sign * logit, requires_grad=True) for sign in (1, -1))
        value = loss(real_B, fake_B)
        value.backward()
        assert value.item() == pytest.approx(expected, rel=1e-6)
        for x_B in (real_B, fake_B):
            assert x_B.grad is None or torch.isfinite(x_B.grad).all()


def test_only_minimax_saturates_where_the_discriminator_is_sure() -> None:
    steepness = {}
    for name in OBJECTIVES:
        fake_B = torch.tensor([-20.0], requires_grad=True)
        OBJECTIVES[name].generator(torch.tensor([20.0]), fake_B).backward()
        steepness[name] = -fake_B.grad.item()
    assert steepness.pop("minimax") == pytest.approx(math.exp(-20), rel=1e-4)
    assert steepness.pop("least-squares") == pytest.approx(21)
    assert steepness == pytest.approx(dict.fromkeys(steepness, 1.0), rel=1e-4)
