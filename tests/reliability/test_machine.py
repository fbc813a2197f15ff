"""Memory that runs out, terminals that go away, clocks that jump, a home that cannot be written."""

import errno
import os
import pty
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from endings import Ended
from several_processes import free_port, launched

from limner.core.faults import fault_line, is_out_of_memory
from limner.data.batches import Batch, Batches
from limner.data.packed import PackedFaces
from limner.model.model import Model
from limner.runs.run import read_log
from limner.training import faults, loop
from limner.training.state import read_newest

Limner = Callable[..., Ended]
ONE_THREAD = {"OMP_NUM_THREADS": "1"}
PAINTER = ("train", "painter", "--images", "16", "--quiet")


# --- memory -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory."), MemoryError()])
def test_a_training_that_runs_out_of_memory_says_which_batch_fits(
    error: BaseException,
    faces32: PackedFaces,
    sets: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    limner: Limner,
) -> None:
    step = loop.train_step

    def greedy(recipe: Any, *rest: Any) -> None:
        if recipe.schedule.batch > 5:
            raise error
        step(recipe, *rest)

    for module in (loop, faults):
        monkeypatch.setattr(module, "train_step", greedy)
    new = ["train", "dcgan32", "--data", faces32.path, "--out", tmp_path / "run", "--images", 64, *sets]
    ended = limner(*new, "--set", "schedule.batch=16", "--quiet")
    assert ended.status == 1
    assert "not enough memory for schedule.batch = 16" in ended.line
    assert "4 fits, --set schedule.batch=4" in ended.line
    assert limner(*new, "--set", "schedule.batch=4", "--quiet", "--force").status == 0


OUT_OF_MEMORY = """
import resource, sys
import torch, torch._dynamo, accelerate
import limner.training.session, limner.evaluation.evaluate
from limner.cli import main

def limner(*arguments):
    sys.argv = ["limner", *arguments]
    try:
        main()
    except SystemExit as end:
        return end.code
torch.set_num_threads(1)
data, out, *settings = sys.argv[1:]
sets = [part for setting in settings for part in ("--set", setting)]
begin = ["train", "dcgan32", "--data", data, "--device", "cpu", "--quiet", *sets]
assert not limner(*begin, "--out", out + "/first", "--images", "8"), "it does not train at all"
pages = int(open("/proc/self/statm").read().split()[0])
room = pages * resource.getpagesize() + (240 << 20)
resource.setrlimit(resource.RLIMIT_AS, (room, room))
wide = ["--set", "discriminator.width=128"]
print(limner(*begin, *wide, "--out", out + "/wide", "--images", "320", "--set", "schedule.batch=160"))
"""


@pytest.mark.soak
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="this system has no /proc")
def test_memory_that_the_system_refuses_is_one_line(
    faces32: PackedFaces, tiny: tuple[str, ...], tmp_path: Path
) -> None:
    command = [sys.executable, "-c", OUT_OF_MEMORY, str(faces32.path), str(tmp_path), *tiny]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "1"), done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert "not enough memory for schedule.batch = 160" in line
    assert "fits, --set schedule.batch=" in line


