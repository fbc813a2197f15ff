"""The bound against torch's distributions and against models whose evidence is known exactly."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Bernoulli, MultivariateNormal, Normal

from limner.objectives.variational import kl_divergence, reconstruction_error, reparameterise


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_kl_is_that_of_torchs_distributions() -> None:
    mean_BZ, log_variance_BZ = normal(5, 8), 3 * normal(5, 8, seed=1)
    prior = Normal(torch.zeros(8, dtype=torch.float64), torch.ones(8, dtype=torch.float64))
    expected = torch.distributions.kl_divergence(Normal(mean_BZ, (log_variance_BZ / 2).exp()), prior).sum(1)
    torch.testing.assert_close(kl_divergence(mean_BZ, log_variance_BZ), expected)
    assert torch.autograd.gradcheck(kl_divergence, (mean_BZ.requires_grad_(), log_variance_BZ.requires_grad_()))


def test_kl_is_zero_at_the_prior_and_never_below() -> None:
    assert torch.equal(kl_divergence(torch.zeros(2, 3), torch.zeros(2, 3)), torch.zeros(2))
    near = torch.linspace(-1e-3, 1e-3, 101)[:, None]  # where 1 + v - exp(v) in fp32 is rounding and falls below 0
    kl_B = kl_divergence(torch.zeros_like(near), near)
    assert (kl_B >= 0).all()
    torch.testing.assert_close(kl_B, near[:, 0].double().square().div(4).float(), rtol=0.01, atol=1e-9)


def test_a_draw_has_the_posteriors_moments_and_is_differentiable() -> None:
    mean_BZ = torch.tensor([[1.0, -2.0]], dtype=torch.float64).requires_grad_()
    log_variance_BZ = torch.tensor([[math.log(4.0), math.log(0.25)]], dtype=torch.float64).requires_grad_()
    noise_BZ = torch.tensor([[3.0, -1.0]], dtype=torch.float64)
    z_BZ = reparameterise(mean_BZ, log_variance_BZ, noise_BZ)
    np.testing.assert_allclose(z_BZ.detach().numpy(), [[1 + 2 * 3.0, -2 - 0.5]])
    assert torch.autograd.gradcheck(reparameterise, (mean_BZ, log_variance_BZ, noise_BZ))


def test_gaussian_reconstruction_is_the_negative_log_density_without_its_constant() -> None:
    x_BCHW, decoded_BCHW = normal(3, 3, 4, 4), normal(3, 3, 4, 4, seed=1)
    expected = -Normal(decoded_BCHW, 1.0).log_prob(x_BCHW).flatten(1).sum(1) - 48 * math.log(2 * math.pi) / 2
    torch.testing.assert_close(reconstruction_error(x_BCHW, decoded_BCHW, "gaussian"), expected)


def test_bernoulli_reconstruction_is_the_negative_log_probability() -> None:
    pixels = (normal(3, 3, 4, 4) > 0).double()
    decoded = normal(3, 3, 4, 4, seed=1).sigmoid()
    expected = -Bernoulli(probs=decoded).log_prob(pixels).flatten(1).sum(1)
    torch.testing.assert_close(reconstruction_error(pixels, decoded, "bernoulli"), expected)
    grey = normal(3, 3, 4, 4, seed=2).sigmoid()
    expected = F.binary_cross_entropy(decoded, grey, reduction="none").flatten(1).sum(1)
    torch.testing.assert_close(reconstruction_error(grey, decoded, "bernoulli"), expected)


@pytest.mark.parametrize("kind", ["gaussian", "bernoulli"])
def test_the_reconstructions_gradient(kind: str) -> None:
    x_BCHW, decoded_BCHW = normal(2, 1, 3, 3).sigmoid(), normal(2, 1, 3, 3, seed=1).sigmoid().requires_grad_()
    assert torch.autograd.gradcheck(lambda decoded: reconstruction_error(x_BCHW, decoded, kind), decoded_BCHW)  # type: ignore[arg-type]


def test_probabilities_of_exactly_0_and_1_cost_what_they_do_in_torch() -> None:
    x_BP, p_BP = torch.tensor([[0.0, 0.0, 1.0, 1.0, 0.25]]), torch.tensor([[0.0, 1.0, 0.0, 1.0, 0.0]])
    ours = reconstruction_error(x_BP, p_BP, "bernoulli")
    torch.testing.assert_close(ours, F.binary_cross_entropy(p_BP, x_BP, reduction="none").sum(1))
    assert ours.item() == pytest.approx(0 + 100 + 100 + 0 + 25)


@pytest.mark.parametrize("logit", [1e4, 88.0, 17.0, -17.0, -88.0, -1e4])
def test_saturated_decoders_give_finite_losses_and_gradients(logit: float) -> None:
    for pixel in (0.0, 0.5, 1.0):
        logits = torch.full((2, 3), logit, requires_grad=True)
        loss = reconstruction_error(torch.full((2, 3), pixel), logits.sigmoid(), "bernoulli").sum()
        loss.backward()
        assert torch.isfinite(loss)
        assert torch.isfinite(logits.grad).all()


def test_probabilities_whose_inverse_overflows_give_finite_gradients() -> None:
    p_BP = torch.tensor([[1e-37, 1e-40, 1e-44, 0.0, 1.0]], requires_grad=True)
    reconstruction_error(torch.full((1, 5), 0.5), p_BP, "bernoulli").sum().backward()
    assert torch.isfinite(p_BP.grad).all()
    assert p_BP.grad[0, 0].item() == pytest.approx(-0.5 / 1e-37, rel=1e-4)


@pytest.mark.parametrize("kind", ["gaussian", "bernoulli"])
@pytest.mark.parametrize("wrong", [math.nan, -0.1, 1.1])
def test_numbers_that_are_no_probabilities_are_not_hidden(kind: str, wrong: float) -> None:
    decoded = torch.tensor([[0.5, wrong], [0.5, 0.5]])
    error_B = reconstruction_error(torch.full((2, 2), 0.5), decoded, kind)  # type: ignore[arg-type]
    assert error_B[0].isnan() == (kind == "bernoulli" or math.isnan(wrong))
    assert error_B[1].isfinite()


def linear_gaussian() -> tuple[Tensor, Tensor, Tensor, Tensor, float]:
    """W, b, data x, and for z ~ N(0, 1), x ~ N(W z + b, 1): the exact posterior's variances and the log evidence of x.

    The columns of W are orthogonal, so that the posterior is a diagonal Gaussian, as an encoder's is.
    """
    W = torch.linalg.qr(normal(6, 3)).Q * torch.tensor([2.0, 0.7, 1.3], dtype=torch.float64)
    b, x_BP = normal(6, seed=1), normal(4, 6, seed=2)
    covariance = W @ W.T + torch.eye(6, dtype=torch.float64)
    evidence = MultivariateNormal(b, covariance).log_prob(x_BP).mean().item()
    variance_Z = 1 / (1 + W.square().sum(0))
    return W, b, x_BP, variance_Z, evidence


def bound(W: Tensor, b: Tensor, x_BP: Tensor, mean_BZ: Tensor, log_variance_BZ: Tensor) -> float:
    """The ELBO, its expectation over z taken exactly: a square needs the two points +-1 of each coordinate's noise."""
    corners_NZ = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=torch.float64)] * 3)
    errors = [
        reconstruction_error(
            x_BP, reparameterise(mean_BZ, log_variance_BZ, corner.expand_as(mean_BZ)) @ W.T + b, "gaussian"
        )
        for corner in corners_NZ
    ]
    constant = x_BP.shape[1] * math.log(2 * math.pi) / 2
    return (-torch.stack(errors).mean(0) - constant - kl_divergence(mean_BZ, log_variance_BZ)).mean().item()


