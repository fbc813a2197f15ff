"""How much faster does a CPU train `modern-cpu` with torch.compile, and how long does compiling take?

    python benchmarks/compiled.py --data celeba64

Steps of both alternate in one process. Steps with a penalty (every eighth) are never compiled: torch.compile cannot
differentiate twice. Needs a C++ compiler. Writes results/compiled.json.
"""

import argparse
import json
import time
from datetime import UTC, datetime
from pathlib import Path

import torch

from limner.bench.measure import SEED, Work, fresh_state, interleave, load_average
from limner.bench.records import Ratio
from limner.core.device import machine_facts
from limner.core.distributed import Engine, start_engine
from limner.data.batches import Batches
from limner.data.packed import PackedFaces
from limner.recipes.load import load_recipe
from limner.recipes.schema import Recipe
from limner.training.loop import train_step
from limner.training.steps import Phase

RESULTS = Path(__file__).parent / "results" / "compiled.json"


def training(recipe: Recipe, engine: Engine, faces: PackedFaces, compiled: bool) -> Work:
    """As many steps of a new training as lie between two penalties, and the one with it."""
    state = fresh_state(recipe, engine.device)
    batches = Batches(faces, SEED, recipe.data.flip, engine.device, recipe.data.range)
    plain = {name: state.networks[name].forward for name in state.optimizers}
    fast = {name: torch.compile(forward, dynamic=False) for name, forward in plain.items()} if compiled else plain

    def run(times: int) -> None:
        for _ in range(times * recipe.objective.penalty_every):
            chosen = plain if Phase.at(recipe, state.images_seen).penalty_scale else fast
            for name, forward in chosen.items():
                state.networks[name].forward = forward
            train_step(recipe, state, batches, engine, SEED)

    return run


def seconds(work: Work) -> float:
    start = time.perf_counter()
    work(1)
    return time.perf_counter() - start


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=10)
    arguments = parser.parse_args()
    recipe, faces, before = load_recipe("modern-cpu"), PackedFaces.open(arguments.data), load_average()
    engine = start_engine("cpu", recipe.engine.precision)
    works = {name: training(recipe, engine, faces, name == "compiled") for name in ("plain", "compiled")}
    first = {name: seconds(work) for name, work in works.items()}
    images = recipe.schedule.batch * recipe.objective.penalty_every
    speeds = interleave(works, images, arguments.rounds, lambda _: None)
    result = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "torch_version": torch.__version__,
        "machine": machine_facts(torch.device("cpu")),
        "precision": engine.precision,
        "load_average": {"before": before, "after": load_average()},
        "first_seconds": first,
        "speeds": {name: speed.model_dump() for name, speed in speeds.items()},
        "ratio": Ratio.of(speeds["plain"], speeds["compiled"]).model_dump(),
    }
    RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for name, speed in speeds.items():
        print(f"{name}: {speed.images_per_second:.1f} images/s; the first {images} images took {first[name]:.1f} s")
    print(f"ratio {result['ratio']['of_medians']:.2f} ({result['ratio']['median_of_pairs']:.2f})")
