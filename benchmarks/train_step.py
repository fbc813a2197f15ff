"""Measure this machine's training and drawing speed; write results/train_step.json and the table beside it."""

import argparse
from pathlib import Path

from limner.bench import bench
from limner.bench.records import Bench
from limner.bench.show import summary, tables

RESULTS = Path(__file__).parent / "results"


def markdown(result: Bench) -> str:
    """The tables and sentences of `limner bench` as Markdown."""
    parts = []
    for title, header, rows in tables(result):
        lines = [header, ["---"] * len(header), *rows]
        parts.append(f"## {title}\n\n" + "\n".join(f"| {' | '.join(cells)} |" for cells in lines))
    return "\n\n".join([*parts, *summary(result)]) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", nargs="?", default="dcgan")
    parser.add_argument("--steps", type=int, default=8)
    arguments = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    measured = bench(arguments.recipe, arguments.steps, RESULTS / "train_step.json")
    (RESULTS / "train_step.md").write_text(markdown(measured), encoding="utf-8")
