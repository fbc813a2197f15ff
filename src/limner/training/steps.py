"""One step of a training: the game of generator and discriminator, or the climb of encoder and generator.

Shapes: B batch, Z latent, A attributes, C channels, H and W the image's height and width. Each returns what it measured
by name.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from limner.core.distributed import Engine
from limner.objectives.adversarial import OBJECTIVES, Objective
from limner.objectives.conditioning import Conditioning
from limner.objectives.penalties import clip_weights_, gradient_penalty, zero_centred_penalty
from limner.objectives.variational import kl_divergence, reconstruction_error, reparameterise
from limner.recipes.schema import Adversarial, Elbo, Recipe
from limner.training.augment import augment
from limner.training.health import overlap
from limner.training.state import State


class Phase(NamedTuple):
    """What distinguishes one step of a training from another, besides its images and its randomness."""

    generator_learns: bool = True
    penalty_scale: int = 0
    """How strongly the penalties count: on every so many-th batch for all that were left out."""

    @classmethod
    def at(cls, recipe: Recipe, images_seen: int) -> "Phase":
        """The phase of the step that follows after so many images seen."""
        settings = recipe.objective
        if isinstance(settings, Elbo):
            return cls()
        number = images_seen // recipe.schedule.batch + 1
        scale = settings.penalty_every if number % settings.penalty_every == 0 else 0
        warm = images_seen >= recipe.transfer.warm_up_images
        return cls(warm and number % settings.discriminator_steps == 0, scale)


def adversarial_step(
    recipe: Recipe,
    settings: Adversarial,
    phase: Phase,
    state: State,
    x_BCHW: Tensor,
    y_BA: Tensor,
    z_BZ: Tensor,
    engine: Engine,
) -> dict[str, Tensor]:
    """The discriminator's step on real and generated images and, in its phase, the generator's."""
    objective, conditioning = OBJECTIVES[settings.name], Conditioning.of(recipe.conditioning)
    discriminator, scale = state.discriminator, phase.penalty_scale

    def discriminate(x_BCHW: Tensor) -> tuple[Tensor, Tensor | None]:
        return conditioning.discriminate(
            discriminator, augment(x_BCHW, recipe.augment, recipe.data.range, engine.rows), y_BA
        )

    # The generator is conditioned on the attributes of the real images: the data's own joint distribution.
    with engine.autocast(), torch.set_grad_enabled(phase.generator_learns):
        fake_BCHW = state.generator(torch.cat([z_BZ, y_BA], 1))
    constant_BCHW = fake_BCHW.detach().requires_grad_(scale * settings.r2 > 0)
    x_BCHW.requires_grad_(scale * settings.r1 > 0)

    with engine.autocast():
        # Separate mini-batches of real and generated images: batch norm must not mix them.
        (real_B, real_attributes), (fake_B, fake_attributes) = discriminate(x_BCHW), discriminate(constant_BCHW)
        loss = objective.discriminator(real_B, fake_B)
        measured = {"loss/discriminator": loss}
        penalties = {}
        if scale * settings.gradient_penalty:
            epsilon_B = engine.rows(lambda n: torch.rand(n, device=engine.device), len(x_BCHW))
            penalty = gradient_penalty(lambda x: discriminate(x)[0], x_BCHW, constant_BCHW, epsilon_B)
            penalties["penalty/gradient"] = settings.gradient_penalty * penalty
        if scale * settings.r1:
            penalties["penalty/r1"] = settings.r1 * zero_centred_penalty(real_B, x_BCHW)
        if scale * settings.r2:
            penalties["penalty/r2"] = settings.r2 * zero_centred_penalty(fake_B, constant_BCHW)
        for term in conditioning.discriminator_losses(real_attributes, fake_attributes):
            loss = loss + term
        for penalty in penalties.values():
            loss = loss + scale * penalty
    measured["gradient/discriminator"] = descend(loss, state, ["discriminator"], engine)
    clip_weights_(discriminator, settings.weight_limit)
    if objective.critic and penalties:
        measured["loss/critic"] = loss  # with its penalties, as report 003 prints it

    if phase.generator_learns:
        state.set_learning("discriminator", False)  # the gradient passes through it and stops at none of its weights
        with engine.autocast():
            learning_B, attributes = discriminate(fake_BCHW)
            paired_B = discriminate(x_BCHW.detach())[0] if objective.paired else real_B.detach()
            loss = objective.generator(paired_B, learning_B)
        measured["loss/generator"] = loss
        for term in conditioning.generator_losses(attributes):
            loss = loss + term
        measured["gradient/generator"] = descend(loss, state, ["generator"], engine)
        state.set_learning("discriminator", True)

    attributes_by_kind = {"attributes/real": real_attributes, "attributes/fake": fake_attributes}
    measured |= penalties | {name: value for name, value in attributes_by_kind.items() if value is not None}
    return measured | game_metrics(objective, engine.gather(real_B), engine.gather(fake_B))


def game_metrics(objective: Objective, real_B: Tensor, fake_B: Tensor) -> dict[str, Tensor]:
    """How well the discriminator tells real from generated, from its logits: see docs/train.md."""
    measured = {} if objective.critic else {"overlap": overlap(real_B, fake_B)}
    if not objective.log_odds:
        return measured | {"score/real": real_B.mean(), "score/fake": fake_B.mean()}
    measured |= {"output/real": real_B.sigmoid().mean(), "output/fake": fake_B.sigmoid().mean()}
    return measured | {"accuracy/real": (real_B > 0).float().mean(), "accuracy/fake": (fake_B < 0).float().mean()}


def variational_step(
    settings: Elbo, state: State, x_BCHW: Tensor, noise_BZ: Tensor, engine: Engine
) -> dict[str, Tensor]:
    """One step of encoder and generator (the decoder) towards a higher lower bound; `noise_BZ` is N(0, 1)."""
    with engine.autocast():
        mean_BZ, log_variance_BZ = (output.float() for output in state.encoder(x_BCHW))
        decoded_BCHW = state.generator(reparameterise(mean_BZ, log_variance_BZ, noise_BZ))
    reconstruction = reconstruction_error(x_BCHW, decoded_BCHW, settings.reconstruction).mean()
    divergence = kl_divergence(mean_BZ, log_variance_BZ).mean()
    loss = reconstruction + settings.beta * divergence
    return {
        "loss/elbo": loss,
        "loss/reconstruction": reconstruction,
        "loss/divergence": divergence,
        "gradient/all": descend(loss, state, ["encoder", "generator"], engine),
    }


def descend(loss: Tensor, state: State, names: Sequence[str], engine: Engine) -> Tensor:
    """One step down the gradient of `loss` for the networks of these names; returns the norm of the whole gradient.

    A gradient that is not finite changes no weight.
    """
    optimizers = [state.optimizers[name] for name in names]
    for optimizer in optimizers:
        optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    weights = [weight for name in names for weight in state.networks[name].parameters()]
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    engine.average(gradients)
    norm = torch.nn.utils.get_total_norm(gradients)
    for optimizer in optimizers:
        # The fused optimisers read this flag on the device, so that no step waits for the host.
        optimizer.found_inf = (~torch.isfinite(norm)).float()  # type: ignore[attr-defined]
        optimizer.grad_scale = None  # type: ignore[attr-defined]
        optimizer.step()
    return norm
