"""How much faster is a training step of each recipe than the plain loop's? One table, a row for each recipe.

Rows go to results/recipe_steps.json as they are measured; those of other recipes stay, so that the table can be made in
batches. The table beside it holds all of them. `train_step.py` looks closer at one recipe.
"""

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from limner.bench.jpegs import write_jpegs
from limner.bench.measure import (
    SEED,
    WARM_UP,
    compare_losses,
    interleave,
    load_average,
    loop_processes,
    loss_differences,
)
from limner.bench.plain_loop import steps_per_round
from limner.bench.records import LOOPS, Ratio
from limner.core.console import progress_bar
from limner.core.device import machine_facts
from limner.core.distributed import start_engine
from limner.preparation.prepare import prepare
from limner.recipes import recipe_names
from limner.recipes.load import load_recipe
from limner.recipes.schema import Recipe

RESULTS = Path(__file__).parent / "results"
# A narrower dcgan32, curves, and what the plain loop does not know.
LEFT_OUT = ("demo", "painter", "modern", "modern-cpu", "modern-cpu-128", "modern-attributes", "finetune")
CHANGES = {"dcgan-r1": ("dcgan", ["discriminator.norm=none", "objective.r1=1"])}
ROWS = [*(name for name in recipe_names() if name not in LEFT_OUT), *CHANGES]


def measure(recipe: Recipe, folder: Path, steps: int) -> dict[str, Any]:
    """A row of the table, from the JPEGs below `folder`."""
    engine = start_engine("auto", recipe.engine.precision, recipe.engine.graphs)
    view, rounds = recipe.data, steps + WARM_UP + 1
    faces = prepare(
        folder / "jpegs", folder / "packed", size=view.size, crop=view.crop, seed=SEED, force=True, quiet=True
    )
    load_before = load_average()
    with progress_bar(recipe.name, rounds, "rounds") as advance:
        losses = compare_losses(recipe, engine.device, faces)
        advance(1)
        with loop_processes(recipe, engine, folder / "jpegs", faces.path) as processes:
            works = {loop: process.work for loop, process in processes.items()}
            speeds = interleave(works, recipe.schedule.batch * steps_per_round(recipe), steps, advance)
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "torch_version": torch.__version__,
        "machine": machine_facts(engine.device),
        "load_average": {"before": load_before, "after": load_average()},
        "batch": recipe.schedule.batch,
        "steps_per_round": steps_per_round(recipe),
        "precision": engine.precision,
        "training": {loop: speeds[loop].model_dump() for loop in LOOPS},
        "ratio": Ratio.of(speeds["reference"], speeds["ours"]).model_dump(),
        "loss_differences": loss_differences(losses["reference"], losses["ours"]),
    }


def table(rows: dict[str, dict[str, Any]]) -> str:
    """The rows as Markdown."""
    lines = [
        "| recipe | plain loop, s | Limner, s | ratio of medians | median of ratios | losses differ by | load |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        plain, ours = (row["training"][loop]["median_seconds"] for loop in LOOPS)
        several = f" ({row['steps_per_round']} of the critic)" if row["steps_per_round"] > 1 else ""
        lines.append(
            f"| `{name}`{several} | {plain:.2f} | {ours:.2f} | {row['ratio']['of_medians']:.2f} "
            f"| {row['ratio']['median_of_pairs']:.2f} | {max(row['loss_differences']):.0e} "
            f"| {row['load_average']['before'][0]:.1f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", nargs="+", choices=ROWS, default=ROWS, metavar="NAME", help=", ".join(ROWS))
    parser.add_argument("--steps", type=int, default=6, help="samples of each loop, in turn")
    parser.add_argument("--out", type=Path, default=RESULTS / "recipe_steps.json")
    arguments = parser.parse_args()

    known = json.loads(arguments.out.read_text(encoding="utf-8")) if arguments.out.exists() else {}
    with TemporaryDirectory(prefix="limner-bench-") as temporary:
        write_jpegs(Path(temporary) / "jpegs", SEED)
        for name in arguments.recipes:
            recipe, changes = CHANGES.get(name, (name, []))
            known[name] = measure(load_recipe(recipe, changes), Path(temporary), arguments.steps)
            rows = {row: known[row] for row in ROWS if row in known}
            arguments.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
            arguments.out.with_suffix(".md").write_text(table(rows), encoding="utf-8")
            print(table({name: known[name]}).splitlines()[-1], flush=True)
    print(table(rows))
