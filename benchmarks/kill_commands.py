"""End every long command by SIGKILL, SIGTERM or SIGINT at random moments, repeat it, and compare what it leaves.

    python benchmarks/kill_commands.py --kills 200 [--only prepare --only sweep] [--out benchmarks/results/kills.json]

Each command runs once undisturbed. Then it is ended at random moments, up to three times in a row, and repeated until
it comes to its end; half of the SIGTERMs and SIGINTs come twice, as from `timeout` or one who presses Ctrl-C again;
what it leaves must be the same bytes in the same files, and nothing else may lie about: beside the output, in the cache
or in the folder for temporary files. No process may live on. After SIGTERM and SIGINT nothing may lie about even before
the command is repeated. Prints a table as JSON, and leaves with status 1 if anything differs. Processes are forked from
one that has loaded everything, so this needs a POSIX system; `kill_resume.py` does more to one training.
"""

import argparse
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import UUID

from kill_resume import CLOCKED, limner
from page import DOCS, put_rows

from limner.runs.run import how_ended, read_log

BEGIN = "<!-- rows: python benchmarks/kill_commands.py --kills 200 --out benchmarks/results/kills.json -->"
MOST_IN_A_ROW = 3
SECONDS_TO_END = 30
SECONDS_BETWEEN_TWO = (0.001, 0.03, 0.2, 0.5)
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
OF_THE_CLOCK = {*CLOCKED, "seconds", "evaluated", "machine"}
TINY = (
    *("generator.width=64", "discriminator.width=8", "schedule.batch=8", "record.grid=4", "engine.precision=fp32"),
    *("record.log_images=32", "record.sample_images=64", "record.checkpoint_images=32"),
)
# A training of a sweep, which measures few images: each signal is one to the sweep, not to what is measured.
CHILD = """
import runpy
from limner.evaluation import protocol
few = protocol.PROTOCOLS["training"].model_copy(update={"fake": 16})
protocol.PROTOCOLS["training"] = few
runpy.run_module("limner.sweeping.child", run_name="__main__")
"""
SETS = [part for setting in TINY for part in ("--set", setting)]


@dataclass(frozen=True)
class Command:
    """How a command begins in the folder `place`, how it is repeated there, and what it leaves that has no clock."""

    arguments: Callable[[Path, Path], list[str]]
    again: Callable[[Path, list[str]], list[str] | None] = lambda place, arguments: arguments
    """`None`: it had come to its end."""
    content: Callable[[Path], dict[str, str]] = lambda place: files(place / "out")
    exact: bool = True
    """Whether it leaves no other files; where not, as of a training that saved, none but hidden ones are strays."""


def files(folder: Path) -> dict[str, str]:
    """The hash of every file below a folder, or of a file."""
    paths = [folder] if folder.is_file() else sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder.parent)): sha256(path.read_bytes()).hexdigest() for path in paths}


def of_run(run: Path) -> dict[str, str]:
    """What a training leaves, without the clock."""
    checkpoint = max((run / "checkpoints").glob("[0-9]*"))
    lines = [line for line in read_log(run) if line["event"] == "log"]
    log = [{key: value for key, value in line.items() if key not in OF_THE_CLOCK} for line in lines]
    return {
        **files(checkpoint / "state.safetensors"),
        **files(run / "model"),
        **files(run / "samples"),
        "log": json.dumps(log),
    }


def of_sweep(place: Path) -> dict[str, str]:
    """The recipe that was found, and the weights of every training that came to its end.

    A trial begun anew has another number, which best.toml has in a comment, and a copy of the runs of the one that was
    killed; those stay as they were left.
    """
    runs = (run for run in (place / "out/trials").glob("*/seed-0") if how_ended(read_log(run)) == "finished")
    weights = [of_run(run)["state.safetensors"] for run in runs]
    best = (place / "out/best.toml").read_text(encoding="utf-8").splitlines()
    recipe = "\n".join(line for line in best if not line.startswith("#"))
    return {"best.toml": recipe, "weights": json.dumps(sorted(set(weights)))}


def of_results(place: Path) -> dict[str, str]:
    """The numbers, and the statistics that were kept."""
    results = json.loads((place / "out.json").read_text())["results"]
    kept = [{key: value for key, value in result.items() if key not in OF_THE_CLOCK} for result in results]
    return {"results": json.dumps(kept), **files(place / "cache")}


def resume(place: Path, arguments: list[str]) -> list[str] | None:
    """Go on with a run where there is a checkpoint, else begin it anew."""
    if how_ended(read_log(place / "out")) == "finished":
        return None
    if any((place / "out/checkpoints").glob("[0-9]*")):
        return ["train", "--resume", str(place / "out"), "--quiet"]
    return [*arguments, *(["--force"] if (place / "out/run.json").exists() else [])]


def resume_sweep(place: Path, arguments: list[str]) -> list[str]:
    return [*arguments, *(["--resume"] if (place / "out").exists() else [])]


