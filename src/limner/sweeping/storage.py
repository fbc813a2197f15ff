"""Where a sweep keeps its trials: a journal file beside them, or a database that several machines share."""

import random
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock, Timeout
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.storages.journal._file import get_lock_file
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from limner.core.errors import UserError

JOURNAL = "journal.log"
SETTINGS = "limner"  # the study's attribute that says what is swept
RETRIES = 2  # of a trial that failed
ATTEMPTS = 6  # at reaching a database
SECONDS_TO_LOCK = 10  # within which a worker has locked the trial that it took from a journal


def retry(study: Study, trial: FrozenTrial) -> None:
    """Put a trial into the queue again, as a new one with the same values, unless it failed too often.

    A trial whose worker was killed did not fail: a machine may be taken away any number of times.
    """
    if trial.user_attrs.get(FAILURES, 0) <= RETRIES:
        RetryHeartbeatStaleTrialCallback()(study, trial)


def open_storage(url: str | None, folder: Path, grace: int) -> BaseStorage:
    """The storage at `url`; without one, a journal file in `folder`.

    A worker holds one connection to a database, and says there that it lives; after `grace` seconds without that its
    trial goes to another one. Raises UserError where the database cannot be reached.
    """
    if url is None:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / JOURNAL
        lock = JournalFileOpenLock(str(path))
        _cut_half_line(path, lock)
        try:
            return JournalStorage(JournalFileBackend(str(path), lock))
        except (ValueError, AssertionError, KeyError, TypeError, AttributeError):  # Optuna looks at nothing first
            raise UserError(f"{path} is damaged: choose another --out.") from None
    # A worker that is frozen within a transaction would hold up all others by its locks.
    limit = {"options": f"-c idle_in_transaction_session_timeout={grace}s"} if url.startswith("postgresql") else {}
    problem = ""
    for attempt in range(ATTEMPTS):
        try:
            # Making the tables, and looking whether they are those of this version, takes two connections.
            RDBStorage(url, engine_kwargs={"poolclass": NullPool})
            return RDBStorage(
                url,
                engine_kwargs={"pool_size": 1, "max_overflow": 0, "pool_pre_ping": True, "connect_args": limit},
                skip_compatibility_check=True,
                heartbeat_interval=max(1, grace // 4),
                grace_period=grace,
                heartbeat_stale_trial_callback=retry,
            )
        except ImportError as error:
            raise UserError(
                f"The driver of --storage is not installed ({error.__cause__ or error}). For PostgreSQL, name psycopg: "
                "postgresql+psycopg://USER@HOST/DATABASE."
            ) from None
        except ArgumentError:
            raise UserError(
                "--storage is no URL of a database, such as postgresql+psycopg://USER@HOST/DATABASE."
            ) from None
        except (SQLAlchemyError, StorageInternalError) as error:
            # Also where two workers make the tables at once, or all connections are taken for the moment.
            problem = str(error.__cause__ or error).splitlines()[0]
        time.sleep(random.uniform(0.5, 1.5) * (attempt + 1))
    raise UserError(f"The database of --storage cannot be used: {problem}.")


def _cut_half_line(journal: Path, lock: JournalFileOpenLock) -> None:
    """Take back what a killed worker wrote of its last line, to which the next one would be appended."""
    with get_lock_file(lock), journal.open("a+b") as file:
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)


def open_study(storage: BaseStorage, name: str, settings: dict[str, Any], resume: bool, prune: bool) -> Study:
    """The study `name` in `storage`, new or, with `resume`, the one that is there.

    Raises UserError where there is one (without `resume`), or it is one of other `settings`.
    """
    pruner = optuna.pruners.MedianPruner() if prune else optuna.pruners.NopPruner()
    try:
        study = optuna.create_study(
            storage=storage, study_name=name, direction="minimize", pruner=pruner, load_if_exists=resume
        )
    except optuna.exceptions.DuplicatedStudyError:
        raise UserError(
            f"The storage has a study {name}: choose another --out, or go on with it with --resume."
        ) from None
    stored = study.user_attrs.get(SETTINGS)
    if stored is None:
        study.set_user_attr(SETTINGS, settings)
    elif stored != settings:
        changed = ", ".join(key for key in settings if settings[key] != stored.get(key))
        raise UserError(
            f"The study {name} was begun with another {changed}: repeat its command, or choose another --out."
        )
    return study


def fail_dead_trials(study: Study, storage: BaseStorage, folder: Path) -> None:
    """Put the trials of workers that are gone into the queue again.

    In a database these are the ones that gave no sign of life, in a journal those whose lock in `folder` is free.
    """
    if isinstance(storage, RDBStorage):
        optuna.storages.fail_stale_trials(study)
        return
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        started = trial.datetime_start or datetime.min
        if datetime.now() - started > timedelta(seconds=SECONDS_TO_LOCK) and _is_free(lock_of(folder, trial.number)):
            storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
            retry(study, trial)


def lock_of(folder: Path, number: int) -> FileLock:
    """The lock that a worker holds while it runs trial `number`."""
    trial = trial_folder(folder, number)
    trial.mkdir(parents=True, exist_ok=True)
    return FileLock(trial / "worker.lock")


def trial_folder(folder: Path, number: int) -> Path:
    """Where trial `number` of the sweep in `folder` has its runs."""
    return folder / "trials" / f"{number:04d}"


def put_back(storage: BaseStorage, trial: optuna.Trial) -> None:
    """Return a trial that was stopped to the queue: it did not fail, and goes on under its own number."""
    storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)


def first_attempts(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    """The trials that are not retries of others."""
    return [trial for trial in trials if "failed_trial" not in trial.system_attrs and SURPLUS not in trial.user_attrs]


FAILURES = "failures"
"""The attribute of a trial that counts how often it failed, its earlier attempts included."""

SURPLUS = "surplus"
"""The attribute of a trial that two workers asked for at once, when one was left."""


def _is_free(lock: FileLock) -> bool:
    try:
        with lock.acquire(blocking=False):
            return True
    except Timeout:
        return False
