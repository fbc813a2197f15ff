"""How the C library gets memory from the system."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# Numbers of glibc's malloc.h.
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
LARGEST = 1 << 30
# The values that glibc itself reaches where large blocks are freed.
USUAL = {MMAP_THRESHOLD: 32 << 20, TRIM_THRESHOLD: 64 << 20}


def keep_freed_memory() -> None:
    """Have the C library keep what is freed, to use it again.

    Without it, glibc requests the memory of every large tensor anew, and the system clears it page by page, in every
    step of a training. The process holds about as much as it needed at most. With another C library than glibc nothing
    changes. What it is worth: docs/train.md.
    """
    if libc := _glibc():
        libc.mallopt(MMAP_THRESHOLD, LARGEST)
        libc.mallopt(TRIM_THRESHOLD, -1)


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """While in here, freed memory is kept; at the end the system gets it back."""
    keep_freed_memory()
    try:
        yield
    finally:
        if libc := _glibc():
            for parameter, value in USUAL.items():
                libc.mallopt(parameter, value)
            libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "gnu_get_libc_version") else None
