"""Attributes as maps, as an auxiliary task and as a projection, against the papers' formulas."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from limner.objectives.conditioning import attribute_loss, projection, with_maps


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def labels(batch: int, attributes: int) -> Tensor:
    return torch.randint(0, 2, (batch, attributes), generator=torch.Generator().manual_seed(5), dtype=torch.uint8)


def test_maps_follow_the_channels_and_are_constant() -> None:
    x_BCHW, y_BA = torch.randn(2, 3, 4, 6), torch.tensor([[0, 1], [1, 1]], dtype=torch.uint8)
    seen = with_maps(x_BCHW, y_BA)
    assert seen.shape == (2, 5, 4, 6)
    assert seen.dtype == x_BCHW.dtype
    assert torch.equal(seen[:, :3], x_BCHW)
    for face in range(2):
        for attribute in range(2):
            assert (seen[face, 3 + attribute] == y_BA[face, attribute]).all()


def test_maps_lie_in_memory_as_the_networks_do() -> None:
    x_BCHW = torch.randn(2, 3, 4, 6).to(memory_format=torch.channels_last)
    assert with_maps(x_BCHW, labels(2, 5)).is_contiguous(memory_format=torch.channels_last)


def test_maps_let_a_gradient_through_to_the_image() -> None:
    x_BCHW = torch.randn(2, 3, 4, 4, requires_grad=True)
    with_maps(x_BCHW, labels(2, 5)).sum().backward()
    assert torch.equal(x_BCHW.grad, torch.ones_like(x_BCHW))


def test_the_attribute_loss_is_the_mean_cross_entropy() -> None:
    outputs_BA, y_BA = normal(6, 40) * 3, labels(6, 40)
    p, y = 1 / (1 + np.exp(-outputs_BA.numpy())), y_BA.numpy().astype(float)
    expected = -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))
    assert attribute_loss(outputs_BA, y_BA).item() == pytest.approx(expected, rel=1e-12)
    # Times A it is AC-GAN's -log p(y | x) of the whole vector, which a categorical over all vectors gives as well.
    three_BA, y3_BA = normal(4, 3), labels(4, 3)
    vectors = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * 3)
    log_p = F.log_softmax(three_BA @ vectors.T, dim=1)  # a log-linear model of independent attributes
    chosen = (y3_BA.long() * torch.tensor([4, 2, 1])).sum(1)
    assert 3 * attribute_loss(three_BA, y3_BA).item() == pytest.approx(F.nll_loss(log_p, chosen).item(), rel=1e-12)


def test_the_attribute_loss_is_torchs_own_on_probabilities() -> None:
    outputs_BA, y_BA = normal(6, 40), labels(6, 40)
    expected = torch.nn.BCELoss()(outputs_BA.sigmoid(), y_BA.double())  # what report 004 calls binary cross-entropy
    assert attribute_loss(outputs_BA, y_BA).item() == pytest.approx(expected.item(), rel=1e-12)


def test_the_attribute_losss_gradient() -> None:
    outputs_BA, y_BA = normal(3, 4).requires_grad_(), labels(3, 4)
    assert torch.autograd.gradcheck(lambda outputs: attribute_loss(outputs, y_BA), outputs_BA)
    attribute_loss(outputs_BA, y_BA).backward()
    torch.testing.assert_close(outputs_BA.grad, (outputs_BA.detach().sigmoid() - y_BA) / 12)


@pytest.mark.parametrize("logit", [1e4, -1e4])
def test_sure_classifiers_right_or_wrong_give_finite_losses_and_gradients(logit: float) -> None:
    outputs_BA = torch.full((4, 2), logit, requires_grad=True)
    loss = attribute_loss(outputs_BA, torch.tensor([[1, 0]] * 4))  # one of two attributes is 1e4 wrong
    loss.backward()
    assert loss.item() == pytest.approx(5e3)
    assert torch.isfinite(outputs_BA.grad).all()
    assert outputs_BA.grad.abs().sum().item() == pytest.approx(0.5)


def test_projection_is_the_inner_product_of_embedding_and_features() -> None:
    # f(x, y) = psi(phi(x)) + y^T V phi(x), with centred labels and embeddings scaled by 1 / sqrt(A).
    batch, attributes, width = 5, 40, 16
    phi, psi, V, y_BA = normal(batch, width), normal(width, seed=1), normal(attributes, width, seed=2), labels(5, 40)
    head = torch.nn.Linear(width, 1 + attributes, bias=False, dtype=torch.float64)
    with torch.no_grad():
        head.weight.copy_(torch.cat([psi[None], V]))
    signs = np.where(y_BA.numpy() == 1, 1.0, -1.0)
    for face in range(batch):
        embedding = signs[face] @ (V.numpy() / np.sqrt(attributes))
        expected = psi.numpy() @ phi[face].numpy() + embedding @ phi[face].numpy()
        assert projection(head(phi), y_BA)[face].item() == pytest.approx(expected, rel=1e-10)


def test_the_optimal_projection_is_the_log_ratio_of_independent_attributes() -> None:
    # log p(y | x) of independent attributes with p(y_a = 1 | x) = sigmoid(s_a) is linear in the signs of y: what the
    # projection adds, with outputs sqrt(A) s / 2, differs from it by a function of x alone (Miyato and Koyama's point).
    s_BA, first, second = normal(5, 7), labels(5, 7), 1 - labels(5, 7)
    outputs_BO = torch.cat([torch.zeros(5, 1, dtype=torch.float64), math.sqrt(7) * s_BA / 2], dim=1)

    def log_p(y_BA: Tensor) -> Tensor:
        return -F.binary_cross_entropy_with_logits(s_BA, y_BA.double(), reduction="none").sum(1)

    gained = projection(outputs_BO, first) - projection(outputs_BO, second)
    torch.testing.assert_close(gained, log_p(first) - log_p(second))


def test_projection_keeps_the_size_of_one_output_however_many_attributes() -> None:
    for attributes in (1, 40, 200):
        outputs_BO = torch.cat([torch.zeros(4000, 1, dtype=torch.float64), normal(4000, attributes)], dim=1)
        assert projection(outputs_BO, labels(4000, attributes)).std().item() == pytest.approx(1, rel=0.05)


def test_projections_gradient() -> None:
    y_BA = labels(3, 4)
    assert torch.autograd.gradcheck(lambda outputs: projection(outputs, y_BA), normal(3, 5).requires_grad_())


def test_outputs_in_bf16_are_computed_with_in_fp32() -> None:
    outputs_BO, y_BA = torch.randn(64, 41).bfloat16(), labels(64, 40)
    for ours, expected in [
        (projection(outputs_BO, y_BA), projection(outputs_BO.double(), y_BA)),
        (attribute_loss(outputs_BO[:, 1:], y_BA), attribute_loss(outputs_BO[:, 1:].double(), y_BA)),
    ]:
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours.double(), expected, rtol=1e-5, atol=1e-5)