def test_the_bound_is_the_log_evidence_at_the_exact_posterior_and_below_it_elsewhere() -> None:
    W, b, x_BP, variance_Z, evidence = linear_gaussian()
    mean_BZ = (x_BP - b) @ W * variance_Z
    log_variance_BZ = variance_Z.log().expand_as(mean_BZ)
    assert bound(W, b, x_BP, mean_BZ, log_variance_BZ) == pytest.approx(evidence, rel=1e-12)
    posterior = Normal(mean_BZ, (log_variance_BZ / 2).exp())
    for moved, log_scaled in ((0.3, 0.0), (0.0, 0.5), (0.0, -0.5), (-0.2, 0.1)):
        other = Normal(mean_BZ + moved, ((log_variance_BZ + log_scaled) / 2).exp())
        gap = torch.distributions.kl_divergence(other, posterior).sum(1).mean().item()
        ours = bound(W, b, x_BP, mean_BZ + moved, log_variance_BZ + log_scaled)
        assert gap > 1e-3
        assert ours == pytest.approx(evidence - gap, rel=1e-10)  # the bound's gap is KL(q || p(z | x))


def test_all_is_fp32_whatever_the_networks_format() -> None:
    mean_BZ, log_variance_BZ, noise_BZ = (torch.randn(8, 128).bfloat16() for _ in range(3))
    x_BCHW = torch.rand(8, 3, 32, 32)
    decoded_BCHW = torch.rand(8, 3, 32, 32).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        ours = [
            reparameterise(mean_BZ, log_variance_BZ, noise_BZ),
            kl_divergence(mean_BZ, log_variance_BZ),
            reconstruction_error(x_BCHW, decoded_BCHW, "gaussian"),
            reconstruction_error(x_BCHW, decoded_BCHW, "bernoulli"),
        ]
    exact = [
        reparameterise(mean_BZ.double(), log_variance_BZ.double(), noise_BZ.double()),
        kl_divergence(mean_BZ.double(), log_variance_BZ.double()),
        reconstruction_error(x_BCHW.double(), decoded_BCHW.double(), "gaussian"),
        reconstruction_error(x_BCHW.double(), decoded_BCHW.double(), "bernoulli"),
    ]
    for value, expected in zip(ours, exact, strict=True):
        assert value.dtype == torch.float32
        torch.testing.assert_close(value.double(), expected, rtol=1e-5, atol=1e-5)
