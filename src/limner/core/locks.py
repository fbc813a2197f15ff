"""Locks on files and folders that end with the process that holds them, however it ends.

They are those of flock(2). On NFS, Linux makes them locks of the whole file that the server keeps, so they hold between
machines; such a file must be open for writing, which a folder never is.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


def try_lock(descriptor: int, where_unknown: bool = True) -> bool:
    """Lock an open file or folder for as long as it stays open; False where another process has it.

    `where_unknown` is the answer where the system or the file system has no such locks.
    """
    if fcntl is None:
        return where_unknown
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return where_unknown
    return True


@contextmanager
def locked(path: Path, where_unknown: bool = True) -> Iterator[bool]:
    """Hold the lock on a file or folder that may be there while this lasts; False where another process has it."""
    if fcntl is None:  # an open file could not be renamed either
        yield where_unknown
        return
    try:
        descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    except FileNotFoundError:
        yield True
        return
    except OSError:
        yield where_unknown
        return
    try:
        yield try_lock(descriptor, where_unknown)
    finally:
        os.close(descriptor)
