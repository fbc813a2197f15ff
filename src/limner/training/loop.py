"""The training loop: it reads like the algorithm, and every recipe goes through it.

Shapes: B batch, Z latent, C channels, H and W the picture's sides.
"""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from limner.core.distributed import Engine
from limner.core.randomness import torch_seed
from limner.latent.latents import training_latents
from limner.recipes.schema import Elbo, Recipe
from limner.training.ema import update_ema
from limner.training.modality import Source
from limner.training.state import State
from limner.training.steps import Phase, adversarial_step, variational_step
from limner.training.training import Training

MAX_ROLLBACKS = 3


class Recorder(Protocol):
    """What the loop tells the outside world."""

    def after_step(self, state: State) -> bool:
        """Write what is due after a step; False where it looked and a loss, gradient or weight was not finite."""

    def all_finite(self, state: State) -> bool:
        """Whether samples, weights, and every loss and gradient since the last log line are finite."""

    def roll_back(self, state: State) -> None:
        """Return `state` to the last good checkpoint, or to the one before it where that has failed already."""


def run_loop(
    training: Training,
    source: Source,
    recorder: Recorder,
    share: Callable[[State], float],
    interrupted: Callable[[State], bool],
) -> str:
    """Train until the `share` of the run that is done is 1, `interrupted` or hopelessly diverged.

    The word returned says which: `finished`, `interrupted` or `diverged`.
    """
    recipe, state = training.recipe, training.state
    while True:
        done = share(state)
        ended = "finished" if done >= 1 else "interrupted" if interrupted(state) else None
        if ended is None:
            state.set_rates(recipe, done)
            train_step(recipe, state, source, training.engine, training.seed)
            finite = recorder.after_step(state)
        else:
            finite = recorder.all_finite(state)
        if not finite:
            if state.rollbacks == MAX_ROLLBACKS:
                return "diverged"
            rollbacks, rate_scale, failed_at = state.rollbacks + 1, state.rate_scale / 2, state.images
            recorder.roll_back(state)
            state.rollbacks, state.rate_scale = rollbacks, rate_scale
            state.failed_at, state.returned_to = failed_at, state.images
        elif ended is not None:
            return ended


def train_step(recipe: Recipe, state: State, source: Source, engine: Engine, seed: int) -> None:
    """One step on the next `recipe.schedule.batch` images, and of the generator's running mean."""
    count = recipe.schedule.batch
    x_BCHW, y_BA = source.at(state.images, count, engine.rank, engine.world)
    y_BA = y_BA if recipe.conditioning else y_BA[:, :0]
    z_BZ = _latents(recipe, state, engine, seed)

    phase = Phase.at(recipe, state.images)

    def step(x_BCHW: Tensor, y_BA: Tensor, z_BZ: Tensor) -> dict[str, Tensor]:
        if isinstance(recipe.objective, Elbo):
            measured = variational_step(recipe.objective, state, x_BCHW, z_BZ, engine)
        else:
            measured = adversarial_step(recipe, recipe.objective, phase, state, x_BCHW, y_BA, z_BZ, engine)
        return {name: torch.stack([value.detach(), torch.ones_like(value)]) for name, value in measured.items()}

    inputs = (x_BCHW, y_BA, z_BZ)
    pairs = state.graphs.run(phase, step, *inputs) if engine.graphs else step(*inputs)

    state.images += count
    update_ema(state.mean_generator, state.generator, state.images, count, recipe.ema.halflife_images)
    _add(state.sums, pairs)


def _latents(recipe: Recipe, state: State, engine: Engine, seed: int) -> Tensor:
    """This process's share of the step's latents; also seeds whatever else the networks draw in this step."""
    torch.manual_seed(torch_seed(seed, "step", state.images, engine.rank))
    source = torch.Generator(engine.device).manual_seed(torch_seed(seed, "latents", state.images))
    z_BZ = training_latents(recipe.schedule.batch, recipe.latent.size, recipe.latent.distribution, source)
    return z_BZ[engine.rank :: engine.world]


@torch.no_grad()
def _add(sums: dict[str, Tensor], pairs: dict[str, Tensor]) -> None:
    """Add every value to its sum, and the 1 beside it to their count: not every step measures everything."""
    known = sums.keys() & pairs.keys()
    if known:
        torch._foreach_add_([sums[name] for name in known], [pairs[name] for name in known])
    sums |= {name: pair.clone() for name, pair in pairs.items() if name not in known}
