"""`limner sweep`: search the settings of a recipe, and show what was found on one page."""

import signal
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from limner.core.arguments import checked
from limner.core.console import console, progress_bar
from limner.core.errors import Interrupted, MachineError, UserError
from limner.core.faults import fault_line
from limner.core.files import check_place
from limner.core.signals import ending_signals, handled, interrupt_of_command
from limner.data.packed import PackedFaces
from limner.recipes.load import load_recipe
from limner.recipes.schema import Recipe
from limner.sweeping.space import grid, read_space

if TYPE_CHECKING:
    from limner.sweeping.trial import Plan

EVALUATE = "record.evaluate_images"
VALIDATIONS = 4  # of a training, where --set says nothing else
LEAST_GRACE = 4  # seconds
MOST = 10**15


class Swept(NamedTuple):
    """What `sweep` found: a page about it, and of the best trial its recipe and value; `None` where none finished."""

    page: Path
    best: Path | None
    value: float | None


@checked
def sweep(
    recipe: str | Path,
    data: PackedFaces | str | Path,
    out: str | Path,
    *,
    vary: Sequence[str],
    trials: int | None = None,
    images: int | None = None,
    seeds: int = 1,
    overrides: Sequence[str] = (),
    storage: str | None = None,
    resume: bool = False,
    prune: bool = True,
    seed: int = 0,
    grace: int = 120,
    device: str = "auto",
    quiet: bool = False,
) -> Swept:
    """Train `recipe` with many settings and leave a folder `out` with all runs, `sweep.html` and `best.toml`.

    `vary` has an entry for each key: `KEY=LOW..HIGH`, `KEY=LOW..HIGH,log` or `KEY=A,B,C`. With `trials`, TPE (Bergstra
    et al. 2011) chooses that many points; without, every combination of the lists is trained. A trial trains its point
    for `images` seen with `seeds` seeds from `seed` on. Its value is the mean of `fd_lite0` by the protocol `training`
    at the end; lower is better. With `prune`, a trial ends early that does worse than the median of the others.

    The trials are kept in a journal in `out`, or in the database `storage` (any URL that Optuna takes). `resume` goes
    on with a sweep, also as one more of its workers. A worker that gives a database no sign of life for `grace` seconds
    loses its trial to another one. A failed trial is tried again twice; one whose worker was killed, as often as that
    happens.

    Raises:
        UserError: something given is wrong, `out` exists (without `resume`), the sweep was begun with other settings,
            or three trials in a row failed.
        MachineError: the disk is full, say; what the folder holds is whole.
        Interrupted: Ctrl-C or SIGTERM; everything is saved and the message is the command that goes on.
    """
    try:
        import optuna
        from sqlalchemy.exc import SQLAlchemyError

        from limner.sweeping.page import write_results
        from limner.sweeping.storage import open_storage, open_study
        from limner.sweeping.worker import MAX_FAILURES, Ended, Worker
    except ImportError as error:
        raise UserError(f"A sweep needs {error.name}: pip install 'limner[sweep]'.") from None

    folder = Path(out)
    if folder.exists() and not resume:
        raise UserError(f"{folder} exists: choose another --out, or go on with it with --resume.")
    check_place(folder)
    faces = data if isinstance(data, PackedFaces) else PackedFaces.open(data)
    plan = _plan(recipe, faces, vary, overrides, trials, images, seeds, seed, device)
    if grace < LEAST_GRACE:
        raise UserError(f"--grace is {grace}; it must be at least {LEAST_GRACE}.")

    def say(line: str) -> None:
        if not quiet:
            console.print(line, markup=False, highlight=False, soft_wrap=True)

    with warnings.catch_warnings(), _stopped_by_signals():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        optuna.logging.set_verbosity(optuna.logging.ERROR)  # the worker says the same in one line
        kept = open_storage(storage, folder, grace)
        try:
            study = open_study(kept, folder.resolve().name, plan.settings(faces.info.content_hash), resume, prune)
            folder.mkdir(parents=True, exist_ok=True)
            with progress_bar(f"Sweep {folder.name}", plan.total_images, "images", quiet) as advance:
                worker = Worker(study, kept, plan, folder, say, advance)
                ended = worker.work()
            page, best = write_results(study, plan, folder)
        except (optuna.exceptions.StorageInternalError, SQLAlchemyError) as error:
            problem = str(error.__cause__ or error).splitlines()[0]
            raise UserError(f"The database of --storage failed: {problem}. Go on with --resume.") from None
        except OSError as error:
            raise MachineError(
                f"{fault_line(error)}. What {folder} holds is whole; when that is mended, go on with --resume."
            ) from error
    if ended is Ended.FAILING:
        raise UserError(
            f"{MAX_FAILURES} trials in a row failed here; the last: {worker.reason.rstrip('.')}. When that is mended, "
            "go on with --resume."
        )
    if ended is Ended.STOPPED:
        raise Interrupted("the same call and resume=True")
    return Swept(page, best, None if best is None else study.best_value)


def _plan(
    recipe: str | Path,
    faces: PackedFaces,
    vary: Sequence[str],
    overrides: Sequence[str],
    trials: int | None,
    images: int | None,
    seeds: int,
    seed: int,
    device: str,
) -> "Plan":
    """The plan of a sweep; raises UserError where a part of it cannot be."""
    from limner.sweeping.trial import Plan
    from limner.training.modality import open_modality

    base = load_recipe(recipe, overrides)
    images = base.schedule.images if images is None else images
    least = {"--trials": (trials, 1), "--images": (images, 1), "--seeds": (seeds, 1), "--seed": (seed, 0)}
    for name, (value, lowest) in least.items():
        if value is not None and not lowest <= value <= MOST:
            raise UserError(f"{name} is {value}; it must be at least {lowest} and at most 10**15.")
    _check_data(base, faces)
    axes = read_space(vary, recipe, overrides)
    points = grid(axes) if trials is None else None
    measured = any(override.partition("=")[0].strip() == EVALUATE for override in overrides)
    plan = Plan(
        recipe=str(recipe),
        overrides=tuple(overrides),
        recording=() if measured else (f"{EVALUATE}={max(1, images // VALIDATIONS)}",),
        data=faces.path,
        axes=axes,
        trials=len(points) if points is not None else trials or 0,
        images=images,
        seeds=seeds,
        seed=seed,
        device=device,
        grid=points,
    )
    for point in points or []:
        open_modality(plan.recipe_at(point), faces)
    return plan


def _check_data(recipe: Recipe, faces: PackedFaces) -> None:
    if recipe.data.kind != "images":
        raise UserError(f"The recipe {recipe.name} makes {recipe.data.kind}: a sweep compares images.")
    if recipe.data.size != faces.info.size:
        raise UserError(
            f"The recipe is for {recipe.data.size} pixels, and {faces.path} has {faces.info.size}: prepare the data "
            f"with --size {recipe.data.size}."
        )
    if not faces.info.counts.splits.get("val"):
        raise UserError(f"{faces.path} has no images in val to compare trials by: prepare it with --heldout.")


def _stopped_by_signals() -> AbstractContextManager[None]:
    """KeyboardInterrupt for SIGTERM and SIGHUP too, and for SIGINT also where a shell has it ignored, as in the
    background."""
    return handled([signal.SIGINT, *ending_signals()], interrupt_of_command())
