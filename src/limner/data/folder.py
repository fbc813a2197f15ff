"""Pictures in a folder or a zip, and the labels a CSV gives them. Nothing here decodes a picture or unpacks a zip."""

import csv
import io
import os
import re
import stat
import sys
import zipfile
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Literal, Protocol

from limner.data.crops import Rejected
from limner.data.splits import SPLITS
from limner.errors import UserError

MAX_FILE_BYTES = 64 * 2**20
MAX_TABLE_BYTES = 256 * 2**20
HIDDEN = ("__MACOSX", "Thumbs.db", "desktop.ini")
FLAGS = {"-1": 0, "0": 0, "1": 1}
LABELS_FILE = "labels.csv"


def shown(name: str | Path) -> str:
    """A name as it may stand in a one-line message: what cannot be printed is escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in str(name))


# --- where pictures are -----------------------------------------------------------------------------------------------


class Pictures(Protocol):
    """Files in a container, by name: relative, with `/` between the parts. Sent to another process, it still reads.

    `names` are sorted and only those worth reading; `rejects` are the others, name -> reason.
    """

    names: list[str]
    rejects: dict[str, str]

    def read(self, name: str, limit: int = MAX_FILE_BYTES) -> bytes:
        """The file's bytes; `Rejected` where it cannot be read or is larger than `limit`."""


class FolderPictures:
    """All files under a folder. No link is followed out of it, and none to another folder."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.rejects: dict[str, str] = {}
        self.names = sorted(self._walk())

    def __getstate__(self) -> dict[str, Path]:
        return {"root": self.root}  # reading needs no more

    def _walk(self) -> Iterator[str]:
        folders = [""]
        while folders:
            folder = folders.pop()
            try:
                entries = list(os.scandir(self.root / folder))
            except OSError as error:
                self.rejects[folder] = f"unreadable: {error.strerror}"
                continue
            for entry in entries:
                name = folder + entry.name
                if entry.is_dir(follow_symlinks=False):
                    folders.append(name + "/")
                elif reason := _hidden(name) or self._not_a_file(entry):
                    self.rejects[name] = reason
                else:
                    yield name

    def _not_a_file(self, entry: os.DirEntry[str]) -> str | None:
        if entry.is_file(follow_symlinks=False):
            return None
        if not entry.is_symlink():
            return "not a regular file"
        target = Path(os.path.realpath(entry.path))  # Path.resolve raises where links form a circle
        if not target.exists():
            return "broken link"
        if not target.is_relative_to(self.root):
            return "link out of the source"
        return None if target.is_file() else "link to something that is not a file"

    def read(self, name: str, limit: int = MAX_FILE_BYTES) -> bytes:
        return read_file(self.root / name, limit)


def read_file(path: Path, limit: int) -> bytes:
    """The bytes of a file; `Rejected` where it cannot be read or is larger than `limit`."""
    try:
        with path.open("rb", buffering=0) as file:
            length = os.fstat(file.fileno()).st_size
            if length > limit:
                raise Rejected(_too_large(length, limit))
            return file.read(length)
    except OSError as error:
        raise Rejected(f"unreadable: {error.strerror}") from error


class ZipPictures:
    """All members of a zip, read in place."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise UserError(f"{shown(path)} {_why_no_zip(path, error)}") from error
        self.rejects: dict[str, str] = {}
        names: set[str] = set()
        for member in self._zip.infolist():
            name = member.filename
            if member.is_dir():
                continue
            if reason := _unsafe(member) or _hidden(name):
                self.rejects[name] = reason
            elif member is not self._zip.getinfo(name):
                self.rejects[f"{name} (earlier)"] = "the same name twice in the zip"
            else:
                names.add(name)
        self.names = sorted(names)

    def __getstate__(self) -> dict[str, Path]:
        return {"_path": self._path}

    def __setstate__(self, state: dict[str, Path]) -> None:
        self._path = state["_path"]
        self._zip = zipfile.ZipFile(self._path)

    def read(self, name: str, limit: int = MAX_FILE_BYTES) -> bytes:
        member = self._zip.getinfo(name)
        if member.file_size > limit:
            raise Rejected(_too_large(member.file_size, limit))
        try:
            return self._zip.read(member)
        except Exception as error:  # zipfile and the decompressors raise anything on hostile bytes
            message = re.sub(r"\s+", " ", str(error))[:120]
            raise Rejected(f"broken in the zip: {message or type(error).__name__}") from error


