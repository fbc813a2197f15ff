"""From which model should attributes be sampled where hardly any known vector has what is requested?

Every model is fitted to 4,096 attribute vectors of CelebA's training split, as many as a Limner model carries. Measured
are the log-likelihood of the vectors of the split val; and for random requests of two to four attributes that 1 to 31
of the 4,096 have together ("few"), or none has ("none"), what CelebA's other vectors say: the log-likelihood of the
attributes that are not requested, the mean absolute error of their frequencies, and the error of the request's own
frequency. "nearest" is what Limner did before: vectors that agree in the most, and then set to what was requested.
Results: results/label_models.json. Images are not needed, only list_attr_celeba.txt and list_eval_partition.txt.

Shapes: N vectors, M known ones, A attributes, R requested ones, K components.
"""

import argparse
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from limner.core.device import machine_facts
from limner.core.randomness import stream
from limner.core.version import __version__
from limner.latent.attribute_chain import AttributeChain
from limner.latent.labels import FEW
from limner.training.recorder import KNOWN_VECTORS

RESULTS = Path(__file__).parent / "results" / "label_models.json"
SMOOTHING = 0.5
COMPONENTS, EM_STEPS = 32, 60
KERNELS = (0.02, 0.03, 0.05, 0.08)
SAMPLES = 4096  # for the frequencies that the chain gives
MOST = 500  # vectors of a request for the log-likelihood
REQUESTS = {"few": (1, FEW, 100, 25), "none": (0, 1, 30, 10)}  # agreeing from, below; others at least; for each R

Bits = NDArray[np.uint8]
Floats = NDArray[np.float64]


class Request(NamedTuple):
    """What is requested, and the vectors of CelebA beside the known ones that have it."""

    positions: list[int]
    values: list[int]
    predicted_NA: Bits
    frequency: float


class LabelModel(Protocol):
    def log_likelihood(self, y_NA: Bits) -> Floats: ...

    def given(self, request: Request) -> tuple[float, Floats, Floats]:
        """Log-probability of the request, frequencies A, and log-likelihoods of what it leaves open, N at most 500."""


