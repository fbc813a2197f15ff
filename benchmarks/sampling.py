"""How long `limner sample faces` takes, from the start of its process to the written file; and how fast it is in bulk.

Cold: 64 faces, in turn through onnxruntime, which is what the command does, and through PyTorch, as every model that
does not come with Limner (here a copy of the folder). Python's compiled files are there, as after any first run.
Seconds on the clock, and of the processor, which say more on a busy machine.

Bulk, in turn in one process: PyTorch's plain call of the generator (layers of torch.nn, NCHW, fp32, batches of 64, no
pixels), the same with the generator's own layers and channels last, `Model.batches` in fp32, and what the command uses.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from page import DOCS, put_rows
from torch import nn

from limner.bench.measure import Work, interleave, load_average
from limner.bench.plain_loop import plain
from limner.bench.records import Ratio
from limner.core.device import machine_facts
from limner.core.version import __version__
from limner.latent.latents import face_latents
from limner.model.graph import GraphModel
from limner.model.model import BATCH, Model
from limner.model.shipped import FOLDER

NAME = "faces"
RESULTS = Path(__file__).parent / "results" / "sampling.json"
BEGIN = "<!-- rows: python benchmarks/sampling.py -->"
BULK = 128  # faces of one measurement


def cold(rounds: int) -> dict[str, dict[str, Any]]:
    """Seconds of a process that samples 64 faces, by what computes them."""
    with tempfile.TemporaryDirectory() as scratch:
        models = {"onnxruntime": NAME, "PyTorch": str(shutil.copytree(FOLDER / NAME, Path(scratch) / "copy"))}
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        environment["PYTHONPYCACHEPREFIX"] = str(Path(scratch) / "compiled")
        command = [sys.executable, "-m", "limner", "sample", "--count", "64", "--quiet", "--force"]
        seconds: dict[str, Any] = {way: {"clock": [], "processor": []} for way in models}
        for number in range(rounds + 1):  # the first is a warm-up
            for way, model in models.items():
                before, start = _processor_seconds(), time.perf_counter()
                whole = [*command, model, "--out", f"{scratch}/x.png"]
                subprocess.run(whole, env=environment, check=True, stdout=subprocess.DEVNULL)
                if number:
                    seconds[way]["clock"].append(time.perf_counter() - start)
                    seconds[way]["processor"].append(_processor_seconds() - before)
    for way in models:
        for kind in ("clock", "processor"):
            seconds[way][f"{kind}_median"] = statistics.median(seconds[way][kind])
            seconds[way][f"{kind}_least"] = min(seconds[way][kind])
    return seconds


def bulk(rounds: int) -> dict[str, Any]:
    """Speeds, and their ratios to the plain call."""
    model, graph = Model.load(NAME), GraphModel.load(FOLDER / NAME)
    z_NZ = face_latents(0, 0, BULK, model.config.latent_size, model.config.latent_distribution)
    given = torch.cat([z_NZ, torch.from_numpy(model.labels(BULK)).float()], 1).split(BATCH)

    def call(network: nn.Module) -> Work:
        @torch.no_grad()
        def run() -> None:
            for z_BZ in given:
                network(z_BZ)

        return repeated(run)

    works = {
        "plain call, fp32": call(plain(model.generator)),
        "Model.generator, fp32": call(model.generator),
        "Model.batches, fp32": repeated(lambda: list(model.batches(BULK, precision="fp32"))),
        "limner sample (onnxruntime)": repeated(lambda: list(graph.batches(BULK))),
    }
    speeds = interleave(works, BULK, rounds, lambda _: None)
    first, *others = speeds
    return {
        "speeds": {way: speed.model_dump() for way, speed in speeds.items()},
        "ratios": {way: Ratio.of(speeds[first], speeds[way]).model_dump() for way in others},
    }


def table(told: dict[str, Any]) -> str:
    machine, load = told["machine"], told["load_average"]
    lines = ["| `limner sample faces --count 64`, the whole command | seconds | of the processor |", "|---|---|---|"]
    for way, seconds in told["cold"].items():
        clock, least, processor = (seconds[key] for key in ("clock_median", "clock_least", "processor_median"))
        lines.append(f"| through {way} | {clock:.2f} (least {least:.2f}) | {processor:.2f} |")
    lines += ["", "| in bulk | faces/s | times the plain call |", "|---|---|---|"]
    for way, speed in told["bulk"]["speeds"].items():
        ratio = told["bulk"]["ratios"].get(way, {"of_medians": 1})["of_medians"]
        lines.append(f"| {way} | {speed['images_per_second']:.0f} | {ratio:.2f} |")
    before, after = (f"{load[when][0]:.1f}" for when in ("before", "after"))
    lines += [
        "",
        f"Medians of samples in turn: {machine['device_name']}, {machine['threads']} threads, {told['date'][:10]}, "
        f"load average {before} before and {after} after ([results](../benchmarks/results/{RESULTS.name})). The plain "
        "call is PyTorch's: layers of `torch.nn`, NCHW, fp32, batches of 64.",
    ]
    return "\n".join(lines)


def repeated(call: Callable[[], object]) -> Work:
    def run(times: int) -> None:
        for _ in range(times):
            call()

    return run


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    load_before = load_average()
    result = {"cold": cold(arguments.rounds), "bulk": bulk(arguments.rounds)}
    told = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "limner_version": __version__,
        "torch_version": torch.__version__,
        "onnxruntime_version": onnxruntime.__version__,
        "machine": machine_facts(torch.device("cpu")),
        "load_average": {"before": load_before, "after": load_average()},
        **result,
    }
    arguments.out.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    put_rows(DOCS / "sample.md", BEGIN, table(told))
    print(table(told))
