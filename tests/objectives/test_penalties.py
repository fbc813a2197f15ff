"""The penalties where the slope is known in closed form, where it is zero, and through to the network's weights."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limner.objectives.penalties import clip_weights_, gradient_penalty, zero_centred_penalty


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def uniform(count: int) -> Tensor:
    return torch.rand(count, dtype=torch.float64, generator=torch.Generator().manual_seed(9))


@pytest.mark.parametrize("shape", [(3, 4, 4), (15,)])  # images and curves
def test_a_linear_critic_pays_for_the_norm_of_its_weights_wherever_it_is_asked(shape: tuple[int, ...]) -> None:
    weights = normal(*shape)
    penalty = gradient_penalty(
        lambda x: (x * weights).flatten(1).sum(1), normal(5, *shape, seed=1), normal(5, *shape, seed=2), uniform(5)
    )
    assert penalty.item() == pytest.approx((weights.norm().item() - 1) ** 2, rel=1e-10)
    of_norm_one = weights / weights.norm()
    penalty = gradient_penalty(
        lambda x: (x * of_norm_one).flatten(1).sum(1), normal(5, *shape, seed=1), normal(5, *shape, seed=2), uniform(5)
    )
    assert penalty.item() < 1e-12


def test_the_norm_is_each_samples_own() -> None:
    # D(x) = |x|^2 / 2 has the slope x: norms 1, 2 and 5 at these three points.
    points_BP = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 4.0]], dtype=torch.float64)
    penalty = gradient_penalty(lambda x: x.square().sum(1) / 2, points_BP, points_BP, uniform(3))
    assert penalty.item() == pytest.approx((0 + 1 + 16) / 3, rel=1e-10)
    whole_batch = (points_BP.norm().item() - 1) ** 2  # what one norm over the batch would give
    assert abs(penalty.item() - whole_batch) > 10


def test_the_slope_is_taken_at_epsilon_times_real_plus_the_rest_of_fake() -> None:
    real_BP, fake_BP, epsilon_B = normal(4, 6, seed=1), normal(4, 6, seed=2), uniform(4)
    asked: list[Tensor] = []

    def critic(x: Tensor) -> Tensor:
        asked.append(x.detach().clone())
        return x.sum(1)

    gradient_penalty(critic, real_BP, fake_BP, epsilon_B)
    for i, epsilon in enumerate(epsilon_B.tolist()):
        torch.testing.assert_close(asked[0][i], epsilon * real_BP[i] + (1 - epsilon) * fake_BP[i])


def plain_penalty(critic: nn.Module, x_BP: Tensor) -> Tensor:
    """Gulrajani's penalty with the root as it is printed, which gave report 003 its NaN losses."""
    x_BP = x_BP.detach().requires_grad_()
    (slope_BP,) = torch.autograd.grad(critic(x_BP).sum(), x_BP, create_graph=True)
    return (slope_BP.square().sum(dim=1).sqrt() - 1).square().mean()


def test_a_flat_critic_gives_a_gradient_where_the_plain_root_gives_nan() -> None:
    critic = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1), nn.Flatten(0))
    with torch.no_grad():
        critic[0].bias.fill_(-4)  # all units are off near 0, not at 100
    x_BP = torch.tensor([[0.0, 0.1], [100.0, 100.0], [-100.0, 100.0], [100.0, -100.0], [-100.0, -100.0]])

    plain = plain_penalty(critic, x_BP)
    plain.backward()
    assert torch.isfinite(plain)
    assert critic[0].weight.grad.isnan().any()

    critic.zero_grad()
    safe = gradient_penalty(critic, x_BP, x_BP, torch.ones(len(x_BP)))
    safe.backward()
    assert safe.item() == pytest.approx(plain.item(), rel=1e-5)
    for parameter in (critic[0].weight, critic[2].weight):
        assert parameter.grad.isfinite().all()
        assert parameter.grad.abs().sum() > 0  # the samples that have a slope still teach


def test_r1_of_a_quadratic_critic() -> None:
    A = normal(6, 6)
    A, b, x_BP = A + A.T, normal(6, seed=1), normal(4, 6, seed=2).requires_grad_()
    outputs_B = (x_BP @ A * x_BP).sum(1) / 2 + x_BP @ b
    slopes_BP = x_BP.detach() @ A + b
    expected = sum(0.5 * float(slope @ slope) for slope in slopes_BP) / 4
    assert zero_centred_penalty(outputs_B, x_BP).item() == pytest.approx(expected, rel=1e-12)


