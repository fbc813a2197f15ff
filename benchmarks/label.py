"""Calibrate the judges that ship, and say how often the labels of `limner label` are right.

Thresholds and probabilities are fitted on `val` and measured on `test`, for CelebA of 64 and of 128 pixels. Writes
calibration.json beside each judge, results/label.json, and the table of docs/photos.md.
"""

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from page import DOCS, put_rows

from limner.core.device import machine_facts
from limner.core.files import write_file
from limner.data.packed import PackedFaces
from limner.judge.calibration import Calibration, calibrate, read_calibration, write_calibration
from limner.judge.judge import load_judge, shipped_judge

RESULTS = Path(__file__).parent / "results" / "label.json"
BEGIN = "<!-- rows: python benchmarks/label.py -->"


def measure(data: Path) -> dict[str, Any]:
    """Calibrate the shipped judge for these images; what its labels reach, by attribute."""
    faces = PackedFaces.open(data, verify=True)
    folder = shipped_judge(faces.size)
    judge = load_judge(folder)
    write_calibration(folder, calibrate(judge, faces))
    calibration = read_calibration(folder)
    machine = machine_facts(torch.device("cpu"))
    return {
        "size": faces.size,
        "data": faces.info.source.name,
        "content_hash": faces.info.content_hash,
        "judge_sha256": judge.weights_sha256,
        "val_images": calibration.val_images,
        "test_images": calibration.test_images,
        "means": means(calibration, judge.balanced_accuracy),
        "attributes": {
            name: {**of.model_dump(), "ceiling": judge.balanced_accuracy[name]}
            for name, of in calibration.attributes.items()
        },
        "machine": f"CPU, {machine['processor']}, {machine['cores']} cores",
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
    }


def means(calibration: Calibration, ceiling: dict[str, float]) -> dict[str, float]:
    """Over the attributes; `always_the_majority` is the agreement of labels that are the same for every image."""
    every = [*calibration.attributes.values()]
    majority = [max(of.test_frequency, 1 - of.test_frequency) for of in every]
    columns = {
        "agreement": [of.agreement for of in every],
        "always_the_majority": majority,
        "balanced_accuracy": [of.balanced_accuracy or 0.5 for of in every],
        "ceiling": [*ceiling.values()],
        "precision": [of.precision or 0.0 for of in every],
        "recall": [of.recall or 0.0 for of in every],
    }
    return {name: sum(values) / len(values) for name, values in columns.items()}


def table(results: dict[str, Any]) -> str:
    """Rows by attribute, the worst first, of the judges for both sizes."""
    small, large = results["64"], results["128"]
    lines = [
        "| attribute | test images that have it | agreement, 64 / 128 px | balanced accuracy | the judge's ceiling "
        "| precision | recall |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, of in sorted(small["attributes"].items(), key=lambda item: item[1]["balanced_accuracy"]):
        other = large["attributes"][name]
        pairs = [f"{of[key]:.2f} / {other[key]:.2f}" for key in ("balanced_accuracy", "ceiling", "precision", "recall")]
        agreement = f"{of['agreement']:.1%} / {other['agreement']:.1%}"
        lines.append(f"| {name} | {of['test_frequency']:.1%} | {agreement} | {' | '.join(pairs)} |")
    pairs = [f"{small['means'][key]:.2f} / {large['means'][key]:.2f}" for key in ("balanced_accuracy", "ceiling")]
    pairs += [f"{small['means'][key]:.2f} / {large['means'][key]:.2f}" for key in ("precision", "recall")]
    agreement = f"{small['means']['agreement']:.1%} / {large['means']['agreement']:.1%}"
    return "\n".join([*lines, f"| **mean** | | {agreement} | {' | '.join(pairs)} |"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs=2, help="CelebA prepared with --size 64 and with --size 128")
    found = {str(one["size"]): one for one in map(measure, parser.parse_args().data)}
    write_file(RESULTS, (json.dumps(found, indent=1) + "\n").encode())
    put_rows(DOCS / "photos.md", BEGIN, table(found))
