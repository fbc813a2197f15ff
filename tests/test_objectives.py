"""The adversarial losses against the formulas of Goodfellow et al. (2014), written out in numpy."""

import math

import numpy as np
import pytest
import torch

from limner.objectives.adversarial import OBJECTIVES

LOGITS = [-30.0, -3.0, -0.5, 0.0, 0.7, 2.0, 11.0]


def probability(logits: list[float]) -> np.ndarray:
    return 1 / (1 + np.exp(-np.array(logits)))


@pytest.mark.parametrize("name", ["minimax", "non-saturating"])
def test_losses_are_the_printed_formulas(name: str) -> None:
    real, fake = [1.3, -0.2, 4.0], [-2.0, 0.1, 0.9]
    discriminator, generator = OBJECTIVES[name]
    ours = discriminator(torch.tensor(real, dtype=torch.float64), torch.tensor(fake, dtype=torch.float64))
    assert ours.item() == pytest.approx(-np.mean(np.log(probability(real)) + np.log(1 - probability(fake))), rel=1e-12)
    printed = {"minimax": np.log(1 - probability(fake)), "non-saturating": -np.log(probability(fake))}[name]
    assert generator(torch.tensor(fake, dtype=torch.float64)).item() == pytest.approx(printed.mean(), rel=1e-12)


@pytest.mark.parametrize(
    ("name", "slope"),
    [("minimax", lambda p: -p), ("non-saturating", lambda p: p - 1)],  # d/dlogit log(1 - p) and -log p
)
def test_the_generators_gradient_is_the_sigmoid_form(name: str, slope) -> None:  # type: ignore[no-untyped-def]
    fake_B = torch.tensor(LOGITS, dtype=torch.float64, requires_grad=True)
    OBJECTIVES[name].generator(fake_B).backward()
    np.testing.assert_allclose(fake_B.grad.numpy(), slope(probability(LOGITS)) / len(LOGITS), rtol=1e-9, atol=1e-300)


def test_the_discriminators_gradient_is_the_sigmoid_form() -> None:
    real_B, fake_B = (torch.tensor(LOGITS, dtype=torch.float64, requires_grad=True) for _ in range(2))
    OBJECTIVES["non-saturating"].discriminator(real_B, fake_B).backward()
    p = probability(LOGITS)
    np.testing.assert_allclose(real_B.grad.numpy(), (p - 1) / len(p), rtol=1e-9, atol=1e-300)
    np.testing.assert_allclose(fake_B.grad.numpy(), p / len(p), rtol=1e-9, atol=1e-300)


@pytest.mark.parametrize("name", ["minimax", "non-saturating"])
@pytest.mark.parametrize("logit", [1e4, -1e4])
def test_extreme_logits_give_finite_losses_and_gradients(name: str, logit: float) -> None:
    real_B, fake_B = (torch.full((4,), sign * logit, requires_grad=True) for sign in (1, -1))
    discriminator, generator = OBJECTIVES[name]
    loss = discriminator(real_B, fake_B) + generator(fake_B)
    loss.backward()
    softplus = max(-logit, 0.0)  # ln(1 + e^x) is max(x, 0) this far out
    assert loss.item() == pytest.approx(2 * softplus + {"minimax": -softplus, "non-saturating": max(logit, 0.0)}[name])
    assert torch.isfinite(real_B.grad).all()
    assert torch.isfinite(fake_B.grad).all()


def test_only_minimax_saturates_where_the_discriminator_is_sure() -> None:
    steepness = {}
    for name in ("minimax", "non-saturating"):
        fake_B = torch.tensor([-20.0], requires_grad=True)
        OBJECTIVES[name].generator(fake_B).backward()
        steepness[name] = -fake_B.grad.item()
    assert steepness["minimax"] == pytest.approx(math.exp(-20), rel=1e-4)
    assert steepness["non-saturating"] == pytest.approx(1.0, rel=1e-4)
