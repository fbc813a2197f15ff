"""PackedFaces: a prepared data set, a folder of plain files that a person can open and a training can memory-map."""

import csv
import errno
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tokenize import TokenError
from typing import Literal, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from limner.core.arguments import checked
from limner.core.batching import batches_of
from limner.core.errors import UserError, brief
from limner.core.files import release
from limner.core.records import read_record

INFO, IMAGES, ATTRIBUTES, INDEX = "dataset.json", "images.npy", "attributes.npy", "index.csv"
REJECTS, PREVIEW, FREQUENCIES, ALIGNMENT = "rejects.csv", "preview.png", "frequencies.png", "alignment.png"
CONFIDENCES, LABELS = "confidences.csv", "labels.json"  # of `limner label`
FILES = frozenset({INFO, IMAGES, ATTRIBUTES, INDEX, REJECTS, PREVIEW, FREQUENCIES, ALIGNMENT, CONFIDENCES, LABELS})
INDEX_HEADER = ["row", "file", "split", "identity", "official"]  # official: the split that the source gives

TRAINABLE_SIZES = (32, 64, 128)
"""In pixels; other sizes can be prepared and evaluated."""


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SourceInfo(_Record):
    kind: Literal["celeba", "folder", "synthetic", "generated"]
    name: str
    licence: str


class CropInfo(_Record):
    preset: str
    box: tuple[int, int, int, int] | None
    """Left, top, right, bottom; `None` where it depends on the image."""
    aligned: Literal["all", "largest"] | None = None
    """Which faces of each photo were found and aligned; `None`: the images are as they came."""


class Counts(_Record):
    found: int
    left_out: int
    """By `keep`."""
    rejected: int
    images: int
    splits: dict[str, int]


Info = TypeVar("Info", bound=BaseModel)


class _AnyVersion(BaseModel):
    """What dataset.json says in every version of the format."""

    format: Literal["limner packed faces"]


class DatasetInfo(_Record):
    """dataset.json: where the images come from, what was done to them, and the hash of what came out."""

    format: Literal["limner packed faces"] = "limner packed faces"
    format_version: Literal[2] = 2
    limner_version: str
    source: SourceInfo
    size: int = Field(ge=16, le=512)
    crop: CropInfo | None
    resize_filter: str | None
    counts: Counts
    attribute_names: tuple[str, ...]
    keep: float
    heldout: int | None
    """As requested; `None`: the source's own partition, or a share."""
    test: int | None
    """As requested; `None`: the default."""
    seed: int
    content_hash: str


def join_licences(*licences: str) -> str:
    """The licence of what is made of several things: all of theirs, each once."""
    return "; ".join(dict.fromkeys(part for licence in licences for part in licence.split("; ")))


class ContentHash:
    """sha256 of what a training sees: pixels, attributes, splits. File names and the kind of source leave no trace."""

    def __init__(self, size: int) -> None:
        self._hash = hashlib.sha256(f"limner packed faces 1, {size} x {size} x 3\n".encode())

    def add_images(self, pixels: bytes) -> None:
        """The next images, in the order of the rows."""
        self._hash.update(pixels)

    def finish(self, attributes_NA: NDArray[np.uint8], names: Iterable[str], splits: Iterable[str]) -> str:
        self._hash.update(json.dumps([*names]).encode())
        self._hash.update(attributes_NA.tobytes())
        self._hash.update("\n".join(splits).encode())
        return self._hash.hexdigest()


