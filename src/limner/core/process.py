"""What the process of a command does when its terminal goes away, or when it is asked to end."""

import errno
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, NoReturn

from limner.core.errors import ProcessLost, UserError

SOON = 0.1  # seconds
ENDING = [signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]


def ending_signals() -> list[signal.Signals]:
    """Those that ask a process to end: SIGTERM, and SIGHUP of a closed terminal unless it is ignored (nohup)."""
    return [number for number in ENDING if number == signal.SIGTERM or signal.getsignal(number) is not signal.SIG_IGN]


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


@contextmanager
def ended_by_signals() -> Iterator[list[int]]:
    """SIGTERM, and SIGHUP of a terminal that is closed, end a command as Ctrl-C does: nothing half-written stays.

    One that is ignored (nohup) stays so. Yields the signals that have come: a library may make another exception of
    the KeyboardInterrupt that a signal raises.
    """
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():  # signals reach the main thread alone
        yield came
        return

    def interrupt(number: int, _: object) -> NoReturn:
        came.append(number)
        raise KeyboardInterrupt

    usual = {signal.SIGINT: signal.default_int_handler} | dict.fromkeys(ENDING, signal.SIG_DFL)
    before = {number: handler for number, handler in usual.items() if signal.getsignal(number) is handler}
    for number in before:
        signal.signal(number, interrupt)

    main_thread = threading.get_ident()
    again = threading.Timer(SOON, lambda: signal.pthread_kill(main_thread, came[-1]))

    def unraisable(ignored: Any) -> None:
        if came and issubclass(ignored.exc_type, KeyboardInterrupt) and hasattr(signal, "pthread_kill"):
            if not again.ident:  # raised in a destructor, say, the interrupt would be lost: let it come again
                again.start()
        else:
            of_unraisable(ignored)

    threading.excepthook, of_threads = _say_nothing_of_files, threading.excepthook
    sys.unraisablehook, of_unraisable = unraisable, sys.unraisablehook
    try:
        yield came
    finally:
        again.cancel()
        threading.excepthook, sys.unraisablehook = of_threads, of_unraisable
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def stop_and_save_requests(stop: threading.Event) -> Iterator[tuple[threading.Event, threading.Event]]:
    """`stop`, which Ctrl-C, SIGTERM or a terminal that is closed sets (a second Ctrl-C ends at once), and an event that
    SIGUSR1 sets: to save now."""
    save = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # signals reach the main thread alone
        yield stop, save
        return

    def handle(number: int, _: object) -> None:
        if number not in ends:
            save.set()
            return
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()

    ends = [signal.SIGINT, *ending_signals()]
    numbers = [*ends, *([signal.SIGUSR1] if hasattr(signal, "SIGUSR1") else [])]
    before = {number: signal.signal(number, handle) for number in numbers}
    lost = False
    try:
        yield stop, save
    except ProcessLost:
        lost = True  # torchrun now sends SIGTERM, which must not come before the line that says why
        raise
    finally:
        for number, handler in () if lost else before.items():
            signal.signal(number, handler)


@contextmanager
def ended_at_once() -> Iterator[None]:
    """For a wait in a library's C++, in which Python runs no handler: Ctrl-C, SIGTERM and SIGHUP end the process."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGINT, *ending_signals())}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _say_nothing_of_files(ended: threading.ExceptHookArgs) -> None:
    """TensorBoard writes in a thread of its own, and hands its OSError on to the main one, which says it."""
    if not issubclass(ended.exc_type, OSError):
        threading.__excepthook__(ended)
