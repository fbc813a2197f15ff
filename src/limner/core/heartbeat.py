"""Whether the processes of a training live: each tells all others so every second, in a thread of its own.

A process may wait long for one that has more to do, but not for one that has ended or does not answer.
"""

import os
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import NoReturn

import torch
import torch.distributed as dist

from limner.core.errors import ProcessLost

INTERVAL = 1.0
"""Seconds between two signs of life."""
SILENCE = timedelta(seconds=20)
"""A process that gives none for so long is lost."""
GRACE = 5.0
"""Seconds that the main thread has to notice a loss, before its process is ended."""
LOST = f"another process has ended, or has not answered for {SILENCE.seconds} s"


class Heartbeat:
    """Gives signs of life, and watches those of the others, until all processes `leave`.

    Where one is lost, `lost` is set; a main thread that does not notice (it computes, or waits for a GPU) is ended with
    its process and the line that `describe` makes of the reason.
    """

    def __init__(self, describe: Callable[[str], str]) -> None:
        self.lost = threading.Event()
        self._describe = describe
        self._group = dist.new_group(backend="gloo", timeout=SILENCE)
        self._leaving, self._stopped = threading.Event(), False
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._thread.start()

    def leave(self) -> None:
        """Wait until every process has come here; raises ProcessLost where one will not."""
        self._leaving.set()
        self._thread.join()
        if self.lost.is_set():
            raise ProcessLost(LOST)
        dist.destroy_process_group(self._group)

    def stop(self) -> None:
        """Give no more signs of life: to the others, this process is lost."""
        self._stopped = True
        self._leaving.set()

    def _beat(self) -> None:
        leaving = 0.0
        while leaving < dist.get_world_size(self._group):
            self._leaving.wait(INTERVAL)
            if self._stopped:
                return
            total = torch.tensor(float(self._leaving.is_set()))
            try:
                dist.all_reduce(total, group=self._group, async_op=True).wait(SILENCE)
            except RuntimeError:
                self.lost.set()
                if not self._leaving.wait(GRACE):
                    end_lost(self._describe(LOST))
                return
            leaving = total.item()


def end_lost(line: str) -> NoReturn:
    """End this process, since another is lost, with status 1; of all that do so, the first prints the line."""
    if claim_line():
        print(f"limner: {line}", file=sys.stderr, flush=True)
    os._exit(1)  # leaving the group in order would wait for the process that is lost


def claim_line() -> bool:
    """Whether no other process has asked this before; the store is that of torchrun, which outlives its processes."""
    try:
        return bool(dist.distributed_c10d._get_default_store().add("limner/lost", 1) == 1)
    except (RuntimeError, ValueError):
        return True
