"""A sweep from its points to its best recipe, with trainings that take no time (see known_landscape.py)."""

import json
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from known_landscape import BEST, distance, fork, train
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

import limner
from limner.core.errors import Interrupted, UserError
from limner.data.packed import PackedFaces
from limner.recipes.load import load_recipe
from limner.sweeping.child import Job, TrialFailedError
from limner.sweeping.storage import RETRIES, retry
from limner.sweeping.trial import GONE, run_trial

RATE = "optimizer.generator.lr"
LIST = f"{RATE}=1e-5,5e-5,2e-4,1e-3"
RANGE = f"{RATE}=1e-6..1e-2,log"

pytestmark = pytest.mark.usefixtures("no_training")


def trials_of(out: Path) -> list[FrozenTrial]:
    """As Optuna alone reads them, and so as optuna-dashboard does."""
    storage = JournalStorage(JournalFileBackend(str(out / "journal.log")))
    return optuna.load_study(storage=storage, study_name=out.name).trials


def rates(out: Path, *states: TrialState) -> list[float]:
    return [trial.params[RATE] for trial in trials_of(out) if not states or trial.state in states]


@pytest.fixture
def run(tmp_path: Path, faces32: PackedFaces) -> Callable[..., Any]:
    """A sweep of dcgan32 into `out`, unless told otherwise."""

    def run(out: str = "study", **options: Any) -> Any:
        given: dict[str, Any] = {"vary": [LIST], "images": 4000, "quiet": True}
        return limner.sweep("dcgan32", faces32, tmp_path / out, **(given | options))

    return run


def test_a_grid_trains_every_point_and_finds_the_best(run: Callable[..., Any], tmp_path: Path) -> None:
    swept = run(prune=False)
    assert rates(tmp_path / "study") == [1e-5, 5e-5, 2e-4, 1e-3]
    assert [trial.value for trial in trials_of(tmp_path / "study")] == [
        pytest.approx(distance(rate, 4000)) for rate in (1e-5, 5e-5, 2e-4, 1e-3)
    ]
    assert swept.value == pytest.approx(distance(BEST, 4000))
    best, plain = load_recipe(swept.best), load_recipe("dcgan32")
    assert best.optimizer.generator.lr == BEST
    assert set(best.differences(plain)) <= {RATE}
    assert swept.page.is_file()


def test_points_of_tpe_depend_on_the_seed_and_the_trials_before_alone(run: Callable[..., Any], tmp_path: Path) -> None:
    """Also when the sweep stops after every trial, or some were asked for later: nothing is kept in a process."""
    run("whole", vary=[RANGE], trials=14)
    for trials in range(1, 15):
        run("pieces", vary=[RANGE], trials=trials, resume=True)
    run("other", vary=[RANGE], trials=14, seed=1)
    whole = rates(tmp_path / "whole")
    assert len(set(whole)) == 14
    assert all(1e-6 <= rate <= 1e-2 for rate in whole)
    assert rates(tmp_path / "pieces") == whole
    assert rates(tmp_path / "other")[:3] != whole[:3]


def test_tpe_comes_nearer_than_its_random_beginning(run: Callable[..., Any], tmp_path: Path) -> None:
    run(vary=[RANGE], trials=25)
    off = [distance(rate, 4000) for rate in rates(tmp_path / "study")]
    assert sum(off[10:]) / 15 < sum(off[:10]) / 10


def test_several_seeds_a_point(run: Callable[..., Any], tmp_path: Path) -> None:
    run(seeds=3, seed=5, prune=False)
    for trial in trials_of(tmp_path / "study"):
        expected = [distance(trial.params[RATE], 4000, seed) for seed in (5, 6, 7)]
        assert trial.user_attrs["values"] == pytest.approx(expected)
        assert trial.value == pytest.approx(sum(expected) / 3)
        assert list(trial.intermediate_values) == [1000 * step for step in range(1, 13)]


def test_bad_trials_are_pruned_early_and_not_called_failed(run: Callable[..., Any], tmp_path: Path) -> None:
    good = ",".join(f"{BEST * (1 + share / 100)}" for share in range(5))
    run(vary=[f"{RATE}={good},9.0"])
    *rest, last = trials_of(tmp_path / "study")
    assert {trial.state for trial in rest} == {TrialState.COMPLETE}
    assert last.state is TrialState.PRUNED
    assert last.last_step == 1000
    run("all", vary=[f"{RATE}={good},9.0"], prune=False)
    assert {trial.state for trial in trials_of(tmp_path / "all")} == {TrialState.COMPLETE}


class Unreliable:
    """Trainings that fail: those at `bad` rates, the first `times` times."""

    def __init__(self, bad: float, times: int, error: type[BaseException] = TrialFailedError) -> None:
        self.bad, self.times, self.error = bad, times, error

    def __call__(self, job: Job, watch: Callable[[], None]) -> None:
        if load_recipe(job.recipe).optimizer.generator.lr == self.bad and self.times:
            self.times -= 1

            def fail() -> None:
                watch()
                raise self.error("memory ran out")

            train(job, fail)
        train(job, watch)


