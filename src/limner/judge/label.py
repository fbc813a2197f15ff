"""`limner label`: attributes for prepared images without any, as the judge sees them, with its confidence.

Shapes: N images, A attributes.
"""

import shutil
from pathlib import Path

import numpy as np

from limner.core.arguments import checked
from limner.core.batching import batches_of
from limner.core.console import progress_bar
from limner.core.errors import UserError
from limner.core.files import new_folder, write_file
from limner.core.records import read_record
from limner.core.version import __version__
from limner.data.packed import (
    ATTRIBUTES,
    CONFIDENCES,
    FREQUENCIES,
    IMAGES,
    INDEX,
    INFO,
    LABELS,
    PREVIEW,
    REJECTS,
    ContentHash,
    PackedFaces,
    join_licences,
    write_rows,
)
from limner.judge.calibration import Calibration, judge_logits, read_calibration
from limner.judge.judge import load_judge, shipped_judge
from limner.preparation.prepare import check_target
from limner.preparation.preview import draw_frequencies

KEPT = (IMAGES, INDEX, REJECTS, PREVIEW)
BATCH = 1024  # images between two updates of the hash


@checked
def label(
    data: PackedFaces | str | Path,
    out: str | Path,
    *,
    judge: str | Path | None = None,
    replace: bool = False,
    force: bool = False,
    quiet: bool = False,
) -> PackedFaces:
    """Write to `out` the prepared images of `data` with the attributes that the judge finds in them.

    `attributes.npy` has the labels, 0 or 1, `confidences.csv` the probability of each, and `labels.json` the judge and
    how often its labels are right for each attribute. `judge` is the folder of a judge; by default the one that ships
    for the size of the images.

    Raises:
        UserError: `data` have attributes (without `replace`), there is no such judge or it is not calibrated, or `out`
            exists (without `force`).
    """
    faces = data if isinstance(data, PackedFaces) else PackedFaces.open(data)
    if faces.attribute_names and not replace:
        raise UserError(
            f"{faces.path} has {len(faces.attribute_names)} attributes already: with --replace the judge's take their "
            f"place in {out}."
        )
    target = check_target(Path(out), faces.path, force)
    folder = shipped_judge(faces.size) if judge is None else Path(judge)
    found = load_judge(folder)
    calibration = read_calibration(folder)
    with progress_bar("label", len(faces), "images", quiet) as advance:
        logits_NA = judge_logits(found, faces, np.arange(len(faces)), advance)
    labels_NA, names = calibration.labels(logits_NA), found.attribute_names

    content = ContentHash(faces.size)
    for some in batches_of(len(faces), BATCH):
        content.add_images(faces.read(some).tobytes())
    source = faces.info.source
    licence = join_licences(source.licence, found.config.licence)
    info = faces.info.model_copy(
        update={
            "limner_version": __version__,
            "source": source.model_copy(update={"licence": licence}),
            "attribute_names": names,
            "content_hash": content.finish(labels_NA, names, faces.splits.tolist()),
        }
    )
    with new_folder(target, synced=False) as beside:
        for name in KEPT:
            if (faces.path / name).is_file():
                shutil.copyfile(faces.path / name, beside / name)
        np.save(beside / ATTRIBUTES, labels_NA)
        confidences = ([f"{p:.3f}" for p in p_A] for p_A in calibration.probabilities(logits_NA))
        rows = ([file, *row] for file, row in zip(faces.files, confidences, strict=True))
        write_rows(beside / CONFIDENCES, ["file", *names], rows)
        write_file(beside / LABELS, (calibration.model_dump_json(indent=1) + "\n").encode())
        (beside / INFO).write_text(info.model_dump_json(indent=2) + "\n", encoding="utf-8")
        draw_frequencies(beside / FREQUENCIES, names, labels_NA, faces.splits == "train")
    return PackedFaces.open(target)


def describe(faces: PackedFaces) -> list[str]:
    """What a person should know of labelled images, in sentences; `faces` as `label` returns them."""
    calibration = read_record(faces.path / LABELS, Calibration, "label the images again")
    doubtful = {name: of for name, of in calibration.attributes.items() if of.doubtful}
    frequency_A = faces.attributes_NA.mean(axis=0)
    common = sorted(zip(frequency_A, faces.attribute_names, strict=True), reverse=True)[:5]
    sentences = ["Most frequent: " + ", ".join(f"{name} {frequency:.0%}" for frequency, name in common) + "."]
    if doubtful:
        words = ", ".join(
            name if of.balanced_accuracy is None else f"{name} {of.balanced_accuracy:.2f}"
            for name, of in doubtful.items()
        )
        sentences.append(
            f"Doubtful: {words} (balanced accuracy of these labels on {calibration.test_images:,} held-out images; "
            "guessing gives 0.50)."
        )
    return sentences
