"""How much faster does a CPU train when the C library keeps freed memory (`limner.core.memory`)?

    python benchmarks/freed_memory.py --data celeba64 --recipes dcgan modern-cpu

Steps of the same training, alternating in two processes, one of which keeps freed memory. Writes
results/freed_memory.json: speed, the share of processor time that the system takes, and the most memory.
"""

import argparse
import json
import multiprocessing
import resource
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from limner.bench.measure import Work, interleave, load_average, our_training, resident_mib
from limner.bench.plain_loop import steps_per_round
from limner.bench.records import Ratio
from limner.core.device import machine_facts
from limner.core.distributed import start_engine
from limner.core.memory import freed_memory_kept
from limner.data.packed import PackedFaces
from limner.recipes.load import load_recipe

RESULTS = Path(__file__).parent / "results" / "freed_memory.json"
WAYS = ("usual", "kept")
here: dict[str, Any] = {}


def begin(way: str, name: str, data: Path) -> None:
    """What a process does first."""
    if way == "kept":
        here["memory"] = freed_memory_kept()
        here["memory"].__enter__()
    recipe = load_recipe(name)
    engine = start_engine("cpu", recipe.engine.precision, recipe.engine.graphs)
    here["work"] = our_training(recipe, engine, PackedFaces.open(data))


def work(times: int) -> None:
    here["work"](times)


def facts() -> dict[str, float]:
    """Of the process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {"system_share": used.ru_stime / (used.ru_stime + used.ru_utime), "peak_mib": resident_mib(peak=True)}


def measure(name: str, data: Path, rounds: int) -> dict[str, Any]:
    """Both ways for one recipe."""
    recipe = load_recipe(name)
    images = recipe.schedule.batch * steps_per_round(recipe)
    context = multiprocessing.get_context("spawn")
    with (
        ProcessPoolExecutor(1, context, begin, ("usual", name, data)) as usual,
        ProcessPoolExecutor(1, context, begin, ("kept", name, data)) as kept,
    ):
        pools = dict(zip(WAYS, (usual, kept), strict=True))

        def works(way: str) -> Work:
            return lambda times: pools[way].submit(work, times).result()

        speeds = interleave({way: works(way) for way in WAYS}, images, rounds, lambda _: None)
        return {
            "batch": recipe.schedule.batch,
            **{way: speeds[way].model_dump() | pools[way].submit(facts).result() for way in WAYS},
            "ratio": Ratio.of(speeds["usual"], speeds["kept"]).model_dump(),
        }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--recipes", nargs="+", default=["dcgan", "modern-cpu"])
    parser.add_argument("--rounds", type=int, default=10)
    arguments = parser.parse_args()
    before = load_average()
    rows = {name: measure(name, arguments.data, arguments.rounds) for name in arguments.recipes}
    result = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "torch_version": torch.__version__,
        "machine": machine_facts(torch.device("cpu")),
        "load_average": {"before": before, "after": load_average()},
        "recipes": rows,
    }
    RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for name, row in rows.items():
        speeds = ", ".join(
            f"{way} {row[way]['images_per_second']:.1f} images/s ({row[way]['system_share']:.1%} system, "
            f"{row[way]['peak_mib']:.0f} MiB)"
            for way in WAYS
        )
        print(f"{name}: {speeds}; ratio {row['ratio']['of_medians']:.2f} ({row['ratio']['median_of_pairs']:.2f})")