def test_a_failed_trial_is_told_and_tried_again_where_it_was(
    run: Callable[..., Any], tmp_path: Path, no_training: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    no_training.setattr("limner.sweeping.trial.run_job", Unreliable(5e-5, 2))
    run(quiet=False, prune=False)
    found = trials_of(tmp_path / "study")
    failed = [trial for trial in found if trial.state is TrialState.FAIL]
    assert [trial.params[RATE] for trial in failed] == [5e-5, 5e-5]
    assert {trial.user_attrs["reason"] for trial in failed} == {"memory ran out"}
    assert sorted(rates(tmp_path / "study", TrialState.COMPLETE)) == [1e-5, 5e-5, 2e-4, 1e-3]
    told = " ".join(capsys.readouterr().err.split())
    assert "Trial 1 (optimizer.generator.lr=5e-05) failed: memory ran out; it is tried again." in told
    lines = (tmp_path / "study" / "trials" / "0005" / "seed-0" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["images_seen"] for line in lines] == [1000, 2000, 3000, 4000]  # went on from its copy


def test_a_worker_stops_after_three_failures_in_a_row(
    run: Callable[..., Any], tmp_path: Path, no_training: pytest.MonkeyPatch
) -> None:
    no_training.setattr("limner.sweeping.trial.run_job", Unreliable(5e-5, 3))
    with pytest.raises(UserError, match=r"3 trials in a row failed here; the last: memory ran out\. When"):
        run(vary=[f"{RATE}=5e-6,5e-5"], quiet=True)
    assert (tmp_path / "study" / "sweep.html").is_file()
    swept = run(vary=[f"{RATE}=5e-6,5e-5"], resume=True)  # mended: what was given up stays so
    assert swept.value == pytest.approx(distance(5e-6, 4000))


def test_ctrl_c_leaves_a_trial_that_goes_on(
    run: Callable[..., Any], tmp_path: Path, no_training: pytest.MonkeyPatch
) -> None:
    no_training.setattr("limner.sweeping.trial.run_job", Unreliable(2e-4, 1, KeyboardInterrupt))
    with pytest.raises(Interrupted):
        run(prune=False)
    *before, last = trials_of(tmp_path / "study")
    assert {trial.state for trial in before} == {TrialState.COMPLETE}
    assert last.state is TrialState.WAITING
    run(prune=False, resume=True)
    whole = trials_of(tmp_path / "study")
    assert [trial.state for trial in whole] == [TrialState.COMPLETE] * 4
    assert [trial.value for trial in whole] == [
        pytest.approx(distance(rate, 4000)) for rate in (1e-5, 5e-5, 2e-4, 1e-3)
    ]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_stop_a_sweep(run: Callable[..., Any], no_training: pytest.MonkeyPatch, number: signal.Signals) -> None:
    """Also where they were ignored before, as a shell starts a process in the background."""

    def stopped(job: Job, watch: Callable[[], None]) -> None:
        os.kill(os.getpid(), number)
        train(job, watch)

    no_training.setattr("limner.sweeping.trial.run_job", stopped)
    handler = signal.signal(number, signal.SIG_IGN)
    try:
        with pytest.raises(Interrupted):
            run()
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, handler)


def test_the_trial_of_a_killed_worker_is_tried_again(
    run: Callable[..., Any], tmp_path: Path, no_training: pytest.MonkeyPatch
) -> None:
    """However often that happens, also where the trial failed by itself before."""

    def kill(job: Job, watch: Callable[[], None]) -> None:
        half_written = Path(job.out) / ".model.01234567.partial"
        half_written.mkdir(parents=True)
        train(job, lambda: os.kill(os.getpid(), signal.SIGKILL))

    faults = iter(["memory ran out"])

    def fail_and_kill(job: Job, watch: Callable[[], None]) -> None:
        for fault in faults:
            raise TrialFailedError(fault)
        kill(job, watch)

    no_training.setattr("limner.sweeping.storage.SECONDS_TO_LOCK", 0)

    def work(run_job: Callable[[Job, Callable[[], None]], None]) -> int:
        no_training.setattr("limner.sweeping.trial.run_job", run_job)
        return os.waitpid(fork(lambda: run(vary=[RANGE], trials=1, prune=False, resume=True)), 0)[1]

    def reasons() -> list[str | None]:
        contents = (tmp_path / "study" / "sweep.html").read_text()
        return re.findall(r'"reason":\s*"([^"]*)"', contents)

    assert work(fail_and_kill) == signal.SIGKILL
    for times in range(RETRIES + 1):
        assert [trial.state.name for trial in trials_of(tmp_path / "study")] == [*["FAIL"] * (times + 1), "RUNNING"]
        assert work(kill) == signal.SIGKILL
    assert work(train) == 0
    found = trials_of(tmp_path / "study")
    assert [trial.state.name for trial in found] == [*["FAIL"] * (RETRIES + 3), "COMPLETE"]
    assert len({trial.params[RATE] for trial in found}) == 1
    assert reasons() == ["memory ran out", *[GONE] * (RETRIES + 2)]
    assert not list((tmp_path / "study").rglob(".*.partial"))


