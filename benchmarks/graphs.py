"""How much faster does a GPU train where steps are replayed as CUDA graphs than where the host launches every kernel?

A row is a recipe and its `--set` overrides: so many steps to warm up, which capture the graphs, then as many by the
clock, first without graphs, then with them. Needs a CUDA device. Results go to results/graphs.json, and the table of
docs/train.md is made of them.
"""

import argparse
import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from modern import both
from page import DOCS, put_rows

from limner.core.device import machine_facts
from limner.core.distributed import start_engine
from limner.data.packed import PackedFaces
from limner.recipes.load import load_recipe
from limner.training.graphs import Graphs
from limner.training.loop import train_step
from limner.training.modality import open_modality
from limner.training.state import State

RESULTS = Path(__file__).parent / "results" / "graphs.json"
BEGIN = "<!-- rows: python benchmarks/graphs.py -->"
STEPS = 48
ROWS = {
    "modern, width 64": ("modern", both(width=64, max_width=512)),
    "modern-cpu": ("modern-cpu", []),
    "dcgan": ("dcgan", []),
    "wgan-gp": ("wgan-gp", []),
}


def images_per_second(name: str, overrides: list[str], faces: PackedFaces, graphs: bool) -> float:
    """Of STEPS steps in the precision that the device chooses."""
    recipe = load_recipe(name, overrides)
    engine = start_engine("cuda", "auto", graphs)
    state, source = State.fresh(recipe, 0, engine.device), open_modality(recipe, faces).source(0, engine.device)

    cache = Graphs() if graphs else None

    def go_on() -> float:
        began = time.perf_counter()
        for _ in range(STEPS):
            state.set_learning_rates(recipe, 0.1)
            train_step(recipe, state, source, engine, 0, cache)
        torch.cuda.synchronize()
        return time.perf_counter() - began

    go_on()
    return STEPS * recipe.schedule.batch / go_on()


def table(rows: list[dict[str, Any]]) -> str:
    lines = ["| recipe | batch | images/s, launched | images/s, replayed | ratio |", "|---|---|---|---|---|"]
    for row in rows:
        launched, replayed = row["images_per_second"]
        name, batch = row["row"], row["batch"]
        lines.append(f"| {name} | {batch} | {launched:,.0f} | {replayed:,.0f} | {replayed / launched:.1f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="prepared images, 64 pixels wide")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    faces = PackedFaces.open(arguments.data)
    rows = [
        {
            "row": row,
            "overrides": overrides,
            "batch": load_recipe(name, overrides).schedule.batch,
            "images_per_second": [images_per_second(name, overrides, faces, graphs) for graphs in (False, True)],
        }
        for row, (name, overrides) in ROWS.items()
    ]
    told = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "torch": torch.__version__,
        "machine": machine_facts(torch.device("cuda")),
        "rows": rows,
    }
    arguments.out.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    put_rows(DOCS / "train.md", BEGIN, table(rows))
