"""What several processes cost and save: the time of a measurement, and the bytes of a step, from which they scale.

    python benchmarks/processes.py measuring --data DIR
    python benchmarks/processes.py messages --data DIR

`measuring`: the evaluation of a training (2,000 images of the shipped `faces`) on one process and on two, of one thread
each. On a machine that does other things too, the seconds of CPU say more than the clock. `messages`: what a process
passes to all-reduce in a step, on two processes (gloo), and what that means for 8 and 64 GPUs: see `scaled`. Results go
to results/processes.json, and the tables of docs/scale.md are made of them.
"""

import argparse
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from graphs import RESULTS as GRAPHS
from graphs import ROWS
from page import DOCS, put_rows
from torch import Tensor

from limner.core import distributed
from limner.core.device import machine_facts
from limner.data.packed import PackedFaces
from limner.model.model import load
from limner.recipes.load import load_recipe
from limner.recipes.schema import Adversarial
from limner.runs.run import Run
from limner.training.loop import train_step
from limner.training.modality import open_modality
from limner.training.state import State
from limner.training.validation import Validation

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from several_processes import run_on

RESULTS = Path(__file__).parent / "results" / "processes.json"
MEASURING = "<!-- rows: python benchmarks/processes.py measuring -->"
MESSAGES = "<!-- rows: python benchmarks/processes.py messages -->"
BATCH = 16  # of the counted steps: gradients do not grow with it
# By the number of GPUs: bytes a second of a ring (80 % of NVLink's 450 GB/s a direction within one machine; between
# machines, of eight 400 Gb/s cards in each), and seconds that an all-reduce takes however small it is.
GPUS = {8: (360e9, 20e-6), 64: (320e9, 60e-6)}


def measure(out: Path, data: Path) -> None:
    """In each process: one measurement; the main one writes the seconds, and those of CPU of the busiest process."""
    torch.set_num_threads(1)
    engine = distributed.start_engine("cpu", "fp32")
    faces, model = PackedFaces.open(data), load("faces")
    validation = Validation(Run(out.parent), faces, engine, lambda: False)
    validation.setup.prepare()
    engine.wait()
    began, cpu_began = time.perf_counter(), time.process_time()
    validation.validate(model)
    engine.wait()
    seconds, cpu = time.perf_counter() - began, engine.gather(torch.tensor([time.process_time() - cpu_began]))
    if engine.is_main:
        out.write_text(json.dumps({"seconds": round(seconds, 1), "cpu_seconds": round(cpu.max().item(), 1)}))


def measuring(data: Path) -> list[dict[str, Any]]:
    rows = []
    with tempfile.TemporaryDirectory() as beside:
        for processes in (1, 2):
            out = Path(beside) / "seconds.json"
            run_on(processes, measure, out, data)
            told = {"processes": processes, "load": round(os.getloadavg()[0], 1)}
            rows.append(told | json.loads(out.read_text()))
    return rows


def count(out: Path, name: str, overrides: Sequence[str], data: Path) -> None:
    """In each of two processes: a cycle of steps; the main one writes how many bytes and messages it passed on."""
    sizes: list[int] = []
    reduce = distributed._all_reduce

    def counted(tensor: Tensor) -> None:
        sizes.append(tensor.nbytes)
        reduce(tensor)

    torch.set_num_threads(1)
    recipe = load_recipe(name, [*overrides, f"schedule.batch={BATCH}"])
    engine = distributed.start_engine("cpu", "fp32")
    modality = open_modality(recipe, data)
    state, source = State.fresh(recipe, 0, engine.device), modality.source(0, engine.device)
    assert isinstance(recipe.objective, Adversarial)
    steps = math.lcm(recipe.objective.discriminator_steps, recipe.objective.penalty_every)
    distributed._all_reduce = counted
    for _ in range(steps):
        train_step(recipe, state, source, engine, 0)
    if engine.is_main:
        out.write_text(json.dumps({"bytes": sum(sizes) / steps, "messages": len(sizes) / steps, "steps": steps}))
    engine.wait()


def messages(data: Path) -> list[dict[str, Any]]:
    speeds = {row["row"]: row for row in json.loads(GRAPHS.read_text(encoding="utf-8"))["rows"]}
    rows = []
    with tempfile.TemporaryDirectory() as beside:
        for row, (name, overrides) in ROWS.items():
            out = Path(beside) / "counted.json"
            run_on(2, count, out, name, overrides, data)
            batch, rate = speeds[row]["batch"], speeds[row]["images_per_second"][0]
            told = {"row": row, "batch": batch, "images_per_second_of_one": rate, **json.loads(out.read_text())}
            rows.append(told | {str(gpus): scaled(told, gpus) for gpus in GPUS})
    return rows


def scaled(row: dict[str, Any], gpus: int) -> dict[str, float]:
    """Images a second on so many GPUs, each with the recipe's batch, and the part of N times one GPU that they are.

    A step takes batch / rate + 2 (N - 1) / N * bytes / bandwidth + messages * latency: nothing overlaps.
    """
    bandwidth, latency = GPUS[gpus]
    alone = row["batch"] / row["images_per_second_of_one"]
    together = alone + 2 * (gpus - 1) / gpus * row["bytes"] / bandwidth + row["messages"] * latency
    return {"images_per_second": round(gpus * row["batch"] / together), "efficiency": round(alone / together, 3)}


def measuring_table(rows: Sequence[dict[str, Any]]) -> str:
    lines = [
        "| processes, of one thread | seconds of CPU of the busiest | seconds | load average |",
        "|---|---|---|---|",
    ]
    cells = [f"| {row['processes']} | {row['cpu_seconds']} | {row['seconds']} | {row['load']} |" for row in rows]
    return "\n".join([*lines, *cells])


def messages_table(rows: Sequence[dict[str, Any]]) -> str:
    lines = [
        "| recipe | batch of each GPU | MB a step | messages a step | images/s on 1 GPU | on 8 | on 64 |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        words = [f"{row[str(n)]['images_per_second']:,} ({row[str(n)]['efficiency']:.0%})" for n in GPUS]
        counted = f"{row['bytes'] / 1e6:.1f} | {row['messages']:.0f} | {row['images_per_second_of_one']:,}"
        lines.append(f"| {row['row']} | {row['batch']} | {counted} | {' | '.join(words)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("measuring", "messages"))
    parser.add_argument("--data", type=Path, required=True, help="prepared images, 64 pixels wide")
    asked = parser.parse_args()
    import accelerate  # noqa: F401

    known = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
    rows = measuring(asked.data) if asked.part == "measuring" else messages(asked.data)
    known[asked.part] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "torch": torch.__version__,
        "machine": machine_facts(torch.device("cpu")),
        "rows": rows,
    }
    RESULTS.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    begin, table = (MEASURING, measuring_table) if asked.part == "measuring" else (MESSAGES, messages_table)
    put_rows(DOCS / "scale.md", begin, table(rows))


if __name__ == "__main__":
    main()
