"""What fine-tuning reaches with few images: before, after, and a training from scratch in the same CPU time.

Two kinds of images. `glasses`: CelebA's with Eyeglasses; the model `base`, a run of `modern-attributes`, was trained on
images without (`--base` trains it first: 100,000 images, some 12 minutes of one core), while `faces` has seen some of
them. `drawn`: faces that Limner draws. 1,000 or 200 images train; the images of `test` measure, the same for both.

Every row is measured once and added to results/finetune.json; rows that are there are kept. `--table` only writes the
table of docs/photos.md and docs/images/finetune.png.
"""

import argparse
import csv
import json
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from page import DOCS, put_rows
from PIL import Image, ImageDraw

from limner.core.device import machine_facts
from limner.core.files import new_folder, write_file
from limner.data.packed import ATTRIBUTES, IMAGES, INDEX, INDEX_HEADER, INFO, ContentHash, PackedFaces, write_rows
from limner.evaluation.evaluate import evaluate
from limner.images.grid import face_grid
from limner.images.png import generated_png
from limner.model.model import Model
from limner.preparation.prepare import prepare
from limner.training.session import train

RESULTS = Path(__file__).parent / "results" / "finetune.json"
BEGIN = "<!-- rows: python benchmarks/finetune.py -->"
KIND = "Eyeglasses"
SAMPLES = 1000
SHOWN, TITLES = 12, 160  # faces of a model in the sheet, and pixels of the titles beside them
AS_BASE = ("generator.width=32", "generator.max_width=256", "generator.depth=0")
FROZEN = "transfer.freeze=2"
GENTLE = ("optimizer.generator.lr=0.0005", "optimizer.discriminator.lr=0.0005")
UNMEASURED = "record.evaluate_images=0"  # a measurement takes as long as 2,500 images


class Row(NamedTuple):
    """A model to measure: `recipe` trained for so many `images`, or `init` as it is where there is no recipe."""

    data: str
    init: str
    recipe: str = ""
    images: int = 0
    overrides: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        how = f"{self.recipe} {self.images}" if self.recipe else "before"
        how += ", frozen" if FROZEN in self.overrides else ""
        return f"{self.data}, {self.init or 'scratch'}, {how}"


def rows() -> list[Row]:
    """Of each kind and number of images: before, after, and from scratch for about the same CPU time."""
    return [
        *(Row(f"glasses{count}-39", "base", "finetune", 6_000, AS_BASE) for count in (1000, 200)),
        Row("glasses200-39", "base", "finetune", 6_000, (*AS_BASE, FROZEN)),
        Row("glasses1000-39", "base"),
        *(Row(f"glasses{count}-39", "", "modern-attributes", 6_000) for count in (1000, 200)),
        Row("drawn1000", "faces", "finetune", 5_000),
        Row("drawn1000", "faces"),
        Row("drawn1000", "", "modern-attributes", 12_000),
        Row("drawn200", "faces", "finetune", 5_000),
        Row("drawn200", "", "modern-attributes", 12_000),
        Row("glasses1000", "faces"),
        Row("glasses1000", "faces", "finetune", 5_000),
        Row("glasses1000", "faces", "finetune", 4_000, GENTLE),
    ]


def known() -> dict[str, dict[str, Any]]:
    """What has been measured, by the name of its row."""
    return json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}


def write_part(faces: PackedFaces, rows_of: dict[str, NDArray[np.int64]], out: Path, without: str = "") -> None:
    """Write the rows of `faces` for each split as a data set of their own, without one attribute where it is named."""
    order = np.argsort(np.concatenate([*rows_of.values()]))
    chosen = np.concatenate([*rows_of.values()])[order]
    splits = np.repeat([*rows_of], [len(some) for some in rows_of.values()])[order].tolist()
    names = tuple(name for name in faces.attribute_names if name != without)
    images_NHWC = faces.images_NHWC[chosen]
    attributes_NA = faces.attributes_NA[chosen][:, [faces.attribute_names.index(name) for name in names]]
    content = ContentHash(faces.size)
    content.add_images(images_NHWC.tobytes())
    counts = {"images": len(chosen), "splits": dict(sorted(Counter(splits).items()))}
    changed = {
        "counts": faces.info.counts.model_copy(update=counts),
        "attribute_names": names,
        "content_hash": content.finish(attributes_NA, names, splits),
    }
    with new_folder(out) as folder:
        np.save(folder / IMAGES, images_NHWC)
        np.save(folder / ATTRIBUTES, attributes_NA)
        lines = (
            [row, faces.files[of], split, "", ""] for row, (of, split) in enumerate(zip(chosen, splits, strict=True))
        )
        write_rows(folder / INDEX, INDEX_HEADER, lines)
        (folder / INFO).write_text(faces.info.model_copy(update=changed).model_dump_json(indent=2), encoding="utf-8")


def make_data(celeba: Path, work: Path) -> None:
    """The data sets of all rows, and `base64`, from which every image of the kind is missing."""
    faces = PackedFaces.open(celeba)
    has = faces.attributes_NA[:, faces.attribute_names.index(KIND)] == 1
    with (celeba / INDEX).open(encoding="utf-8", newline="") as lines:
        person = np.array([line["identity"] for line in csv.DictReader(lines)])
    splits = ("train", "val", "test")
    write_part(
        faces, {split: np.flatnonzero(~has & (faces.splits == split)) for split in splits}, work / "base64", KIND
    )

    rest = np.flatnonzero(has & (faces.splits != "test"))
    order = np.random.default_rng(0).permutation(np.unique(person[rest]))
    rank = np.array([np.flatnonzero(order == one)[0] for one in person[rest]])  # persons are whole in either part
    train, val = (rest[np.argsort(rank, kind="stable")][part] for part in (slice(1000), slice(1000, None)))
    val = val[~np.isin(person[val], person[train])]
    parts = {"val": val, "test": np.flatnonzero(has & (faces.splits == "test"))}
    for count in (1000, 200):
        for name, without in ((f"glasses{count}", ""), (f"glasses{count}-39", KIND)):
            write_part(faces, {"train": train[:count], **parts}, work / name, without)

    drawn = prepare("synthetic:1400", work / "drawn1000", heldout=400, test=200, force=True)
    parts = {split: drawn.rows(split) for split in ("val", "test")}
    write_part(drawn, {"train": drawn.rows("train")[:200], **parts}, work / "drawn200")


