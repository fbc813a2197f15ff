"""The training loop: it reads like the algorithm, and every recipe goes through it.

Shapes: B batch, Z latent, C channels, H and W the picture's sides.
"""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

from limner.data.batches import Batches
from limner.latent.noise import training_latents
from limner.objectives.adversarial import OBJECTIVES
from limner.randomness import torch_seed
from limner.recipe import Recipe
from limner.training.ema import update_ema
from limner.training.engine import Engine
from limner.training.health import overlap
from limner.training.state import State

MAX_ROLLBACKS = 3


class Recorder(Protocol):
    """What the loop tells the outside world."""

    def after_step(self, state: State) -> bool:
        """Write what is due after a step; False where it looked and a loss or gradient was not finite."""

    def all_finite(self, state: State) -> bool:
        """Whether every loss and gradient since the last log line was finite."""

    def roll_back(self, state: State) -> None:
        """Return `state` to the last good checkpoint."""


def run_loop(
    recipe: Recipe,
    state: State,
    batches: Batches,
    engine: Engine,
    recorder: Recorder,
    seed: int,
    finished: Callable[[State], bool],
    interrupted: Callable[[State], bool],
) -> str:
    """Train until `finished`, `interrupted` or hopelessly diverged; the word returned says which."""
    while True:
        ended = "finished" if finished(state) else "interrupted" if interrupted(state) else None
        if ended is None:
            train_step(recipe, state, batches, engine, seed)
            finite = recorder.after_step(state)
        else:
            finite = recorder.all_finite(state)
        if not finite:
            if state.rollbacks == MAX_ROLLBACKS:
                return "diverged"
            rollbacks, rate_scale = state.rollbacks + 1, state.rate_scale / 2
            recorder.roll_back(state)
            state.rollbacks, state.rate_scale = rollbacks, rate_scale
            state.scale_rates(recipe)
        elif ended is not None:
            return ended


def train_step(recipe: Recipe, state: State, batches: Batches, engine: Engine, seed: int) -> None:
    """One step of both players on the next `recipe.schedule.batch` images, and of the generator's running mean."""
    objective = OBJECTIVES[recipe.objective.name]
    generator, discriminator = state.generator, state.discriminator
    count = recipe.schedule.batch

    x_BCHW, _ = batches.at(state.images, count, engine.rank, engine.world)
    z_BZ = _latents(recipe, state, engine, seed)

    with engine.autocast():
        fake_BCHW = generator(z_BZ)
        # Separate mini-batches of real and generated pictures: batch norm must not mix them.
        real_B, fake_B = discriminator(x_BCHW).float(), discriminator(fake_BCHW.detach()).float()
        loss_discriminator = objective.discriminator(real_B, fake_B)
    norm_discriminator = _descend(loss_discriminator, discriminator, state.optimizers["discriminator"], engine)

    discriminator.requires_grad_(False)  # the generator's gradient passes through it and stops at none of its weights
    with engine.autocast():
        loss_generator = objective.generator(discriminator(fake_BCHW).float())
    norm_generator = _descend(loss_generator, generator, state.optimizers["generator"], engine)
    discriminator.requires_grad_(True)

    state.images += count
    update_ema(state.mean_generator, generator, state.images, count, recipe.ema.halflife_images)

    with torch.no_grad():
        _add(
            state.sums,
            {
                "steps": torch.ones((), device=engine.device),
                "loss/discriminator": loss_discriminator,
                "loss/generator": loss_generator,
                "output/real": real_B.sigmoid().mean(),
                "output/fake": fake_B.sigmoid().mean(),
                "accuracy/real": (real_B > 0).float().mean(),
                "accuracy/fake": (fake_B < 0).float().mean(),
                "overlap": overlap(real_B, fake_B),
                "gradient/discriminator": norm_discriminator,
                "gradient/generator": norm_generator,
            },
        )


def _latents(recipe: Recipe, state: State, engine: Engine, seed: int) -> Tensor:
    """This process's share of the step's latents; also seeds whatever else the networks draw in this step."""
    torch.manual_seed(torch_seed(seed, "step", state.images, engine.rank))
    source = torch.Generator(engine.device).manual_seed(torch_seed(seed, "latents", state.images))
    z_BZ = training_latents(recipe.schedule.batch, recipe.latent.size, recipe.latent.distribution, source)
    return z_BZ[engine.rank :: engine.world]


def _descend(loss: Tensor, network: nn.Module, optimizer: torch.optim.Optimizer, engine: Engine) -> Tensor:
    """One step down the gradient of `loss`; returns the gradient's norm. Not finite, it changes no weight."""
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    engine.average(gradients)
    norm = torch.nn.utils.get_total_norm(gradients)
    # The fused optimisers read this flag on the device, so that no step waits for the host.
    optimizer.found_inf = (~torch.isfinite(norm)).float()  # type: ignore[attr-defined]
    optimizer.grad_scale = None  # type: ignore[attr-defined]
    optimizer.step()
    return norm


def _add(sums: dict[str, Tensor], metrics: dict[str, Tensor]) -> None:
    for name, value in metrics.items():
        sums[name] = sums[name] + value if name in sums else value.detach().clone()
