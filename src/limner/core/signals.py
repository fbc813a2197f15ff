"""The signals that ask a process to end, or to save: what each does to a command and to a training."""

import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NoReturn

from limner.core.errors import ProcessLost

SOON = 0.1  # seconds
ENDING = [signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]


def ending_signals() -> list[signal.Signals]:
    """Those that ask a process to end: SIGTERM, and SIGHUP of a closed terminal unless it is ignored (nohup)."""
    return [number for number in ENDING if number == signal.SIGTERM or signal.getsignal(number) is not signal.SIG_IGN]


@contextmanager
def handled(numbers: Iterable[int], handler: Any) -> Iterator[None]:
    """Inside, `handler` handles these signals. In another thread than the main one, none of them reaches it anyway."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


@contextmanager
def deaf_to_ctrl_c() -> Iterator[None]:
    """Processes that are started in here never hear Ctrl-C, which a terminal sends to every process of a command.

    The one that starts them, which ends them in order, hears it when they are started.
    """
    came: list[int] = []
    blocks = hasattr(signal, "pthread_sigmask")
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT]) if blocks else set()  # processes inherit it
    try:
        with handled([signal.SIGINT], lambda number, _: came.append(number)):  # other threads do not block it
            yield
    finally:
        if blocks:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if came:
            signal.raise_signal(signal.SIGINT)


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
    heard = [number for number, handler in usual.items() if signal.getsignal(number) is handler]
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
        with handled(heard, interrupt):
            yield came
    finally:
        again.cancel()
        threading.excepthook, sys.unraisablehook = of_threads, of_unraisable


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


def ended_at_once() -> AbstractContextManager[None]:
    """For a wait in a library's C++, in which Python runs no handler: Ctrl-C, SIGTERM and SIGHUP end the process."""
    heard = [number for number in (signal.SIGINT, *ENDING) if signal.getsignal(number) is not signal.SIG_IGN]
    return handled(heard, signal.SIG_DFL)


def _say_nothing_of_files(ended: threading.ExceptHookArgs) -> None:
    """TensorBoard writes in a thread of its own, and hands its OSError on to the main one, which says it."""
    if not issubclass(ended.exc_type, OSError):
        threading.__excepthook__(ended)