def where(row: Row, work: Path) -> str:
    """The model of a row: its run, or the model as it is."""
    if row.recipe:
        return str(work / "runs" / row.name.replace(", ", "-").replace(" ", "-"))
    return str(work / "base") if row.init == "base" else row.init


def measure(row: Row, work: Path) -> dict[str, Any]:
    """Train, if there is something to train, and measure."""
    spent, init = 0.0, str(work / "base") if row.init == "base" else row.init
    if row.recipe:
        begun = time.process_time()
        overrides = [*row.overrides, UNMEASURED]
        train(
            row.recipe,
            work / row.data,
            where(row, work),
            images=row.images,
            overrides=overrides,
            init=init or None,
            force=True,
        )
        spent = time.process_time() - begun
    results = evaluate(where(row, work), work / row.data, samples=SAMPLES, quiet=True)
    machine = machine_facts(torch.device("cpu"))
    return {
        **row._asdict(),
        "cpu_seconds": round(spent),
        "n_real": results[0].n_real,
        "n_fake": results[0].n_fake,
        "data_hash": results[0].data_hash,
        "floor": results[0].floor.value if results[0].floor else None,
        **{one.metric: one.value for one in results},
        "machine": f"CPU, {machine['processor']}, {torch.get_num_threads()} thread",
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
    }


def ordered(found: dict[str, dict[str, Any]]) -> list[tuple[str, str, dict[str, Any]]]:
    """The rows by their images: these, the model in words, and what was measured."""
    rows_of = sorted(found.values(), key=lambda one: (one["data"], one["init"] or "scratch", one["images"]))
    return [(one["data"].removesuffix("-39"), in_words(one), one) for one in rows_of]


def in_words(one: dict[str, Any]) -> str:
    if not one["init"]:
        return "from scratch"
    if not one["recipe"]:
        return f"{one['init']}, before"
    notes = (", lr 0.0005" if one["overrides"] == [*GENTLE] else "") + (
        ", freeze=2" if FROZEN in one["overrides"] else ""
    )
    return f"{one['init']}, fine-tuned{notes}"


def table(found: dict[str, dict[str, Any]]) -> str:
    """A line for every row."""
    lines = [
        "| images | model | images seen | CPU seconds | `fd_lite0` | `kid_lite0` | floor of `fd_lite0` "
        "| `memorisation_lite0` | `memorisation_pixels` |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for data, model, one in ordered(found):
        lines.append(
            f"| {data} | {model} | {one['images']:,} | {one['cpu_seconds']} | {one['fd_lite0']:.1f} "
            f"| {one['kid_lite0']:.4f} | {one['floor']:.1f} | {one['memorisation_lite0']:.2f} "
            f"| {one['memorisation_pixels']:.2f} |"
        )
    return "\n".join(lines)


def draw(found: dict[str, dict[str, Any]], work: Path) -> None:
    """The same latents, with the attributes of held-out images, through the model of every row."""
    sheets = []
    for title, name, one in ordered(found):
        model = Model.load(where(Row(*(one[key] for key in Row._fields)), work))
        data = PackedFaces.open(work / one["data"])
        y_BA = torch.from_numpy(data.attributes_NA[data.rows("test")[:SHOWN]]).float()
        z_BZ = torch.randn(SHOWN, model.config.latent_size, generator=torch.Generator().manual_seed(0))
        sheets.append((f"{title}\n{name}", face_grid(model.generate(z_BZ, y_BA), SHOWN)))
    width, height = sheets[0][1].size
    sheet = Image.new("RGB", (TITLES + width, height * len(sheets)), "white")
    pen = ImageDraw.Draw(sheet)
    for place, (title, faces) in enumerate(sheets):
        pen.text((4, place * height + 20), title, "black")
        sheet.paste(faces, (TITLES, place * height))
    small = sheet.quantize(256, method=Image.Quantize.MEDIANCUT)
    write_file(DOCS / "images" / "finetune.png", generated_png(small, {"made by": "benchmarks/finetune.py"}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("celeba", type=Path, help="CelebA prepared with --size 64")
    parser.add_argument("work", type=Path, help="folder for data sets and runs")
    parser.add_argument("--base", action="store_true", help="make the data sets and train the model `base` first")
    parser.add_argument("--only", default="", metavar="TEXT", help="measure the rows that have this in their name")
    parser.add_argument("--table", action="store_true", help="only write the table and the image of the docs")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    work: Path = arguments.work
    if arguments.base:
        make_data(arguments.celeba, work)
        train("modern-attributes", work / "base64", work / "base", images=100_000)
    for row in rows():
        if not arguments.table and row.name not in known() and arguments.only in row.name:
            found = measure(row, work)
            write_file(RESULTS, (json.dumps({**known(), row.name: found}, indent=1) + "\n").encode())
            print(json.dumps(found), flush=True)
    put_rows(DOCS / "photos.md", BEGIN, table(known()))
    draw(known(), work)
