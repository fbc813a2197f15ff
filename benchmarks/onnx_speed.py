"""How fast onnxruntime generates with an exported model, next to PyTorch with the same weights: in bulk and singly.

All run in turn, in one process, with the same threads: batches of 64 faces, then batches of one. `Model.sample`
computes a batch of 64 even for one face, so that a face does not depend on the count; it is measured too.
"""

import argparse
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import onnxruntime
import torch

from limner.bench.measure import Work, interleave
from limner.bench.records import Ratio
from limner.core.device import machine_facts
from limner.core.version import __version__
from limner.exporting.onnx import to_onnx
from limner.latent.latents import face_latents
from limner.model.model import BATCH, Model


def repeated(call: Callable[[], object]) -> Work:
    def run(times: int) -> None:
        for _ in range(times):
            call()

    return run


def works_of(model: Model, files: dict[str, bytes], batch: int) -> dict[str, Work]:
    """Each way to generate `batch` faces at once."""
    z_BZ = face_latents(0, 0, batch, model.config.latent_size, model.config.latent_distribution)
    y_BA = torch.from_numpy(model.labels(batch)).float()
    works = {
        f"PyTorch {precision}": repeated(lambda precision=precision: model.generate(z_BZ, y_BA, precision))  # type: ignore[misc]
        for precision in dict.fromkeys(("fp32", model.precision))
    }
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    for precision, content in files.items():
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        given = {"latents": z_BZ.numpy()} | ({"attributes": y_BA.numpy()} if y_BA.shape[1] else {})
        works[f"onnxruntime {precision}"] = repeated(lambda s=session, given=given: s.run(None, given))  # type: ignore[misc]
    return works


def measure(name: str, rounds: int) -> dict[str, Any]:
    """All samples for the model of this name."""
    load_before = os.getloadavg()
    model = Model.load(name)
    exported = {precision: to_onnx(model, precision, quiet=True) for precision in ("fp32", "fp16")}  # type: ignore[arg-type]
    files = {precision: file.content for precision, file in exported.items()}
    single = {**works_of(model, files, 1), "Model.sample": repeated(lambda: model.sample(1))}
    speeds = {
        "bulk": interleave(works_of(model, files, BATCH), BATCH, rounds, lambda _: None),
        "single": interleave(single, 1, rounds, lambda _: None),
    }
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "limner_version": __version__,
        "torch_version": torch.__version__,
        "onnxruntime_version": onnxruntime.__version__,
        "machine": machine_facts(torch.device("cpu")),
        "load_average": {"before": load_before, "after": os.getloadavg()},
        "model": name,
        "precision_of_sample": model.precision,
        "megabytes": {precision: round(len(content) / 1e6, 2) for precision, content in files.items()},
        "largest_difference": {precision: file.largest_difference for precision, file in exported.items()},
        "mean_difference": {precision: file.mean_difference for precision, file in exported.items()},
        "speeds": {kind: {way: speed.model_dump() for way, speed in ways.items()} for kind, ways in speeds.items()},
        "ratios": {
            kind: {
                f"{way} to {reference}": Ratio.of(ways[reference], ways[way]).model_dump()
                for way in ways
                if way.startswith("onnxruntime")
                for reference in ways
                if not reference.startswith("onnxruntime")
            }
            for kind, ways in speeds.items()
        },
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="faces")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "onnx_speed.json")
    arguments = parser.parse_args()
    result = measure(arguments.model, arguments.rounds)
    for kind, ways in result["speeds"].items():
        for way, speed in ways.items():
            print(f"{kind:<7} {way:<18} {speed['images_per_second']:7.1f} faces/s")
        for pair, ratio in result["ratios"][kind].items():
            print(f"{kind:<7} {pair}: {ratio['of_medians']:.2f}; median of neighbours {ratio['median_of_pairs']:.2f}")
    arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
