"""A joint distribution of attributes that can combine what no known vector has together.

p(y) = prod_t p(y_t | y_1 ... y_t-1), each factor a logistic regression on the attributes before it: a fully visible
sigmoid belief network (Neal 1992; Frey, Hinton and Dayan 1996). The given attributes come first in the order, so the
others are sampled from exactly their conditional distribution, and the given have a product of factors as their
probability.

Shapes: N faces, M known vectors, A attributes, G of them given, T terms of a regression.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

WEIGHT_PRECISION = 0.3  # of a normal prior with mean 0
BIAS_PRECISION = 0.01  # of one with the attribute's own log-odds as its mean: for an attribute that all have, or none
MOST_STEPS = 50
TOLERANCE = 1e-6  # of the loss, in nats


class AttributeChain:
    """The chain fitted to `known_MA` in which the attributes at the positions `given` come first."""

    def __init__(self, known_MA: NDArray[np.uint8], given: Sequence[int]) -> None:
        self.given = len(given)
        self.order = [*given, *(position for position in range(known_MA.shape[1]) if position not in given)]
        y_MA = known_MA[:, self.order].astype(np.float64)
        self.weights = [_regress(y_MA[:, :t], y_MA[:, t]) for t in range(len(self.order))]
        """Of each attribute in the order: the bias, then a weight for each attribute before it."""

    def probability(self, values: Sequence[int]) -> float:
        """How probable it is that the given attributes have these values."""
        y_1G = np.array([values], np.float64)
        p_G = np.array([self._probability(t, y_1G)[0] for t in range(self.given)])
        return float(np.where(y_1G[0] == 1, p_G, 1 - p_G).prod())

    def sample(self, values: Sequence[int], uniform_NA: NDArray[np.float64]) -> NDArray[np.uint8]:
        """Attribute vectors with these values of the given attributes: uint8, N x A, of as many random numbers."""
        y_NA = np.zeros(uniform_NA.shape)
        y_NA[:, : self.given] = values
        for t in range(self.given, len(self.order)):
            y_NA[:, t] = uniform_NA[:, t] < self._probability(t, y_NA)
        labels_NA = np.empty(y_NA.shape, np.uint8)
        labels_NA[:, self.order] = y_NA
        return labels_NA

    def _probability(self, t: int, y_NA: NDArray[np.float64]) -> NDArray[np.float64]:
        """That the attribute at `t` of the order is 1, given those before it: N."""
        bias, weight_T = self.weights[t][0], self.weights[t][1:]
        # No matrix product: its last bits could depend on how many rows it has.
        return _sigmoid(bias + (y_NA[:, :t] * weight_T).sum(axis=1))


@lru_cache(maxsize=16)
def fitted_chain(known: bytes, attributes: int, given: tuple[int, ...]) -> AttributeChain:
    """The chain for known vectors given as the bytes of M x A; fitted once (a fraction of a second for 4,096 x 40)."""
    return AttributeChain(np.frombuffer(known, np.uint8).reshape(-1, attributes), given)


def _regress(x_MT: NDArray[np.float64], y_M: NDArray[np.float64]) -> NDArray[np.float64]:
    """The bias and T weights of the most probable logistic regression of `y_M`, by Newton's method."""
    x_MT = np.hstack([np.ones((len(x_MT), 1)), x_MT])
    sign_M = 2 * y_M - 1
    mean_T, precision_T = np.zeros(x_MT.shape[1]), np.full(x_MT.shape[1], WEIGHT_PRECISION)
    mean_T[0], precision_T[0] = np.log((y_M.sum() + 0.5) / ((1 - y_M).sum() + 0.5)), BIAS_PRECISION

    def loss(w_T: NDArray[np.float64]) -> float:
        of_data = np.logaddexp(0, -sign_M * (x_MT @ w_T)).sum()
        return float(of_data + (precision_T * (w_T - mean_T) ** 2).sum() / 2)

    w_T, least = mean_T, loss(mean_T)
    for _ in range(MOST_STEPS):
        p_M = _sigmoid(x_MT @ w_T)
        gradient_T = x_MT.T @ (p_M - y_M) + precision_T * (w_T - mean_T)
        hessian_TT = (x_MT.T * (p_M * (1 - p_M))) @ x_MT + np.diag(precision_T)
        step_T = np.linalg.solve(hessian_TT, gradient_T)
        while (found := loss(w_T - step_T)) > least + TOLERANCE:  # too far, where an attribute nearly tells another
            step_T = step_T / 2
        w_T, gain, least = w_T - step_T, least - found, found
        if gain < TOLERANCE:
            break
    return w_T


def _sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return 0.5 + 0.5 * np.tanh(x / 2)
