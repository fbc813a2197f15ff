"""Functions in several processes, forked from one that has loaded everything: seconds sooner than torchrun's."""

import atexit
import multiprocessing
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from limner.core.process import end_process


def run_script(*command: object) -> subprocess.CompletedProcess[str]:
    """Python with a script and its arguments, in a process of its own with one thread."""
    return subprocess.run(
        [sys.executable, *map(str, command)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def free_port() -> int:
    """A port of this machine on which nobody listens."""
    with socket.create_server(("localhost", 0)) as one:
        return int(one.getsockname()[1])


def launched(rank: int, world: int, port: int) -> dict[str, str]:
    """What torchrun adds to the environment of a process."""
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world}
    return {name: str(value) for name, value in names.items()} | {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}


def run_on(world: int, function: Callable[..., None], *arguments: Any) -> None:
    """Call `function` in so many processes that find each other as torchrun's do; raises SystemExit where one fails."""
    port = free_port()
    processes = [
        multiprocessing.get_context("fork").Process(target=_be, args=(rank, world, port, function, *arguments))
        for rank in range(world)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    statuses = [process.exitcode for process in processes]
    if any(statuses):
        raise SystemExit(f"{function.__name__} on {world}: {statuses}")


def _be(rank: int, world: int, port: int, function: Callable[..., None], *arguments: Any) -> None:
    atexit._clear()  # what the parent wants done at its own end
    if world > 1:
        os.environ |= launched(rank, world, port)
    function(*arguments)
    end_process(0)
