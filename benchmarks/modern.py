"""What is each part of `modern-cpu` worth? Train it with one part changed at a time, for equally long, and measure.

Every row is a recipe and its `--set` overrides: `limner train` and `limner evaluate` with the same words give it
again. Results go to results/modern.json as they come, and the table of docs/modern.md is made of all of them. A run
that is already in `--runs` is not trained again.
"""

import argparse
import json
import re
import shlex
import statistics
from pathlib import Path
from typing import Any

from page import DOCS, put_rows

from limner.data.packed import PackedFaces
from limner.evaluation.evaluate import evaluate
from limner.runs.run import Run
from limner.training.session import train

RESULTS = Path(__file__).parent / "results" / "modern.json"
BEGIN = "<!-- rows: python benchmarks/modern.py -->"
PLAYERS = ("generator", "discriminator")
KEY = ("row", "budget", "seed", "threads", "processor")  # what tells results apart
QUIET = ["record.evaluate_images=0"]  # measuring as it goes would take minutes from the training


def both(**settings: object) -> list[str]:
    """Overrides of both players' networks."""
    return [f"{player}.{name}={value}" for player in PLAYERS for name, value in settings.items()]


def rates(value: float, equalised: bool = True) -> list[str]:
    """Overrides of both players' optimisers."""
    changes = [f"optimizer.{player}.lr={value}" for player in PLAYERS]
    return changes + ([] if equalised else [f"optimizer.{player}.equalised=false" for player in PLAYERS])


# The rows are the steps that led from what modern-cpu was at first to what it is, and what was tried at each of them.
STRONG_R1 = ["objective.r1=0.5"]
STEADY = ["schedule.decay=0", *STRONG_R1]
WIDE = [*STEADY, *both(width=48, max_width=384)]
FIRST = [*WIDE, "generator.norm=batch", "schedule.batch=16"]
SECOND = [*WIDE, "schedule.batch=16"]
WHOLE = ["schedule.decay=1", *STRONG_R1]
STEPS: dict[str, list[str]] = {
    "first, batch 64, learning rates 4e-4, not equalised": [*FIRST, *rates(4e-4, False), "schedule.batch=64"],
    "first, learning rates 4e-4, not equalised": [*FIRST, *rates(4e-4, False)],
    "first, learning rates 8e-4, not equalised": [*FIRST, *rates(8e-4, False)],
    "first (batch norm, batch 16, width 48)": FIRST,
    "first, learning rates 0.005": [*FIRST, *rates(0.005)],
    "first, learning rates 0.02": [*FIRST, *rates(0.02)],
    "first, learning rates 0.04": [*FIRST, *rates(0.04)],
    "first, pixel norm": [*FIRST, "generator.norm=pixel"],
    "first, batch 32": [*FIRST, "schedule.batch=32"],
    "first, learning rates that fall over the last 0.3": [*FIRST, "schedule.decay=0.3"],
    "second (batch norm modulated)": SECOND,
    "second, learning rates 0.015": [*SECOND, *rates(0.015)],
    "third (batch 8)": WIDE,
    "third, learning rates 0.015": [*WIDE, *rates(0.015)],
    "third, batch 4": [*WIDE, "schedule.batch=4"],
    "fourth (width 32)": STEADY,
    "fourth, width 24": [*STEADY, *both(width=24, max_width=192)],
    "fourth, discriminator of width 48": [*STEADY, "discriminator.width=48", "discriminator.max_width=384"],
    "fourth, discriminator's learning rate 0.02": [*STEADY, "optimizer.discriminator.lr=0.02"],
    "fourth, R1 0.1": ["schedule.decay=0", "objective.r1=0.1"],
    "fourth, no augmentation": [*STEADY, "augment.colour=0", "augment.shift=0"],
    "fifth (learning rates that fall over the last 0.3)": ["schedule.decay=0.3", *STRONG_R1],
    "fifth, over the whole run": WHOLE,
    "fifth, over the whole run, no colour": [*WHOLE, "augment.colour=0"],
    "fifth, over the whole run, learning rates 0.006": [*WHOLE, *rates(0.006)],
    "fifth, over the whole run, learning rates 0.006, R1 0.1": ["schedule.decay=1", *rates(0.006)],
    "modern-cpu": [],
    "modern-cpu, learning rates 0.008": rates(0.008),
    "modern-cpu, hinge": ["objective.name=hinge"],
    "modern-cpu, relativistic": ["objective.name=relativistic"],
    "modern-cpu, relativistic, R2 0.1 too": ["objective.name=relativistic", "objective.r2=0.1"],
    "modern-cpu, R1 0.03": ["objective.r1=0.03"],
}
ROWS: dict[str, tuple[str, list[str]]] = {
    **{row: ("modern-cpu", changes) for row, changes in STEPS.items()},
    "first, with attributes": ("modern-attributes", [*FIRST, *rates(0.01)]),
    "third, with attributes": ("modern-attributes", [*WIDE, *rates(0.01)]),
    "fourth, with attributes": ("modern-attributes", [*STEADY, *rates(0.01)]),
    "modern-attributes, learning rates that fall over the last 0.3": ("modern-attributes", ["schedule.decay=0.3"]),
    **{name: (name, []) for name in ("modern-attributes", "acgan", "cgan", "dcgan")},
    "modern-cpu-128, its images 128 pixels wide": ("modern-cpu-128", []),
}


