"""CelebA as it is distributed: aligned images in their zip or unpacked, annotations as .txt or Kaggle's .csv."""

import os
import re
from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path

from limner.core.errors import UserError, brief
from limner.preparation.crops import SUFFIXES
from limner.preparation.sources.containers import FolderImages, ImageFiles, is_hidden, open_images, shown
from limner.preparation.sources.folder import Source
from limner.preparation.sources.tables import Labels, Table, labels_of, read_table

IMAGE_FOLDER = "img_align_celeba"
PLACES = tuple(
    f"{folder}{name}"
    for folder in ("", "Img/")
    for name in (f"{IMAGE_FOLDER}.zip", IMAGE_FOLDER, f"{IMAGE_FOLDER}_png")
)
ATTRIBUTES, PARTITION, IDENTITY = ANNOTATIONS = "list_attr_celeba", "list_eval_partition", "identity_CelebA"
TABLES = tuple(name + suffix for name in ANNOTATIONS for suffix in (".txt", ".csv"))
DEFAULT_CROP = "report004"
SPLITS = {"0": "train", "1": "val", "2": "test"}
LICENCE = "CelebA: non-commercial research only (https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html)"


def open_celeba(path: Path) -> Source | None:
    """CelebA at `path`, which is its folder, its folder of images, or a zip of them; `None` where it is not CelebA.

    It may also be the folder around the one or a folder in the other, and the folder of images may have any name if
    the annotations are at hand: beside the images or above them, in `Anno/` and `Eval/` as on the authors' drive, or
    in the zip itself. None of them is required, and each may know more images than there are.

    Raises:
        UserError: there are annotations without images, CelebA is in a folder with others, or the zip is none.
            Reading the labels raises it where an annotation file is not what its name says.
    """
    place = _find_images(path)
    if place is None:
        return None
    images = open_images(place)
    if (
        place.is_file()
        and not place.name.startswith(IMAGE_FOLDER)
        and not any(f"{IMAGE_FOLDER}/" in n for n in images.names)
    ):
        return None

    files: dict[str, str] = {}
    rejects: dict[str, str] = {}
    for name in images.names:
        file = name.rpartition("/")[2]
        if file.partition(".")[0] in ANNOTATIONS:
            pass
        elif file in files:
            rejects[name] = f"the same name as {files[file]}"
        else:
            files[file] = name
    files = dict(sorted(files.items()))

    return Source(
        kind="celeba",
        licence=LICENCE,
        default_crop=DEFAULT_CROP,
        images=images,
        files=files,
        rejects=images.rejects | rejects,
        read_labels=partial(_read_labels, place, images, files),
    )


def _read_labels(place: Path, images: ImageFiles, files: Collection[str]) -> Labels:
    labels = Labels()
    if attributes := _annotation(ATTRIBUTES, place, images, files):
        if not attributes.columns:
            raise attributes.error(1, "this should be the number of images, and line 2 the attribute names")
        labels = labels_of(attributes)
        labels.missing |= attributes.missing(files)
    del attributes  # 100 MB for all of CelebA, which the next need not find taken
    if partition := _annotation(PARTITION, place, images, files):
        for file, value in _single_values(partition):
            if value not in SPLITS:
                raise partition.error(
                    partition.rows[file][0], f"{brief(value)} is no partition: 0 train, 1 val, 2 test"
                )
            labels.splits[file] = SPLITS[value]
        labels.missing |= partition.missing(files)
    if identity := _annotation(IDENTITY, place, images, files):
        labels.identities = dict(_single_values(identity))
        labels.missing |= identity.missing(files)
    return labels


def _find_images(path: Path) -> Path | None:
    """The zip or folder with CelebA's images; any file may be one, and is judged by what is in it."""
    path = path.absolute()
    if not path.is_dir() or any(place.name in PLACES for place in (path, path.parent)):
        return path
    if found := _places_in(path):
        return found[0]
    entries = [entry for entry in sorted(path.iterdir()) if not is_hidden(entry.name)]
    inner = [entry for entry in entries if entry.is_dir() and os.access(entry, os.X_OK)]
    if found := [place for folder in inner for place in _places_in(folder)]:
        if len(inner) > 1 or any(entry.suffix.lower() in SUFFIXES for entry in entries):
            raise UserError(
                f"{shown(path)} holds CelebA and others: give {shown(found[0])}, or the folder of the others"
            )
        return found[0]
    if any(_tables_in(home) for home in (path, path.parent)) and _is_numbered(path):
        return path
    if _tables_in(path):
        raise UserError(
            f"{shown(path)} has CelebA's annotations, but neither {IMAGE_FOLDER}.zip nor {IMAGE_FOLDER}/: add it"
        )
    return None


def _places_in(home: Path) -> list[Path]:
    return [home / place for place in PLACES if (home / place).exists()]


def _is_numbered(folder: Path) -> bool:
    """Whether there are images named as CelebA's are."""
    return any(re.search(r"(^|/)[0-9]{6}\.(jpg|png)$", name) for name in FolderImages(folder).names)


def _tables_in(home: Path) -> list[Path]:
    """The annotations in a folder."""
    paths = (home / folder / table for table in TABLES for folder in ("", "Anno", "Eval"))
    return [path for path in paths if path.is_file()]


def _annotation(name: str, place: Path, images: ImageFiles, files: Collection[str]) -> Table | None:
    """The table called `name`, among the images or near them; `None` where there is none."""
    for home in (place, *place.parents[:3]):
        for path in _tables_in(home):
            if path.stem == name:
                return read_table(path, files)
    for member in images.names:
        if member.endswith((f"{name}.txt", f"{name}.csv")):
            return read_table(member, files, inside=images)
    return None


def _single_values(table: Table) -> Iterator[tuple[str, str]]:
    for file, (line, values) in table.rows.items():
        if len(values) != 1:
            raise table.error(line, f"{len(values)} values where one belongs")
        yield file, values[0]
