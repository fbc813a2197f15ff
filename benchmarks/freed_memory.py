"""How much faster does a CPU train when the C library keeps freed memory (`limner.core.memory`)?

    python benchmarks/freed_memory.py --data celeba64 --recipes dcgan modern-cpu

Steps of the same training, alternating in two processes, one of which keeps freed memory. Writes
results/freed_memory.json: speed, the share of processor time that the system takes, and the most memory.
"""

import argparse
import json
import resource
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch

from limner.bench.measure import interleave, load_average, packed_training, resident_mib, work_processes
from limner.bench.plain_loop import steps_per_round
from limner.bench.records import Ratio
from limner.core.device import machine_facts
from limner.core.distributed import start_engine
from limner.recipes.load import load_recipe

RESULTS = Path(__file__).parent / "results" / "freed_memory.json"
WAYS = ("usual", "kept")


def system_share() -> float:
    """Of the processor time of this process so far, how much the system took."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_stime / (used.ru_stime + used.ru_utime)


def measure(name: str, data: Path, rounds: int) -> dict[str, Any]:
    """Both ways for one recipe."""
    recipe = load_recipe(name)
    engine = start_engine("cpu", recipe.engine.precision, recipe.engine.graphs)
    images = recipe.schedule.batch * steps_per_round(recipe)
    begin = {way: partial(packed_training, recipe, engine, data, way == "kept") for way in WAYS}
    with work_processes(begin) as processes:
        speeds = interleave({way: of.work for way, of in processes.items()}, images, rounds, lambda _: None)
        facts = {
            way: {"system_share": of.call(system_share), "peak_mib": of.call(resident_mib, True)}
            for way, of in processes.items()
        }
    return {
        "batch": recipe.schedule.batch,
        **{way: speeds[way].model_dump() | facts[way] for way in WAYS},
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
