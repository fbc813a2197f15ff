"""The chain of logistic regressions: against an optimiser of torch's, an enumeration, and what it cannot have seen."""

from itertools import product

import numpy as np
import pytest
import torch

from limner.core.randomness import stream
from limner.latent import attribute_chain
from limner.latent.attribute_chain import AttributeChain

BIAS_A = np.array([0.3, -1.0, -2.0, 0.5, -0.5, 0.0])
WEIGHT_AA = np.tril(np.random.Generator(np.random.Philox(5)).normal(0, 1.5, (6, 6)), -1)


def some_vectors(count: int, seed: int = 0) -> np.ndarray:
    """Vectors of six attributes, each of which depends on those before it."""
    y_NA = np.zeros((count, 6))
    uniform_NA = stream(seed, "test").random((count, 6))
    for i in range(6):
        y_NA[:, i] = uniform_NA[:, i] < 1 / (1 + np.exp(-(BIAS_A[i] + y_NA @ WEIGHT_AA[i])))
    return y_NA.astype(np.uint8)


def test_sampling_and_probability_are_those_of_an_enumeration() -> None:
    """Of all 64 vectors, from the regressions' weights alone: conditional on values of the given attributes."""
    chain, values = AttributeChain(some_vectors(500), (1, 4)), [1, 0]
    assert chain.order == [1, 4, 0, 2, 3, 5]
    p_of = {}
    for ordered in product((0, 1), repeat=6):
        p = 1.0
        for t, weight_T in enumerate(chain.weights):
            one = 1 / (1 + np.exp(-(weight_T[0] + np.dot(weight_T[1:], ordered[:t]))))
            p *= one if ordered[t] else 1 - one
        p_of[ordered] = p
    assert sum(p_of.values()) == pytest.approx(1)
    agreeing = {ordered: p for ordered, p in p_of.items() if ordered[:2] == (1, 0)}
    assert chain.probability(values) == pytest.approx(sum(agreeing.values()))
    drawn_NA = chain.sample(values, stream(1, "test").random((40_000, 6)))
    for ordered, p in agreeing.items():
        share = (drawn_NA[:, chain.order] == ordered).all(axis=1).mean()
        assert share == pytest.approx(p / sum(agreeing.values()), abs=0.01), ordered


@pytest.mark.parametrize("separated", [False, True])
def test_regressions_are_the_most_probable_ones(separated: bool) -> None:
    """Against torch's L-BFGS on the same posterior; also where one attribute tells another without exception."""
    known_MA = some_vectors(300)
    if separated:
        known_MA[:, 5] = known_MA[:, 0] | known_MA[:, 3]
    x_MT, y_M = torch.from_numpy(known_MA[:, :5]).double(), torch.from_numpy(known_MA[:, 5]).double()
    bias = torch.log((y_M.sum() + 0.5) / (300 - y_M.sum() + 0.5))
    found_T = torch.zeros(6, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([found_T], max_iter=500, tolerance_grad=1e-9, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        logit_M = found_T[0] + x_MT @ found_T[1:]
        of_data = torch.nn.functional.binary_cross_entropy_with_logits(logit_M, y_M, reduction="sum")
        of_weights = attribute_chain.WEIGHT_PRECISION * found_T[1:].square().sum()
        total = of_data + (of_weights + attribute_chain.BIAS_PRECISION * (found_T[0] - bias) ** 2) / 2
        total.backward()
        return total

    optimiser.step(loss)
    np.testing.assert_allclose(AttributeChain(known_MA, ()).weights[5], found_T.detach().numpy(), atol=5e-3)


def test_it_combines_what_no_known_vector_has_together() -> None:
    """It never saw attributes 0, 1 and 2 together; it knows what else such vectors have, and that they are few."""
    all_MA = some_vectors(40_000)
    together_M = all_MA[:, :3].all(axis=1)
    without_MA = all_MA[~together_M][:8_000]
    chain = AttributeChain(without_MA, (0, 1, 2))
    drawn_NA = chain.sample([1, 1, 1], stream(2, "test").random((4_000, 6)))
    assert drawn_NA[:, :3].all()
    np.testing.assert_allclose(drawn_NA.mean(axis=0), all_MA[together_M].mean(axis=0), atol=0.1)
    assert 0 < chain.probability([1, 1, 1]) < together_M.mean()


def test_an_attribute_that_all_or_none_have() -> None:
    known_MA = np.array([[1, 0, 1], [1, 0, 0]] * 20, np.uint8)
    chain = AttributeChain(known_MA, (1,))
    drawn_NA = chain.sample([0], stream(3, "test").random((1000, 3)))
    assert drawn_NA[:, 0].mean() > 0.95
    assert drawn_NA[:, 2].mean() == pytest.approx(0.5, abs=0.05)
    assert 0.95 < chain.probability([0]) < 1
