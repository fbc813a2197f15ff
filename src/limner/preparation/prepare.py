"""`limner prepare`: images from any source become PackedFaces, decoded once by all cores, the same for any number.

The images to use are chosen in the sorted order of their names. Workers turn chunks of them into pixels; one writer
takes the chunks in that order, drops what was rejected, and appends to images.npy while it hashes. So memory does not
grow with the data set, and neither the number of workers nor their speed can be seen in the result.
"""

import os
import re
import shutil
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import IO

import numpy as np

from limner.core.arguments import checked
from limner.core.console import progress_bar
from limner.core.errors import UserError
from limner.core.files import new_folder
from limner.core.version import __version__
from limner.data.attributes import CELEBA_ATTRIBUTES
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
    CropInfo,
    DatasetInfo,
    PackedFaces,
    SourceInfo,
    check_packed,
    write_rows,
)
from limner.data.splits import official_splits, random_splits
from limner.model.shipped import shipped_models
from limner.preparation.crops import ALIGNED_SIZE, RESIZE_FILTER, find_crop
from limner.preparation.preview import draw_frequencies, draw_preview
from limner.preparation.sources.celeba import open_celeba
from limner.preparation.sources.containers import HIDDEN, shown
from limner.preparation.sources.folder import open_folder, read_labels
from limner.preparation.sources.generated import GeneratedFaces
from limner.preparation.sources.tables import Labels
from limner.preparation.workers import Chunk, Decode, Draw, Load, loading

MAX_SYNTHETIC = 10_000_000


@contextmanager
def _os_errors_in_one_line() -> Iterator[None]:
    """No space, no permission, a name too long: the user can mend these, and needs no traceback for it."""
    try:
        yield
    except OSError as error:
        where = f"{shown(error.filename)}: " if error.filename else ""
        raise UserError(f"the images cannot be prepared: {where}{error.strerror or error}") from error


