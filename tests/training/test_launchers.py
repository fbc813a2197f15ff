"""The scripts of docs/scale.md for several machines, with stand-ins for the programs of a cluster."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import yaml
from several_processes import free_port
from torch.distributed.run import get_args_parser

from limner.data.packed import PackedFaces
from limner.runs.run import Run, read_log
from limner.training.state import checkpoints

PAGE = (Path(__file__).parents[2] / "docs/scale.md").read_text(encoding="utf-8")
STAND_INS = {
    "scontrol": 'test "$*" = "show hostnames nodes[1-2]" && echo localhost && echo elsewhere',
    "srun": '"$@" & "$@" & wait',  # a task on each of two nodes
    "torchrun": f'exec {sys.executable} -m torch.distributed.run "$@"',
}


def block(kind: str) -> str:
    (text,) = re.findall(rf"^```{kind}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return str(text)


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, body in STAND_INS.items():
        (folder / name).write_text(f"#!/bin/bash\n{body}\n")
        (folder / name).chmod(0o755)
    return folder


@pytest.mark.skipif(not Path("/bin/bash").exists(), reason="there is no bash")
def test_the_slurm_script_trains_on_two_nodes_and_saves_when_warned(
    programs: Path, faces32: PackedFaces, tiny: tuple[str, ...], tmp_path: Path
) -> None:
    """As on a cluster, the signals go to every process of the job's step."""
    sets = " ".join(f"--set {word}" for word in (*tiny, "record.checkpoint_images=1000000"))
    ours = {
        "29500": str(free_port()),
        "node 8": "node 1",
        "modern": f"dcgan32 --images 1000000 --device cpu --quiet {sets}",
    }
    script = block("bash")
    for theirs, our in ours.items():
        assert script.count(theirs) == 1
        script = script.replace(theirs, our)
    run = tmp_path / "run"
    environment = os.environ | {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
        "SLURM_JOB_NODELIST": "nodes[1-2]",
        "SLURM_NNODES": "2",
        "SLURM_JOB_ID": "7",
        "DATA": str(faces32.path),
        "RUN": str(run),
    }
    with subprocess.Popen(["bash", "-c", script], stderr=subprocess.PIPE, text=True, env=environment) as job:

        def send(number: signal.Signals) -> None:
            for process in psutil.Process(job.pid).children(recursive=True):
                if sys.executable in process.cmdline():
                    process.send_signal(number)

        wait_for(lambda: (run / "log.jsonl").exists() and len(read_log(run)) > 2, job)
        before = [*checkpoints(run / "checkpoints")]
        send(signal.SIGUSR1)
        wait_for(lambda: len(checkpoints(run / "checkpoints")) > len(before), job)
        saved = len(read_log(run))
        wait_for(lambda: len(read_log(run)) > saved, job)
        send(signal.SIGTERM)
        _, errors = job.communicate(timeout=60)
    assert errors.count("limner: Stopped; everything is saved.") == 1
    assert read_log(run)[-1]["reason"] == "interrupted"
    assert Run.open(run).info["processes"] == 2


def wait_for(happened: Callable[[], bool], job: subprocess.Popen[str]) -> None:
    while not happened():
        assert job.poll() is None
        time.sleep(0.1)


def test_the_skypilot_task_gives_torchrun_what_it_understands(tmp_path: Path, programs: Path) -> None:
    task = yaml.safe_load(block("yaml"))
    assert task["resources"] == {"accelerators": "H100:8"}
    (programs / "torchrun").write_text('#!/bin/bash\nprintf "%s\\n" "$@"\n')
    environment = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "SKYPILOT_NUM_NODES": str(task["num_nodes"]),
        "SKYPILOT_NUM_GPUS_PER_NODE": "8",
        "SKYPILOT_NODE_RANK": "1",
        "SKYPILOT_NODE_IPS": "10.0.0.1\n10.0.0.2",
        **dict.fromkeys(task["envs"], "/some/where"),
    }
    done = subprocess.run(["bash", "-c", task["run"]], capture_output=True, text=True, check=True, env=environment)
    check(done.stdout.splitlines(), node_rank=1, master_addr="10.0.0.1")


def test_the_command_for_several_machines_is_torchrun_s() -> None:
    (line,) = [line for line in PAGE.splitlines() if line.startswith("    torchrun --nnodes")]
    check(shlex.split(line.replace("NODE", "1").replace("HOST", "10.0.0.1"))[1:], node_rank=1, master_addr="10.0.0.1")


def check(words: list[str], **expected: object) -> None:
    """Whether torchrun understands these arguments as two machines of eight processes that train."""
    parsed = vars(get_args_parser().parse_args(words))
    expected |= {"nnodes": "2", "nproc_per_node": "8", "master_port": 29500, "module": True}
    assert {name: parsed[name] for name in expected} == expected
    assert (parsed["training_script"], *parsed["training_script_args"][:2]) == ("limner", "train", "modern")
