"""Images loaded by several processes at a time and handed out in their order.

Processes, not threads: Pillow decodes without the interpreter's lock, but takes it several times per image, and two
threads that hand it to and fro were measured a third slower than two processes. This module imports little, because
every process imports it anew.
"""

import hashlib
import multiprocessing
import os
import sys
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from threading import Thread
from types import ModuleType

from limner.core.errors import UserError
from limner.core.signals import deaf_to_ctrl_c
from limner.preparation.crops import Crop, Rejected, decode
from limner.preparation.sources.containers import ImageFiles

CHUNK = 32
AHEAD_BYTES = 64 * 2**20


@dataclass(frozen=True)
class PreparedImage:
    pixels: bytes
    """uint8 size x size x 3."""
    attributes: bytes | None = None
    """One byte, 0 or 1, per attribute, where loading tells."""
    digest: bytes | None = None
    """Where duplicates are unwanted: the same for the same file content."""
    corners: tuple[complex, ...] = ()
    """Where it was aligned: the corners x + iy of what was cut out of the photo, in pixels."""


@dataclass(frozen=True)
class Decode:
    """How an image file becomes a prepared image."""

    images: ImageFiles
    crop: Crop
    size: int
    with_digest: bool

    def __call__(self, name: str) -> "Loaded":
        data = self.images.read(name)
        pixels = decode(data, self.crop, self.size).tobytes()
        return [PreparedImage(pixels, digest=hashlib.sha256(data).digest() if self.with_digest else None)]


@dataclass(frozen=True)
class Draw:
    """How a number becomes a synthetic face."""

    seed: int
    size: int

    def __call__(self, name: str) -> "Loaded":
        from limner.preparation.synthetic import draw_face

        image_HWC, attributes_A = draw_face(self.seed, int(name), self.size)
        return [PreparedImage(image_HWC.tobytes(), attributes_A.tobytes())]


Loaded = list[PreparedImage | str]
"""What a name gives: usually one image; of a photo, one for each face; and reasons why there is none."""
Load = Callable[[str], Loaded]
"""Turns a name into images or raises `Rejected`."""
Chunk = list[Loaded]


@contextmanager
def loading(load: Load, names: Sequence[str], workers: int, image_bytes: int) -> Iterator[Iterator[Chunk]]:
    """Load all names with this many processes, which begin at once and stay only `AHEAD_BYTES` ahead of who takes.

    Yields the chunks in the order of `names`; `image_bytes` is how large the pixels of one image are.

    Raises:
        UserError: a process died.
    """
    chunks = [names[start : start + CHUNK] for start in range(0, len(names), CHUNK)]
    workers = min(workers, len(chunks))
    if workers <= 1:
        yield (_load_chunk(load, chunk) for chunk in chunks)
        return
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start_worker, (load,))

    def submit(chunk: Sequence[str]) -> Future[Chunk]:
        # The pool starts a process when it is given more than the others can take.
        with _without_main(), deaf_to_ctrl_c():
            return pool.submit(_work, chunk)

    def in_order() -> Iterator[Chunk]:
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(map(submit, islice(rest, 1)))

    rest = iter(chunks)
    ahead = max(2 * workers, AHEAD_BYTES // (CHUNK * image_bytes))
    try:
        waiting = deque(map(submit, islice(rest, ahead)))
        yield in_order()
    except BrokenProcessPool as error:
        raise UserError(
            "a worker process was stopped, probably for want of memory or of threads: use fewer --workers"
        ) from error
    finally:
        with suppress(RuntimeError):  # of a pool whose thread could not be started, which is what is to be told
            pool.shutdown(cancel_futures=True)


def _load_chunk(load: Load, names: Sequence[str]) -> Chunk:
    loaded: Chunk = []
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")  # about single images; what matters becomes a reason
        for name in names:
            try:
                loaded.append(load(name))
            except Rejected as reason:
                loaded.append([str(reason)])
    return loaded


@contextmanager
def _without_main() -> Iterator[None]:
    """Processes started in here do not import the caller's main script, as spawned ones otherwise do.

    They need nothing from it; it may load torch, and without an `if __name__ == "__main__"` it would prepare again.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


# --- in a worker process ----------------------------------------------------------------------------------------------

_load: Load


def _start_worker(load: Load) -> None:
    global _load
    _load = load
    try:
        Thread(target=_end_with_parent, daemon=True).start()
    except RuntimeError:  # no thread is left (ulimit -u): the parent tells it in one line
        os._exit(1)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(names: Sequence[str]) -> Chunk:
    return _load_chunk(_load, names)
