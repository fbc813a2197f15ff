"""Does a training's memory grow? Train as `limner train` does and look at resident memory on the way.

Everything that a run writes (log lines, samples, checkpoints) is written several times before the first look, so that
what keeps growing after it is a leak.
"""

import argparse
import json
import threading
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from limner.bench.measure import resident_mib
from limner.core.device import machine_facts
from limner.data.packed import PackedFaces
from limner.preparation.prepare import prepare
from limner.recipes.load import load_recipe
from limner.runs.run import LOG, read_log
from limner.training.session import train

LOOKS = (0.05, 0.25, 0.5, 0.75, 1.0)
SETTLED = 1  # the look from which on growth counts: before it, caches and the allocator's pools still fill
WRITES_BEFORE_FIRST_LOOK = 4


def measure(recipe: str, data: PackedFaces, run: Path, steps: int) -> dict[int, float]:
    """Resident MiB by step, at `LOOKS` of the `steps`."""
    batch = load_recipe(recipe).schedule.batch
    every = max(1, round(steps * LOOKS[0] / WRITES_BEFORE_FIRST_LOOK)) * batch
    names = ("log_images", "sample_images", "checkpoint_images")
    seen: dict[int, float] = {}
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.05):
            log = read_log(run) if (run / LOG).is_file() else []
            shown = max((line.get("images_seen", 0) for line in log), default=0)
            for look in LOOKS:
                step = round(steps * look)
                if step not in seen and shown >= step * batch:
                    seen[step] = round(resident_mib(), 1)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        train(
            recipe,
            data,
            run,
            images=steps * batch,
            overrides=[f"record.{name}={every}" for name in names],
        )
    finally:
        over.set()
        watcher.join()
    seen.setdefault(steps, round(resident_mib(), 1))
    return seen


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", default="dcgan32")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--data", default="synthetic", help="prepared data, or `synthetic` for drawn faces")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "memory.json")
    arguments = parser.parse_args()
    with TemporaryDirectory(prefix="limner-memory-") as folder:
        if arguments.data == "synthetic":
            size = load_recipe(arguments.recipe).data.size
            faces = prepare("synthetic:512", Path(folder) / "data", size=size)
        else:
            faces = PackedFaces.open(arguments.data)
        resident = measure(arguments.recipe, faces, Path(folder) / "run", arguments.steps)
    first, last = sorted(resident)[SETTLED], max(resident)
    result = {
        "recipe": arguments.recipe,
        "resident_mib": resident,
        "growth_mib_per_1000_steps": round((resident[last] - resident[first]) / (last - first) * 1000, 2),
        "torch_version": torch.__version__,
        "machine": machine_facts(torch.device("cpu")),
    }
    for step, mib in resident.items():
        print(f"step {step:>6,}  {mib:,.1f} MiB")
    print(f"{result['growth_mib_per_1000_steps']} MiB per 1,000 steps after step {first}")
    arguments.out.parent.mkdir(exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
