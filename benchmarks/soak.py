"""Does anything grow or slow down in hours? A training, with a studio open on it, watched from outside.

    python benchmarks/soak.py --data celeba32 --minutes 360

Trains with frequent measurements, samples and checkpoints, while a client asks the studio for faces and for its runs,
and `limner sample` is called on the run. Every half minute: resident memory and open files of both processes, the bytes
of the run's folder, and the processor time that 1,000 images cost (wall time depends on what else the machine does).
Writes results/soak.json and docs/images/soak.png; the growth is that of a line through the last three quarters.
"""

import argparse
import json
import os
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from page import DOCS

from limner.core.device import machine_facts
from limner.runs.run import LOG, read_log

RESULTS = Path(__file__).parent / "results" / "soak.json"
PORT = 7872
ADDRESS = f"http://127.0.0.1:{PORT}/api/"
LOOK, SAMPLE = 30, 300  # seconds between two looks, and between two samplings
WINDOW = 10
SETTLED = 0.25  # of the time, before which caches still fill
FREQUENT = ("log_images=640", "sample_images=32000", "checkpoint_images=32000", "evaluate_images=32000")
DRAWN = {
    "training_mib": "memory of the training, MiB",
    "studio_mib": "memory of the studio, MiB",
    "training_files": "open files of the training",
    "studio_files": "open files of the studio",
    "run_mib": "the run's folder, MiB",
    "cpu_seconds_per_1000_images": "CPU seconds per 1,000 images",
}


def memory_and_files(process: subprocess.Popen[bytes], name: str) -> dict[str, float]:
    """Resident MiB and open files of a process; raises ProcessLookupError where it has just ended."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    if "VmRSS:" not in status:
        raise ProcessLookupError(process.pid)
    return {
        f"{name}_mib": int(status.partition("VmRSS:")[2].split()[0]) / 1024,
        f"{name}_files": len(list(Path(f"/proc/{process.pid}/fd").iterdir())),
    }


def folder_mib(folder: Path) -> float:
    """MiB of the files in a folder, some of which may be renamed while they are counted."""
    total = 0
    for file in folder.rglob("*"):
        with suppress(FileNotFoundError):
            total += file.stat().st_size if file.is_file() else 0
    return total / 2**20


def cpu_seconds(process: subprocess.Popen[bytes]) -> float:
    """Processor time that a process has used so far."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def use_studio(seed: int) -> None:
    """What people ask of the studio."""
    for question in (f"faces?model=faces&count=4&seed={seed}", "runs"):
        urllib.request.urlopen(ADDRESS + question, timeout=600).read()  # who pauses a soak pauses the studio too


def watch(
    training: subprocess.Popen[bytes],
    studio: subprocess.Popen[bytes],
    run: Path,
    out: Path,
    looks: list[dict[str, float]],
) -> None:
    """Look at both processes until the training ends."""
    began = sampled = time.monotonic()
    while training.poll() is None:
        log = read_log(run) if (run / LOG).is_file() else []
        seen = max((line.get("images_seen", 0) for line in log), default=0)
        if seen:
            use_studio(len(looks))
            look = {"minutes": (time.monotonic() - began) / 60, "images_seen": seen, "run_mib": folder_mib(run)}
            try:
                look |= {"cpu_seconds": cpu_seconds(training), **memory_and_files(training, "training")}
            except ProcessLookupError:
                break
            looks.append(look | memory_and_files(studio, "studio"))
        if (run / "model").is_dir() and time.monotonic() - sampled > SAMPLE:
            sampled = time.monotonic()
            limner("sample", run, "--out", out, "--force", "--quiet").wait()
        time.sleep(LOOK)


def limner(*words: object) -> subprocess.Popen[bytes]:
    """A command of Limner in a process of its own."""
    return subprocess.Popen([sys.executable, "-m", "limner", *map(str, words)], stdout=subprocess.DEVNULL)


def with_cost(looks: list[dict[str, float]]) -> list[dict[str, float]]:
    """The looks with the processor time of 1,000 images, over as many looks before each as `WINDOW` says."""
    costs = []
    for k in range(WINDOW, len(looks)):
        first, last = looks[k - WINDOW], looks[k]
        images = last["images_seen"] - first["images_seen"]
        if images:
            cost = 1000 * (last["cpu_seconds"] - first["cpu_seconds"]) / images
            costs.append(last | {"cpu_seconds_per_1000_images": cost})
    return costs


def growth(looks: list[dict[str, float]], key: str) -> dict[str, float]:
    """Mean and slope for each hour of a value, of the looks after it has settled."""
    settled = looks[int(SETTLED * len(looks)) :]
    hours, values = (np.array([look[name] for look in settled]) for name in ("minutes", key))
    return {"mean": round(float(values.mean()), 3), "per_hour": round(float(np.polyfit(hours / 60, values, 1)[0]), 3)}


def draw(looks: list[dict[str, float]], path: Path) -> None:
    figure = Figure((9, 5), layout="constrained")
    for axes, (key, words) in zip(figure.subplots(2, 3).flat, DRAWN.items(), strict=True):
        axes.plot([look["minutes"] for look in looks], [look[key] for look in looks], linewidth=1)
        axes.set(title=words, xlabel="minutes", ylim=(0, 1.1 * max(look[key] for look in looks)))
        axes.title.set_size(9)
    figure.savefig(path, dpi=90, metadata={"Software": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--recipe", default="dcgan32")
    parser.add_argument("--minutes", type=float, default=360)
    parser.add_argument("--runs", type=Path, help="where to keep the run, named soak; it is deleted by default")
    arguments = parser.parse_args()
    with TemporaryDirectory(prefix="limner-soak-") as folder:
        run = (arguments.runs or Path(folder) / "runs") / "soak"
        studio = limner("studio", "faces", "--runs", run.parent, "--port", PORT)
        often = [word for setting in FREQUENT for word in ("--set", f"record.{setting}")]
        length = ("--minutes", arguments.minutes)
        training = limner("train", arguments.recipe, "--data", arguments.data, "--out", run, *length, *often)
        looks: list[dict[str, float]] = []
        try:
            watch(training, studio, run, Path(folder) / "faces.png", looks)
        finally:  # what was seen is kept if the studio does not answer
            training.terminate()
            studio.terminate()
            ended = training.wait()
            studio.wait()
            keep(with_cost(looks), arguments.recipe, ended)


def keep(looks: list[dict[str, float]], recipe: str, ended: int) -> None:
    """Write what was seen, and draw it."""
    if not looks:
        raise SystemExit(f"The training ended before {WINDOW} looks: give more --minutes.")
    result: dict[str, Any] = {
        "recipe": recipe,
        "minutes": looks[-1]["minutes"],
        "images_seen": looks[-1]["images_seen"],
        "ended": ended,
        "growth": {key: growth(looks, key) for key in DRAWN},
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": machine_facts(torch.device("cpu")),
        "looks": [{key: round(value, 2) for key, value in look.items()} for look in looks],
    }
    RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    draw(looks, DOCS / "images" / "soak.png")
    print(json.dumps(result["growth"], indent=1))


if __name__ == "__main__":
    main()
