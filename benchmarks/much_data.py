"""What do 202,599 images cost, as many as CelebA has? Prepare, train and evaluate on five growing data sets.

The images are JPEGs as large as CelebA's aligned ones, in a zip with CelebA's names, attributes, identities and
partition, so that they are read as CelebA is; they are copies of the few hundred faces that `limner bench` draws,
since to draw as many would take longer than everything that is measured. Every command runs in a process of its own
with one thread. Its cost is processor seconds, which other work on the machine moves little. Its memory is the most
that it had to itself; the pages of mapped files, which the system takes back when it needs them, count beside it.

Evaluation is the protocol `quick`, with 2,000 images and with features of as many numbers as those of `lite0` that
cost next to nothing: those of `lite0` cost the same for every image, which is measured too.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from page import DOCS, put_rows

from limner.bench.jpegs import LABELS, write_jpegs
from limner.core.batching import batches_of
from limner.core.device import machine_facts
from limner.evaluation.evaluate import evaluate
from limner.features.efficientnet_lite import DIMENSION, Lite0

RESULTS = Path(__file__).parent / "results" / "much_data.json"
BEGIN = "<!-- rows: python benchmarks/much_data.py -->"
SIZES = (3_000, 12_662, 25_325, 50_650, 202_599)
PARTITION = (0.8034, 0.9015)  # where CelebA's `train` ends, and its `val`
IMAGES_OF_A_PERSON = 20
TRAINED, GENERATED = 2_000, 2_000
STAGES = ("prepare", "train", "evaluate")
LOOKS_PER_SECOND = 50


class Colours:
    """Features that cost nothing: the image's own first numbers, as many as `lite0` gives."""

    name, dimension, weights_sha256, resize = "lite0", DIMENSION, "0" * 64, "none"

    def features(self, images_NHWC: NDArray[np.uint8]) -> NDArray[np.float32]:
        """N x H x W x 3 -> N x 1280."""
        return images_NHWC.reshape(len(images_NHWC), -1)[:, : self.dimension].astype(np.float32)


