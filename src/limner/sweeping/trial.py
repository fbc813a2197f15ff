"""One trial of a sweep: the training of one point, once for each seed."""

import platform
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import optuna
from optuna.samplers import BaseSampler, PartialFixedSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial

from limner.core.errors import UserError
from limner.core.files import write_file
from limner.core.randomness import torch_seed
from limner.evaluation.results import Result, read_metrics
from limner.recipes.load import load_recipe
from limner.recipes.schema import Recipe
from limner.runs.run import RECIPE, is_run, read_log, sweep_run
from limner.sweeping.child import Job, TrialFailedError, is_diverged, run_job
from limner.sweeping.space import Axis, Value, as_overrides
from limner.sweeping.storage import trial_folder
from limner.training.validation import PROTOCOL

# Attributes of a trial: where it ran, the value of each seed, the seconds of training, why it failed.
HOST, VALUES, SECONDS, REASON = "host", "values", "seconds", "reason"
GONE = "its worker gave no sign of life"
METRIC = "fd_lite0"  # what the protocol `training` measures; the lower, the better


@dataclass(frozen=True)
class Plan:
    """What all trials of a sweep have in common."""

    recipe: str
    """Name or TOML file."""
    overrides: tuple[str, ...]
    recording: tuple[str, ...]
    """Overrides that only say how often the sweep measures."""
    data: Path
    axes: tuple[Axis, ...]
    trials: int
    images: int
    seeds: int
    seed: int
    device: str
    grid: list[dict[str, Value]] | None
    """The points in order; `None`: TPE chooses them."""

    @property
    def total_images(self) -> int:
        """What all trainings see together, where none is pruned."""
        return self.trials * self.seeds * self.images

    def recipe_at(self, point: dict[str, Value]) -> Recipe:
        """The recipe of one point; raises UserError where its values do not fit together."""
        return load_recipe(self.recipe, [*self.overrides, *self.recording, *as_overrides(point)])

    def settings(self, content_hash: str) -> dict[str, Any]:
        """What every worker of one sweep must agree on, each under the name that a message gives it."""
        return {
            "recipe": load_recipe(self.recipe, self.overrides).to_toml(),
            "data set": content_hash,
            "--vary": [repr(axis) for axis in self.axes],
            "--images": self.images,
            "--seeds": self.seeds,
            "--seed": self.seed,
            "way to choose points (--trials)": "TPE" if self.grid is None else "grid",
        }

    def sampler(self, place: int) -> BaseSampler:
        """What chooses the point of the trial at `place`, so that it depends on nothing but the trials before it."""
        if self.grid is not None:
            return PartialFixedSampler(self.grid[place], RandomSampler())
        seed = torch_seed(self.seed, "sweep", place) % 2**32
        return TPESampler(seed=seed, constant_liar=True)  # of trials that still run, it expects nothing good


def run_trial(
    trial: optuna.Trial, frozen: FrozenTrial, place: int, plan: Plan, folder: Path, advance: Callable[[int], None]
) -> float:
    """Train the point of `trial`, which is at `place` among those of the sweep; `advance` is given the images seen.

    `frozen` is the trial as the storage had it when it began.

    Runs that are there already, from before the trial was stopped or its worker died, go on.

    Returns:
        The mean over the seeds of the Fréchet distance to `val` at the end of training.

    Raises:
        TrialPruned: it does worse than most did after as many images.
        TrialFailedError: a training failed, or the values of the point do not fit together.
        UpdateFinishedTrialError: another worker took the trial over.
    """
    trial.study.sampler = plan.sampler(place)
    point = {axis.key: axis.suggest(trial) for axis in plan.axes}
    trial.set_user_attr(HOST, platform.node())
    trial.set_user_attr(REASON, GONE)  # until another one is known; an earlier attempt may have left its own
    target = trial_folder(folder, trial.number)
    for previous in frozen.system_attrs.get("retry_history", [])[-1:]:
        _inherit(trial_folder(folder, previous), target)
    try:
        recipe = plan.recipe_at(point)
    except UserError as error:
        raise TrialFailedError(str(error)) from None
    write_file(target / RECIPE, recipe.to_toml().encode())
    reported = set(frozen.intermediate_values)
    values = [_train_seed(trial, number, recipe, plan, target, reported, advance) for number in range(plan.seeds)]
    trial.set_user_attr(VALUES, values)
    trial.set_user_attr(SECONDS, sum(last_of(run, "seconds") for run in target.glob("seed-*")))
    return fmean(values)


def _train_seed(
    trial: optuna.Trial,
    number: int,
    recipe: Recipe,
    plan: Plan,
    target: Path,
    reported: set[int],
    advance: Callable[[int], None],
) -> float:
    run = target / f"seed-{number}"
    earlier, every = number * plan.images, recipe.record.evaluate_images

    def watch() -> None:
        for result in validations(run):
            step = earlier + result.images_seen // every * every  # the same for every size of the batch
            if step in reported:
                continue
            reported.add(step)
            trial.report(result.value, step)
            done = number == plan.seeds - 1 and result.images_seen + every > plan.images
            if not done and trial.should_prune():
                raise optuna.TrialPruned
        advance(earlier + int(last_of(run, "images_seen")))

    paths = {"recipe": target / RECIPE, "data": plan.data, "out": run}
    job = Job(
        **{name: str(path.resolve()) for name, path in paths.items()},
        images=plan.images,
        seed=plan.seed + number,
        device=plan.device,
    )
    run_job(job, watch)
    results = validations(run)
    if not results:
        raise TrialFailedError("nothing was measured: the data set may have too few images in val")
    return results[-1].value


def validations(run: Path) -> list[Result]:
    """The values of `METRIC` on `val` that the training in the folder `run` measured, oldest first."""
    results = read_metrics(run)
    return [result for result in results if (result.protocol, result.metric) == (PROTOCOL, METRIC)]


def last_of(run: Path, key: str) -> float:
    """The newest value of `key` in the log of the training in the folder `run`; 0 where there is none yet."""
    return next((line[key] for line in reversed(read_log(run)) if key in line), 0)


def _inherit(previous: Path, target: Path) -> None:
    """Copy the runs of a failed attempt, so that they go on; its worker may still live and write into its own.

    One that diverged would diverge again, and begins anew. What a killed worker left half-written there goes.
    """
    for run in sorted(previous.glob("seed-*")):
        sweep_run(run)
        if not is_run(run) or is_diverged(run) or (target / run.name).exists():
            continue
        try:
            shutil.copytree(run, target / run.name)
        except shutil.Error:  # its worker lives and replaced a file meanwhile: it begins anew
            shutil.rmtree(target / run.name)