COMMANDS = {
    "prepare": Command(
        lambda place, given: [
            *("prepare", "synthetic:400", str(place / "out"), "--size", "32", "--workers", "2", "--force", "--quiet")
        ]
    ),
    "train": Command(
        lambda place, given: [
            *("train", "dcgan32", "--data", str(given / "data"), "--out", str(place / "out"), "--images", "200"),
            *("--device", "cpu", "--quiet", *SETS),
        ],
        resume,
        lambda place: of_run(place / "out"),
        exact=False,
    ),
    "evaluate": Command(
        lambda place, given: [
            *("evaluate", str(given / "model"), "--data", str(given / "data"), "--samples", "24"),
            *("--out", str(place / "out.json"), "--force", "--quiet"),
        ],
        content=of_results,
    ),
    "sweep": Command(
        lambda place, given: [
            *("sweep", "dcgan32", "--data", str(given / "data"), "--out", str(place / "out"), "--images", "64"),
            *("--vary", "optimizer.generator.lr=1e-3,2e-3", "--device", "cpu", "--no-prune", "--quiet", *SETS),
            *("--set", "record.evaluate_images=64"),
        ],
        resume_sweep,
        of_sweep,
        exact=False,
    ),
    "export": Command(
        lambda place, given: [
            *("export", str(given / "model"), "--to", "onnx", "--out", str(place / "out.onnx"), "--force", "--quiet")
        ],
        content=lambda place: files(place / "out.onnx"),
    ),
    "label": Command(
        lambda place, given: [
            *("label", str(given / "data"), "--out", str(place / "out"), "--replace", "--force", "--quiet")
        ]
    ),
    "project": Command(
        lambda place, given: [
            *("explore", "project", str(given / "model"), str(given / "face.png"), "--out", str(place / "out")),
            *("--steps", "4", "--samples", "16", "--force", "--quiet"),
        ]
    ),
}


def run(arguments: Sequence[str], place: Path, begins: Any) -> None:
    """The command in a session of its own, with its cache and its temporary files in `place`; marks have no clock."""
    import_module("limner.cli")
    from limner.images.marks import Mark
    from limner.sweeping import child

    os.setsid()
    os.environ |= {"LIMNER_CACHE": str(place / "cache"), "TMPDIR": str(place / "tmp")}
    tempfile.tempdir = None
    child.PROGRAM[:] = [sys.executable, "-c", CHILD]
    mark = {"time": datetime.fromtimestamp(0, UTC), "id": UUID(int=0)}
    Mark.now = classmethod(lambda cls, model, weights: cls(model=model, model_version=weights, **mark))  # type: ignore
    signal.signal(signal.SIGINT, signal.default_int_handler)
    begins.set()  # no signal comes before
    try:
        limner(arguments)
    finally:
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # the command has ended


def listing(place: Path) -> list[str]:
    """Every file and folder in `place`, but TensorBoard's, one for each sitting of a training, and empty folders."""
    paths = [path for path in place.rglob("*") if path.is_file() and "tfevents" not in path.name]
    return sorted({str(path.relative_to(place)) for path in paths})


def is_hidden(name: str) -> bool:
    """Whether a file, or a folder that it is in, is hidden."""
    return "/." in f"/{name}"


