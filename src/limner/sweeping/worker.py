"""A worker of a sweep: it takes trial after trial from the storage until all are finished."""

import time
from collections.abc import Callable
from enum import Enum
from pathlib import Path

import optuna
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from limner.sweeping.child import TrialFailedError
from limner.sweeping.space import as_overrides
from limner.sweeping.storage import (
    FAILURES,
    RETRIES,
    SURPLUS,
    fail_dead_trials,
    first_attempts,
    lock_of,
    put_back,
    retry,
)
from limner.sweeping.trial import METRIC, REASON, Plan, run_trial

MAX_FAILURES = 3  # in a row, after which the machine is taken to be at fault
SECONDS_BETWEEN_LOOKS = 2
TAKEN_OVER = "taken over: this worker was silent for too long."


class Ended(Enum):
    """Why a worker stopped."""

    FINISHED = "all trials are finished"
    STOPPED = "it was asked to stop"
    FAILING = f"{MAX_FAILURES} trials in a row failed"


class _LeftError(BaseException):
    """The worker leaves its trial to others. Optuna would tell the storage of any `Exception` as a failure."""


class _StoppedError(_LeftError):
    """The worker was asked to stop."""


class _LostError(_LeftError):
    """The trial is for other workers, and this one goes on with the next."""


class Worker:
    """Works on a study; `say` is given a line for every trial, `advance` the images seen by all trials together."""

    def __init__(
        self,
        study: Study,
        storage: BaseStorage,
        plan: Plan,
        folder: Path,
        say: Callable[[str], None],
        advance: Callable[[int], None],
    ) -> None:
        self.study, self.storage, self.plan, self.folder, self.say, self.advance = (
            study,
            storage,
            plan,
            folder,
            say,
            advance,
        )
        self.failures = 0  # in a row
        self.reason = ""
        """Of the last failure."""
        self.images = 0  # that the progress bar shows

    def work(self) -> Ended:
        """Run trials until all are finished, those of other workers too: one of these may have to be taken over.

        Raises StorageInternalError where the storage fails several times in a row.
        """
        lost = 0  # times in a row that the storage failed
        try:
            while self.failures < MAX_FAILURES:
                try:
                    unfinished = self._step()
                except StorageInternalError:  # one that was frozen has lost its connection, say, and gets another
                    lost += 1
                    if lost == MAX_FAILURES:
                        raise
                    time.sleep(SECONDS_BETWEEN_LOOKS)
                    continue
                lost = 0
                if not unfinished:
                    return Ended.FINISHED
        except (KeyboardInterrupt, _StoppedError):
            return Ended.STOPPED
        return Ended.FAILING

    def _step(self) -> bool:
        """Run a trial, or wait a moment for those of others; whether there was any that is not finished."""
        fail_dead_trials(self.study, self.storage, self.folder)
        trials = self.study.get_trials(deepcopy=False)
        states = {trial.state for trial in trials}
        if TrialState.WAITING in states or len(first_attempts(trials)) < self.plan.trials:
            self._run_one()
        elif TrialState.RUNNING in states:
            time.sleep(SECONDS_BETWEEN_LOOKS)
        else:
            return False
        return True

    def _run_one(self) -> None:
        try:
            self.study.optimize(self._objective, n_trials=1, catch=(TrialFailedError,), callbacks=[self._tell])
        except _LostError as lost:
            self.say(str(lost))
        except (AssertionError, ValueError, UpdateFinishedTrialError) as error:
            # Of an end that the storage was not told, Optuna's assertion says nothing.
            cause = error.__context__ if isinstance(error, AssertionError) else error
            if isinstance(cause, StorageInternalError):
                self.say(f"A trial was lost: {cause.__cause__}")
            elif isinstance(cause, UpdateFinishedTrialError) or str(cause).startswith("Cannot tell a"):
                self.say(f"A trial was {TAKEN_OVER}")
            else:
                raise

    def _objective(self, trial: optuna.Trial) -> float:
        trials = self.study.get_trials(deepcopy=False)
        frozen = trials[trial.number]
        first = frozen.system_attrs.get("failed_trial", trial.number)
        place = sum(other.number < first for other in first_attempts(trials))
        if place >= self.plan.trials:
            trial.set_user_attr(SURPLUS, True)
            raise optuna.TrialPruned
        finished = sum(other.state in (TrialState.COMPLETE, TrialState.PRUNED) for other in trials)
        before = finished * self.plan.seeds * self.plan.images
        try:
            with lock_of(self.folder, trial.number):
                return run_trial(
                    trial, frozen, place, self.plan, self.folder, lambda images: self._show(before + images)
                )
        except TrialFailedError as error:
            trial.set_user_attr(REASON, str(error))
            trial.set_user_attr(FAILURES, frozen.user_attrs.get(FAILURES, 0) + 1)
            raise
        except UpdateFinishedTrialError:
            raise _LostError(f"Trial {trial.number} was {TAKEN_OVER}") from None
        except StorageInternalError as error:
            raise _LostError(f"Trial {trial.number} was lost: {error.__cause__}") from None
        except KeyboardInterrupt:
            put_back(self.storage, trial)
            raise _StoppedError from None

    def _show(self, images: int) -> None:
        self.advance(images - self.images)
        self.images = images

    def _tell(self, study: Study, trial: FrozenTrial) -> None:
        if SURPLUS in trial.user_attrs:
            return
        failed = trial.state is TrialState.FAIL
        self.failures = self.failures + 1 if failed else 0
        about = f"Trial {trial.number} ({', '.join(as_overrides(trial.params))})"
        if failed:
            retry(study, trial)
            failures, self.reason = trial.user_attrs[FAILURES], trial.user_attrs[REASON]
            again = "; it is tried again" if failures <= RETRIES else f", {failures} times: it is given up"
            self.say(f"{about} failed: {self.reason}{again}.")
        elif trial.state is TrialState.PRUNED:
            self.say(f"{about} was pruned at {METRIC} {trial.value:.1f}: most trials did better by then.")
        else:
            best = study.best_trial
            self.say(f"{about}: {METRIC} {trial.value:.1f}; best {best.value:.1f}, trial {best.number}.")
