"""What a training says when the machine fails: what is kept, and how to go on."""

import shlex
import shutil
import traceback

import torch
from pydantic import ValidationError

from limner.core.errors import UserError
from limner.core.faults import is_out_of_memory
from limner.recipes.schema import Recipe
from limner.runs.run import Run
from limner.training.loop import train_step
from limner.training.modality import Source
from limner.training.setup import check_shares
from limner.training.training import Training


def what_is_kept(run: Run, training: Training, source: Source, saved: int | None, error: Exception, reason: str) -> str:
    """The line that ends a training for this `reason`; `saved` are the images seen at its newest whole checkpoint.

    A new run without one is removed. Where memory ran out, smaller batches are tried on what is left of the training.
    """
    if is_out_of_memory(error):
        traceback.clear_frames(error.__traceback__)  # they hold the memory that is to be had again
        reason = _of_memory(training, source)
    if saved is None:
        if training.engine.is_main:
            shutil.rmtree(run.path, ignore_errors=True)
        return f"{reason}. Nothing was trained yet, and nothing is left of {run.path}."
    return (
        f"{run.path} stopped at {training.state.images_seen:,} images: {reason}. Its checkpoint at {saved:,} images is "
        f"whole; when that is mended, go on with: limner train --resume {shlex.quote(str(run.path))}"
    )


def _of_memory(training: Training, source: Source) -> str:
    batch, fits = training.recipe.schedule.batch, batch_that_fits(training, source)
    mend = "choose a smaller recipe or resolution" if fits is None else f"{fits} fits, --set schedule.batch={fits}"
    return f"there is not enough memory for schedule.batch = {batch}: {mend} (in a new run)"


def batch_that_fits(training: Training, source: Source) -> int | None:
    """The largest of the halved batches that a step has memory for; `None` where there is none, or nobody can tell.

    It takes steps, which spoil the training's state. Of several processes, the others would not take part.
    """
    if training.engine.world > 1:
        return None
    batch = training.recipe.schedule.batch // 2
    while batch >= 2:
        if training.engine.device.type == "cuda":
            torch.cuda.empty_cache()
        try:
            settings = training.recipe.model_dump()
            recipe = Recipe.model_validate(settings | {"schedule": settings["schedule"] | {"batch": batch}})
            check_shares(recipe, training.engine)
            train_step(recipe, training.state, source, training.engine, training.seed)
        except (ValidationError, UserError):
            pass  # the recipe has no batches of this size
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            traceback.clear_frames(error.__traceback__)
        else:
            return batch
        batch //= 2
    return None
