"""Randomness as a function of (seed, purpose, position), so that nothing has to be remembered between two draws.

Everything random in Limner has a stream of its own: a resumed run gets the numbers that an uninterrupted one would have
got, one process gets what eight would have got together, and face k of a seed does not depend on face k - 1.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from zlib import crc32

import numpy as np

from limner.core.errors import UserError

_training = Lock()


def stream(seed: int, purpose: str, *position: int) -> np.random.Generator:
    """The random stream of `purpose` at `position`; all numbers are whole and not negative."""
    return np.random.Generator(np.random.Philox(_sequence(seed, purpose, position)))


def torch_seed(seed: int, purpose: str, *position: int) -> int:
    """A seed for torch's generators, 0 <= seed < 2**63, of `purpose` at `position`."""
    return int(_sequence(seed, purpose, position).generate_state(1, np.uint64)[0] >> 1)


@contextmanager
def sole_training() -> Iterator[None]:
    """While this lasts, no other training starts in this process; raises UserError where one runs already.

    Weights and the noise of a step come from torch's global generator, which two trainings would take from each other.
    """
    if not _training.acquire(blocking=False):
        raise UserError("Another training runs in this process: wait for its end, or start this in one of its own.")
    try:
        yield
    finally:
        _training.release()


def _sequence(seed: int, purpose: str, position: tuple[int, ...]) -> np.random.SeedSequence:
    return np.random.SeedSequence(seed, spawn_key=(crc32(purpose.encode()), *position))
