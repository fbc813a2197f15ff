"""A source of images of any kind, and how each of its names becomes images of faces."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from PIL import Image

from limner.core.errors import UserError
from limner.data.attributes import CELEBA_ATTRIBUTES
from limner.data.packed import CropInfo, SourceInfo
from limner.model.shipped import shipped_models
from limner.preparation.crops import ALIGNED_SIZE, RESIZE_FILTER, find_crop
from limner.preparation.sources.celeba import DEFAULT_CROP, open_celeba
from limner.preparation.sources.containers import shown
from limner.preparation.sources.folder import Source, open_folder, read_labels
from limner.preparation.sources.generated import GeneratedFaces
from limner.preparation.sources.tables import Labels
from limner.preparation.workers import Decode, Draw, Load

MAX_SYNTHETIC = 10_000_000
Faces = Literal["all", "largest"]


@dataclass(frozen=True)
class Work:
    """A source and how to load it, whatever its kind."""

    info: SourceInfo
    crop: CropInfo | None
    resampling: str | None
    files: Mapping[str, str]
    """Name in index.csv -> name to load, in the order of the rows."""
    rejects: Mapping[str, str]
    load: Load
    read_labels: Callable[[], Labels]
    workers: int | None = None
    """How many processes load, where that is not for the user to say; `None`: as many as requested, or one a core."""
    read_photo: Callable[[str], Image.Image] | None = None
    """Where faces are aligned: the photo that has this name to load."""


def open_work(
    source: str, crop: str | None, size: int, seed: int, labels: str | Path | None, faces: Faces | None
) -> Work:
    """The work that `prepare` does on `source`, aligning the `faces` of its photos unless that is `None`.

    Raises UserError where the source is none, or an option has no meaning for it.
    """
    kind, colon, number = source.partition(":")
    if colon and kind in ("synthetic", *shipped_models()):
        given = {"crop": crop, "labels": labels, "align": faces}
        if useless := [option for option, value in given.items() if value]:
            raise UserError(f"{useless[0]} has no meaning for {kind}:N: leave it out")
        if not re.fullmatch("[0-9]{1,8}", number) or not 1 <= int(number) <= MAX_SYNTHETIC:
            raise UserError(f"{shown(source)} is no source: {kind}:N makes N faces, N from 1 to {MAX_SYNTHETIC:,}")
        return _open_numbered(kind, int(number), size, seed)
    path = Path(source).expanduser()
    opened = open_celeba(path) if path.exists() else None
    if opened and labels:
        opened = replace(opened, read_labels=partial(read_labels, Path(labels), opened.files))
    opened = opened or open_folder(path, Path(labels) if labels else None)
    info = SourceInfo(kind=opened.kind, name=shown(path.resolve().name), licence=opened.licence)
    return _open_aligned(opened, info, crop, size, faces) if faces else _open_files(opened, info, crop, size)


def _open_files(opened: Source, info: SourceInfo, crop_name: str | None, size: int) -> Work:
    name = crop_name or opened.default_crop
    crop = find_crop(name, size)
    crop_info = CropInfo(preset=name, box=crop.box(*ALIGNED_SIZE) if crop.side else None)
    # CelebA itself has some images twice. Published numbers are on all of them, so there they stay.
    load = Decode(opened.images, crop, size, with_digest=opened.kind != "celeba")
    return Work(info, crop_info, RESIZE_FILTER, opened.files, opened.rejects, load, opened.read_labels)


def _open_aligned(opened: Source, info: SourceInfo, crop_name: str | None, size: int, faces: Faces) -> Work:
    if opened.kind == "celeba":
        raise UserError(f"{info.name} is CelebA, which is aligned already: leave --align out")
    from limner.preparation.align import RESAMPLING, Align
    from limner.preparation.mtcnn import find_weights

    find_weights()
    name = crop_name or DEFAULT_CROP
    crop = find_crop(name, None)
    crop_info = CropInfo(preset=name, box=crop.box(*ALIGNED_SIZE), aligned=faces)
    load = Align(opened.images, crop, size, every=faces == "all")
    return Work(
        info, crop_info, RESAMPLING, opened.files, opened.rejects, load, opened.read_labels, read_photo=load.read
    )


def _open_numbered(kind: str, count: int, size: int, seed: int) -> Work:
    """Faces that have a number and no file: drawn by Limner (`synthetic`), or made up by the shipped model `kind`."""
    name = f"{kind}:{count}"
    files = {f"{index:08d}": str(index) for index in range(count)}
    if kind == "synthetic":
        info = SourceInfo(kind="synthetic", name=name, licence="drawn by Limner: no real person, free for any use")
        return Work(info, None, None, files, {}, Draw(seed, size), lambda: Labels(CELEBA_ATTRIBUTES))
    model = GeneratedFaces(kind, seed, count)
    if size != model.size:
        raise UserError(f"The model {kind} makes images of {model.size} pixels, not {size}: leave --size out")
    info = SourceInfo(kind="generated", name=name, licence=model.licence)
    # The network uses all cores by itself.
    return Work(info, None, None, files, {}, model, lambda: Labels(model.attribute_names), workers=1)
