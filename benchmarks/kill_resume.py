"""Kill a training with SIGKILL at random moments, resume it each time, and compare its end with an untouched run's.

    python benchmarks/kill_resume.py --data DIR --recipe dcgan --kills 20 --images 6400 --set record.log_images=320

Prints the verdict as JSON and leaves with status 1 if the two ends differ. The moments are spread over the whole run:
each kill falls a random while after the log reached a random number of images. With `--fork` the trainings are forked
from one process that has loaded everything already, which makes small runs quick.
"""

import argparse
import atexit
import json
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from hashlib import sha256
from pathlib import Path
from typing import Any

from limner.runs.run import read_log

CLOCKED = ("seconds", "images_per_second")


def limner(arguments: Sequence[str]) -> None:
    """The limner command, in the process that calls it; stdout is for the verdict."""
    from limner.__main__ import main

    atexit._clear()  # what the process that this one is forked from does at its end
    sys.argv = ["limner", *arguments]
    with redirect_stdout(sys.stderr):
        main()


def started(context: Any, *arguments: str) -> Any:
    """A process that runs the limner command."""
    process = context.Process(target=limner, args=(arguments,))
    process.start()
    return process


def images_logged(run: Path) -> int:
    """How far the log says the run is."""
    return max((line["images_seen"] for line in read_log(run) if line["event"] == "log"), default=0)


def kill_and_resume(context: Any, begin: Sequence[str], run: Path, moments: Sequence[tuple[int, float]]) -> list[int]:
    """Train to the end, killed at each moment (images in the log, seconds after that); the images at every kill."""
    killed = []
    for images, seconds in [*moments, (sys.maxsize, 0.0)]:
        if any((run / "checkpoints").glob("[0-9]*")):
            process = started(context, "train", "--resume", str(run), "--quiet")
        else:
            shutil.rmtree(run, ignore_errors=True)
            process = started(context, *begin)
        while process.is_alive() and images_logged(run) < images:
            time.sleep(0.01)
        process.join(seconds)
        process.kill()
        process.join()
        if process.exitcode not in (0, -9):
            raise SystemExit(f"The training left with status {process.exitcode}.")
        if process.exitcode:
            killed.append(images_logged(run))
        if [line["event"] for line in read_log(run)[-1:]] == ["stop"]:
            return killed
    return killed


def end(run: Path) -> dict[str, Any]:
    """What a run leaves: hashes of its files, its log lines without the clock, and whatever should not be there."""
    checkpoint = max((run / "checkpoints").glob("[0-9]*"))
    files = [checkpoint / "state.safetensors", *sorted((run / "model").iterdir()), *sorted((run / "samples").iterdir())]
    events = read_log(run)
    lines = [{key: value for key, value in line.items() if key not in CLOCKED} for line in events]
    return {
        "files": {str(file.relative_to(run)): sha256(file.read_bytes()).hexdigest() for file in files},
        "log": [line for line in lines if line["event"] == "log"],
        "others": [line["event"] for line in events if line["event"] not in ("log", "resume")],
        "leftovers": sorted(str(path) for kind in ("partial", "retired") for path in run.rglob(f".*.{kind}")),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that limner prepare made")
    parser.add_argument("--recipe", default="dcgan")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--images", type=int, default=6400)
    parser.add_argument("--set", action="append", default=[], help="change a setting of the recipe")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--out", type=Path, help="keep the two runs in this folder")
    parser.add_argument("--fork", action="store_true", help="load once and fork (CPU only, one thread)")
    asked = parser.parse_args()
    if asked.fork:
        import accelerate  # noqa: F401
        import torch._dynamo  # the first optimiser step would load it

        import limner.training.session  # noqa: F401

        torch.set_num_threads(1)
    context = multiprocessing.get_context("fork" if asked.fork else "spawn")

    with tempfile.TemporaryDirectory() as beside:
        out = asked.out or Path(beside)
        out.mkdir(parents=True, exist_ok=True)
        sets = [part for setting in asked.set for part in ("--set", setting)]

        def begin(name: str) -> list[str]:
            goal = ("--data", str(asked.data), "--out", str(out / name), "--images", str(asked.images))
            return ["train", asked.recipe, *goal, "--device", asked.device, "--quiet", *sets]

        clock = time.monotonic()
        untouched = started(context, *begin("untouched"))
        untouched.join()
        if untouched.exitcode:
            raise SystemExit(untouched.exitcode)
        pace = (time.monotonic() - clock) / asked.images
        lines = [line["images_seen"] for line in read_log(out / "untouched") if line["event"] == "log"]

        chance = random.Random(asked.seed)
        part = 0.8 * asked.images / asked.kills  # the last kill, too, must come before the end
        moments = [
            (int(part * (kill + chance.random())), lines[0] * pace * chance.random()) for kill in range(asked.kills)
        ]
        clock = time.monotonic()
        killed = kill_and_resume(context, begin("killed"), out / "killed", moments)
        ends = [end(out / name) for name in ("untouched", "killed")]
        verdict = {
            "same": ends[0] == ends[1] and not ends[0]["leftovers"],
            "differing": sorted(
                name
                for name in ends[0]["files"] | ends[1]["files"]
                if ends[0]["files"].get(name) != ends[1]["files"].get(name)
            ),
            "log_is_the_same": ends[0]["log"] == ends[1]["log"],
            "log_lines": len(ends[1]["log"]),
            "leftovers": ends[1]["leftovers"],
            "kills": len(killed),
            "images_in_the_log_at_each_kill": killed,
            "images_seen": asked.images,
            "recipe": asked.recipe,
            "settings": asked.set,
            "seconds_untouched": round(pace * asked.images, 1),
            "seconds_killed": round(time.monotonic() - clock, 1),
            "cores": os.cpu_count(),
        }
    print(json.dumps(verdict, indent=1))
    sys.exit(0 if verdict["same"] else 1)


if __name__ == "__main__":
    main()
