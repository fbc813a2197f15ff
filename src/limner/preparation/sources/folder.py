"""Images in a folder or a zip, and the labels a CSV gives them. Nothing here decodes an image or unpacks a zip."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Literal

from limner.core.errors import UserError
from limner.preparation.sources.containers import ImageFiles, open_images, shown
from limner.preparation.sources.tables import Labels, labels_of, read_table

LABELS_FILE = "labels.csv"


# --- where images are -----------------------------------------------------------------------------------------------


# --- labels -----------------------------------------------------------------------------------------------------------


# --- the source -------------------------------------------------------------------------------------------------------


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
    """Any folder or zip of images, labelled by `labels_path` or by the one labels.csv in it, if there is one.

    A labels.csv names images relative to the folder that it lies in.
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
    if given is None and not found:
        return Labels()
    table = read_table(given, files) if given else read_table(found[0], files, inside=images)
    labels = labels_of(table)
    labels.missing = table.missing(files)
    return labels
