"""How long does a Fréchet distance of 2048 features take? Ours beside the square root of a matrix and eigenvalues.

All solve the same two covariances, in turn, so that whatever else the machine does falls on each of them. `sqrtm` is
what the first FID took; torch-fidelity 0.4 and torchmetrics take eigenvalues of the product, which is not symmetric.
On a busy machine run it with OMP_NUM_THREADS=1, for threads that wait for each other lose the most.
"""

import argparse
import json
import os
import time
from pathlib import Path
from statistics import median

import numpy as np
import scipy
import torch
from numpy.typing import NDArray

from limner.core.device import machine_facts
from limner.evaluation.distances import Moments, frechet_distance

SPREAD = 1e-3  # of the standard deviations of features, the least to the largest


def sample_moments(seed: int, images: int, dimension: int) -> Moments:
    """Of correlated features, no two of whose principal axes spread alike."""
    spread_D = np.geomspace(1, SPREAD, dimension) / np.sqrt(dimension)
    mixing_DD = np.random.default_rng(0).standard_normal((dimension, dimension)) * spread_D
    random, moments = np.random.default_rng(seed), Moments()
    for count in [1000] * (images // 1000):
        moments.add((random.standard_normal((count, dimension)) + 0.1 * seed) @ mixing_DD)
    return moments


def by_sqrtm(one: Moments, other: Moments) -> float:
    return _distance(one, other, np.trace(scipy.linalg.sqrtm(one.covariance_DD @ other.covariance_DD)).real)


def by_eigvals(one: Moments, other: Moments) -> float:
    product_DD = torch.from_numpy(one.covariance_DD @ other.covariance_DD)
    return _distance(one, other, float(torch.linalg.eigvals(product_DD).sqrt().real.sum()))


def _distance(one: Moments, other: Moments, overlap: float) -> float:
    shift_D: NDArray[np.float64] = one.mean_D - other.mean_D
    return float(shift_D @ shift_D + np.trace(one.covariance_DD) + np.trace(other.covariance_DD) - 2 * overlap)


SOLVERS = {"limner": frechet_distance, "scipy.linalg.sqrtm": by_sqrtm, "torch.linalg.eigvals": by_eigvals}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dimension", type=int, default=2048)
    parser.add_argument("--images", type=int, default=5000, help="thousands of them, in each set")
    parser.add_argument("--samples", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "distances.json")
    arguments = parser.parse_args()
    load_before = os.getloadavg()
    pair = [sample_moments(seed, arguments.images, arguments.dimension) for seed in (1, 2)]
    seconds: dict[str, list[float]] = {name: [] for name in SOLVERS}
    processor_seconds: dict[str, list[float]] = {name: [] for name in SOLVERS}
    values: dict[str, float] = {}
    for _ in range(arguments.samples):
        for name, solve in SOLVERS.items():
            wall, processor = time.perf_counter(), time.process_time()
            values[name] = solve(*pair)
            seconds[name].append(time.perf_counter() - wall)
            processor_seconds[name].append(time.process_time() - processor)
    ours = median(seconds["limner"])
    result = {
        "dimension": arguments.dimension,
        "images": arguments.images,
        "distance": values,
        "seconds": seconds,
        "processor_seconds": processor_seconds,
        "median_seconds": {name: median(samples) for name, samples in seconds.items()},
        "times_as_long_as_limner": {name: median(samples) / ours for name, samples in seconds.items()},
        "load_average": {"before": load_before, "after": os.getloadavg()},
        "versions": {"torch": torch.__version__, "numpy": np.__version__, "scipy": scipy.__version__},
        "machine": machine_facts(torch.device("cpu")),
    }
    for name in SOLVERS:
        times = result["times_as_long_as_limner"][name]
        print(f"{name:>20}  {median(seconds[name]):6.2f} s  {times:5.1f} x  distance {values[name]:.9g}")
    arguments.out.parent.mkdir(exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
