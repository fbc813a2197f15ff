"""`limner prepare`: images from any source become PackedFaces, decoded once by all cores, the same for any number.

The images to use are chosen in the sorted order of their names. Workers turn chunks of them into pixels; one writer
takes the chunks in that order, drops what was rejected, and appends to images.npy while it hashes. So memory does not
grow with the data set, and neither the number of workers nor their speed can be seen in the result.
"""

import errno
import shutil
import warnings
from collections import Counter
from importlib import import_module
from pathlib import Path

import numpy as np

from limner.core.arguments import checked
from limner.core.console import progress_bar
from limner.core.errors import UserError
from limner.core.files import check_place, new_folder
from limner.core.process import usable_cores
from limner.core.version import __version__
from limner.data.packed import (
    ATTRIBUTES,
    FILES,
    FREQUENCIES,
    IMAGES,
    INDEX,
    INDEX_HEADER,
    INFO,
    REJECTS,
    TRAINABLE_SIZES,
    ContentHash,
    Counts,
    DatasetInfo,
    PackedFaces,
    check_packed,
    write_rows,
)
from limner.data.splits import official_splits, random_splits
from limner.preparation.preview import draw_alignment, draw_frequencies, draw_preview
from limner.preparation.sources.containers import HIDDEN, shown
from limner.preparation.work import Faces, open_work
from limner.preparation.workers import loading
from limner.preparation.writing import write_images


@checked
def prepare(
    source: str | Path,
    out: str | Path,
    *,
    size: int = 64,
    crop: str | None = None,
    align: bool = False,
    faces: Faces | None = None,
    keep: float = 1.0,
    heldout: int | None = None,
    test: int | None = None,
    seed: int = 0,
    workers: int | None = None,
    labels: str | Path | None = None,
    force: bool = False,
    quiet: bool = False,
) -> PackedFaces:
    """Turn a source of face images into a PackedFaces folder.

    Args:
        source: CelebA as distributed (folder or zip), any folder or zip of images, `synthetic:N` for N faces that
            Limner draws, or `faces:N` for N that the model of this name makes up, which comes with Limner.
        out: the folder to make. It appears when it is complete, or not at all.
        size: width and height in pixels, 16 to 512.
        crop: name of a preset in `crops.CROPS`; by default `report004` for CelebA and with `align`, and `square` for
            other images.
        align: find the faces in photos, and turn, scale and move each as CelebA is aligned before the crop.
        faces: which faces of a photo with several to use with `align`, `all` (the default) or the `largest`.
        keep: probability with which each image is used, decided by `seed`.
        heldout: hold out this many random images of training, whole persons where identities are known; by default
            the source's own partition, completed to train, val and test, and where it has none, a tenth.
        test: how many of `heldout` are the split `test`, which reports; the others are `val`, which chooses. By default
            all but 2,000, or but half where that is fewer. Persons stay whole, so there may be a few more.
        seed: for what is random: `keep`, the splits and synthetic faces.
        workers: how many images are decoded at a time; by default one per core.
        labels: CSV of labels for a folder or zip; by default the one `labels.csv` in it, if any.
        force: replace `out` if it is a PackedFaces.
        quiet: no progress bar, and no warning that no recipe trains on this size.

    Raises:
        UserError: an argument or the source is wrong, or no image is left. Single bad images never raise: they
            are listed with their reason in rejects.csv.
        OSError: the disk is full, say; `out` is as it was.
    """
    _check_numbers(size, keep, heldout, test, seed, workers)
    if size not in TRAINABLE_SIZES and not quiet:
        sizes = ", ".join(map(str, TRAINABLE_SIZES))
        warnings.warn(f"no recipe trains on images of {size} pixels: the recipes' sizes are {sizes}", stacklevel=4)
    if faces and not align:
        raise UserError(f"faces {faces} has no meaning without align: add it")
    target = check_target(Path(out), source, force)
    work = open_work(str(source), crop, size, seed, labels, (faces or "all") if align else None)
    if work.workers and workers:
        raise UserError(f"workers has no meaning for {shown(source)}, whose model uses all cores: leave it out")

    keeps_N = np.random.default_rng([seed, 0]).random(len(work.files)) < keep
    chosen = [file for file, keeps in zip(work.files, keeps_N, strict=True) if keeps]
    rejects = dict(work.rejects)
    found = len(work.files) + len(rejects)
    image_bytes = size * size * 3
    if len(chosen) * image_bytes > shutil.disk_usage(target.parent).free:
        reason = f"no space left on device for {len(chosen):,} images of {size} x {size}"
        raise OSError(errno.ENOSPC, reason, str(target))

    names_to_load = [work.files[file] for file in chosen]
    with (
        new_folder(target, synced=False) as folder,
        progress_bar("prepare", len(chosen), "images", quiet) as advance,
        loading(work.load, names_to_load, work.workers or workers or usable_cores(), image_bytes) as chunks,
    ):
        # The workers are starting: the time to read what takes seconds for all of CelebA, and to load matplotlib.
        known = work.read_labels()
        unlabelled = {file: known.missing[file] for file in chosen if file in known.missing}
        if not align:  # a photo may have several faces
            _check_heldout(heldout, len(chosen) - len(unlabelled))
        if known.attribute_names:
            import_module("matplotlib.backends.backend_agg")

        content = ContentHash(size)
        rows = write_images(folder / IMAGES, size, chosen, chunks, unlabelled, content, rejects, advance)
        if not rows:
            raise UserError(_nothing_left(source, found, rejects))
        _check_heldout(heldout, len(rows))
        persons = [known.identities.get(row.source, "") for row in rows]
        official = [known.splits.get(row.source, "") for row in rows]
        # Faces of one photo stay together, as one person's images do.
        groups = [
            person or (row.source if row.is_one_of_many else "") for person, row in zip(persons, rows, strict=True)
        ]
        splits = official_splits(official, groups, seed) if known.splits and heldout is None else None
        splits = splits or random_splits(groups, heldout, test, seed)
        names = known.attribute_names
        attributes = b"".join(row.attributes or known.attributes.get(row.source, b"") for row in rows)
        attributes_NA = np.frombuffer(attributes, np.uint8).reshape(len(rows), len(names))
        info = DatasetInfo(
            limner_version=__version__,
            source=work.info,
            size=size,
            crop=work.crop,
            resize_filter=work.resampling,
            counts=Counts(
                found=found,
                left_out=len(work.files) - len(chosen),
                rejected=len(rejects),
                images=len(rows),
                splits=dict(sorted(Counter(splits).items())),
            ),
            attribute_names=names,
            keep=keep,
            heldout=heldout,
            test=test,
            seed=seed,
            content_hash=content.finish(attributes_NA, names, splits),
        )
        np.save(folder / ATTRIBUTES, attributes_NA)
        files = [row.file for row in rows]
        write_rows(folder / INDEX, INDEX_HEADER, zip(range(len(rows)), files, splits, persons, official, strict=True))
        write_rows(folder / REJECTS, ["file", "reason"], sorted(rejects.items()))
        (folder / INFO).write_text(info.model_dump_json(indent=2) + "\n", encoding="utf-8")
        draw_preview(folder)
        if work.read_photo:
            draw_alignment(folder, [(work.files[row.source], row.corners) for row in rows], work.read_photo)
        if names:
            draw_frequencies(folder / FREQUENCIES, names, attributes_NA, np.array(splits) == "train")
    return PackedFaces.open(target)


