"""A process: its cores, its place among those of a launcher, its standard streams."""

import atexit
import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, NoReturn

from limner.core.errors import UserError


def usable_cores() -> int:
    """How many cores this process may use, which may be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def process_rank() -> int:
    """The number of this process among those that torchrun has started; 0: the main one, or the only one."""
    return _number_of_launcher("RANK", 0)


def process_count(name: str = "WORLD_SIZE") -> int:
    """How many processes torchrun has started, or with LOCAL_WORLD_SIZE how many of them on this machine."""
    return _number_of_launcher(name, 1)


def _number_of_launcher(name: str, without: int) -> int:
    text = os.environ.get(name, str(without))
    if not text.isdecimal():
        raise UserError(f"{name} is {text!r} in the environment, not a number: start with torchrun, or unset it.")
    return int(text)


def end_process(status: int) -> NoReturn:
    """End this process with this status while threads may be in torch, its exit functions run and its output written.

    Such a thread aborts an interpreter that ends by itself: one that still computes for the studio, or now and then one
    of gloo's, which lets go of a tensor after all work is done (pytorch/pytorch#190489).
    """
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def open_missing_streams() -> None:
    """Open the standard streams that a process was started without (`>&-`, some services) on nothing.

    Else the first files that it opens get their numbers, and what is meant for a terminal is written into these.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free, which is this one
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115


class Output:
    """A standard stream to which a command goes on writing when its reader has left (`limner recipes | head -1`).

    A terminal that was closed is such a reader. What is `optional` may be lost for any other reason too.
    """

    def __init__(self, stream: IO[str], optional: bool) -> None:
        self._stream, self._optional = stream, optional

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with self._unless_lost():
            return self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._unless_lost():
            self._stream.flush()

    @contextmanager
    def _unless_lost(self) -> Iterator[None]:
        """Send all that follows, and what is still in the buffer, nowhere, once it cannot be written."""
        try:
            yield
        except OSError as error:
            with suppress(OSError), Path(os.devnull).open("wb") as nowhere:
                os.dup2(nowhere.fileno(), self._stream.fileno())
            if not self._optional and error.errno not in (errno.EPIPE, errno.EIO):
                raise OSError(error.errno, error.strerror, "the standard output") from error
