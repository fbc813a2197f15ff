"""What test_processes.py has three processes do: `lost_processes.py OUT`; what each saw goes to OUT/CASE-RANK.

`patient`: one process works for longer than a silent one is waited for. `often`: they wait for each other about as long
as the time after which each looks whether the others live, so that an answer often comes at that moment. `frozen`: one
stops, while one waits for it in a collective and one computes.
"""

import os
import random
import signal
import sys
import time
from datetime import timedelta
from pathlib import Path

import torch

from limner.core import distributed, heartbeat
from limner.core.errors import ProcessLost

sys.path.append(str(Path(__file__).parents[1]))
from several_processes import run_on

SILENCE = 2.0


def main() -> None:
    out = Path(sys.argv[1])
    torch.set_num_threads(1)
    heartbeat.INTERVAL, heartbeat.GRACE, heartbeat.SILENCE = 0.2, 1.0, timedelta(seconds=SILENCE)
    run_on(3, patient, out)
    run_on(3, often, out)
    try:
        run_on(3, frozen, out)
    except SystemExit as end:
        (out / "statuses").write_text(str(end))


def patient(out: Path) -> None:
    engine = distributed.start_engine("cpu", "fp32")
    with engine.watched(str):
        if engine.rank == 1:
            time.sleep(2 * SILENCE)
        (out / f"patient-{engine.rank}").write_text(str(engine.mean(float(engine.rank))))


def often(out: Path) -> None:
    distributed.INTERVAL = 0.001
    engine = distributed.start_engine("cpu", "fp32")
    late = random.Random(engine.rank)
    total = 0.0
    with engine.watched(str):
        for number in range(500):
            time.sleep(late.uniform(0.0, 0.002))
            total += engine.mean(float(number * engine.rank))
    (out / f"often-{engine.rank}").write_text(str(total))


def frozen(out: Path) -> None:
    engine = distributed.start_engine("cpu", "fp32")
    place = out / f"frozen-{engine.rank}"
    began = time.monotonic()
    try:
        with engine.watched(lambda why: f"described: {why}"):
            if engine.rank == 0:
                engine.wait()
            elif engine.rank == 1:
                place.write_text(str(os.getpid()))
                os.kill(os.getpid(), signal.SIGSTOP)
            else:
                time.sleep(1000)  # as a computation that looks at nothing
    except ProcessLost as lost:
        place.write_text(f"{time.monotonic() - began:.1f} {lost}")
        time.sleep(3)  # the other one must have its turn
        os.kill(int((out / "frozen-1").read_text()), signal.SIGKILL)
        heartbeat.end_lost(str(lost))


if __name__ == "__main__":
    main()