def _hidden(name: str) -> str | None:
    if any(part.startswith(".") or part in HIDDEN for part in name.split("/")):
        return "hidden file"
    return None


def _unsafe(member: zipfile.ZipInfo) -> str | None:
    name = member.filename.replace("\\", "/")
    if name.startswith("/") or re.match("[A-Za-z]:", name) or ".." in name.split("/"):
        return "unsafe path in the zip"
    if member.flag_bits & 1:
        return "encrypted in the zip"
    if stat.S_ISLNK(member.external_attr >> 16):
        return "link in the zip"
    return None


def _too_large(length: int, limit: int) -> str:
    return f"file too large: {length:,} bytes, the most is {limit:,}"


def _why_no_zip(path: Path, error: Exception) -> str:
    """Tell the ways a download fails from each other."""
    if isinstance(error, OSError):
        return f"cannot be read: {error.strerror or error}"
    with path.open("rb") as file:
        start = file.read(512)
    if not start:
        return "is empty: the download failed, fetch it again"
    if start.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return "is a web page, not a zip: the download was refused (often a quota), fetch it again in a browser"
    if start.startswith(b"PK\x03\x04"):
        return f"is a zip that is cut short or broken ({shown(str(error))}): fetch it again"
    return "is not a zip: give a zip or a folder of pictures"


# --- labels -----------------------------------------------------------------------------------------------------------


@dataclass
class Labels:
    """What is known of each picture besides its pixels, by the picture's name."""

    attribute_names: tuple[str, ...] = ()
    attributes: dict[str, bytes] = field(default_factory=dict)
    """One byte, 0 or 1, per attribute name. Empty where there are none; so are the other two."""
    splits: dict[str, str] = field(default_factory=dict)
    identities: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    """Pictures that a table has no line for, with the reason to reject them."""


@dataclass(frozen=True)
class Table:
    """A text file with one line per picture, kept for the pictures that are there."""

    file: str
    columns: list[str]
    """The header without the column of file names; empty where the file has no header."""
    rows: dict[str, tuple[int, list[str]]]
    """Picture -> line number and values."""

    def add(self, picture: str, line: int, values: list[str]) -> None:
        if picture in self.rows:
            raise self.error(line, f"{picture} has a line already ({self.rows[picture][0]}); remove one")
        # Few values, many times: shared, CelebA's eight million need 80 MB instead of 400.
        self.rows[picture] = line, [sys.intern(value) for value in values]

    def error(self, line: int, problem: str) -> UserError:
        return UserError(f"{shown(self.file)}, line {line}: {shown(problem)}")

    def missing(self, pictures: Collection[str]) -> dict[str, str]:
        """Why pictures that the table has no line for are rejected."""
        reason = f"no line in {shown(PurePosixPath(self.file).name)}"
        return {picture: reason for picture in pictures if picture not in self.rows}


def read_table(file: str | Path, wanted: Collection[str], inside: Pictures | None = None) -> Table:
    """Read the lines of the pictures in `wanted` from a file, or from a file `inside` the source.

    Understands CelebA's official files (with a line count and a header, or with neither) and CSVs with a header.

    Raises:
        UserError: naming the file and the line that is wrong.
    """
    file = str(file)
    try:
        data = inside.read(file, MAX_TABLE_BYTES) if inside else read_file(Path(file), MAX_TABLE_BYTES)
    except Rejected as error:
        raise UserError(f"{shown(file)}: {error}") from error
    if data[:512].lstrip().lower().startswith((b"<!doctype", b"<html")):
        raise UserError(f"{shown(file)} is a web page, not a table of labels: the download was refused, fetch it again")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(f"{shown(file)}, line {line}: not UTF-8 text; save the table as UTF-8") from error
    if not text.strip():
        raise UserError(f"{shown(file)} is empty: it needs one line per picture")
    return _read_csv(text, file, wanted) if file.lower().endswith(".csv") else _read_official(text, file, wanted)