def measure(row: str, seed: int, budget: dict[str, Any], faces: PackedFaces, runs: Path) -> dict[str, Any]:
    """Train one row, or take the run that is there, and measure it."""
    recipe, changes = ROWS[row]
    path = runs / f"{row}-{words(budget)}-{seed}".replace(" ", "_")
    run = (
        Run.open(path)
        if path.exists()
        else train(recipe, faces, path, overrides=[*changes, *QUIET], seed=seed, **budget)
    )
    results = evaluate(path, faces)
    metrics = {result.metric: result.value for result in results}
    floors = {result.metric: result.floor.value for result in results if result.floor}
    lines, info = run.log, run.info
    stop = lines[-1]
    return {
        "row": row,
        "command": shlex.join(["limner", "train", recipe, *(word for change in changes for word in ("--set", change))]),
        "seed": seed,
        "budget": words(budget),
        "images_seen": stop["images_seen"],
        "seconds": stop["seconds"],
        "threads": info["machine"]["threads"],
        "processor": info["machine"]["device_name"],
        "data": {key: info["data"][key] for key in ("name", "train", "crop", "content_hash")},
        "metrics": metrics,
        "floors": floors,
        "started": info["started"],
    }


def words(budget: dict[str, Any]) -> str:
    return " ".join(f"{value:,} {unit}".replace(".0 ", " ") for unit, value in budget.items())


def table(results: list[dict[str, Any]]) -> str:
    """A table for each machine and number of threads; in it a line for each row and budget, in the order of ROWS."""
    order = [*ROWS]
    results = sorted(
        results, key=lambda one: (one["processor"], one["threads"], order.index(one["row"]), one["seconds"])
    )
    lines: list[str] = []
    for machine in dict.fromkeys((one["processor"], one["threads"]) for one in results):
        processor, threads = machine
        here = [one for one in results if (one["processor"], one["threads"]) == machine]
        name = re.sub(r"\(R\)| Processor", "", processor)
        lines += [
            f"\n{name}, {'one thread' if threads == 1 else f'{threads} threads'}:\n",
            "| row | budget | images | minutes | seeds | `fd_lite0` | control |",
            "|---|---|---|---|---|---|---|",
        ]
        for kind in dict.fromkeys((one["row"], one["budget"]) for one in here):
            same = [one for one in here if (one["row"], one["budget"]) == kind]
            images, seconds = (statistics.mean(one[name] for one in same) for name in ("images_seen", "seconds"))
            lines.append(
                f"| {kind[0]} | {kind[1]} | {images:,.0f} | {seconds / 60:.1f} | {len(same)} "
                f"| {spread(same, 'fd_lite0', '.1f')} | {spread(same, 'attribute_control_mean', '.2f')} |"
            )
    return "\n".join(lines)


def spread(same: list[dict[str, Any]], metric: str, form: str) -> str:
    """Mean and standard deviation of three seeds and more; every value where there are fewer."""
    values = [one["metrics"][metric] for one in same if metric in one["metrics"]]
    if len(values) < 3:
        return ", ".join(format(value, form) for value in values)
    return f"{format(statistics.mean(values), form)} ± {format(statistics.stdev(values), form)}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {'; '.join(ROWS)}")
    parser.add_argument("--data", type=Path, required=True, help="prepared images, as wide as the rows' recipes say")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    budgets = parser.add_mutually_exclusive_group()
    budgets.add_argument("--minutes", type=float)
    budgets.add_argument("--images", type=int)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    arguments = parser.parse_args()

    budget = {"images": arguments.images} if arguments.images else {"minutes": arguments.minutes or 8.0}
    faces = PackedFaces.open(arguments.data)
    known = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    for row in arguments.rows or ROWS:
        for seed in arguments.seeds:
            one = measure(row, seed, budget, faces, arguments.runs)
            known["/".join(str(one[part]) for part in KEY)] = one
            RESULTS.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
            put_rows(DOCS / "modern.md", BEGIN, table(list(known.values())))
            print(table([one]).splitlines()[-1], flush=True)
