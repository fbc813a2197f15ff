"""Images in a folder or a zip, and the labels a CSV gives them. Nothing here decodes an image or unpacks a zip."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from posixpath import commonpath
from typing import Literal

from limner.core.errors import UserError
from limner.data.splits import SPLITS
from limner.preparation.crops import SUFFIXES
from limner.preparation.sources.containers import ImageFiles, open_images, shown
from limner.preparation.sources.tables import Labels, labels_of, read_table

LABELS_FILE = "labels.csv"
MAX_CLASSES = 100
"""More folders are persons or days, not classes."""


@dataclass(frozen=True)
class Source:
    """Images before any is decoded, and the way to their labels."""

    kind: Literal["celeba", "folder"]
    licence: str
    default_crop: str
    images: ImageFiles
    files: dict[str, str]
    """Name in index.csv -> name in `images`, in the order of the rows."""
    rejects: dict[str, str]
    """Name -> reason, for what is not among the files."""
    read_labels: Callable[[], Labels]
    """Slow for a large table, so it is for the caller to say when."""


def open_folder(path: Path, labels_path: Path | None = None) -> Source:
    """Any folder or zip of images, labelled by `labels_path`, by the one labels.csv in it, or by its class folders.

    A labels.csv names images relative to the folder that it lies in. Without one, each folder of images is an
    attribute; folders called train, val and test are splits, and the folders in them the classes.
    """
    images = open_images(path)
    found = [name for name in images.names if PurePosixPath(name).name == LABELS_FILE]
    if labels_path is None and len(found) > 1:
        raise UserError(f"{shown(path)} holds {shown(found[0])} and {shown(found[1])}: name one with --labels")
    home = found[0].removesuffix(LABELS_FILE) if found and labels_path is None else ""
    files = {name.removeprefix(home): name for name in images.names if name.startswith(home) and name not in found}
    rejects = {name: f"not under {home}" for name in images.names if not name.startswith(home)}
    return Source(
        kind="folder",
        licence="that of the images",
        default_crop="square",
        images=images,
        files=files,
        rejects=images.rejects | rejects,
        read_labels=partial(_read_labels, labels_path, found, images, files),
    )


def _read_labels(given: Path | None, found: list[str], images: ImageFiles, files: Collection[str]) -> Labels:
    if given is not None:
        return read_labels(given, files)
    return read_labels(found[0], files, images) if found else class_folders(files)


def read_labels(file: Path | str, files: Collection[str], inside: ImageFiles | None = None) -> Labels:
    """What a CSV, which may be `inside` the source, says about `files`."""
    table = read_table(file, files, inside)
    labels = labels_of(table)
    labels.missing = table.missing(files)
    return labels


def class_folders(files: Collection[str]) -> Labels:
    """One attribute per folder that holds images, where there are two or more, or one and images beside it.

    A folder that holds all the others does not count, and of folders in each other the outer one does.
    """
    labels = Labels()
    parents = {file: PurePosixPath(file).parent for file in files}
    images = [file for file in files if file.lower().endswith(SUFFIXES)]
    if not images:
        return labels
    outer = len(PurePosixPath(commonpath([parents[file] for file in images])).parts)
    parts = {file: parent.parts[outer:] for file, parent in parents.items()}
    if all(parts[file] and parts[file][0].lower() in SPLITS for file in images):
        labels.splits = {file: folders[0].lower() for file, folders in parts.items() if folders}
        labels.missing = {
            file: "in none of train, val and test" for file in files if labels.splits.get(file) not in SPLITS
        }
        parts = {file: folders[1:] for file, folders in parts.items()}
    names = sorted({parts[file][0] for file in images if parts[file]})
    if len(names) <= MAX_CLASSES:
        labels.attribute_names = tuple(names)
        labels.attributes = {file: bytes(name in folders[:1] for name in names) for file, folders in parts.items()}
    return labels