def test_r1_is_the_same_for_a_image_and_its_flattened_pixels() -> None:
    x_BCHW = normal(2, 3, 4, 4).requires_grad_()
    penalty = zero_centred_penalty(x_BCHW.pow(3).flatten(1).sum(1) / 3, x_BCHW)  # the slope is x^2
    assert penalty.item() == pytest.approx(x_BCHW.detach().pow(4).sum().item() / 2 / 2, rel=1e-12)


def convolutional(x_BCHW: Tensor, kernels: Tensor, heads: Tensor) -> Tensor:
    return torch.tanh(F.conv2d(x_BCHW, kernels, stride=2)).flatten(1) @ heads


def test_the_penalties_reach_the_weights() -> None:
    kernels, heads = normal(2, 1, 3, 3).requires_grad_(), normal(2 * 2 * 2, seed=1).requires_grad_()
    real_BCHW, fake_BCHW, epsilon_B = normal(3, 1, 5, 5, seed=2), normal(3, 1, 5, 5, seed=3), uniform(3)

    def wgan_gp(kernels: Tensor, heads: Tensor) -> Tensor:
        return gradient_penalty(lambda x: convolutional(x, kernels, heads), real_BCHW, fake_BCHW, epsilon_B)

    def r1(kernels: Tensor, heads: Tensor) -> Tensor:
        x_BCHW = real_BCHW.clone().requires_grad_()
        return zero_centred_penalty(convolutional(x_BCHW, kernels, heads), x_BCHW)

    for penalty in (wgan_gp, r1):
        assert torch.autograd.gradcheck(penalty, (kernels, heads))
        for gradient in torch.autograd.grad(penalty(kernels, heads), (kernels, heads)):
            assert gradient.abs().min() > 1e-6  # every weight learns of it


def test_no_gradient_of_the_penalty_reaches_the_generator() -> None:
    weights, fake_BP = normal(6).requires_grad_(), normal(4, 6).requires_grad_()
    gradient_penalty(lambda x: (x * weights).square().sum(1), normal(4, 6, seed=1), fake_BP * 2, uniform(4)).backward()
    assert fake_BP.grad is None
    assert weights.grad is not None


def test_penalties_of_a_network_in_bf16_are_summed_in_fp32() -> None:
    torch.manual_seed(0)
    critic = nn.Sequential(nn.Conv2d(3, 8, 4, 2, 1), nn.SiLU(), nn.Flatten(), nn.Linear(8 * 16 * 16, 1), nn.Flatten(0))
    real_BCHW, fake_BCHW, epsilon_B = torch.randn(4, 3, 32, 32), torch.randn(4, 3, 32, 32), torch.rand(4)

    def penalties() -> list[Tensor]:
        x_BCHW = real_BCHW.clone().requires_grad_()
        of_wgan_gp = gradient_penalty(critic, real_BCHW, fake_BCHW, epsilon_B)
        return [of_wgan_gp, zero_centred_penalty(critic(x_BCHW), x_BCHW)]

    exact = penalties()
    with torch.autocast("cpu", torch.bfloat16):
        rough = penalties()
    for ours, expected in zip(rough, exact, strict=True):
        assert ours.dtype == torch.float32
        assert ours.item() == pytest.approx(expected.item(), rel=0.02)
        gradients, expected_gradients = (
            torch.cat([g.flatten() for g in torch.autograd.grad(penalty, [critic[0].weight, critic[3].weight])])
            for penalty in (ours, expected)
        )
        assert (gradients - expected_gradients).norm() < 0.05 * expected_gradients.norm()


def test_clipping_bounds_every_weight_and_leaves_those_within() -> None:
    network = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8))
    with torch.no_grad():
        network[0].weight.copy_(torch.linspace(-0.03, 0.03, 64).view(8, 8))
    before = network[0].weight.detach().clone()
    clip_weights_(network, 0.01)
    inside = before.abs() <= 0.01
    assert 0 < inside.sum() < 64
    torch.testing.assert_close(network[0].weight[inside], before[inside], rtol=0, atol=0)
    torch.testing.assert_close(network[0].weight[~inside], 0.01 * before[~inside].sign(), rtol=0, atol=0)
    assert torch.equal(network[1].weight, torch.full((8,), 0.01))  # batch norm's scale too, as in the paper's code
    assert torch.equal(network[1].running_var, torch.ones(8))  # no weight, but a measurement
    assert all(parameter.requires_grad and parameter.is_leaf for parameter in network.parameters())
