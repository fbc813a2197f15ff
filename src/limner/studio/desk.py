"""One computation at a time; requests wait in a line of bounded length, and those of people who left are dropped."""

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from limner.images.credentials import Signer, signing

P = ParamSpec("P")
R = TypeVar("R")
MOST_WAITING = 64


class BusyError(Exception):
    """The line is full."""


class GoneError(Exception):
    """The client left while its request waited."""


class Desk:
    """Where all that computes is done in turn: two passes at once would only slow each other down.

    The PNGs that are made here are signed where there is a `signer`.
    """

    def __init__(self, signer: Signer | None = None) -> None:
        self._signer = signer
        self._turn = asyncio.Lock()
        self._waiting = 0

    async def run(self, request: Request, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call `function` when it is this request's turn.

        Raises BusyError where 64 wait already, and GoneError where the client left.
        """
        if self._waiting >= MOST_WAITING:
            raise BusyError
        self._waiting += 1
        try:
            async with self._turn:
                if await request.is_disconnected():
                    raise GoneError
                with signing(self._signer):  # the thread inherits it
                    return await run_in_threadpool(function, *args, **kwargs)
        finally:
            self._waiting -= 1