def test_any_command_that_runs_out_of_memory_is_one_line(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limner: Limner
) -> None:
    def greedy(*_: object) -> None:
        torch.empty(1 << 60)

    monkeypatch.setattr(Model, "raw", greedy)
    ended = limner("sample", model_folder, "--out", tmp_path / "faces.png", "--quiet")
    assert ended.status == 1
    assert "there is not enough memory" in ended.line
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(
    "error",
    [
        BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)),  # as fork raises it
        RuntimeError("can't start new thread"),
        RuntimeError("onnxruntime/core/platform/posix/env.cc:327 pthread_create failed, error code: 11"),
    ],
)
def test_a_limit_on_processes_and_threads_is_one_line(
    error: Exception, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limner: Limner
) -> None:
    """The words are those of the kernel, of Python and of onnxruntime under `ulimit -u 3`."""

    def refused(*_: object) -> None:
        raise error

    monkeypatch.setattr(Model, "raw", refused)
    ended = limner("sample", model_folder, "--out", tmp_path / "faces.png", "--quiet")
    assert ended.status == 1
    assert ended.line.endswith("; end other programs, or raise the limit on processes (ulimit -u).")
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_that_a_library_turns_into_another_error_is_an_interrupt(
    number: signal.Signals, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limner: Limner
) -> None:
    """As torch.onnx.export does."""

    def exported(*_: object) -> None:
        try:
            signal.raise_signal(number)
        except BaseException:
            raise RuntimeError("Failed to export the model") from None

    monkeypatch.setattr(Model, "raw", exported)
    ended = limner("sample", model_folder, "--out", tmp_path / "faces.png", "--quiet")
    assert (ended.status, ended.line) == (130, "limner: Interrupted.")
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_in_a_destructor_is_not_lost(
    number: signal.Signals, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limner: Limner
) -> None:
    """Python ignores what a destructor raises, and writes it as a traceback."""

    class Left:
        def __del__(self) -> None:
            signal.raise_signal(number)

    def busy(*_: object) -> None:
        Left()
        time.sleep(60)

    monkeypatch.setattr(Model, "raw", busy)
    ended = limner("sample", model_folder, "--out", tmp_path / "faces.png", "--quiet")
    assert (ended.status, ended.line) == (130, "limner: Interrupted.")


def test_ctrl_c_while_the_command_loads_is_one_line() -> None:
    script = """
import sys

class Interrupted:
    def find_spec(self, name, *_):
        if name == "typer":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupted())
from limner.__main__ import main
main()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr, done.stdout) == (130, "limner: Interrupted.\n", "")


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"WORLD_SIZE": "many"}, "WORLD_SIZE is 'many' in the environment, not a number"),
        ({"WORLD_SIZE": "2", "RANK": ""}, "RANK is '' in the environment, not a number"),
    ],
)
def test_an_environment_that_no_launcher_makes_is_one_line(
    environment: dict[str, str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limner: Limner
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    ended = limner(*PAINTER, "--out", tmp_path / "run")
    assert (ended.status, ended.line.partition(":")[0]) == (2, "limner")
    assert message in ended.line
    assert [*tmp_path.iterdir()] == []


def test_processes_that_cannot_join_are_refused_in_one_line(tmp_path: Path) -> None:
    """In a process of its own: what accelerate has once been told, it keeps."""
    done = subprocess.run(
        [sys.executable, "-m", "limner", *PAINTER, "--out", tmp_path / "run"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | ONE_THREAD | launched(0, 2, 70_000),
    )
    (line,) = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (2, "")
    assert line.startswith("limner: The processes cannot join (")
    assert "70000" in line
    assert [*tmp_path.iterdir()] == []


def test_a_process_that_waits_for_others_can_be_ended(tmp_path: Path) -> None:
    """It waits in torch's C++, where Python hears no signal."""
    port = free_port()
    command = [sys.executable, "-m", "limner", *PAINTER, "--out", tmp_path / "run"]
    with subprocess.Popen(command, env=os.environ | ONE_THREAD | launched(0, 2, port)) as waiting:
        while waiting.poll() is None:
            with suppress(ConnectionRefusedError), socket.create_connection(("localhost", port)):
                break
            time.sleep(0.1)
        time.sleep(1)  # it listens a little before it waits
        waiting.send_signal(signal.SIGTERM)
        assert waiting.wait(60) == -signal.SIGTERM
    assert [*tmp_path.iterdir()] == []


def test_a_fault_of_ours_is_no_fault_of_the_machine() -> None:
    for error in (ValueError("memory"), RuntimeError("shapes do not fit"), KeyError("x"), AssertionError()):
        assert fault_line(error) is None
        assert not is_out_of_memory(error)


