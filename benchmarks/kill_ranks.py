"""Kill and freeze processes of a training at random steps: does it end in time with one line, and resume exactly?

    python benchmarks/kill_ranks.py --data DIR

Every trial trains a small `dcgan32` on several processes (gloo), measurements included, and sends SIGKILL or SIGSTOP to
one of them. It waits until no process is left, looks for broken checkpoints, resumes, and compares the end with that of
an undisturbed run: log, measurements, and the bytes of samples, model and state. Most trials fork their processes from
one that has loaded everything, through torchrun's own agent; every eighth starts by the torchrun command. Results go
to results/kill_ranks.json; the exit status is 1 where a trial failed.
"""

import argparse
import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import torch
from kill_resume import end, images_logged, limner
from page import DOCS, put_rows
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from limner.core import distributed
from limner.core.device import machine_facts
from limner.evaluation import setup
from limner.evaluation.protocol import PROTOCOLS
from limner.runs.run import read_log
from limner.training.state import read_newest

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from stand_ins import SquareMeans

RESULTS = Path(__file__).parent / "results" / "kill_ranks.json"
IMAGES = 288
SETTINGS = (
    *("generator.width=64", "discriminator.width=8", "schedule.batch=12", "engine.precision=fp32"),
    *("record.log_images=12", "record.sample_images=96", "record.checkpoint_images=48", "record.grid=4"),
    "record.evaluate_images=96",
)
FAKES = 192
MOST_SECONDS = 60
TORCHRUN_EVERY = 8
PROCESSES = (2, 3)
BEGIN = "<!-- rows: python benchmarks/kill_ranks.py -->"
CONTEXT = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class Trial:
    """What one trial did and saw."""

    number: int
    signal: str
    rank: int
    processes: int
    torchrun: bool
    images: int
    """In the log when the signal was sent."""
    seconds: float
    """From the signal until no process was left."""
    lines: list[str]
    broken: list[str]
    differing: list[str]

    @property
    def passed(self) -> bool:
        ended = self.seconds < MOST_SECONDS and len(self.lines) == 1
        return ended and not self.broken and not self.differing


def rank(arguments: Sequence[str]) -> None:
    """The limner command in one of several processes; what it measures are the means of a few images, in no time."""
    PROTOCOLS["training"] = PROTOCOLS["training"].model_copy(update={"fake": FAKES})
    setup.load_extractor = lambda *_: SquareMeans(squares=2)
    limner(arguments)


def forked_rank(arguments: Sequence[str]) -> None:
    """The same in a process that torchrun's agent has forked: it wants it to return."""
    distributed.end_process = sys.exit  # type: ignore[assignment]
    rank(arguments)


def forked(arguments: Sequence[str], processes: int, output: Path) -> None:
    """What the torchrun command does, in a process of its own."""
    with output.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    config = LaunchConfig(
        *(1, 1, processes),
        run_id=str(uuid.uuid4()),
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        start_method="fork",
    )
    elastic_launch(config, forked_rank)(arguments)


class Launched:
    """`limner train` on several processes, started by torchrun's agent."""

    def __init__(self, arguments: Sequence[str], processes: int, output: Path, torchrun: bool) -> None:
        self.output = output
        if torchrun:
            run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
            with output.open("w") as file:
                self.agent = psutil.Popen([*run, __file__, "--rank", *arguments], stdout=file, stderr=file)
        else:
            process = CONTEXT.Process(target=forked, args=(arguments, processes, output))
            process.start()
            self.agent = psutil.Process(process.pid)

    def process(self, rank: int) -> psutil.Process:
        """The process of this rank: they are started in their order."""
        return sorted(self.agent.children(), key=lambda process: process.pid)[rank]

    @property
    def running(self) -> bool:
        return self.agent.is_running() and self.agent.status() != psutil.STATUS_ZOMBIE

    def end(self, seconds: float) -> None:
        """Wait until all have ended, or end them after so many seconds."""
        family = [self.agent, *self.agent.children(recursive=True)]
        _, left = psutil.wait_procs(family, seconds)
        for process in left:
            process.kill()

    def lines(self) -> list[str]:
        return [line for line in self.output.read_text().splitlines() if line.startswith("limner:")]


def ended(run: Path) -> dict[str, Any]:
    """What a run leaves, with what it measured."""
    measured = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    values = [(result["images_seen"], result["metric"], result["value"]) for result in measured]
    return end(run) | {"metrics": values}