def test_a_trial_of_a_worker_that_lives_stays_its_own(
    run: Callable[..., Any], tmp_path: Path, no_training: pytest.MonkeyPatch
) -> None:
    """Two workers on one journal: every point is trained once."""
    other = fork(lambda: run(prune=False, resume=True))
    run(prune=False, resume=True)
    assert os.waitpid(other, 0)[1] == 0
    assert sorted(rates(tmp_path / "study", TrialState.COMPLETE)) == [1e-5, 5e-5, 2e-4, 1e-3]
    assert not [trial for trial in trials_of(tmp_path / "study") if trial.state is TrialState.FAIL]


@pytest.mark.parametrize("end", [None, optuna.TrialPruned(), TrialFailedError("memory ran out")])
def test_a_trial_that_was_taken_over_at_its_very_end_is_left_to_the_other(
    end: Exception | None, run: Callable[..., Any], tmp_path: Path, no_training: pytest.MonkeyPatch
) -> None:
    """A worker that was frozen after its last look at the storage, and has nothing to do but to tell the end."""

    def taken_over(trial: optuna.Trial, frozen: FrozenTrial, *rest: Any) -> float:
        value = run_trial(trial, frozen, *rest)
        if trial.number == 1:
            trial.study.tell(trial.number, state=TrialState.FAIL)  # as another worker does, which tries it again
            retry(trial.study, trial.study.get_trials()[1])
            if end:
                raise end
        return value

    no_training.setattr("limner.sweeping.worker.run_trial", taken_over)
    run(prune=False)
    assert sorted(rates(tmp_path / "study", TrialState.COMPLETE)) == [1e-5, 5e-5, 2e-4, 1e-3]
    assert rates(tmp_path / "study", TrialState.FAIL) == [5e-5]


@pytest.mark.parametrize(("times", "goes_on"), [(2, True), (3, False)])
def test_a_storage_that_fails_for_a_moment(
    run: Callable[..., Any], tmp_path: Path, no_training: pytest.MonkeyPatch, times: int, goes_on: bool
) -> None:
    left = iter(range(times))
    get_trials = optuna.Study.get_trials

    def unsteady(self: optuna.Study, **options: Any) -> list[FrozenTrial]:
        if next(left, None) is not None:
            raise optuna.exceptions.StorageInternalError("the server closed the connection")
        return get_trials(self, **options)

    no_training.setattr(optuna.Study, "get_trials", unsteady)
    if goes_on:
        run(prune=False)
        assert len(rates(tmp_path / "study", TrialState.COMPLETE)) == 4
    else:
        with pytest.raises(UserError, match=r"closed the connection\. Go on with --resume"):
            run()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"vary": [RANGE]}, "say how many --trials"),
        ({"trials": 0}, "--trials is 0; it must be at least 1"),
        ({"seeds": 0}, "--seeds is 0"),
        ({"images": 0}, "--images is 0"),
        ({"seed": -1}, "--seed is -1"),
        ({"grace": 1}, "--grace is 1"),
        ({"vary": ["schedule.batch=64,65"], "overrides": ["discriminator.stddev_group=4"]}, "stddev_group"),
        ({"vary": ["schedule.batch=8,4096"]}, "schedule.batch is 4096, but .* has only"),
        ({"storage": "nonsense"}, "no URL of a database"),
        ({"storage": "postgresql+nothing://host/db"}, "name psycopg|no URL"),
        ({"storage": "postgresql+psycopg://127.0.0.1:9/db"}, "cannot be used"),
    ],
)
def test_mistakes(
    run: Callable[..., Any], options: dict[str, Any], words: str, no_training: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    no_training.setattr("limner.sweeping.storage.ATTEMPTS", 1)
    with pytest.raises(UserError, match=words) as error:
        run(**options)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "study").exists()


def test_what_is_there_is_neither_replaced_nor_gone_on_with_by_mistake(run: Callable[..., Any]) -> None:
    run()
    with pytest.raises(UserError, match="exists: choose another --out, or go on with it with --resume"):
        run()
    with pytest.raises(UserError, match="begun with another --images"):
        run(resume=True, images=8000)
    with pytest.raises(UserError, match="begun with another recipe"):
        run(resume=True, overrides=["latent.size=50"])


def test_data_and_recipe_that_cannot_be_swept(tmp_path: Path, faces32: PackedFaces, no_training: object) -> None:
    from limner.preparation.prepare import prepare

    for recipe, words in (("painter", "makes curves"), ("dcgan", "64 pixels, and .* has 32")):
        with pytest.raises(UserError, match=words):
            limner.sweep(recipe, faces32, tmp_path / "study", vary=[LIST])
    train_alone = prepare("synthetic:8", tmp_path / "data", size=32, heldout=0, workers=1, quiet=True)
    with pytest.raises(UserError, match="no images in val"):
        limner.sweep("dcgan32", train_alone, tmp_path / "study", vary=[LIST])
    assert not (tmp_path / "study").exists()