# --- numbers that are none --------------------------------------------------------------------------------------------


def test_a_batch_that_is_not_finite_is_gone_back_from(
    faces32: PackedFaces, sets: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limner: Limner
) -> None:
    at, spoilt = Batches.at, []

    def poisoned(self: Batches, images: int, *rest: Any) -> Batch:
        batch = at(self, images, *rest)
        if images == 80 and not spoilt:
            spoilt.append(images)
            batch.x_BCHW[3, 1, 5, 7] = torch.nan
        return batch

    monkeypatch.setattr(Batches, "at", poisoned)
    out = tmp_path / "run"
    often = ["--set", "record.checkpoint_images=16"]
    new = ["train", "dcgan32", "--data", faces32.path, "--out", out, "--images", 128, "--quiet", *sets, *often]
    assert limner(*new).status == 0
    (back,) = [line for line in read_log(out) if line["event"] == "rollback"]
    assert (back["from_images"], back["to_images"]) == (96, 80)
    record, tensors, broken = read_newest(out / "checkpoints")
    assert (record["images_seen"], broken) == (128, [])
    assert all(tensor.isfinite().all() for tensor in tensors.values() if tensor.is_floating_point())


# --- terminals --------------------------------------------------------------------------------------------------------


def on_a_terminal(arguments: list[object], hangup: Any) -> tuple[int, int]:
    """Start the command as a terminal's shell does; its process, and the terminal's other end."""
    process, terminal = pty.fork()
    if process == 0:
        signal.signal(signal.SIGHUP, hangup)
        os.execv(sys.executable, [sys.executable, "-m", "limner", *map(str, arguments)])
    return process, terminal


@pytest.mark.parametrize("nohup", [False, True])
def test_a_training_whose_terminal_is_closed_saves_or_goes_on(
    nohup: bool, faces32: PackedFaces, sets: list[str], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    new = ["train", "dcgan32", "--data", faces32.path, "--out", run, "--images", 400 if nohup else 10**9, *sets]
    process, terminal = on_a_terminal(new, signal.SIG_IGN if nohup else signal.SIG_DFL)
    heard = threading.Thread(target=listen, args=(terminal, run))
    heard.start()
    heard.join()
    os.close(terminal)
    _, status = os.waitpid(process, 0)
    assert os.waitstatus_to_exitcode(status) == (0 if nohup else 130)
    last = read_log(run)[-1]
    assert (last["event"], last["reason"]) == ("stop", "finished" if nohup else "interrupted")
    assert read_newest(run / "checkpoints")[0]["images_seen"] == last["images_seen"]
    assert [*run.rglob(".*")] == []


@pytest.mark.parametrize("name", ["prepare", "bench"])
def test_ctrl_c_while_workers_start_is_one_line(name: str, tmp_path: Path) -> None:
    """A terminal sends it to all processes of a command, also to those that still import."""
    words = {
        "prepare": ["prepare", "synthetic:4000", tmp_path / "out", "--size", 32, "--workers", 2, "--quiet"],
        "bench": ["bench", "demo", "--steps", 1, "--out", tmp_path / "out"],
    }
    command = [sys.executable, "-m", "limner", *map(str, words[name])]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "start_new_session": True}
    with subprocess.Popen(command, env=os.environ | ONE_THREAD, text=True, **pipes) as first:  # type: ignore[call-overload]
        children = Path(f"/proc/{first.pid}/task/{first.pid}/children")
        while not any("numpy" in mapped_files(child) for child in children.read_text().split()):
            assert first.poll() is None
            time.sleep(0.01)
        os.killpg(first.pid, signal.SIGINT)
        said = first.stderr.read()
    assert first.returncode == 130
    assert "Traceback" not in said
    assert said.splitlines()[-1] == "limner: Interrupted."
    assert [*tmp_path.iterdir()] == []


