"""Two processes on one folder: the second is told so in one line, and the first is not disturbed."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from endings import Ended

from limner.core.errors import UserError
from limner.data.packed import PackedFaces
from limner.runs.run import Run, read_log

Limner = Callable[..., Ended]


@pytest.fixture
def training(faces32: PackedFaces, sets: list[str], tmp_path: Path) -> Iterator[Path]:
    """A run that another process is training."""
    run = tmp_path / "run"
    command = ["train", "dcgan32", "--data", faces32.path, "--out", run, "--images", 10**9, "--quiet", *sets]
    process = subprocess.Popen([sys.executable, "-m", "limner", *map(str, command)], stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not any(line["event"] == "log" for line in read_log(run)):
        time.sleep(0.05)
    assert process.poll() is None, process.communicate()[1]
    yield run
    process.send_signal(signal.SIGTERM)
    assert process.communicate()[1].count("\n") == 1  # how to resume
    assert process.returncode == 130
    (lines,) = ([line["event"] for line in read_log(run) if line["event"] != "log"],)
    assert lines == ["start", "stop"]


def test_a_run_has_one_training_at_a_time(
    training: Path, faces32: PackedFaces, sets: list[str], limner: Limner
) -> None:
    before = (training / "run.json").read_bytes()
    new = ["train", "dcgan32", "--data", faces32.path, "--out", training, "--images", 64, *sets]
    for arguments in (["train", "--resume", training], [*new, "--force"]):
        ended = limner(*arguments, "--quiet")
        assert ended.status == 2
        assert f"Another process is training {training}" in ended.line
    assert (training / "run.json").read_bytes() == before
    assert limner("sample", training, "--out", training.with_suffix(".png"), "--quiet").status == 0


def test_the_lock_goes_with_its_holder(tmp_path: Path) -> None:
    run = Run(tmp_path)
    with run.sole_writer(), pytest.raises(UserError, match="Another process"), run.sole_writer():
        pass
    with run.sole_writer():
        pass


def test_a_killed_training_leaves_its_run_to_the_next(
    trained: Path, tmp_path: Path, limner: Limner, faces32: PackedFaces, sets: list[str]
) -> None:
    """Killed before its first file: the same command begins anew, without --force."""
    run = tmp_path / "run"
    run.mkdir()
    (run / "log.jsonl").write_bytes(b"")
    (run / ".run.json.0123abcd.partial").write_bytes(b"{")
    new = ["train", "dcgan32", "--data", faces32.path, "--out", run, "--images", 8, "--quiet", *sets]
    assert limner(*new).status == 0
    assert [*run.rglob(".*")] == []


def test_two_that_prepare_the_same_folder_leave_one_whole(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "limner", "prepare"]
    rest = [str(tmp_path / "out"), "--size", "32", "--workers", "1", "--quiet", "--force"]
    both = [subprocess.Popen([*command, f"synthetic:{count}", *rest], stderr=subprocess.PIPE) for count in (40, 50)]
    ends = [(process.communicate()[1], process.returncode) for process in both]
    assert [status for _, status in ends if status not in (0, 1)] == []
    assert b"Traceback" not in b"".join(said for said, _ in ends)
    assert len(PackedFaces.open(tmp_path / "out", verify=True)) in (40, 50)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