@dataclass(frozen=True)
class PackedFaces:
    """A prepared data set; N images of `size` x `size`, A attributes each."""

    path: Path
    info: DatasetInfo
    images_NHWC: NDArray[np.uint8]
    """0 to 255, memory-mapped, read-only."""
    attributes_NA: NDArray[np.uint8]
    """0 or 1."""
    splits: NDArray[np.str_]
    """Of each image: `train`, `val` (chooses) or `test` (reports); see `limner.data.splits`."""

    @classmethod
    @checked
    def open(cls, path: str | Path, verify: bool = False) -> Self:
        """Open the folder that `limner prepare` made; `verify` also recomputes the hash of its content.

        So does a file that is newer than dataset.json, which is written last: somebody has changed it, or copied it.

        Raises:
            UserError: the folder is not one, or its files do not fit each other.
        """
        path = Path(path)
        info = _read_info(path, DatasetInfo)
        images_NHWC = _load_array(path / IMAGES, mmap=True)
        attributes_NA = _load_array(path / ATTRIBUTES, mmap=False)
        splits = [sys.intern(split) for _, split in _read_index(path / INDEX)]

        count = info.counts.images
        expected = {
            IMAGES: (images_NHWC.shape, (count, info.size, info.size, 3)),
            ATTRIBUTES: (attributes_NA.shape, (count, len(info.attribute_names))),
            INDEX: ((len(splits),), (count,)),
        }
        for file, (found, wanted) in expected.items():
            if found != wanted:
                raise UserError(f"{path / file} holds {found} where {INFO} says {wanted}: prepare the data again")
        if Counter(splits) != Counter(info.counts.splits):
            raise UserError(f"{path / INDEX} has other splits than {INFO}: prepare the data again")
        faces = cls(path, info, images_NHWC, attributes_NA, np.array(splits))
        if verify or faces._is_newer_than_its_hash():
            if faces._content_hash() != info.content_hash:
                raise UserError(f"{path} was changed or damaged: its content has another hash; prepare the data again")
            with suppress(OSError):
                (path / INFO).touch()  # so that a copy is looked through once
        return faces

    def __len__(self) -> int:
        return len(self.splits)

    @cached_property
    def files(self) -> list[str]:
        """Name of each image's file in the source; read when it is first asked for."""
        return [file for file, _ in _read_index(self.path / INDEX)]

    @property
    def size(self) -> int:
        """Width and height in pixels."""
        return self.info.size

    @property
    def attribute_names(self) -> tuple[str, ...]:
        return self.info.attribute_names

    @checked
    def rows(self, split: str) -> NDArray[np.int64]:
        """Rows of the split `train`, `val` or `test`; `heldout` means every row that is not for training.

        Raises:
            UserError: there is no such split.
        """
        chosen = self.splits != "train" if split == "heldout" else self.splits == split
        if not chosen.any():
            there = ", ".join(self.info.counts.splits)
            raise UserError(f"{self.path} has no images in the split {split!r}: its splits are {there}")
        return np.flatnonzero(chosen)

    @checked
    def read(self, rows: NDArray[np.int64] | slice) -> NDArray[np.uint8]:
        """The images in these rows, uint8 N x H x W x 3.

        Raises UserError for rows that there are none of, and OSError where their file was cut short since it was
        opened: to touch what is gone would end the process.
        """
        if isinstance(rows, np.ndarray) and (rows.ndim != 1 or ((rows < -len(self)) | (rows >= len(self))).any()):
            raise UserError(f"rows is {brief(rows)}; it must be a list of numbers below {len(self):,}.")
        mapped = self.images_NHWC._mmap if isinstance(self.images_NHWC, np.memmap) else None  # type: ignore[attr-defined]
        if mapped is not None and mapped.size() < len(mapped):
            raise OSError(
                errno.ENODATA, "cut short while it was in use, prepare the data again", str(self.path / IMAGES)
            )
        return self.images_NHWC[rows]

    def _is_newer_than_its_hash(self) -> bool:
        hashed = (self.path / INFO).stat().st_mtime_ns
        return any((self.path / file).stat().st_mtime_ns > hashed for file in (IMAGES, ATTRIBUTES, INDEX))

    def _content_hash(self) -> str:
        content = ContentHash(self.size)
        for some in batches_of(len(self), 1024):
            content.add_images(self.read(some).tobytes())
            release(self.images_NHWC)
        return content.finish(self.attributes_NA, self.attribute_names, self.splits.tolist())


def check_packed(path: Path) -> None:
    """Raises `UserError` where the folder `path` is no PackedFaces of this or an earlier version."""
    _read_info(path, _AnyVersion)


def _read_info(path: Path, kind: type[Info]) -> Info:
    """dataset.json of the folder `path`; `UserError` where that is no PackedFaces that we can read."""
    file = path / INFO
    if not file.is_file():
        raise UserError(f"{path} is not a prepared data set (it has no {INFO}): make one with limner prepare")
    return read_record(file, kind, "prepare the data again")


def write_rows(file: Path, header: Sequence[str], rows: Iterable[Sequence[str | int]]) -> None:
    """A CSV in UTF-8; bytes in a file name that are no text are written as escapes."""
    with file.open("w", encoding="utf-8", errors="backslashreplace", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _load_array(file: Path, mmap: bool) -> NDArray[np.uint8]:
    try:
        array: NDArray[np.uint8] = np.load(file, mmap_mode="r" if mmap else None, allow_pickle=False)
    except (OSError, ValueError, TypeError, SyntaxError, EOFError, TokenError) as error:  # the header is read as Python
        raise UserError(
            f"{file} is missing or damaged ({' '.join(str(error).split())}): prepare the data again"
        ) from error
    if array.dtype != np.uint8:
        raise UserError(f"{file} holds {array.dtype}, not uint8: prepare the data again")
    return array


def _read_index(file: Path) -> Iterator[tuple[str, str]]:
    """File and split of each row."""
    try:
        with file.open(encoding="utf-8", newline="") as lines:
            rows = csv.reader(lines)
            if next(rows, None) != INDEX_HEADER:
                raise ValueError(f"its header is not {','.join(INDEX_HEADER)}")
            for _, name, split, _, _ in rows:
                yield name, split
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(
            f"{file} is missing or damaged ({' '.join(str(error).split())}): prepare the data again"
        ) from error