def mapped_files(process: str) -> str:
    """What a process has loaded; nothing where it has ended."""
    with suppress(OSError):
        return Path(f"/proc/{process}/maps").read_text()
    return ""


COMPUTING_STUDIO = """
import sys
import torch
from limner.__main__ import main
from limner.model.model import Model
from limner.studio import serve

def compute(*_, **__):
    print("computing", flush=True)
    while True:
        torch.ones(100, 100) @ torch.ones(100, 100)

Model.sample, serve.SECONDS_TO_CLOSE, serve.SECONDS_FOR_PAGE = compute, 0.5, float(sys.argv[1])
sys.argv[1:] = ["studio", "faces", "--port", sys.argv[2]]
main()
"""


@pytest.mark.parametrize("asked", [False, True])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_studio_that_computes_ends_with_one_line(asked: bool, number: signal.Signals) -> None:
    """A thread in torch would abort the interpreter: that of a request, or the one that loads the first model."""
    pytest.importorskip("uvicorn", reason="uvicorn is not installed (pip install 'limner[studio]')")
    port, answers = free_port(), []

    def ask() -> None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/api/faces?model=faces", timeout=120)
        except urllib.error.HTTPError as error:
            answers.append((error.code, error.read()))

    command = [sys.executable, "-c", COMPUTING_STUDIO, "60" if asked else "0", str(port)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=os.environ | ONE_THREAD, text=True, **pipes) as studio:  # type: ignore[call-overload]
        client = threading.Thread(target=ask)
        for line in studio.stdout:
            if line.startswith("The studio is at") and asked:
                client.start()
            if line == "computing\n":
                break
        studio.send_signal(number)
        said = studio.stderr.read()
    if asked:
        client.join()
    assert (studio.returncode, said) == (130, "limner: Interrupted.\n")
    assert answers == ([(503, b'{"error":"The studio was closed."}')] if asked else [])


