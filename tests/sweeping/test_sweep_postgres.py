"""Workers that share a PostgreSQL: Debian's server, started here in a folder of its own."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import optuna
import pytest
from known_landscape import distance, fork, train
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from sqlalchemy.pool import NullPool

import limner
from limner.data.packed import PackedFaces
from limner.sweeping.child import Job
from limner.sweeping.storage import SURPLUS

RATE = "optimizer.generator.lr"
CONNECTIONS = 10
WORKERS = 8
GRACE = 10


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """The URL of a server that takes CONNECTIONS; skipped where PostgreSQL is not installed."""
    found = [Path(path) for path in (shutil.which("initdb"), *Path("/usr/lib/postgresql").glob("*/bin/initdb")) if path]
    if not found:
        pytest.skip("PostgreSQL is not installed")
    user = "postgres" if os.getuid() == 0 else None  # the server refuses to run as root
    folder = Path(tempfile.mkdtemp(prefix="limner-postgres-"))
    try:
        if user:
            shutil.chown(folder, user)
        tools = {"user": user, "cwd": folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.STDOUT}
        bin_ = found[-1].parent
        subprocess.run([bin_ / "initdb", "-D", "data", "-U", "limner", "-A", "trust", "--no-sync"], check=True, **tools)  # type: ignore[call-overload]
        settings = {"listen_addresses": "", "unix_socket_directories": folder, "max_connections": CONNECTIONS}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        server = subprocess.Popen([bin_ / "postgres", "-D", "data", "-F", *options], **tools)  # type: ignore[call-overload]
        try:
            ready = [bin_ / "pg_isready", "-h", folder, "-d", "postgres", "-U", "limner"]
            while subprocess.run(ready, **tools).returncode:  # type: ignore[call-overload]
                assert server.poll() is None
                time.sleep(0.1)
            yield f"postgresql+psycopg://limner@/postgres?host={folder}"
        finally:
            server.send_signal(signal.SIGINT)  # "fast": it closes the connections that are left
            server.wait()
    finally:
        shutil.rmtree(folder)


def wait_for(happened: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_eight_workers_one_frozen_and_one_killed(
    postgres: str, tmp_path: Path, faces32: PackedFaces, no_training: pytest.MonkeyPatch
) -> None:
    """Every point is trained; the trials of the frozen and the killed worker by others; ten connections are enough."""
    rates = [round(1e-5 * 1.3**number, 10) for number in range(24)]
    marks = tmp_path / "marks"
    marks.mkdir()

    def slowly(job: Job, watch: Callable[[], None]) -> None:
        (marks / str(os.getpid())).touch()  # this worker has a trial
        time.sleep(0.4)
        train(job, watch)

    no_training.setattr("limner.sweeping.trial.run_job", slowly)
    no_training.setattr("limner.sweeping.worker.SECONDS_BETWEEN_LOOKS", 0.5)  # eight wait for the frozen one's grace

    def work() -> object:
        vary = [f"{RATE}={','.join(map(str, rates))}"]
        options = {"images": 4000, "prune": False, "quiet": True, "resume": True, "grace": GRACE, "storage": postgres}
        return limner.sweep("dcgan32", faces32, tmp_path / "study", vary=vary, **options)  # type: ignore[arg-type]

    workers = [fork(work) for _ in range(WORKERS)]
    frozen, killed, *others = workers
    try:
        wait_for(lambda: all((marks / str(process)).exists() for process in (frozen, killed)))
        os.kill(frozen, signal.SIGSTOP)
        os.kill(killed, signal.SIGKILL)
        assert [os.waitpid(process, 0)[1] for process in (killed, *others)] == [signal.SIGKILL, *[0] * len(others)]
        check(postgres, rates)
        os.kill(frozen, signal.SIGCONT)  # it finds that its trial is another one's, and that all is done
        assert os.waitpid(frozen, 0)[1] == 0
        check(postgres, rates)
    finally:
        for process in workers:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
    assert (tmp_path / "study" / "sweep.html").is_file()


def check(url: str, rates: list[float]) -> None:
    """Every point was trained once, and at most two trials were lost: a worker may be hit between two trials."""
    study = optuna.load_study(storage=RDBStorage(url, engine_kwargs={"poolclass": NullPool}), study_name="study")
    finished = study.get_trials(states=(TrialState.COMPLETE,))
    assert sorted(trial.params[RATE] for trial in finished) == rates
    assert all(trial.value == pytest.approx(distance(trial.params[RATE], 4000)) for trial in finished)
    lost = study.get_trials(states=(TrialState.FAIL,))
    assert 1 <= len(lost) <= 2
    assert len([trial for trial in study.trials if SURPLUS not in trial.user_attrs]) == len(rates) + len(lost)
