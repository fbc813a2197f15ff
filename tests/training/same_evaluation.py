"""What test_processes.py measures on one process and on two: `same_evaluation.py MODEL DATA OUT`.

The command leaves OUT/WORLD.json; each number of processes has a cache of its own.
"""

import os
import sys
from pathlib import Path

import accelerate  # noqa: F401

import limner.evaluation.evaluate
from limner.cli import main as limner

sys.path.append(str(Path(__file__).parents[1]))
from several_processes import run_on


def main() -> None:
    model, data, out = sys.argv[1:]
    for world in (1, 2):
        run_on(world, evaluate, model, data, Path(out), world)


def evaluate(model: str, data: str, out: Path, world: int) -> None:
    os.environ["LIMNER_CACHE"] = str(out / f"cache{world}")
    options = ["--samples", "100", "--extractor", "lite0", "--device", "cpu", "--quiet"]
    sys.argv = ["limner", "evaluate", model, "--data", data, "--out", str(out / f"{world}.json"), *options]
    limner()


if __name__ == "__main__":
    main()