# --- the request -----------------------------------------------------------------------------------------------------


def _check_numbers(
    size: int, keep: float, heldout: int | None, test: int | None, seed: int, workers: int | None
) -> None:
    if not 16 <= size <= 512:
        raise UserError(f"size {size} is out of range: images are 16 to 512 pixels wide")
    if not 0 < keep <= 1:
        raise UserError(f"keep {keep} is no probability: give more than 0 and at most 1")
    if heldout is not None and heldout < 0:
        raise UserError(f"heldout {heldout} is negative: give how many images to hold out")
    if test is not None and heldout is None:
        raise UserError(f"test {test} says how many of the held-out images report: give heldout too")
    if test is not None and not 0 <= test <= (heldout or 0):
        raise UserError(f"test {test} is out of range: give 0 to {heldout}, the number of held-out images")
    if seed < 0:
        raise UserError(f"seed {seed} is negative: give 0 or more")
    if workers is not None and not 1 <= workers <= 256:
        raise UserError(f"workers {workers} is out of range: give 1 to 256")


def check_target(out: Path, source: str | Path, force: bool) -> Path:
    """The folder to make, with every link resolved; `UserError` where it must not be made or replaced."""
    target = out.expanduser().resolve()
    if not target.parent.is_dir():
        raise UserError(f"{shown(target.parent)} is no folder to make {shown(target.name)} in: make it first")
    origin = Path(source).resolve()
    check_place(target)
    if target.is_relative_to(origin) or origin.is_relative_to(target):
        raise UserError(f"{shown(out)} and the source {shown(source)} lie in each other: choose a place apart from it")
    if not target.exists():
        return target
    if not target.is_dir():
        raise UserError(f"{shown(out)} is a file: choose another name")
    if not force:
        raise UserError(f"{shown(out)} exists: use --force to replace it, or choose another name")
    there = {entry.name for entry in target.iterdir()} - {".DS_Store", *HIDDEN}
    if there:
        check_packed(target)
    if strangers := sorted(there - FILES):
        raise UserError(f"{shown(out)} holds {shown(strangers[0])}, which --force would delete: move it away first")
    return target


def _check_heldout(heldout: int | None, images: int) -> None:
    if heldout is not None and heldout >= images > 0:
        raise UserError(f"heldout {heldout:,} leaves nothing for training: there are {images:,} images to use")


def _nothing_left(source: str | Path, found: int, rejects: dict[str, str]) -> str:
    if not found:
        return f"{shown(source)} holds no files: give a folder or zip with images"
    if not rejects:
        return f"keep left out every one of the {found:,} images of {shown(source)}: raise it"
    kinds = Counter(reason.partition(":")[0] for reason in rejects.values())
    kind, count = kinds.most_common(1)[0]
    example = next(name for name, reason in rejects.items() if reason.partition(":")[0] == kind)
    return (
        f"no image of {shown(source)} can be used: {count:,} of {len(rejects):,} are rejected as"
        f" '{kind}', for example {shown(example)} ({shown(rejects[example])})"
    )
