"""Writing so that a reader never sees half a file: beside, synced, then renamed."""

import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from limner.core.errors import UserError


def write_file(path: Path, content: bytes) -> None:
    """Write `content` to `path` in one step: whoever reads it sees the old file or the new one."""
    beside = path.with_name(f".{path.name}.{uuid4().hex[:8]}.partial")
    try:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def check_output(out: Path, force: bool, endings: Sequence[str] = ()) -> None:
    """Raise UserError where `out` is there (without `force`), has none of the `endings`, or has no folder to be in."""
    if endings and out.suffix.lower() not in endings:
        raise UserError(f"{out} does not end in {' or '.join(endings)}: choose another --out.")
    if out.exists() and not force:
        raise UserError(f"{out} exists: choose another --out, or replace it with --force.")
    if not out.parent.is_dir():
        raise UserError(f"There is no folder {out.parent} to write {out.name} into.")


@contextmanager
def new_folder(path: Path, synced: bool = True) -> Iterator[Path]:
    """Fill the yielded empty folder; on leaving, it takes the place of `path`. On an error `path` stays as it was.

    `synced` waits until the disk has it all: for what must outlive a loss of power.
    """
    suffix = uuid4().hex[:8]
    beside, retired = (path.with_name(f".{path.name}.{suffix}.{what}") for what in ("partial", "retired"))
    path.parent.mkdir(parents=True, exist_ok=True)
    beside.mkdir()
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
        shutil.rmtree(beside, ignore_errors=True)
        if path.exists():
            shutil.rmtree(retired, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Remove what a killed process left half-written in `folder`."""
    for leftover in [*folder.glob(".*.partial"), *folder.glob(".*.retired")]:
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()


def sha256(path: Path) -> str:
    """The file's sha256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    if os.name == "nt" and path.is_dir():  # Windows cannot open a folder to sync it
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