class Mixture:
    """Components of independent attributes: frequencies K x A, log-weights K."""

    def __init__(self, p_KA: Floats, log_weight_K: Floats) -> None:
        self.p_KA, self.log_weight_K = p_KA, log_weight_K

    def components(self, y_NA: Bits, positions: Any = slice(None)) -> Floats:
        p_KA, y = self.p_KA[:, positions], y_NA[:, positions].astype(float)
        return y @ np.log(p_KA).T + (1 - y) @ np.log(1 - p_KA).T + self.log_weight_K

    def log_likelihood(self, y_NA: Bits) -> Floats:
        return np.concatenate([_log_sum(self.components(part)) for part in np.array_split(y_NA, 1 + len(y_NA) // 1000)])

    def given(self, request: Request) -> tuple[float, Floats, Floats]:
        log_K = self.components(request.predicted_NA[:1], request.positions)
        log_p = float(_log_sum(log_K)[0])
        found = self.log_likelihood(request.predicted_NA[:MOST])
        return log_p, np.exp(log_K[0] - log_p) @ self.p_KA, found - log_p


class Tree:
    """Chow and Liu (1968): the tree of pairs with the most mutual information."""

    def __init__(self, known_MA: Bits) -> None:
        y_MA = known_MA.astype(float)
        both_AA, one_A, attributes = y_MA.T @ y_MA, y_MA.sum(0), y_MA.shape[1]
        only_AA = one_A[:, None] - both_AA
        counts = np.stack([len(y_MA) - both_AA - only_AA - only_AA.T, only_AA.T, only_AA, both_AA], -1)
        joint = (counts.reshape(attributes, attributes, 2, 2) + SMOOTHING) / (len(y_MA) + 4 * SMOOTHING)
        alone = joint.sum(3, keepdims=True) * joint.sum(2, keepdims=True)
        information_AA = (joint * np.log(joint / alone)).sum((2, 3))
        best_A, self.parent, self.order = information_AA[0].copy(), [0] * attributes, [0]
        while len(self.order) < attributes:
            nearest = max(set(range(attributes)) - set(self.order), key=lambda i: best_A[i])
            self.order.append(nearest)
            for i in np.flatnonzero(information_AA[nearest] > best_A):
                best_A[i] = information_AA[nearest, i]
                self.parent[i] = self.parent[i] if i in self.order else nearest
        self.root_2 = joint[0, 1].sum(1)
        self.table_A22 = np.stack([joint[p, i] / joint[p, i].sum(1, keepdims=True) for i, p in enumerate(self.parent)])

    def log_likelihood(self, y_NA: Bits) -> Floats:
        found = np.log(self.root_2[y_NA[:, 0]])
        for i in self.order[1:]:
            found = found + np.log(self.table_A22[i][y_NA[:, self.parent[i]], y_NA[:, i]])
        return found

    def given(self, request: Request) -> tuple[float, Floats, Floats]:
        up_A2 = np.ones((len(self.order), 2))
        up_A2[request.positions, 1 - np.array(request.values)] = 0
        for i in self.order[:0:-1]:
            up_A2[self.parent[i]] *= self.table_A22[i] @ up_A2[i]
        down_A2 = np.zeros_like(up_A2)
        down_A2[0] = self.root_2 * up_A2[0]
        p = down_A2[0].sum()
        down_A2[0] /= p
        for i in self.order[1:]:
            table_22 = self.table_A22[i] * up_A2[i]
            down_A2[i] = down_A2[self.parent[i]] @ (table_22 / table_22.sum(1, keepdims=True).clip(1e-300))
        return float(np.log(p)), down_A2[:, 1], self.log_likelihood(request.predicted_NA[:MOST]) - np.log(p)


class Chain:
    """Limner's own."""

    def __init__(self, known_MA: Bits) -> None:
        self.known_MA = known_MA

    def log_likelihood(self, y_NA: Bits) -> Floats:
        return self._log_likelihood(AttributeChain(self.known_MA, ()), y_NA)

    def given(self, request: Request) -> tuple[float, Floats, Floats]:
        chain = AttributeChain(self.known_MA, request.positions)
        uniform_NA = stream(0, "label models").random((SAMPLES, self.known_MA.shape[1]))
        frequencies_A = chain.sample(request.values, uniform_NA).mean(0)
        rest_N = self._log_likelihood(chain, request.predicted_NA[:MOST])
        return float(np.log(chain.probability(request.values))), frequencies_A, rest_N

    def _log_likelihood(self, chain: AttributeChain, y_NA: Bits) -> Floats:
        ordered_NA = y_NA[:, chain.order].astype(float)
        p_AN = np.stack([chain._probability(t, ordered_NA) for t in range(chain.given, y_NA.shape[1])])
        found: Floats = np.log(np.where(ordered_NA.T[chain.given :] == 1, p_AN, 1 - p_AN)).sum(0)
        return found


def independent(known_MA: Bits) -> Mixture:
    return Mixture((known_MA.sum(0)[None] + SMOOTHING) / (len(known_MA) + 2 * SMOOTHING), np.zeros(1))


def kernel(known_MA: Bits, width: float) -> Mixture:
    """Aitchison and Aitken (1976): a known vector of which each attribute is flipped with probability `width`."""
    return Mixture(np.where(known_MA == 1, 1 - width, width), np.full(len(known_MA), -np.log(len(known_MA))))


def mixture(known_MA: Bits) -> Mixture:
    """32 classes of independent attributes, by EM; a prior of one vector of the mean in each."""
    y_MA, mean_A = known_MA.astype(float), known_MA.mean(0)
    share_MK = stream(0, "classes").dirichlet(np.full(COMPONENTS, 0.1), len(y_MA))
    for _ in range(EM_STEPS):
        size_K = share_MK.sum(0)
        p_KA = (share_MK.T @ y_MA + mean_A) / (size_K[:, None] + 1)
        found = Mixture(p_KA.clip(1e-4, 1 - 1e-4), np.log((size_K + 1) / (len(y_MA) + COMPONENTS)))
        log_MK = found.components(known_MA)
        share_MK = np.exp(log_MK - _log_sum(log_MK)[:, None])
    return found


def nearest_error(known_MA: Bits, requests: list[Request]) -> float:
    """What was done before: the error of the frequencies."""
    errors = []
    for request in requests:
        agreeing_M = (known_MA[:, request.positions] == request.values).sum(1)
        errors.append(_error(known_MA[agreeing_M == agreeing_M.max()].mean(0), request))
    return float(np.mean(errors))


def choose_requests(known_MA: Bits, other_NA: Bits, kind: str) -> list[Request]:
    least, below, others, each = REQUESTS[kind]
    random, found = stream(0, f"requests {kind}"), []
    for size in (2, 3, 4):
        wanted = len(found) + each
        for _ in range(20_000):
            positions = np.sort(random.choice(known_MA.shape[1], size, replace=False))
            values = (random.random(size) < 0.75).astype(int)
            if least <= (known_MA[:, positions] == values).all(1).sum() < below:
                has_N = (other_NA[:, positions] == values).all(1)
                if has_N.sum() >= others:
                    found.append(Request(positions.tolist(), values.tolist(), other_NA[has_N], float(has_N.mean())))
            if len(found) == wanted:
                break
    return found


def measure(make: Callable[[], LabelModel], val_NA: Bits, requests: dict[str, list[Request]]) -> dict[str, Any]:
    started = time.monotonic()
    model = make()
    result: dict[str, Any] = {"log_likelihood_val": float(model.log_likelihood(val_NA).mean())}
    for kind, of_kind in requests.items():
        told = [model.given(request) for request in of_kind]
        log_p = np.array([log_p for log_p, _, _ in told])
        true = np.log([request.frequency for request in of_kind])
        result[kind] = {
            "log_likelihood_of_the_rest": float(np.mean([rest_N.mean() for _, _, rest_N in told])),
            "frequency_error": float(np.mean([_error(p_A, r) for (_, p_A, _), r in zip(told, of_kind, strict=True)])),
            "request_error_decades": float(np.abs(log_p - true).mean() / np.log(10)),
        }
    return result | {"seconds": round(time.monotonic() - started, 2)}


def read_celeba(folder: Path) -> tuple[Bits, NDArray[np.int64]]:
    """Attributes (N x A) and partition (0 train, 1 val, 2 test) of all that the annotations know."""
    rows = (folder / "list_attr_celeba.txt").read_text(encoding="utf-8").splitlines()[2:]
    parts = (folder / "list_eval_partition.txt").read_text(encoding="utf-8").splitlines()
    y_NA = np.array([row.split()[1:] for row in rows], dtype=np.int8) > 0
    return y_NA.astype(np.uint8), np.array([int(line.split()[1]) for line in parts])


def _error(p_A: Floats, request: Request) -> float:
    open_A = np.setdiff1d(np.arange(len(p_A)), request.positions)
    return float(np.abs(p_A - request.predicted_NA.mean(0))[open_A].mean())


def _log_sum(log_NK: Floats) -> Floats:
    found: Floats = np.logaddexp.reduce(log_NK, axis=1)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--celeba", type=Path, required=True, help="folder of CelebA's annotations")
    arguments = parser.parse_args()
    y_NA, part_N = read_celeba(arguments.celeba)
    chosen = stream(0, "known").permutation(np.flatnonzero(part_N == 0))[:KNOWN_VECTORS]
    known_MA, other_NA = y_NA[chosen], np.delete(y_NA, chosen, axis=0)
    requests = {kind: choose_requests(known_MA, other_NA, kind) for kind in REQUESTS}
    makers: dict[str, Callable[[], LabelModel]] = {
        "independent": lambda: independent(known_MA),
        **{f"kernel {width}": lambda width=width: kernel(known_MA, width) for width in KERNELS},  # type: ignore[misc]
        "tree": lambda: Tree(known_MA),
        f"mixture of {COMPONENTS}": lambda: mixture(known_MA),
        "chain": lambda: Chain(known_MA),
    }
    results = {}
    for name, make in makers.items():
        results[name] = measure(make, y_NA[part_N == 1], requests)
        print(name, json.dumps(results[name]))
    told = {
        "date": datetime.now(UTC).date().isoformat(),
        "limner_version": __version__,
        "machine": machine_facts(torch.device("cpu")),
        "known": len(known_MA),
        "val": int((part_N == 1).sum()),
        "others": len(other_NA),
        "requests": {kind: len(of_kind) for kind, of_kind in requests.items()},
        "models": results,
        "nearest": {kind: {"frequency_error": nearest_error(known_MA, of_kind)} for kind, of_kind in requests.items()},
    }
    print("nearest", json.dumps(told["nearest"]))
    RESULTS.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