def _read_official(text: str, file: str, wanted: Collection[str]) -> Table:
    lines = text.rstrip().split("\n")
    counted = lines[0].strip().isdecimal()
    first = 2 if counted else 0
    table = Table(file, lines[1].split() if counted and len(lines) > 1 else [], {})
    if counted and int(lines[0]) != len(lines) - first:
        raise table.error(
            1, f"promises {lines[0].strip()} pictures, {len(lines) - first} lines follow; is it cut short?"
        )
    for number, line in enumerate(lines[first:], first + 1):
        name, _, values = line.partition(" ")
        if name in wanted:
            table.add(name, number, values.split())
    return table


def _read_csv(text: str, file: str, wanted: Collection[str]) -> Table:
    header = text[: text.find("\n")]
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=header.count))
    try:
        table = Table(file, [column.strip() for column in next(lines)[1:]], {})
        for line in lines:
            if line and line[0] in wanted:
                table.add(line[0], lines.line_num, [value.strip() for value in line[1:]])
    except csv.Error as error:
        raise UserError(f"{shown(file)}, line {lines.line_num}: {error}") from error
    return table


def labels_of(table: Table) -> Labels:
    """Columns `split` and `identity` mean what they say, every other column is an attribute: 1, or 0 or -1."""
    names = tuple(column for column in table.columns if column not in ("split", "identity"))
    if doubtful := [name for name in table.columns if name in ("", *FLAGS) or table.columns.count(name) > 1]:
        raise table.error(1, f"the header must name each column once, not {doubtful[0]!r}")
    places = [table.columns.index(name) for name in names]
    labels = Labels(names)
    for picture, (line, values) in table.rows.items():
        if len(values) != len(table.columns):
            raise table.error(line, f"{len(values)} values where the header names {len(table.columns)} columns")
        try:
            labels.attributes[picture] = bytes([FLAGS[values[place]] for place in places])
        except KeyError as error:
            raise table.error(line, f"the label {error.args[0]!r} is none of -1, 0 and 1") from error
        if "split" in table.columns:
            labels.splits[picture] = values[table.columns.index("split")]
        if "identity" in table.columns:
            labels.identities[picture] = values[table.columns.index("identity")]
    for picture, split in labels.splits.items():
        if split not in SPLITS:
            raise table.error(table.rows[picture][0], f"{split!r} is no split: {', '.join(SPLITS)}")
    return labels


# --- the source -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Source:
    """Pictures before any is decoded, and the way to their labels."""

    kind: Literal["celeba", "folder"]
    licence: str
    default_crop: str
    pictures: Pictures
    files: dict[str, str]
    """Name in index.csv -> name in `pictures`, in the order of the rows."""
    rejects: dict[str, str]
    """Name -> reason, for what is not among the files."""
    read_labels: Callable[[], Labels]
    """Slow for a large table, so it is for the caller to say when."""


def open_pictures(path: Path) -> Pictures:
    """The pictures of a folder or a zip; `UserError` where the path is neither."""
    if not path.exists():
        raise UserError(f"{shown(path)} does not exist: give a folder or zip of pictures, or synthetic:N")
    return FolderPictures(path) if path.is_dir() else ZipPictures(path)


def open_folder(path: Path, labels_path: Path | None = None) -> Source:
    """Any folder or zip of pictures, labelled by `labels_path` or by the one labels.csv in it, if there is one.

    A labels.csv names pictures relative to the folder that it lies in.
    """
    pictures = open_pictures(path)
    found = [name for name in pictures.names if PurePosixPath(name).name == LABELS_FILE]
    if labels_path is None and len(found) > 1:
        raise UserError(f"{shown(path)} holds {shown(found[0])} and {shown(found[1])}: name one with --labels")
    home = found[0].removesuffix(LABELS_FILE) if found and labels_path is None else ""
    files = {name.removeprefix(home): name for name in pictures.names if name.startswith(home) and name not in found}
    rejects = {name: f"not under {home}" for name in pictures.names if not name.startswith(home)}
    return Source(
        kind="folder",
        licence="that of the pictures",
        default_crop="square",
        pictures=pictures,
        files=files,
        rejects=pictures.rejects | rejects,
        read_labels=partial(_read_labels, labels_path, found, pictures, files),
    )


def _read_labels(given: Path | None, found: list[str], pictures: Pictures, files: Collection[str]) -> Labels:
    if given is None and not found:
        return Labels()
    table = read_table(given, files) if given else read_table(found[0], files, inside=pictures)
    labels = labels_of(table)
    labels.missing = table.missing(files)
    return labels
