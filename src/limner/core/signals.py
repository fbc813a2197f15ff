"""The signals that ask a process to end, or to save: what each does to a command and to a training."""

import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NoReturn

from limner.core.errors import ProcessLost
from limner.core.process import end_process

SOON = 0.1  # seconds
SECONDS_OF_ONE_END = 2.0
SECONDS_TO_END = 5.0
ENDING = [signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]


def ending_signals() -> list[signal.Signals]:
    """Those that ask a process to end: SIGTERM, and SIGHUP of a closed terminal unless it is ignored (nohup)."""
    return [number for number in ENDING if number == signal.SIGTERM or signal.getsignal(number) is not signal.SIG_IGN]


@contextmanager
def handled(
    numbers: Iterable[int], handler: Any, stays: Callable[[BaseException | None], bool] = lambda _: False
) -> Iterator[None]:
    """Inside, `handler` handles these signals. In another thread than the main one, none of them reaches it anyway.

    It goes on handling them where it `stays` after what ended the block, an exception or None.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    stay = False
    try:
        yield
        stay = stays(None)
    except BaseException as error:
        stay = stays(error)
        raise
    finally:
        if not stay:
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


class Ends:
    """Tells signals that ask to end from those that repeat it.

    People press Ctrl-C twice; `timeout`, torchrun and a terminal that is closed send their signals twice. The second
    must not interrupt what the first has begun: taking back what is half-written, ending the workers, saying why.
    Locks nothing, as a second signal may interrupt the handler of the first.
    """

    def __init__(self) -> None:
        self.since = -math.inf  # the moment of the last one that repeated none

    def begins(self) -> bool:
        """Whether the signal that has come repeats none of the last two seconds."""
        now = time.monotonic()
        if now < self.since + SECONDS_OF_ONE_END:
            return False
        self.since = now
        return True


class Interrupt:
    """What handles the signals that end a command: `came` are those that did."""

    def __init__(self) -> None:
        self.came: list[int] = []
        self._ends = Ends()

    def __call__(self, number: int, _: object) -> None:
        if self._ends.begins():
            self.came.append(number)
            raise KeyboardInterrupt

    def again(self) -> None:
        """Interrupt the main thread once more, as the last exception was lost."""
        self._ends = Ends()
        signal.pthread_kill(threading.main_thread().ident or 0, self.came[-1])


def interrupt_of_command() -> Interrupt:
    """That of the command which runs, or a new one."""
    running = signal.getsignal(signal.SIGTERM)
    return running if isinstance(running, Interrupt) else Interrupt()


@contextmanager
def ended_by_signals(process_ends: bool) -> Iterator[list[int]]:
    """SIGTERM, and SIGHUP of a terminal that is closed, end a command as Ctrl-C does: nothing half-written stays.

    One that is ignored (nohup) stays so. Yields the signals that have come: a library may make another exception of
    the KeyboardInterrupt that a signal raises. After SystemExit(130), where `process_ends`, the handlers stay, as a
    second signal may be on its way.
    """
    interrupt = Interrupt()
    came = interrupt.came
    if threading.current_thread() is not threading.main_thread():  # signals reach the main thread alone
        yield came
        return

    usual = {signal.SIGINT: signal.default_int_handler} | dict.fromkeys(ENDING, signal.SIG_DFL)
    heard = [number for number, handler in usual.items() if signal.getsignal(number) is handler]
    again = threading.Timer(SOON, interrupt.again)

    def unraisable(ignored: Any) -> None:
        if came and issubclass(ignored.exc_type, KeyboardInterrupt) and hasattr(signal, "pthread_kill"):
            if not again.ident:  # raised in a destructor, say, the interrupt would be lost: let it come again
                again.start()
        else:
            of_unraisable(ignored)

    def process_ends_with(error: BaseException | None) -> bool:
        return process_ends and isinstance(error, SystemExit) and error.code == 130

    threading.excepthook, of_threads = _say_nothing_of_files, threading.excepthook
    sys.unraisablehook, of_unraisable = unraisable, sys.unraisablehook
    try:
        with handled(heard, interrupt, stays=process_ends_with):
            yield came
    finally:
        again.cancel()
        threading.excepthook, sys.unraisablehook = of_threads, of_unraisable


class Requests:
    """What a training is asked by signals, or by an event that another thread sets."""

    def __init__(self, event: threading.Event) -> None:
        self._event = event
        self._ends = Ends()
        self.save = False

    @property
    def stop(self) -> bool:
        return self._ends.since > -math.inf or self._event.is_set()

    def handle(self, number: int, _: object = None) -> None:
        """Sets no event, which locks."""
        if number not in (signal.SIGINT, *ENDING):
            self.save = True
            return
        first = self._ends.since == -math.inf
        if self._ends.begins() and not first and number == signal.SIGINT:
            raise KeyboardInterrupt


@contextmanager
def stop_and_save_requests(event: threading.Event) -> Iterator[Requests]:
    """Ctrl-C, SIGTERM, a terminal that is closed or `event` ask to stop, SIGUSR1 to save now.

    One more Ctrl-C, some seconds later, ends at once.
    """
    requests = Requests(event)
    of_command = isinstance(signal.getsignal(signal.SIGTERM), Interrupt)

    def command_ends_with(error: BaseException | None) -> bool:
        # torchrun and `timeout` send SIGTERM twice, and the second must not come before the line that says why the
        # command ends and what is saved.
        return isinstance(error, ProcessLost) or (requests.stop and of_command)

    numbers = [signal.SIGINT, *ending_signals(), *([signal.SIGUSR1] if hasattr(signal, "SIGUSR1") else [])]
    with handled(numbers, requests.handle, stays=command_ends_with):
        yield requests


def end_interrupted() -> NoReturn:
    """End this process with status 130: no further signal interrupts its exit functions, which have a few seconds."""
    for number in (signal.SIGINT, *ENDING):
        signal.signal(number, signal.SIG_IGN)
    threading.Timer(SECONDS_TO_END, os._exit, [130]).start()
    end_process(130)


def ended_at_once() -> AbstractContextManager[None]:
    """For a wait in a library's C++, in which Python runs no handler: Ctrl-C, SIGTERM and SIGHUP end the process."""
    heard = [number for number in (signal.SIGINT, *ENDING) if signal.getsignal(number) is not signal.SIG_IGN]
    return handled(heard, signal.SIG_DFL)


def _say_nothing_of_files(ended: threading.ExceptHookArgs) -> None:
    """TensorBoard writes in a thread of its own, and hands its OSError on to the main one, which says it."""
    if not issubclass(ended.exc_type, OSError):
        threading.__excepthook__(ended)
