"""Trainings in processes of their own: what is told of their end, and that they end with whoever started them."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from stand_ins import SquareMeans

from limner.core.locks import locked
from limner.data.packed import PackedFaces
from limner.runs.run import LOG, Run
from limner.sweeping import child
from limner.sweeping.child import Job, TrialFailedError, is_finished, run_job, wait_for_another

JOB = Job("recipe.toml", "data", "out", 64, 0, "cpu")


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Sets the Python code that takes the place of a training."""
    monkeypatch.setattr(child, "SECONDS_BETWEEN_LOOKS", 0.02)
    return lambda code: monkeypatch.setattr(child, "PROGRAM", [sys.executable, "-c", code])


def test_watches_until_the_end_and_once_more(program: Callable[[str], None], tmp_path: Path) -> None:
    file = tmp_path / "done"
    program(f"import time; time.sleep(0.2); open({str(file)!r}, 'w')")
    seen: list[bool] = []
    run_job(JOB, lambda: seen.append(file.exists()))
    assert len(seen) > 2
    assert seen[0] is False
    assert seen[-1] is True


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (
            "import sys; sys.exit('noise\\nlimner: the run diverged at 640 images\\n')",
            "^the run diverged at 640 images$",
        ),
        ("raise MemoryError('CUDA out of memory')", "MemoryError: CUDA out of memory"),
        ("import os; os.kill(os.getpid(), 9)", "killed; the usual cause is that memory ran out"),
        ("import os; os.kill(os.getpid(), 11)", "ended by signal 11"),
        ("import sys; sys.exit(3)", "ended with status 3"),
    ],
)
def test_says_why_a_training_failed(program: Callable[[str], None], code: str, words: str) -> None:
    program(code)
    with pytest.raises(TrialFailedError, match=words):
        run_job(JOB, lambda: None)


@pytest.mark.parametrize("reason", [KeyboardInterrupt, RuntimeError])
def test_stops_a_training_and_lets_it_save(
    program: Callable[[str], None], tmp_path: Path, reason: type[BaseException]
) -> None:
    ready, saved = tmp_path / "ready", tmp_path / "saved"
    program(
        "import signal, sys, time\n"
        f"def save(*_):\n    time.sleep(0.1)\n    open({str(saved)!r}, 'w')\n    sys.exit(130)\n"
        f"signal.signal(signal.SIGTERM, save)\nopen({str(ready)!r}, 'w')\n"
        "while True:\n    time.sleep(0.1)"  # a signal before one long sleep would have to wait for its end
    )

    def watch() -> None:
        if ready.exists():
            raise reason

    with pytest.raises(reason):
        run_job(JOB, watch)
    assert saved.exists()


def test_a_training_ends_with_the_worker_that_started_it() -> None:
    code = "import threading, time; from limner.sweeping.child import _stop_with_parent as stop\n"
    code += "threading.Thread(target=stop, daemon=True).start(); print('ready', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.stdin.close()  # as the end of the worker does
        assert process.wait(20) == -15


def test_goes_on_where_a_training_was_stopped(
    tmp_path: Path, faces32: PackedFaces, tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real training, in this process: as long as a whole one, and not begun again when it is finished."""
    from limner.recipes.load import load_recipe

    monkeypatch.setattr("limner.evaluation.setup.load_extractor", lambda *_: SquareMeans(squares=2))
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(load_recipe("dcgan32", [*tiny, "record.evaluate_images=64"]).to_toml())
    job = Job(str(recipe), str(faces32.path), str(tmp_path / "seed-0"), 128, 0, "cpu")
    run = Run(tmp_path / "seed-0")
    child._train(replace(job, images=64))
    lines = (run.path / LOG).read_text().splitlines()
    (run.path / LOG).write_text("\n".join(lines[:-1]) + "\n")  # as a killed training leaves it: without its end
    assert not is_finished(run.path)
    child._train(job)
    assert [line["event"] for line in run.log if line["event"] in ("start", "resume", "stop")] == [
        "start",
        "resume",
        "stop",
    ]
    assert run.log[-1]["images_seen"] == 128
    ended = time.time_ns()
    child._train(job)
    assert (run.path / LOG).stat().st_mtime_ns < ended


def test_a_trial_waits_for_the_training_that_a_killed_worker_left(tmp_path: Path) -> None:
    """Its process notices that the worker is gone, and saves its state; until then the run is its own."""
    (tmp_path / LOG).touch()
    with ExitStack() as held:
        assert held.enter_context(locked(tmp_path / LOG))
        released = threading.Event()

        def release() -> None:
            released.set()
            held.close()

        threading.Timer(0.3, release).start()
        wait_for_another(tmp_path)
        assert released.is_set()
