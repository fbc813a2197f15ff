"""Writing so that a reader never sees half a file: beside, synced, then renamed.

What a killed process leaves beside its output is removed by the next one that writes the same output. Each holds a
lock on what it is writing, which ends with it: so nobody removes what another process is still at.
"""

import errno
import hashlib
import mmap
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from limner.core.errors import UserError
from limner.core.locks import locked

BESIDE = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{8}\.(?P<kind>partial|retired)")


def write_file(path: Path, content: bytes) -> None:
    """Write `content` to `path` in one step: whoever reads it sees the old file or the new one.

    An OSError that it raises names `path`.
    """
    with _named(path), _begin(path, Path.touch) as beside:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)


def check_output(out: Path, force: bool, endings: Sequence[str] = ()) -> None:
    """Raise UserError where `out` is there (without `force`), has none of the `endings`, or has no folder to be in.

    Also raises OSError where nothing can be written there, and removes what killed processes left of `out`.
    """
    if endings and out.suffix.lower() not in endings:
        raise UserError(f"{out} does not end in {' or '.join(endings)}: choose another --out.")
    if out.exists() and not force:
        raise UserError(f"{out} exists: choose another --out, or replace it with --force.")
    if not out.parent.is_dir():
        raise UserError(f"There is no folder {out.parent} to write {out.name} into.")
    check_place(out)
    sweep(out.parent, out.name)


def check_path(path: Path) -> None:
    """Raise UserError where `path` is not UTF-8: libraries that read and write files for us take no other."""
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError:
        raise UserError(f"The path {path} is not UTF-8: choose another name.") from None


def check_place(out: Path) -> None:
    """Raise OSError, before any work is done, where this process may not write `out`.

    And UserError where its path is not UTF-8.
    """
    check_path(out)
    place = next(parent for parent in out.absolute().parents if parent.exists())
    if not place.is_dir():
        raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(place))
    if not os.access(place, os.W_OK):
        only_reads = hasattr(os, "statvfs") and os.statvfs(place).f_flag & os.ST_RDONLY
        number = errno.EROFS if only_reads else errno.EACCES
        raise OSError(number, os.strerror(number), str(out))


@contextmanager
def new_folder(path: Path, synced: bool = True) -> Iterator[Path]:
    """Fill the yielded empty folder; on leaving, it takes the place of `path`. On an error `path` stays as it was.

    `synced` waits until the disk has it all: for what must outlive a loss of power. An OSError that it raises names
    `path`.
    """
    with _named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path.parent, path.name)
        with _begin(path, Path.mkdir) as beside:
            retired = beside.with_suffix(".retired")
            try:
                yield beside
                if synced:
                    for file in [*beside.iterdir(), beside]:
                        _sync(file)
                if path.exists():
                    path.rename(retired)
                try:
                    beside.rename(path)
                except BaseException:
                    if retired.exists():
                        retired.rename(path)
                    raise
                if synced:
                    _sync(path.parent)
            finally:
                if path.exists():
                    shutil.rmtree(retired, ignore_errors=True)


def sweep(folder: Path, name: str | None = None) -> None:
    """Remove what killed processes left half-written in `folder`, of every output or of the one called `name`.

    One that was killed while it replaced a folder had put the old one aside: that one returns to its place.
    """
    for leftover in folder.iterdir() if folder.is_dir() else ():
        found = BESIDE.fullmatch(leftover.name)
        if found is None or name not in (None, found["name"]):
            continue
        partial, place = leftover.with_suffix(".partial"), folder / found["name"]
        # Where nobody can know who is at work, only the owner of a whole folder may tidy it up.
        with suppress(OSError), locked(partial, where_unknown=name is None) as free:
            if free and found["kind"] == "retired" and not place.exists():
                leftover.rename(place)
            elif free:
                _remove(leftover)


def _remove(path: Path) -> None:
    """Remove a file or folder that may be there."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def reserve(file: Path) -> None:
    """Take the space on the disk for all of `file`, which may have holes.

    A full disk is an OSError then; later, where the file is mapped into memory, it would end the process.
    """
    if hasattr(os, "posix_fallocate"):
        with file.open("r+b") as opened:
            os.posix_fallocate(opened.fileno(), 0, file.stat().st_size)


def sha256(path: Path) -> str:
    """The file's sha256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def release(array: Any) -> None:
    """Give back the memory that the pages of a mapped file hold; other arrays are left alone.

    The system would take them back when it needs them. Until then, whoever passes through a large file seems to use
    as much memory as the file is large.
    """
    while isinstance(array, np.ndarray):
        array = array.base
    if isinstance(array, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        array.madvise(mmap.MADV_DONTNEED)


@contextmanager
def _begin(path: Path, make: Callable[[Path], None]) -> Iterator[Path]:
    """Make a file or folder beside `path`, locked while this lasts; what is still there at the end is removed."""
    while True:
        beside = path.with_name(f".{path.name}.{uuid4().hex[:8]}.partial")
        try:
            make(beside)
            with locked(beside) as mine:
                if mine and beside.exists():  # else another process took it for a leftover before it was locked
                    yield beside
                    return
        finally:
            _remove(beside)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """An OSError about no file, or about one that is being written beside `path`, is one about `path`."""
    try:
        yield
    except OSError as error:
        if error.errno is None:  # numpy's or Pillow's, who wrote less than they wanted to
            raise OSError(errno.EIO, f"could not be written ({error})", str(path)) from error
        if error.filename is None or any(BESIDE.search(str(name)) for name in (error.filename, error.filename2)):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def _sync(path: Path) -> None:
    if os.name == "nt" and path.is_dir():  # Windows cannot open a folder to sync it
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
