"""One step of a training: the game of generator and discriminator, or the climb of encoder and generator.

Shapes: B batch, Z latent, A attributes, C channels, H and W the picture's sides. Each returns what it measured by name.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from limner.core.distributed import Engine
from limner.objectives.adversarial import OBJECTIVES
from limner.objectives.conditioning import attribute_loss, projection, with_maps
from limner.objectives.penalties import clip_weights_, gradient_penalty, zero_centred_penalty
from limner.objectives.variational import kl_divergence, reconstruction_error, reparameterise
from limner.recipes.schema import Adversarial, Classifier, Concatenation, Elbo, Projection, Recipe, Wasserstein
from limner.training.augment import augment
from limner.training.health import overlap
from limner.training.state import State

CROSS_ENTROPY = ("minimax", "non-saturating")  # their logits are log odds, and 0 is the border


class Turn(NamedTuple):
    """What distinguishes one step of a training from another, besides its pictures and its chance."""

    generator_learns: bool = True
    strength: int = 0
    """How strongly the penalties count: on every so many-th batch for all that were left out."""

    @classmethod
    def at(cls, recipe: Recipe, images: int) -> "Turn":
        """Whose turn it is after so many images shown."""
        settings = recipe.objective
        if isinstance(settings, Elbo):
            return cls()
        number = images // recipe.schedule.batch + 1
        strength = settings.penalty_every if number % settings.penalty_every == 0 else 0
        return cls(number % settings.discriminator_steps == 0, strength)


def adversarial_step(
    recipe: Recipe,
    settings: Adversarial,
    turn: Turn,
    state: State,
    x_BCHW: Tensor,
    y_BA: Tensor,
    z_BZ: Tensor,
    engine: Engine,
) -> dict[str, Tensor]:
    """The discriminator's step on real and generated pictures and, where it is its turn, the generator's."""
    objective = OBJECTIVES[settings.name]
    generator, discriminator = state.generator, state.discriminator
    strength = turn.strength
    naming = recipe.conditioning.weight if isinstance(recipe.conditioning, Classifier | Projection) else 0.0

    def judge(x_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """The discriminator's logits, B, and its loss on the attributes (0 where it does not name them)."""
        x_BCHW = augment(x_BCHW, recipe.augment, recipe.data.range)
        if isinstance(recipe.conditioning, Concatenation):
            x_BCHW = with_maps(x_BCHW, y_BA)
        outputs_BO = discriminator(x_BCHW).float()
        logits_B, named = outputs_BO[:, 0], outputs_BO.new_zeros(())
        if isinstance(recipe.conditioning, Projection):
            logits_B = projection(outputs_BO, y_BA)
        if naming:
            named = naming * attribute_loss(outputs_BO[:, 1:], y_BA)
        return logits_B, named

    # The generated pictures are asked for the attributes of the real ones: the data's own joint distribution.
    with engine.autocast(), torch.set_grad_enabled(turn.generator_learns):
        fake_BCHW = generator(torch.cat([z_BZ, y_BA], 1))
    generated_BCHW = fake_BCHW.detach().requires_grad_(strength * settings.r2 > 0)
    x_BCHW.requires_grad_(strength * settings.r1 > 0)
    with engine.autocast():
        # Separate mini-batches of real and generated pictures: batch norm must not mix them.
        (real_B, attributes_real), (fake_B, attributes_fake) = judge(x_BCHW), judge(generated_BCHW)
        loss = objective.discriminator(real_B, fake_B)
        measured = {"loss/discriminator": loss}
        if naming:
            measured |= {"attributes/real": attributes_real, "attributes/fake": attributes_fake}
            loss = loss + attributes_real
        if isinstance(recipe.conditioning, Classifier):
            loss = loss + attributes_fake
        penalties = {}
        if strength * settings.gradient_penalty:
            epsilon_B = torch.rand(len(x_BCHW), device=engine.device)
            penalty = gradient_penalty(lambda x: judge(x)[0], x_BCHW, generated_BCHW, epsilon_B)
            penalties["penalty/gradient"] = settings.gradient_penalty * penalty
        if strength * settings.r1:
            penalties["penalty/r1"] = settings.r1 * zero_centred_penalty(real_B, x_BCHW)
        if strength * settings.r2:
            penalties["penalty/r2"] = settings.r2 * zero_centred_penalty(fake_B, generated_BCHW)
        for penalty in penalties.values():
            loss = loss + strength * penalty
    measured |= penalties
    if isinstance(settings, Wasserstein) and penalties:
        measured["loss/critic"] = loss  # with its penalties, as report 003 prints it
    measured["gradient/discriminator"] = descend(loss, state, ["discriminator"], engine)
    if isinstance(settings, Wasserstein) and settings.clip:
        clip_weights_(discriminator, settings.clip)

    if turn.generator_learns:
        discriminator.requires_grad_(False)  # the gradient passes through it and stops at none of its weights
        with engine.autocast():
            judged_B, attributes = judge(fake_BCHW)
            paired_B = judge(x_BCHW.detach())[0] if objective.paired else real_B.detach()
            loss = objective.generator(paired_B, judged_B)
        measured["loss/generator"] = loss
        if isinstance(recipe.conditioning, Classifier):
            loss = loss + attributes
        measured["gradient/generator"] = descend(loss, state, ["generator"], engine)
        discriminator.requires_grad_(True)

    with torch.no_grad():
        if not isinstance(settings, Wasserstein):  # a critic that tells all apart still has a slope
            measured["overlap"] = overlap(real_B, fake_B)
        if settings.name in CROSS_ENTROPY:
            measured |= {"output/real": real_B.sigmoid().mean(), "output/fake": fake_B.sigmoid().mean()}
            measured |= {"accuracy/real": (real_B > 0).float().mean(), "accuracy/fake": (fake_B < 0).float().mean()}
        else:
            measured |= {"score/real": real_B.mean(), "score/fake": fake_B.mean()}
    return measured


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
