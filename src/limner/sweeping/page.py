"""What a sweep leaves for people: `sweep.html`, one page that needs no network, and the best recipe as `best.toml`."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import optuna
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from PIL import Image

from limner.core.files import write_file
from limner.core.version import __version__
from limner.evaluation.metrics import note
from limner.recipes.load import load_recipe
from limner.reports.page import Row, build_page
from limner.reports.sheets import data_uri
from limner.runs.run import SAMPLES
from limner.sweeping.space import Axis, Range, as_overrides
from limner.sweeping.storage import SURPLUS, first_attempts, trial_folder
from limner.sweeping.trial import GONE, HOST, METRIC, REASON, SECONDS, VALUES, Plan

PAGE, BEST = "sweep.html", "best.toml"
LARGEST_SIDE = 512  # pixels; a larger grid of faces is reduced
LEAST_TRIALS = 4  # that importances are computed from


def write_results(study: Study, plan: Plan, folder: Path) -> tuple[Path, Path | None]:
    """Write the page and, where a trial finished, the best recipe into `folder`; returns their paths."""
    trials = [trial for trial in study.get_trials() if SURPLUS not in trial.user_attrs]
    finished = sorted(
        (trial for trial in trials if trial.state is TrialState.COMPLETE), key=lambda trial: trial.value or 0.0
    )
    best = None
    if finished:
        best = folder / BEST
        write_file(best, _best_recipe(finished[0], plan).encode())
    page = folder / PAGE
    write_file(page, build_page("sweep.html", _contents(study, plan, folder, trials, finished)))
    return page, best


def _best_recipe(trial: FrozenTrial, plan: Plan) -> str:
    recipe = load_recipe(plan.recipe, [*plan.overrides, *as_overrides(trial.params)])
    return (
        f"# The best of {plan.trials} trials of {plan.images:,} images: number {trial.number}, {METRIC} "
        f"{trial.value:.1f} on val.\n# {', '.join(as_overrides(trial.params))}\n{recipe.to_toml()}"
    )


def _contents(
    study: Study, plan: Plan, folder: Path, trials: Sequence[FrozenTrial], finished: Sequence[FrozenTrial]
) -> Row:
    """Everything that the page shows."""
    importances = _importances(study, plan, finished)
    later = {trial.system_attrs["retry_history"][-1]: trial for trial in trials if _is_retry(trial)}
    others = sorted((t for t in trials if t not in finished), key=lambda t: (t.state, t.number))
    return {
        "name": folder.resolve().name,
        "recipe": load_recipe(plan.recipe, plan.overrides).name,
        "metric": METRIC,
        "note": note(METRIC),
        "trials": plan.trials,
        "begun": len(first_attempts(list(trials))),
        "images": plan.images,
        "seeds": plan.seeds,
        "chosen_by": "TPE" if plan.grid is None else "grid",
        "keys": [axis.key for axis in plan.axes],
        "rows": [_row(trial, later.get(trial.number), folder) for trial in [*finished, *others]],
        "best": _best_recipe(finished[0], plan) if finished else None,
        "axes": [_axis(axis) for axis in _shown(plan.axes, importances)],
        "importances": importances,
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "limner": __version__,
        "charts": [],
        "events": [],
        "verdicts": [],
    }


def _is_retry(trial: FrozenTrial) -> bool:
    return bool(trial.system_attrs.get("retry_history"))


def _row(trial: FrozenTrial, retried_as: FrozenTrial | None, folder: Path) -> Row:
    return {
        "number": trial.number,
        "params": trial.params,
        "state": trial.state.name.lower(),
        "value": trial.value,
        "values": trial.user_attrs.get(VALUES),
        "reason": trial.user_attrs.get(REASON, GONE) if trial.state is TrialState.FAIL else None,
        "retried_as": retried_as.number if retried_as else None,
        "images": trial.last_step,
        "seconds": trial.user_attrs.get(SECONDS),
        "host": trial.user_attrs.get(HOST),
        "faces": _faces(trial_folder(folder, trial.number) / "seed-0" / SAMPLES),
    }


def _faces(samples: Path) -> str | None:
    """The newest grid of the run, as a data URI; `None` where there is none on this machine."""
    grids = sorted(samples.glob("[0-9]*.png"))
    if not grids:
        return None
    with Image.open(grids[-1]) as file:
        image = file.convert("RGB")
    image.thumbnail((LARGEST_SIDE, LARGEST_SIDE), Image.Resampling.LANCZOS)
    return data_uri(image, lossless=False)


def _importances(study: Study, plan: Plan, finished: Sequence[FrozenTrial]) -> dict[str, float]:
    """How much of the differences between good trials each key explains (PED-ANOVA, Watanabe et al. 2023)."""
    if len(plan.axes) < 2 or len(finished) < LEAST_TRIALS:
        return {}
    return optuna.importance.get_param_importances(study)


def _shown(axes: Sequence[Axis], importances: dict[str, float]) -> Sequence[Axis]:
    """The one or two keys that the landscape shows: the most important ones."""
    return axes if len(axes) <= 2 else sorted(axes, key=lambda axis: -importances.get(axis.key, 0.0))[:2]


def _axis(axis: Axis) -> Row:
    if isinstance(axis, Range):
        return {"key": axis.key, "low": axis.low, "high": axis.high, "log": axis.log, "values": None}
    numbers = all(type(value) in (int, float) for value in axis.values)
    return {"key": axis.key, "values": sorted(axis.values) if numbers else list(axis.values)}