def attempt(number: int, data: Path, out: Path, expected: dict[int, dict[str, Any]]) -> Trial:
    """Train, send the signal, wait, resume and compare with the end that is expected of so many processes."""
    chance, processes = random.Random(number), PROCESSES[number // 2 % len(PROCESSES)]
    run, output = out / f"{number:03}", out / f"{number:03}.txt"
    sign, which = (signal.SIGKILL, signal.SIGSTOP)[number % 2], chance.randrange(processes)
    images, torchrun = chance.randrange(IMAGES * 9 // 10), number % TORCHRUN_EVERY == TORCHRUN_EVERY - 1
    launched = Launched(begin(data, run), processes, output, torchrun)
    while launched.running and (not (run / "checkpoints").exists() or images_logged(run) < images):
        time.sleep(0.01)
    time.sleep(chance.random() * 0.2)
    images = images_logged(run)
    launched.process(which).send_signal(sign)
    clock = time.monotonic()
    launched.end(2 * MOST_SECONDS)
    seconds, lines = time.monotonic() - clock, launched.lines()
    broken = [path.name for path in read_newest(run / "checkpoints")[2]]
    again = Launched(["train", "--resume", str(run), "--quiet"], processes, output.with_suffix(".again.txt"), torchrun)
    again.end(600)
    whole = ended(run) if read_log(run)[-1]["event"] == "stop" else {}
    differing = [key for key, value in expected[processes].items() if whole.get(key) != value]
    return Trial(number, sign.name, which, processes, torchrun, images, round(seconds, 1), lines, broken, differing)


def begin(data: Path, run: Path) -> list[str]:
    """The arguments that start a run."""
    sets = [part for setting in SETTINGS for part in ("--set", setting)]
    goal = ["--data", str(data), "--out", str(run), "--images", str(IMAGES), "--device", "cpu", "--quiet"]
    return ["train", "dcgan32", *goal, *sets]


def summary(trials: Sequence[Trial]) -> dict[str, Any]:
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "torch": torch.__version__,
        "machine": machine_facts(torch.device("cpu")),
        "settings": SETTINGS,
        "trials": len(trials),
        "by_torchrun": sum(trial.torchrun for trial in trials),
        "passed": sum(trial.passed for trial in trials),
        "most_seconds_to_the_end": {
            kind: max((trial.seconds for trial in trials if trial.signal == kind), default=None)
            for kind in ("SIGKILL", "SIGSTOP")
        },
        "each": [asdict(trial) for trial in trials],
    }


def table(trials: Sequence[Trial]) -> str:
    lines = [
        "| signal to one process | trials | one line, whole checkpoints, same bytes after `--resume` | seconds |",
        "|---|---|---|---|",
    ]
    for kind in ("SIGKILL", "SIGSTOP"):
        some = [trial for trial in trials if trial.signal == kind]
        most = max((trial.seconds for trial in some), default=0)
        lines.append(f"| {kind} | {len(some)} | {sum(trial.passed for trial in some)} | at most {most:.1f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="prepared images, 32 pixels wide")
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--first", type=int, default=0, help="number of the first: earlier ones in --out are kept")
    parser.add_argument("--jobs", type=int, default=5, help="trials at the same time")
    parser.add_argument("--out", type=Path, default=RESULTS)
    if sys.argv[1:2] == ["--rank"]:
        rank(sys.argv[2:])
    asked = parser.parse_args()
    import accelerate  # noqa: F401
    import torch._dynamo  # the first optimiser step would load it

    import limner.training.session  # noqa: F401

    torch.set_num_threads(1)
    known = json.loads(asked.out.read_text(encoding="utf-8"))["each"] if asked.out.is_file() else []
    with tempfile.TemporaryDirectory() as beside:
        home = Path(beside)
        expected = {}
        for processes in PROCESSES:
            run = home / f"undisturbed{processes}"
            Launched(begin(asked.data, run), processes, run.with_suffix(".txt"), False).end(600)
            expected[processes] = ended(run)
        with ProcessPoolExecutor(asked.jobs, mp_context=CONTEXT) as pool:
            futures = [
                pool.submit(attempt, number, asked.data, home, expected)
                for number in range(asked.first, asked.first + asked.trials)
            ]
            trials = [Trial(**each) for each in known if each["number"] < asked.first]
            for future in futures:
                trials.append(future.result())
                print(trials[-1], file=sys.stderr)
                told = summary(trials)
                asked.out.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    put_rows(DOCS / "scale.md", BEGIN, table(trials))
    print(f"{told['passed']} of {told['trials']} passed, at most {told['most_seconds_to_the_end']} seconds.")
    sys.exit(0 if told["passed"] == told["trials"] else 1)


if __name__ == "__main__":
    main()
