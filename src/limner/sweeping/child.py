"""One training in a process of its own, so that one that is killed or runs out of memory takes nobody with it."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from limner.core.errors import Interrupted, MachineError, UserError
from limner.core.locks import locked
from limner.runs.run import CHECKPOINTS, LOG, how_ended, read_log

SECONDS_BETWEEN_LOOKS = 0.5
SECONDS_FOR_ANOTHER = 60.0
PROGRAM = [sys.executable, "-m", "limner.sweeping.child"]


class TrialFailedError(Exception):
    """A training ended without a model to measure; the message is the reason in one line."""


@dataclass(frozen=True)
class Job:
    """What one training needs; every path is absolute."""

    recipe: str
    data: str
    out: str
    images: int
    seed: int
    device: str


def run_job(job: Job, watch: Callable[[], None]) -> None:
    """Train `job` in a process of its own, or go on with it, and call `watch` meanwhile and once at the end.

    Whatever `watch` raises, and Ctrl-C, stops the training, which saves its state first.

    Raises:
        TrialFailedError: the process failed or was killed.
    """
    command = [*PROGRAM, json.dumps(asdict(job))]
    with (
        tempfile.TemporaryFile("w+") as errors,
        # In a session of its own, since Ctrl-C in a terminal reaches all processes of one; and with a pipe, whose end
        # tells the training that this process is gone.
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True
        ) as process,
    ):
        try:
            while process.poll() is None:
                watch()
                _wait(process)
            watch()
        except BaseException:
            process.terminate()
            process.wait()
            raise
        if process.returncode:
            raise TrialFailedError(_reason(process.returncode, errors))


def is_finished(run: Path) -> bool:
    """Whether the training in the folder `run` came to its end."""
    return how_ended(read_log(run)) == "finished"


def is_diverged(run: Path) -> bool:
    """Whether the training in the folder `run` gave up."""
    return how_ended(read_log(run)) == "diverged"


def _wait(process: "subprocess.Popen[bytes]") -> None:
    with suppress(subprocess.TimeoutExpired):
        process.wait(SECONDS_BETWEEN_LOOKS)


def _reason(status: int, errors: IO[str]) -> str:
    if status == -signal.SIGKILL:
        return "its process was killed; the usual cause is that memory ran out"
    if status < 0:
        return f"its process was ended by signal {-status}"
    errors.seek(0)
    lines = [line.strip() for line in errors if line.strip()]
    return lines[-1].removeprefix("limner: ") if lines else f"its process ended with status {status}"


def _train(job: Job) -> None:
    from limner.training.session import resume, train

    out = Path(job.out)
    wait_for_another(out)
    if is_finished(out):
        return
    if any((out / CHECKPOINTS).glob("*")):
        resume(out, recipe=job.recipe, data=job.data, images=job.images, device=job.device, quiet=True)
    else:
        train(job.recipe, job.data, out, images=job.images, seed=job.seed, device=job.device, force=True, quiet=True)


def wait_for_another(run: Path) -> None:
    """Wait until no other process trains `run`: one whose worker was killed still saves its state."""
    end = time.monotonic() + SECONDS_FOR_ANOTHER
    while time.monotonic() < end:
        with locked(run / LOG) as free:
            if free:
                return
        time.sleep(SECONDS_BETWEEN_LOOKS / 5)


def _stop_with_parent() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    try:
        _train(Job(**json.loads(sys.argv[1])))
    except (UserError, MachineError) as error:
        sys.exit(f"limner: {error}")
    except Interrupted:
        sys.exit(130)