def write_celeba(folder: Path, drawn: Path, count: int) -> None:
    """`count` images as CelebA is distributed."""
    table = (drawn / LABELS).read_text(encoding="utf-8").splitlines()
    names, rows = table[0].split(",")[1:], [row.split(",") for row in table[1:]]
    jpegs = [(drawn / file).read_bytes() for file, *_ in rows]
    values = [" ".join("1" if value == "1" else "-1" for value in values) for _, *values in rows]
    files = [f"{number:06d}.jpg" for number in range(1, count + 1)]
    folder.mkdir()
    with zipfile.ZipFile(folder / "img_align_celeba.zip", "w") as out:
        for number, file in enumerate(files):
            out.writestr(f"img_align_celeba/{file}", jpegs[number % len(jpegs)])
    lines = {
        "list_attr_celeba": [str(count), " ".join(names), *(values[i % len(values)] for i in range(count))],
        "list_eval_partition": [str(sum(i >= share * count for share in PARTITION)) for i in range(count)],
        "identity_CelebA": [str(i // IMAGES_OF_A_PERSON) for i in range(count)],
    }
    for name, text in lines.items():
        head, body = text[: len(text) - count], text[len(text) - count :]
        rows_of = [*head, *(f"{file} {value}" for file, value in zip(files, body, strict=True))]
        (folder / f"{name}.txt").write_text("\n".join(rows_of) + "\n", encoding="utf-8")


def measure(arguments: list[str], cache: Path) -> dict[str, float]:
    """Run Python with these arguments in a process of its own: its processor seconds and peak memory in MiB."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "LIMNER_CACHE": str(cache)}
    started = time.monotonic()
    child = subprocess.Popen([sys.executable, *arguments], env=environment, stdout=subprocess.DEVNULL)
    own, resident, over = [0.0], [0.0], threading.Event()

    def watch() -> None:
        while not over.wait(1 / LOOKS_PER_SECOND):
            try:
                status = Path(f"/proc/{child.pid}/status").read_text(encoding="utf-8")
            except OSError:
                return
            kib = {key: float(value.split()[0]) for key, _, value in map(_parted, status.splitlines()) if "Rss" in key}
            own.append((kib.get("RssAnon", 0) + kib.get("RssShmem", 0)) / 2**10)
            resident.append(sum(kib.get(key, 0) for key in ("RssAnon", "RssShmem", "RssFile")) / 2**10)

    watcher = threading.Thread(target=watch)
    watcher.start()
    _, status, usage = os.wait4(child.pid, 0)
    over.set()
    watcher.join()
    if status:
        raise SystemExit(f"{' '.join(arguments)} failed")
    return {
        "processor_seconds": round(usage.ru_utime + usage.ru_stime, 2),
        "seconds": round(time.monotonic() - started, 2),
        "own_mib": round(max(own), 1),
        "resident_mib": round(max(resident), 1),
    }


def _parted(line: str) -> tuple[str, str, str]:
    key, colon, value = line.partition(":")
    return key, colon, value.strip() or "0"


def measure_size(count: int, work: Path, drawn: Path) -> dict[str, dict[str, float]]:
    """All stages on `count` images; nothing is left of them."""
    source, data, run, cache = (work / f"{count}-{what}" for what in ("celeba", "data", "run", "cache"))
    write_celeba(source, drawn, count)
    limner = ["-m", "limner"]
    measured = {"prepare": measure([*limner, "prepare", str(source), str(data), "--workers", "1"], cache)}
    options = ["--images", str(TRAINED), "--set", "record.evaluate_images=0", "--device", "cpu"]
    measured["train"] = measure(
        [*limner, "train", "modern-cpu", "--data", str(data), "--out", str(run), *options], cache
    )
    measured["evaluate"] = measure([__file__, "--evaluate", str(run), str(data)], cache)
    for folder in (source, data, run, cache):
        shutil.rmtree(folder)
    return measured


def lite0_seconds(images: int = 512) -> float:
    """Processor seconds that the features of one image of 64 pixels take."""
    extractor = Lite0()
    images_NHWC = np.random.default_rng(0).integers(0, 256, (images, 64, 64, 3), np.uint8)
    extractor.features(images_NHWC[:64])
    started = time.process_time()
    for some in batches_of(images, 64):
        extractor.features(images_NHWC[some])
    return (time.process_time() - started) / images


def fit(results: dict[int, dict[str, dict[str, float]]], stage: str, what: str) -> dict[str, float]:
    """A line through a cost against the number of images: its start, what 1,000 images add, and R^2."""
    x_S = np.array([*results], float)
    y_S = np.array([of[stage][what] for of in results.values()])
    slope, start = np.polyfit(x_S, y_S, 1)
    unexplained = np.square(y_S - (start + slope * x_S)).sum() / max(np.square(y_S - y_S.mean()).sum(), 1e-12)
    return {"start": round(float(start), 2), "per_1000": round(float(1000 * slope), 4), "r2": round(1 - unexplained, 5)}


def table(results: dict[int, dict[str, dict[str, float]]]) -> str:
    """A row for each size, and the fits."""
    cells = [(stage, what) for stage in STAGES for what in ("processor_seconds", "own_mib", "resident_mib")]
    heads = {"processor_seconds": "CPU s", "own_mib": "MiB", "resident_mib": "with files"}
    lines = [
        f"| images | {' | '.join(f'{stage}, {heads[what]}' for stage, what in cells)} |",
        f"|---|{'---|' * len(cells)}",
    ]
    for count, of in results.items():
        lines.append(f"| {count:,} | {' | '.join(f'{of[stage][what]:,.0f}' for stage, what in cells)} |")
    fits = [fit(results, stage, what) for stage, what in cells]
    lines.append(f"| at 0 | {' | '.join(format(line['start'], ',.0f') for line in fits)} |")
    lines.append(f"| each 1,000 images | {' | '.join(format(line['per_1000'], '.3g') for line in fits)} |")
    lines.append(f"| R² | {' | '.join(format(line['r2'], '.4f') for line in fits)} |")
    return "\n".join(lines)


def draw(results: dict[int, dict[str, dict[str, float]]], path: Path) -> None:
    """Processor time and memory against the number of images, each with its line."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, what, label in zip(
        figure.subplots(1, 2),
        ("processor_seconds", "own_mib"),
        ("processor seconds", "peak memory of its own, MiB"),
        strict=True,
    ):
        for stage in STAGES:
            line = fit(results, stage, what)
            x_S = np.array([0, *results])
            (dots,) = axes.plot([*results], [of[stage][what] for of in results.values()], "o", label=stage)
            axes.plot(x_S, line["start"] + line["per_1000"] * x_S / 1000, "-", color=dots.get_color(), linewidth=1)
        axes.set(xlabel="images", ylabel=label, ylim=(0, None))
        axes.set_xticks(range(0, 200_001, 50_000), [f"{value:,}" for value in range(0, 200_001, 50_000)])
        axes.grid(alpha=0.3)
    figure.axes[0].legend()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, help="an empty folder with 6 GB of room")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="measured anew; others are kept")
    parser.add_argument("--evaluate", nargs=2, metavar=("RUN", "DATA"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.evaluate:
        evaluate(*arguments.evaluate, samples=GENERATED, extractor=Colours(), quiet=True)
        sys.exit()

    torch.set_num_threads(1)
    drawn = arguments.work / "drawn"
    if not drawn.exists():
        write_jpegs(drawn, 0)
    known = json.loads(RESULTS.read_text(encoding="utf-8"))["sizes"] if RESULTS.exists() else {}
    results: dict[int, dict[str, dict[str, float]]] = {int(count): of for count, of in known.items()}
    for count in arguments.sizes:
        results = dict(sorted({**results, count: measure_size(count, arguments.work, drawn)}.items()))
        print(count, json.dumps(results[count]), flush=True)
        record = {
            "sizes": results,
            "fits": {stage: {what: fit(results, stage, what) for what in results[count][stage]} for stage in STAGES},
            "trained_images": TRAINED,
            "generated_images": GENERATED,
            "lite0_processor_seconds_per_image": round(lite0_seconds(), 5),
            "date": datetime.now(UTC).date().isoformat(),
            "machine": machine_facts(torch.device("cpu")),
        }
        RESULTS.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    put_rows(DOCS / "scale.md", BEGIN, table(results))
    draw(results, DOCS / "images" / "much-data.png")
