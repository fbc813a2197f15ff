"""The device, and several processes against one."""

import json
import os
import platform
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import PartialState
from several_processes import run_script

from limner.core.device import machine_facts
from limner.core.distributed import Engine, start_engine
from limner.core.errors import UserError
from limner.data.packed import PackedFaces
from limner.recipes.load import load_recipe
from limner.runs.run import read_log
from limner.training import loop, session
from limner.training.session import resume, train
from limner.training.setup import check_shares
from limner.training.state import read_newest

ROOT = Path(__file__).parents[2]
NONE = ("generator.norm=none", "discriminator.norm=none")


def log_lines(run: Path) -> list[dict[str, Any]]:
    return [line for line in read_log(run) if line["event"] == "log"]


def numbers(line: dict[str, Any], *but: str) -> dict[str, float]:
    unequal = ("seconds", "images_per_second", *but)
    return {key: value for key, value in line.items() if isinstance(value, float | int) and key not in unequal}


@pytest.fixture(scope="module")
def together(faces32: PackedFaces, tiny: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs of `two_processes.py`, and `of one`, which one process began."""
    out = tmp_path_factory.mktemp("together")
    train("dcgan32", faces32, out / "of one", images=24, overrides=[*tiny, *NONE], device="cpu", quiet=True)
    script = Path(__file__).with_name("two_processes.py")
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = run_script(*launch, script, faces32.path, out, *tiny)
    assert done.returncode == 0, done.stderr
    return out


def test_two_processes_train_as_one_would(
    together: Path, faces32: PackedFaces, tiny: tuple[str, ...], tmp_path: Path
) -> None:
    alone = train("dcgan32", faces32, tmp_path / "one", images=64, overrides=[*tiny, *NONE], device="cpu", quiet=True)
    lines = {name: log_lines(path) for name, path in (("one", alone.path), ("two", together / "none"))}
    assert [line["images_seen"] for line in lines["two"]] == [32, 64]
    for one, two in zip(lines["one"], lines["two"], strict=True):
        # Overlap is measured within each process: other pairs.
        assert numbers(two, "overlap") == pytest.approx(numbers(one, "overlap"), rel=2e-3)
    one, two = (read_newest(path / "checkpoints")[1] for path in (alone.path, together / "none"))
    assert one.keys() == two.keys()
    for name in one:
        assert (one[name] - two[name]).abs().mean() <= 0.02 * one[name].abs().mean() + 1e-6, name
    assert json.loads((together / "none/run.json").read_text())["processes"] == 2


def test_all_processes_hold_the_same_weights(together: Path) -> None:
    """With batch norm too, which every process counts for itself."""
    hashes = [json.loads((together / f"weights-{rank}.json").read_text()) for rank in (0, 1)]
    assert hashes[0] == hashes[1]
    assert set(hashes[0]) == {"none", "batch", "stopped", "of one", "asked to stop"}
    assert hashes[0]["batch"] == hashes[0]["stopped"]


def test_processes_leave_their_group_before_they_end(together: Path) -> None:
    """One that stayed in it was aborted now and then after a whole training: pytorch/pytorch#190489."""
    assert [json.loads((together / f"group-{rank}.json").read_text()) for rank in (0, 1)] == [False, False]


def test_two_processes_stopped_and_resumed_end_as_if_left_alone(together: Path) -> None:
    """The stop fell in the middle of a log window, of which each process had measured its own share."""
    alone, stopped = (log_lines(together / name) for name in ("batch", "stopped"))
    assert [line["images_seen"] for line in stopped] == [32, 64, 96]
    assert [numbers(line) for line in stopped] == [pytest.approx(numbers(line), rel=1e-6) for line in alone]


def test_a_request_to_stop_that_reached_one_process_stops_all(together: Path) -> None:
    record, _, broken = read_newest(together / "asked to stop/checkpoints")
    assert (record["images_seen"], broken) == (24, [])
    assert read_log(together / "asked to stop")[-1]["reason"] == "interrupted"


def test_a_checkpoint_loads_on_any_number_of_processes(
    together: Path, faces32: PackedFaces, tiny: tuple[str, ...], tmp_path: Path
) -> None:
    """`of one` was begun by one process, gone on with by two, and comes back to one."""
    assert [line["images_seen"] for line in log_lines(together / "of one")] == [32, 64]
    back = resume(together / "of one", images=96, device="cpu", quiet=True)
    alone = train("dcgan32", faces32, tmp_path / "run", images=96, overrides=[*tiny, *NONE], device="cpu", quiet=True)
    for one, mixed in zip(log_lines(alone.path), log_lines(back.path), strict=True):
        assert numbers(mixed, "overlap") == pytest.approx(numbers(one, "overlap"), rel=5e-3)


@pytest.mark.parametrize(
    ("batch", "world", "words"),
    [
        (6, 4, "6, which 4 processes cannot share evenly"),
        (4, 4, "4: each of 4 processes gets 1, and needs at least 2"),
        (12, 2, r"12, 6 for each of 2 processes: .* discriminator\.stddev_group = 4"),
    ],
)
def test_shares_that_no_step_can_take_are_refused(batch: int, world: int, words: str) -> None:
    recipe = load_recipe(
        "modern-cpu", [f"schedule.batch={batch}", f"discriminator.stddev_group={2 if batch == 6 else 4}"]
    )
    with pytest.raises(UserError, match=words) as error:
        check_shares(recipe, Engine(torch.device("cpu"), "fp32", world=world))
    assert str(error.value).startswith("schedule.batch is ")


@pytest.fixture(scope="module")
def documented(faces32: PackedFaces, tiny: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The torchrun command of docs/train.md for a tiny recipe on two processes, and where its run is."""
    guide = (ROOT / "docs/train.md").read_text(encoding="utf-8")
    (line,) = [line for line in guide.splitlines() if line.startswith("    torchrun ")]
    ours = {"4": "2", "dcgan": "dcgan32", "DIR": str(faces32.path), "RUN": str(tmp_path_factory.mktemp("two") / "run")}
    words = [ours.get(word, word) for word in shlex.split(line)]
    # --standalone: a free port, so that other tests may do the same at the same time.
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", *words[1:], "--images", "64"]
    return [*command, *(part for setting in tiny for part in ("--set", setting))]


def torchrun(command: list[str]) -> tuple[int, list[str]]:
    """The exit status on a machine without a GPU, and all lines printed but torchrun's own."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment)
    lines = (done.stdout + done.stderr).splitlines()
    return done.returncode, [line for line in lines if line.startswith(("limner:", "Done", "Note", "dcgan32 "))]


def test_the_documented_command_trains_on_two_processes(documented: list[str]) -> None:
    run = Path(documented[documented.index("--out") + 1])
    status, lines = torchrun(documented)
    assert status == 0
    assert [line.split()[0] for line in lines] == ["Done:", "dcgan32", "dcgan32"]
    assert json.loads((run / "run.json").read_text())["processes"] == 2

    # Once more is a mistake: one line, and the run is as it was.
    before = (run / "log.jsonl").read_bytes()
    status, lines = torchrun(documented)
    assert status != 0
    assert [line.split(":")[0] for line in lines] == ["limner"]
    assert "--resume" in lines[0]
    assert (run / "log.jsonl").read_bytes() == before

    (line,) = [line for line in (ROOT / "docs/scale.md").read_text().splitlines() if line.startswith("    accelerate ")]
    launch = shlex.split(line.replace("processes 4", "processes 2").partition(" dcgan")[0])[1:]
    assert launch[-3:] == ["-m", "limner", "train"]
    accelerate = [sys.executable, "-m", "accelerate.commands.accelerate_cli", *launch]
    status, lines = torchrun([*accelerate, "--resume", str(run), "--images", "96"])
    assert status == 0
    assert [line.split()[0] for line in lines] == ["Done:", "dcgan32"]
    said = [(line["event"], line["images_seen"]) for line in read_log(run)]
    assert said == [("start", 0), ("log", 32), ("log", 64), ("resume", 64), ("log", 96), ("stop", 96)]
    assert read_newest(run / "checkpoints")[0]["images_seen"] == 96


def test_a_batch_that_cannot_be_shared_leaves_no_run_folder(
    faces32: PackedFaces, tiny: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "start_engine", lambda *_: Engine(torch.device("cpu"), "fp32", world=3))
    with pytest.raises(UserError, match="8, which 3 processes cannot share evenly"):
        train("dcgan32", faces32, tmp_path / "run", images=16, overrides=tiny)
    assert not (tmp_path / "run").exists()


def test_processes_that_would_not_find_each_other_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    PartialState(cpu=True)  # alone, and so for good
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(UserError, match=r"WORLD_SIZE is 2 .*RANK is missing"):
        start_engine("cpu", "fp32")
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(UserError, match=r"WORLD_SIZE is 2 .*MASTER_ADDR is missing"):
        start_engine("cpu", "fp32")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("RANK", "2")
    with pytest.raises(UserError, match=r"RANK is 2 .*of 2 processes"):
        start_engine("cpu", "fp32")
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(UserError, match=r"WORLD_SIZE is 2 .*no process joins"):
        start_engine("cpu", "fp32")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UserError, match="2 processes share 1 GPU"):
        start_engine("auto", "fp32")


def test_two_trainings_in_one_process_are_refused(
    faces32: PackedFaces, tiny: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They would take torch's random numbers from each other. The place is free again however a training ends."""

    def start(name: str) -> None:
        train("dcgan32", faces32, tmp_path / name, images=16, overrides=tiny, device="cpu", quiet=True)

    step, refused = loop.train_step, []

    def step_beside_another(*given: Any) -> None:
        step(*given)
        with ThreadPoolExecutor(1) as pool:
            refused.append(str(pool.submit(start, "second").exception()))

    monkeypatch.setattr(loop, "train_step", step_beside_another)
    start("first")
    assert ["Another training runs in this process" in message for message in refused] == [True, True]
    assert not (tmp_path / "second").exists()
    monkeypatch.setattr(loop, "train_step", step)
    with pytest.raises(UserError, match="exists"):
        start("first")
    start("third")


def test_devices_that_are_not_there_are_one_line() -> None:
    with pytest.raises(UserError, match="choose from auto, cpu, cuda, mps"):
        start_engine("tpu", "fp32")
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match=r"no cuda device.*there is cpu"):
            start_engine("cuda", "fp32")
    engine = start_engine("cpu", "auto")
    assert engine.device == torch.device("cpu")
    assert engine.precision in ("bf16", "fp32")


def test_bf16_is_for_products_alone() -> None:
    with Engine(torch.device("cpu"), "bf16").autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
        assert torch.nn.functional.softplus(torch.ones(2)).dtype == torch.float32
    with Engine(torch.device("cpu"), "fp32").autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


def test_facts_of_the_machine() -> None:
    facts = machine_facts(torch.device("cpu"))
    assert facts["processor"]
    if platform.system() == "Linux":
        kilobytes = int(Path("/proc/meminfo").read_text().split()[1])
        assert facts["memory_gib"] == pytest.approx(kilobytes / 2**20, abs=0.1)
    json.dumps(facts)