def orphans(session: int) -> list[int]:
    """The processes that are left of a session."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] not in "ZX":
            found.append(int(stat.parent.name))
    return found


def end_of(process: Any) -> list[int]:
    """Wait for a process and those that it started; the ones that do not end."""
    process.join()
    deadline = time.monotonic() + SECONDS_TO_END
    while (left := orphans(process.pid)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


def kill_and_repeat(
    command: Command, context: Any, given: Path, beside: Path, kills: int, chance: random.Random
) -> dict[str, Any]:
    """Run `command` undisturbed, then with so many kills; what differed, in words."""

    def fresh(name: str) -> Path:
        place = beside / name
        shutil.rmtree(place, ignore_errors=True)
        (place / "tmp").mkdir(parents=True)
        return place

    def started(place: Path, arguments: Sequence[str]) -> Any:
        begins = context.Event()
        process = context.Process(target=run, args=(arguments, place, begins))
        process.start()
        assert begins.wait(SECONDS_TO_END), "it does not begin"
        return process

    place = fresh("untouched")
    clock = time.monotonic()
    process = started(place, command.arguments(place, given))
    left = end_of(process)
    lasted = time.monotonic() - clock
    assert process.exitcode == 0, f"undisturbed, it ended with status {process.exitcode}"
    expected, there = command.content(place), listing(place)
    faults: list[str] = [f"undisturbed, it left the processes {left}"] if left else []

    done, ends, numbers = 0, 0, dict.fromkeys((*(number.name for number in SIGNALS), "twice"), 0)
    while done < kills:
        place = fresh("killed")
        begin = command.arguments(place, given)
        arguments = begin
        for _ in range(chance.randint(1, MOST_IN_A_ROW)):
            number, before = chance.choice(SIGNALS), listing(place)
            process = started(place, arguments)
            process.join(chance.random() * lasted)
            if process.exitcode is None:
                os.kill(process.pid, number)
                done += 1
                numbers[number.name] += 1
                if number != signal.SIGKILL and chance.random() < 0.5:
                    process.join(chance.choice(SECONDS_BETWEEN_TWO))
                    if process.exitcode is None:
                        os.kill(process.pid, number)
                        numbers["twice"] += 1
                process.join(SECONDS_TO_END)
                if process.exitcode is None:
                    faults.append(f"{number.name} did not end it")
                    process.kill()
            if left := end_of(process):
                faults.append(f"{number.name} left the processes {left}")
            if process.exitcode not in (0, -signal.SIGKILL, 130):
                faults.append(f"{number.name} ended it with status {process.exitcode}")
            stray = [name for name in listing(place) if is_hidden(name) and name not in (*before, *there)]
            if stray and number != signal.SIGKILL:
                faults.append(f"{number.name} left {stray}")
            arguments = command.again(place, begin)
            if arguments is None:
                break
        process = started(place, arguments or ["recipes"])
        if left := end_of(process):
            faults.append(f"repeated, it left the processes {left}")
        if process.exitcode:
            faults.append(f"repeated, it ended with status {process.exitcode}")
            continue
        ends += 1
        found = command.content(place)
        faults += [f"{name} differs" for name in expected if found.get(name) != expected[name]]
        strays = [name for name in listing(place) if name not in there and (command.exact or is_hidden(name))]
        faults += [f"{name} lies about" for name in strays]
    return {
        "kills": done,
        **numbers,
        "ends_compared": ends,
        "files_compared": len(expected),
        "seconds_undisturbed": round(lasted, 2),
        "faults": faults,
    }


def added(before: dict[str, Any], table: dict[str, Any]) -> dict[str, Any]:
    """The numbers of two tables together; what is no sum is that of the newer one."""
    sums = {"kills", *(number.name for number in SIGNALS), "twice", "ends_compared", "faults"}
    both = {
        name: {key: before[name][key] + of[key] if key in sums else of[key] for key in of}
        for name, of in table.items()
        if name in before
    }
    return before | table | both


def make_inputs(folder: Path) -> None:
    """What the commands are given: drawn faces, one of them as a picture, and a model."""
    import torch
    from PIL import Image

    from limner.model.model import Model
    from limner.preparation.prepare import prepare
    from limner.training.session import train

    torch.set_num_threads(1)
    faces = prepare("synthetic:64", folder / "data", size=32, heldout=40, test=20, workers=1, quiet=True)
    Image.fromarray(faces.images_NHWC[0]).save(folder / "face.png")
    run = train("dcgan32", faces, folder / "run", images=16, overrides=TINY, device="cpu", quiet=True)
    shutil.copytree(run.path / "model", folder / "model")
    Model.load(folder / "model")


def load_everything() -> None:
    """What the commands import, so that a forked process begins at once."""
    import accelerate  # noqa: F401
    import onnxscript  # noqa: F401
    import optuna  # noqa: F401

    import limner.evaluation.evaluate
    import limner.explore.projection
    import limner.exporting.onnx
    import limner.judge.label
    import limner.sweeping.page  # noqa: F401


def rows(table: dict[str, Any]) -> str:
    """The table of docs/reliability.md."""
    kinds = "by SIGKILL, SIGTERM, SIGINT | twice"
    lines = [f"| command | ended | {kinds} | results compared | what was not as it should be |"]
    lines.append("|---|---|---|---|---|---|")
    for name, of in table.items():
        signals = ", ".join(str(of[number]) for number in ("SIGKILL", "SIGTERM", "SIGINT"))
        faults = "; ".join(f"{fault} ({count})" for fault, count in Counter(of["faults"]).items()) or "nothing"
        lines.append(f"| {name} | {of['kills']} times | {signals} | {of['twice']} | {of['ends_compared']} | {faults} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="over all commands")
    parser.add_argument("--only", action="append", choices=COMMANDS, help="this command (can be repeated)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--out", type=Path, help="add the numbers to the table in this JSON file")
    asked = parser.parse_args()
    names = asked.only or [*COMMANDS]
    chance = random.Random(asked.seed)
    load_everything()
    context = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory() as beside:
        given = Path(beside) / "given"
        given.mkdir()
        make_inputs(given)
        table: dict[str, Any] = {}
        for name in names:
            clock = time.monotonic()
            table[name] = kill_and_repeat(
                COMMANDS[name], context, given, Path(beside), -(-asked.kills // len(names)), chance
            )
            print(f"{name}: {table[name]}, {time.monotonic() - clock:.0f} s", file=sys.stderr, flush=True)
    if asked.out and asked.out.exists():
        table = added(json.loads(asked.out.read_text())["commands"], table)
    verdict = {
        "kills": sum(of["kills"] for of in table.values()),
        "faults": sum(len(of["faults"]) for of in table.values()),
        "commands": table,
        "cores": os.cpu_count(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    print(json.dumps(verdict, indent=1))
    if asked.out:
        asked.out.write_text(json.dumps(verdict, indent=1) + "\n")
        put_rows(DOCS / "reliability.md", BEGIN, rows(table))
    sys.exit(1 if verdict["faults"] else 0)


if __name__ == "__main__":
    main()
