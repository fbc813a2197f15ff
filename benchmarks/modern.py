"""What is each part of `modern-cpu` worth? Train it with one part changed at a time, for the same minutes, and measure.

Every row is a recipe and its `--set` overrides: `limner train` and `limner evaluate` with the same words give it
again. Results go to results/modern.json as they come, and the table of docs/modern.md is made of all of them. A run
that is already in `--runs` is not trained again.
"""

import argparse
import json
import shlex
import statistics
from pathlib import Path
from typing import Any

from page import DOCS, put_rows

from limner.data.packed import PackedFaces
from limner.evaluation.evaluate import evaluate
from limner.run import Run
from limner.training.session import train

RESULTS = Path(__file__).parent / "results" / "modern.json"
BEGIN = "<!-- rows: python benchmarks/modern.py -->"
QUIET = ["record.evaluate_images=0"]  # measuring as it goes would take minutes from the training


def rates(value: str) -> list[str]:
    return [f"optimizer.{player}.lr={value}" for player in ("generator", "discriminator")]


PLAIN = [f"optimizer.{player}.equalised=false" for player in ("generator", "discriminator")]
WIDER = [f"{player}.{of}" for player in ("generator", "discriminator") for of in ("width=64", "max_width=192")]
ROWS: dict[str, tuple[str, list[str]]] = {
    "modern-cpu": ("modern-cpu", []),
    "rates 0.005": ("modern-cpu", rates("0.005")),
    "rates 0.02": ("modern-cpu", rates("0.02")),
    "rates 0.04": ("modern-cpu", rates("0.04")),
    "rates 8e-4, not equalised": ("modern-cpu", [*PLAIN, *rates("8e-4")]),
    "rates 8e-4, not equalised, width 64": ("modern-cpu", [*PLAIN, *rates("8e-4"), *WIDER]),
    "modern-attributes": ("modern-attributes", []),
    "rates 4e-4, not equalised": ("modern-cpu", [*PLAIN, *rates("4e-4")]),
    "rates 4e-4, not equalised, batch 64": ("modern-cpu", [*PLAIN, *rates("4e-4"), "schedule.batch=64"]),
}


def measure(row: str, seed: int, minutes: float, faces: PackedFaces, runs: Path) -> dict[str, Any]:
    """Train one row, or take the run that is there, and measure it."""
    recipe, changes = ROWS[row]
    path = runs / f"{row}-{minutes:g}-{seed}".replace(" ", "_")
    run = (
        Run.open(path)
        if path.exists()
        else train(recipe, faces, path, minutes=minutes, overrides=[*changes, *QUIET], seed=seed)
    )
    metrics = {result.metric: result.value for result in evaluate(path, faces)}
    lines, info = run.log, run.info
    stop = lines[-1]
    return {
        "row": row,
        "command": shlex.join(["limner", "train", recipe, *(word for change in changes for word in ("--set", change))]),
        "seed": seed,
        "minutes": minutes,
        "images": stop["images"],
        "seconds": stop["seconds"],
        "threads": info["machine"]["threads"],
        "processor": info["machine"]["device_name"],
        "data": {key: info["data"][key] for key in ("name", "train", "crop", "content_hash")},
        "metrics": metrics,
        "started": info["started"],
    }


def table(results: list[dict[str, Any]]) -> str:
    """A line for each row and length, with the spread over seeds where there are several."""
    lines = ["| row | minutes | threads | images | seeds | `fd_lite0` |", "|---|---|---|---|---|---|"]
    keys = dict.fromkeys((one["row"], one["minutes"], one["threads"]) for one in results)
    for row, minutes, threads in keys:
        same = [one for one in results if (one["row"], one["minutes"], one["threads"]) == (row, minutes, threads)]
        values = [one["metrics"]["fd_lite0"] for one in same]
        spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
        images = statistics.mean(one["images"] for one in same)
        distance = f"{statistics.mean(values):.1f}{spread}"
        lines.append(f"| {row} | {minutes:g} | {threads} | {images:,.0f} | {len(same)} | {distance} |")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {'; '.join(ROWS)}")
    parser.add_argument("--data", type=Path, required=True, help="prepared pictures, 64 pixels wide")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    arguments = parser.parse_args()

    faces = PackedFaces.open(arguments.data)
    known = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    for row in arguments.rows or ROWS:
        for seed in arguments.seeds:
            one = measure(row, seed, arguments.minutes, faces, arguments.runs)
            known[f"{row}/{arguments.minutes:g}/{seed}"] = one
            RESULTS.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
            put_rows(DOCS / "modern.md", BEGIN, table(list(known.values())))
            print(table([one]).splitlines()[-1], flush=True)