def test_ctrl_c_before_the_server_of_a_studio_has_begun_is_one_line() -> None:
    """Python then warns of a coroutine that nobody has awaited."""
    pytest.importorskip("uvicorn", reason="uvicorn is not installed (pip install 'limner[studio]')")
    script = f"""
import signal, sys
import uvicorn.server
from limner.__main__ import main

def begin(serve, **_):
    del serve
    signal.raise_signal(signal.SIGINT)

uvicorn.server.asyncio_run = begin
sys.argv = ["limner", "studio", "faces", "--port", "{free_port()}"]
main()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "limner: Interrupted.\n")


def listen(terminal: int, run: Path) -> None:
    """Read what a training shows until it has written a log line."""
    while not any(line["event"] == "log" for line in read_log(run)):
        try:
            os.read(terminal, 4096)
        except OSError:
            return


@pytest.mark.parametrize("name", ["prepare", "sample"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_polite_end_leaves_nothing(
    name: str,
    number: signal.Signals,
    model_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    limner: Limner,
) -> None:
    from limner.preparation import prepare as preparing

    def interrupted(*_: object, **__: object) -> Any:
        signal.raise_signal(number)
        time.sleep(10)

    monkeypatch.setattr(preparing, "write_images", interrupted)
    monkeypatch.setattr(Model, "raw", interrupted)
    commands: dict[str, list[object]] = {
        "prepare": ["prepare", "synthetic:40", tmp_path / "out", "--size", 32, "--workers", 1, "--quiet"],
        "sample": ["sample", model_folder, "--out", tmp_path / "out.png", "--quiet"],
    }
    hangup = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup has it ignored, and then it ends nothing
    try:
        ended = limner(*commands[name])
    finally:
        signal.signal(signal.SIGHUP, hangup)
    assert (ended.status, ended.line) == (130, "limner: Interrupted.")
    assert [*tmp_path.iterdir()] == []
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_a_training_that_is_asked_to_stop_twice_says_what_is_saved(
    number: signal.Signals, faces32: PackedFaces, sets: list[str], tmp_path: Path
) -> None:
    """The signal comes again and again until the process has ended; SIGUSR1 asks to save, after one SIGTERM."""
    run = tmp_path / "run"
    words = ["train", "dcgan32", "--data", faces32.path, "--out", run, "--images", 10**6, "--quiet", *sets]
    command = [sys.executable, "-m", "limner", *map(str, words)]
    with subprocess.Popen(command, env=os.environ | ONE_THREAD, stderr=subprocess.PIPE, text=True) as training:
        while not read_log(run):
            assert training.poll() is None
            time.sleep(0.05)
        training.send_signal(signal.SIGTERM)
        while training.poll() is None:
            training.send_signal(number)
            time.sleep(0.001)
        said = training.stderr.read()
    assert said == f"limner: Stopped; everything is saved. Resume with: limner train --resume {run}\n"
    assert training.returncode == 130
    assert read_newest(run / "checkpoints")[0]["images_seen"] == read_log(run)[-1]["images_seen"]


def test_one_more_ctrl_c_ends_a_training_at_once(
    faces32: PackedFaces, sets: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limner: Limner
) -> None:
    def step(*_: object) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        pytest.fail("the step went on")

    run = tmp_path / "run"
    monkeypatch.setattr("limner.core.signals.SECONDS_OF_ONE_END", 0.0)
    monkeypatch.setattr("limner.training.loop.train_step", step)
    ended = limner("train", "dcgan32", "--data", faces32.path, "--out", run, "--images", 64, "--quiet", *sets)
    assert (ended.status, ended.line) == (130, "limner: Interrupted.")
    assert read_newest(run / "checkpoints")[0]["images_seen"] == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_does_not_interrupt_the_end_that_the_first_began(
    number: signal.Signals, tmp_path: Path
) -> None:
    """While `limner prepare` ends its workers and takes back what is half-written."""
    words = ["prepare", "synthetic:100000", tmp_path / "out", "--size", "64", "--workers", "2", "--quiet"]
    command = [sys.executable, "-m", "limner", *map(str, words)]
    with subprocess.Popen(command, env=os.environ | ONE_THREAD, stderr=subprocess.PIPE, text=True) as preparing:
        while len(psutil.Process(preparing.pid).children()) < 2 or not [*tmp_path.iterdir()]:
            assert preparing.poll() is None
            time.sleep(0.05)
        time.sleep(0.3)
        for _ in range(3):
            preparing.send_signal(number)
            time.sleep(0.1)
        said = preparing.communicate(timeout=60)[1]
    assert (preparing.returncode, said) == (130, "limner: Interrupted.\n")
    assert [*tmp_path.iterdir()] == []


# --- clocks, a home ---------------------------------------------------------------------------------------------------


def test_a_clock_that_jumps_changes_no_training(
    faces32: PackedFaces, sets: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limner: Limner
) -> None:
    """By hours to and fro: a training of half a second would end at its first step, or never."""
    now, jumps = time.time, iter(range(10**9))
    monkeypatch.setattr(time, "time", lambda: now() + (-1) ** next(jumps) * 36_000)
    out = tmp_path / "run"
    new = ["train", "dcgan32", "--data", faces32.path, "--out", out, "--minutes", 0.01, "--quiet", *sets]
    assert limner(*new).status == 0
    last = read_log(out)[-1]
    assert last["reason"] == "finished"
    assert 0.6 <= last["seconds"] < 60
    assert last["images_seen"] > 8


def test_a_home_that_cannot_be_written_is_done_without(
    model_folder: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limner: Limner
) -> None:
    home = tmp_path / "home"
    home.write_bytes(b"no folder")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    for name in ("LIMNER_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    ended = limner("evaluate", model_folder, "--data", data, "--samples", 16)
    assert ended.status == 0
    (line,) = {line for line in ended.lines if line.startswith("Note: ")}
    assert "the cache cannot be used" in line
    assert "LIMNER_CACHE" in line
