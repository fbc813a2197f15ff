"""Folders and zips of files, read within bounds and without leaving them."""

import os
import re
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from limner.core.errors import UserError, printable
from limner.preparation.crops import Rejected

MAX_FILE_BYTES = 64 * 2**20
MAX_TABLE_BYTES = 256 * 2**20
HIDDEN = ("__MACOSX", "Thumbs.db", "desktop.ini")


def shown(name: str | Path) -> str:
    """A name as it may stand in a one-line message: what cannot be printed is escaped."""
    return printable(str(name))


class ImageFiles(Protocol):
    """Files in a container, by name: relative, with `/` between the parts. Sent to another process, it still reads.

    `names` are sorted and only those worth reading; `rejects` are the others, name -> reason.
    """

    names: list[str]
    rejects: dict[str, str]

    def read(self, name: str, limit: int = MAX_FILE_BYTES) -> bytes:
        """The file's bytes; `Rejected` where it cannot be read or is larger than `limit`."""


class FolderImages:
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


class ZipImages:
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
            if name.endswith("/"):  # ZipInfo.is_dir fails for a member without a name
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
            # No more is unpacked at once than the member claims to have; ZipFile.read would take all there is.
            with self._zip.open(member) as file:
                return file.read(member.file_size)
        except Exception as error:  # zipfile and the decompressors raise anything on hostile bytes
            message = re.sub(r"\s+", " ", str(error))[:120]
            raise Rejected(f"broken in the zip: {message or type(error).__name__}") from error


def is_hidden(name: str) -> bool:
    """Whether a file of this name, or a folder that it is in, is one that people do not see."""
    return any(part.startswith(".") or part in HIDDEN for part in name.split("/"))


def _hidden(name: str) -> str | None:
    return "hidden file" if is_hidden(name) else None


def _unsafe(member: zipfile.ZipInfo) -> str | None:
    name = member.filename.replace("\\", "/")
    if not name:
        return "no name in the zip"
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
    return "is not a zip: give a zip or a folder of images"


def open_images(path: Path) -> ImageFiles:
    """The images of a folder or a zip; `UserError` where the path is neither."""
    if not path.exists():
        raise UserError(f"{shown(path)} does not exist: give a folder or zip of images, or synthetic:N")
    return FolderImages(path) if path.is_dir() else ZipImages(path)
