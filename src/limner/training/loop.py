"""The training loop: it reads like the algorithm, and every recipe goes through it.

Shapes: B batch, Z latent, C channels, H and W height and width.
"""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from limner.core.device import seed_generators
from limner.core.distributed import Engine
from limner.core.randomness import torch_seed
from limner.latent.latents import training_latents
from limner.recipes.schema import Elbo, Recipe
from limner.training.ema import update_ema
from limner.training.graphs import Graphs
from limner.training.modality import Source
from limner.training.state import State
from limner.training.steps import Phase, adversarial_step, variational_step
from limner.training.training import Training

MAX_ROLLBACKS = 3


class Recorder(Protocol):
    """What the loop tells the outside world."""

    @property
    def unmeasured(self) -> bool:
        """Whether the last measurement was given up because the training is to stop."""

    def after_step(self) -> bool:
        """Write what is due after a step; False where it checked and a loss, gradient or weight was not finite."""

    def all_finite(self) -> bool:
        """Whether samples, weights, and every loss and gradient since the last log line are finite."""

    def roll_back(self) -> None:
        """Return the state to the last good checkpoint, or to the one before it where that has failed already."""


def run_loop(
    training: Training,
    source: Source,
    recorder: Recorder,
    progress: Callable[[], float],
    interrupted: Callable[[], bool],
) -> str:
    """Train until `progress` is 1, the run is `interrupted`, or it has diverged for good.

    The word returned says which: `finished`, `interrupted` or `diverged`.
    """
    recipe, state, engine = training.recipe, training.state, training.engine
    graphs = Graphs() if engine.graphs else None
    while True:
        done = progress()
        ended = "finished" if done >= 1 else "interrupted" if interrupted() else None
        if ended == "finished" and recorder.unmeasured:  # resumed, it begins with the measurement that was given up
            ended = "interrupted"
        if ended is None:
            state.set_learning_rates(recipe, done)
            train_step(recipe, state, source, engine, training.seed, graphs)
            finite = recorder.after_step()
        else:
            finite = recorder.all_finite()
        if not finite:
            if state.rollbacks == MAX_ROLLBACKS:
                return "diverged"
            rollbacks, lr_scale, failed_at = state.rollbacks + 1, state.lr_scale / 2, state.images_seen
            recorder.roll_back()
            graphs = Graphs() if engine.graphs else None  # the captured ones hold the addresses of the old moments
            state.rollbacks, state.lr_scale = rollbacks, lr_scale
            state.failed_at, state.returned_to = failed_at, state.images_seen
        elif ended is not None:
            return ended


def train_step(
    recipe: Recipe, state: State, source: Source, engine: Engine, seed: int, graphs: Graphs | None = None
) -> None:
    """One step on the next `recipe.schedule.batch` images, and of the EMA generator; replayed from `graphs`, if any."""
    count = recipe.schedule.batch
    x_BCHW, y_BA = source.at(state.images_seen, count, engine.rank, engine.world)
    y_BA = y_BA if recipe.conditioning else y_BA[:, :0]
    z_BZ = _latents(recipe, state, engine, seed)

    phase = Phase.at(recipe, state.images_seen)

    def step(x_BCHW: Tensor, y_BA: Tensor, z_BZ: Tensor) -> dict[str, Tensor]:
        if isinstance(recipe.objective, Elbo):
            measured = variational_step(recipe.objective, state, x_BCHW, z_BZ, engine)
        else:
            measured = adversarial_step(recipe, recipe.objective, phase, state, x_BCHW, y_BA, z_BZ, engine)
        return {name: torch.stack([value.detach(), torch.ones_like(value)]) for name, value in measured.items()}

    inputs = (x_BCHW, y_BA, z_BZ)
    pairs = graphs.run(phase, step, *inputs) if graphs else step(*inputs)

    state.images_seen += count
    update_ema(state.ema_generator, state.generator, state.images_seen, count, recipe.ema.halflife_images)
    _add(state.sums, pairs)


def _latents(recipe: Recipe, state: State, engine: Engine, seed: int) -> Tensor:
    """This process's part of the step's latents; also seeds what else is random in the step, in all processes alike."""
    seed_generators(torch_seed(seed, "step", state.images_seen, 0), engine.device)
    source = torch.Generator(engine.device).manual_seed(torch_seed(seed, "latents", state.images_seen))
    z_BZ = training_latents(recipe.schedule.batch, recipe.latent.size, recipe.latent.distribution, source)
    return z_BZ[engine.part(len(z_BZ))]


@torch.no_grad()
def _add(sums: dict[str, Tensor], pairs: dict[str, Tensor]) -> None:
    """Add every value to its sum, and the 1 beside it to their count: not every step measures everything."""
    known = sums.keys() & pairs.keys()
    if known:
        torch._foreach_add_([sums[name] for name in known], [pairs[name] for name in known])
    sums |= {name: pair.clone() for name, pair in pairs.items() if name not in known}