@checked
@_os_errors_in_one_line()
def prepare(
    source: str | Path,
    out: str | Path,
    *,
    size: int = 64,
    crop: str | None = None,
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
        crop: name of a preset in `crops.CROPS`; by default `report004` for CelebA and `square` for other images.
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
    """
    _check_numbers(size, keep, heldout, test, seed, workers)
    if size not in TRAINABLE_SIZES and not quiet:
        sizes = ", ".join(map(str, TRAINABLE_SIZES))
        warnings.warn(f"no recipe trains on images of {size} pixels: the recipes' sizes are {sizes}", stacklevel=4)
    target = _check_target(Path(out), source, force)
    work = _open(str(source), crop, size, seed, labels)
    if work.workers and workers:
        raise UserError(f"workers has no meaning for {shown(source)}, whose model uses all cores: leave it out")

    keeps_N = np.random.default_rng([seed, 0]).random(len(work.files)) < keep
    chosen = [file for file, keeps in zip(work.files, keeps_N, strict=True) if keeps]
    rejects = dict(work.rejects)
    found = len(work.files) + len(rejects)
    image_bytes = size * size * 3
    if len(chosen) * image_bytes > shutil.disk_usage(target.parent).free:
        raise UserError(f"{shown(target.parent)} has too little space for {len(chosen):,} images of {size} x {size}")

    names_to_load = [work.files[file] for file in chosen]
    with (
        new_folder(target, synced=False) as folder,
        progress_bar("prepare", len(chosen), "images", quiet) as advance,
        loading(work.load, names_to_load, work.workers or workers or _cores(), image_bytes) as chunks,
    ):
        # The workers are starting: the time to read what takes seconds for all of CelebA, and to load matplotlib.
        known = work.read_labels()
        unlabelled = {file: known.missing[file] for file in chosen if file in known.missing}
        _check_heldout(heldout, len(chosen) - len(unlabelled))
        if known.attribute_names:
            import_module("matplotlib.backends.backend_agg")

        content = ContentHash(size)
        loaded = _write_images(folder / IMAGES, size, chosen, chunks, unlabelled, content, rejects, advance)
        files = list(loaded)
        if not files:
            raise UserError(_nothing_left(source, found, rejects))
        _check_heldout(heldout, len(files))
        persons = [known.identities.get(file, "") for file in files]
        official = [known.splits.get(file, "") for file in files]
        splits = official_splits(official, persons, seed) if known.splits and heldout is None else None
        splits = splits or random_splits(persons, heldout, test, seed)
        names = known.attribute_names
        attributes = b"".join(given or known.attributes.get(file, b"") for file, given in loaded.items())
        attributes_NA = np.frombuffer(attributes, np.uint8).reshape(len(files), len(names))
        info = DatasetInfo(
            limner_version=__version__,
            source=work.info,
            size=size,
            crop=work.crop,
            resize_filter=RESIZE_FILTER if work.crop else None,
            counts=Counts(
                found=found,
                left_out=len(work.files) - len(chosen),
                rejected=len(rejects),
                images=len(files),
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
        rows = zip(range(len(files)), files, splits, persons, official, strict=True)
        write_rows(folder / INDEX, INDEX_HEADER, rows)
        write_rows(folder / REJECTS, ["file", "reason"], sorted(rejects.items()))
        (folder / INFO).write_text(info.model_dump_json(indent=2) + "\n", encoding="utf-8")
        draw_preview(folder)
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


def _check_target(out: Path, source: str | Path, force: bool) -> Path:
    """The folder to make, with every link resolved; `UserError` where it must not be made or replaced."""
    target = out.expanduser().resolve()
    if not target.parent.is_dir():
        raise UserError(f"{shown(target.parent)} is no folder to make {shown(target.name)} in: make it first")
    origin = Path(source).resolve()
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


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# --- the source -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Work:
    """A source and how to load it, whatever its kind."""

    info: SourceInfo
    crop: CropInfo | None
    files: Mapping[str, str]
    """Name in index.csv -> name to load, in the order of the rows."""
    rejects: Mapping[str, str]
    load: Load
    read_labels: Callable[[], Labels]
    workers: int | None = None
    """How many processes load, where that is not for the user to say; `None`: as many as requested, or one a core."""


def _open(source: str, crop_name: str | None, size: int, seed: int, labels: str | Path | None) -> Work:
    kind, colon, number = source.partition(":")
    if colon and kind in ("synthetic", *shipped_models()):
        if crop_name or labels:
            raise UserError(f"{'crop' if crop_name else 'labels'} has no meaning for {kind}:N: leave it out")
        if not re.fullmatch("[0-9]{1,8}", number) or not 1 <= int(number) <= MAX_SYNTHETIC:
            raise UserError(f"{shown(source)} is no source: {kind}:N makes N faces, N from 1 to {MAX_SYNTHETIC:,}")
        return _open_numbered(kind, int(number), size, seed)
    path = Path(source).expanduser()
    opened = open_celeba(path) if path.exists() else None
    if opened and labels:
        opened = replace(opened, read_labels=partial(read_labels, Path(labels), opened.files))
    opened = opened or open_folder(path, Path(labels) if labels else None)
    name = crop_name or opened.default_crop
    crop = find_crop(name, size)
    return Work(
        SourceInfo(kind=opened.kind, name=shown(path.resolve().name), licence=opened.licence),
        CropInfo(preset=name, box=crop.box(*ALIGNED_SIZE) if crop.side else None),
        opened.files,
        opened.rejects,
        # CelebA itself has some images twice. Published numbers are on all of them, so there they stay.
        Decode(opened.images, crop, size, with_digest=opened.kind != "celeba"),
        opened.read_labels,
    )


def _open_numbered(kind: str, count: int, size: int, seed: int) -> Work:
    """Faces that have a number and no file: drawn by Limner (`synthetic`), or made up by the shipped model `kind`."""
    name = f"{kind}:{count}"
    files = {f"{index:08d}": str(index) for index in range(count)}
    if kind == "synthetic":
        info = SourceInfo(kind="synthetic", name=name, licence="drawn by Limner: no real person, free for any use")
        return Work(info, None, files, {}, Draw(seed, size), lambda: Labels(CELEBA_ATTRIBUTES))
    model = GeneratedFaces(kind, seed, count)
    if size != model.size:
        raise UserError(f"The model {kind} makes images of {model.size} pixels, not {size}: leave --size out")
    info = SourceInfo(kind="generated", name=name, licence=model.licence)
    # The network uses all cores by itself.
    return Work(info, None, files, {}, model, lambda: Labels(model.attribute_names), workers=1)


# --- choosing and writing ---------------------------------------------------------------------------------------------


def _write_images(
    path: Path,
    size: int,
    chosen: Sequence[str],
    chunks: Iterator[Chunk],
    unlabelled: Mapping[str, str],
    content: ContentHash,
    rejects: dict[str, str],
    advance: Callable[[int], None],
) -> dict[str, bytes | None]:
    """Append the images to the .npy file `path` as they come, add them to `content` and the others to `rejects`.

    Returns the attributes that came with each image, by its file.
    """
    attributes: dict[str, bytes | None] = {}
    first_with: dict[bytes, str] = {}
    files = iter(chosen)
    with path.open("wb") as out:
        _write_header(out, (0, size, size, 3))
        for chunk in chunks:
            for file, result in zip(islice(files, len(chunk)), chunk, strict=True):
                if file in unlabelled:
                    rejects[file] = unlabelled[file]
                elif isinstance(result, str):
                    rejects[file] = result
                elif result.digest and (same := first_with.setdefault(result.digest, file)) is not file:
                    rejects[file] = f"duplicate of {same}"
                else:
                    out.write(result.pixels)
                    content.add_images(result.pixels)
                    attributes[file] = result.attributes
            advance(len(chunk))
        _write_header(out, (len(attributes), size, size, 3))
    return attributes


def _write_header(out: IO[bytes], shape: tuple[int, ...]) -> None:
    """Numpy pads the header to the same length for any number of images, so it can be filled in last."""
    out.seek(0)
    np.lib.format.write_array_header_1_0(out, {"descr": "|u1", "fortran_order": False, "shape": shape})


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
