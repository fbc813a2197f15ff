"""A stand-in for the trainings of a sweep: it writes what a run would hold, with values of a known function; and
workers of a sweep in processes of their own."""

import json
import math
import os
import traceback
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from stand_ins import make_result

from limner.recipes.load import load_recipe
from limner.runs.run import INFO, LOG, RECIPE, SAMPLES
from limner.sweeping.child import Job

BEST = 2e-4  # the rate at which `distance` is least
VALIDATIONS = 4


def distance(lr: float, images: int, seed: int = 0) -> float:
    """Falls with training, the lower the nearer `lr` is to BEST; every seed shifts it."""
    return 50 + 40 * abs(math.log10(lr / BEST)) + 100_000 / (images + 1000) + seed


def train(job: Job, watch: Callable[[], None]) -> None:
    """In the place of `run_job`: whole at once, or going on after the last of the validations that are there."""
    run, recipe = Path(job.out), load_recipe(job.recipe)
    (run / SAMPLES).mkdir(parents=True, exist_ok=True)
    (run / RECIPE).write_text(recipe.to_toml())
    (run / INFO).write_text("{}")
    metrics = run / "metrics.jsonl"
    done = len(metrics.read_text().splitlines()) if metrics.is_file() else 0
    for number in range(done + 1, VALIDATIONS + 1):
        images = job.images * number // VALIDATIONS
        value = distance(recipe.optimizer.generator.lr, images, job.seed)
        result = make_result("fd_lite0", [value], protocol="training", images_seen=images)
        for file, line in ((metrics, result.model_dump_json()), (run / LOG, json.dumps({"images_seen": images}))):
            with file.open("a") as lines:
                lines.write(line + "\n")
        Image.new("RGB", (32, 32), (30 * number, 80, 80)).save(run / SAMPLES / f"{images:09d}.png")
        watch()


def fork(work: Callable[[], object]) -> int:
    """The number of a new process that does `work` and ends with status 0, or 1 where that raises."""
    process = os.fork()
    if not process:
        status = 1
        try:
            work()
            status = 0
        except BaseException:
            os.write(2, traceback.format_exc().encode())
        finally:
            os._exit(status)
    return process
