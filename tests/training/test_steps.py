"""Each kind of step against the algorithm of its paper, written out."""

from collections.abc import Sequence
from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from limner.core.distributed import Engine
from limner.core.randomness import torch_seed
from limner.data.batches import Batches
from limner.data.packed import PackedFaces
from limner.latent.latents import training_latents
from limner.recipes.load import load_recipe
from limner.recipes.schema import Recipe
from limner.training.loop import train_step
from limner.training.state import State

CPU = torch.device("cpu")
ENGINE = Engine(CPU, "fp32")
B, A = 8, 40
WGAN = ("objective.name=wasserstein", "discriminator.norm=none", "generator.norm=none")


def begin(faces: PackedFaces, recipe: Recipe) -> tuple[State, Batches]:
    attributes = A if recipe.conditioning else 0
    return State.fresh(recipe, 0, CPU, attributes), Batches(faces, 0, recipe.data.flip, CPU, recipe.data.range)


def latents(recipe: Recipe, images: int = 0) -> Tensor:
    source = torch.Generator().manual_seed(torch_seed(0, "latents", images))
    return training_latents(B, recipe.latent.size, "gaussian", source)


def weights(network: torch.nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def measured(state: State, name: str) -> float:
    total, count = state.sums[name].tolist()
    return total / count


@pytest.fixture
def small(tiny: Sequence[str]) -> Sequence[str]:
    return (*tiny, "generator.init_std=0.1", "discriminator.init_std=0.1")


def test_the_generator_waits_for_its_turn(faces32: PackedFaces, small: Sequence[str]) -> None:
    recipe = load_recipe("dcgan32", [*small, *WGAN, "objective.discriminator_steps=3"])
    state, batches = begin(faces32, recipe)
    for step in range(1, 7):
        generator, critic = weights(state.generator), weights(state.discriminator)
        train_step(recipe, state, batches, ENGINE, 0)
        assert not torch.equal(weights(state.discriminator), critic)
        assert torch.equal(weights(state.generator), generator) == (step % 3 != 0)
    assert state.sums["loss/generator"][1].item() == 2
    assert state.sums["loss/discriminator"][1].item() == 6
    assert "overlap" not in state.sums, "that a critic separates perfectly is no sign of sickness"


def test_weight_clipping(faces32: PackedFaces, small: Sequence[str]) -> None:
    recipe = load_recipe("dcgan32", [*small, *WGAN, "objective.clip=0.01"])
    state, batches = begin(faces32, recipe)
    assert weights(state.discriminator).abs().max() > 0.1
    train_step(recipe, state, batches, ENGINE, 0)
    assert weights(state.discriminator).abs().max() == pytest.approx(0.01)
    assert weights(state.generator).abs().max() > 0.1


@pytest.mark.parametrize("kind", ["gradient_penalty", "r1", "r2"])
def test_penalties_enter_the_critics_gradient(kind: str, faces32: PackedFaces, small: Sequence[str]) -> None:
    """Two steps with a penalty on every second batch: the first is free of it, the second has it twice as strong."""
    recipe = load_recipe("dcgan32", [*small, *WGAN, f"objective.{kind}=3", "objective.penalty_every=2"])
    state, batches = begin(faces32, recipe)
    train_step(recipe, state, batches, ENGINE, 0)
    assert f"penalty/{kind.removesuffix('_penalty')}" not in state.sums

    state.sums.clear()
    critic, generator = deepcopy(state.discriminator), deepcopy(state.generator)
    train_step(recipe, state, batches, ENGINE, 0)
    x, z = batches.at(B, B).x_BCHW, latents(recipe, B)
    fake = generator(z).detach()
    loss = critic(fake).mean() - critic(x).mean()
    if kind == "gradient_penalty":
        torch.manual_seed(torch_seed(0, "step", B, 0))
        epsilon = torch.rand(B)[:, None, None, None]
        at = (epsilon * x + (1 - epsilon) * fake).requires_grad_()
    else:
        at = {"r1": x, "r2": fake}[kind].clone().requires_grad_()
    slopes = [torch.autograd.grad(critic(at)[i, 0], at, create_graph=True)[0][i] for i in range(B)]
    norms = torch.stack([slope.square().sum() for slope in slopes])
    penalty = 3 * ((norms.sqrt() - 1).square() if kind == "gradient_penalty" else norms / 2).mean()
    gradients = torch.autograd.grad(loss + 2 * penalty, [*critic.parameters()], allow_unused=True)
    norm = torch.stack([gradient.square().sum() for gradient in gradients if gradient is not None]).sum().sqrt()
    assert measured(state, f"penalty/{kind.removesuffix('_penalty')}") == pytest.approx(penalty.item(), rel=1e-3)
    assert measured(state, "gradient/discriminator") == pytest.approx(norm.item(), rel=1e-3)


def test_auxiliary_classifier(faces32: PackedFaces, small: Sequence[str]) -> None:
    recipe = load_recipe("dcgan32", [*small, "conditioning.method=classifier", "conditioning.weight=5"])
    state, batches = begin(faces32, recipe)
    G, D = deepcopy(state.generator), deepcopy(state.discriminator)
    train_step(recipe, state, batches, ENGINE, 0)

    x, y = batches.at(0, B)
    assert 0 < y.mean() < 1
    fake = G(torch.cat([latents(recipe), y], 1))
    on_real, on_fake = D(x), D(fake.detach())
    assert on_real.shape == (B, 1 + A)
    loss = F.binary_cross_entropy_with_logits(on_real[:, 0], torch.ones(B))
    loss = loss + F.binary_cross_entropy_with_logits(on_fake[:, 0], torch.zeros(B))
    named = [F.binary_cross_entropy_with_logits(outputs[:, 1:], y) for outputs in (on_real, on_fake)]
    gradients = torch.autograd.grad(loss + 5 * sum(named), [*D.parameters()])
    norm = torch.stack([gradient.square().sum() for gradient in gradients]).sum().sqrt()
    assert measured(state, "loss/discriminator") == pytest.approx(loss.item(), rel=1e-4)
    assert measured(state, "attributes/real") == pytest.approx(5 * named[0].item(), rel=1e-4)
    assert measured(state, "gradient/discriminator") == pytest.approx(norm.item(), rel=1e-3)

    outputs = state.discriminator(fake)
    loss = F.binary_cross_entropy_with_logits(outputs[:, 0], torch.ones(B))
    loss = loss + 5 * F.binary_cross_entropy_with_logits(outputs[:, 1:], y)
    gradients = torch.autograd.grad(loss, [*G.parameters()])
    norm = torch.stack([gradient.square().sum() for gradient in gradients]).sum().sqrt()
    assert measured(state, "gradient/generator") == pytest.approx(norm.item(), rel=1e-2)


@pytest.mark.parametrize("method", ["concatenation", "projection"])
def test_the_discriminator_knows_what_was_asked_for(method: str, faces32: PackedFaces, small: Sequence[str]) -> None:
    recipe = load_recipe("dcgan32", [*small, f"conditioning.method={method}"])
    state, batches = begin(faces32, recipe)
    D = deepcopy(state.discriminator)
    train_step(recipe, state, batches, ENGINE, 0)
    x, y = batches.at(0, B)
    if method == "concatenation":
        logits = D(torch.cat([x, y[:, :, None, None].expand(B, A, 32, 32)], 1))[:, 0]
    else:
        outputs = D(x)
        logits = outputs[:, 0] + ((2 * y - 1) * outputs[:, 1:]).sum(1) / A**0.5
    assert measured(state, "output/real") == pytest.approx(logits.sigmoid().mean().item(), rel=1e-4)


def test_variational_step(faces32: PackedFaces) -> None:
    sizes = ("generator.width=64", "encoder.width=4", "latent.size=16", "schedule.batch=8", "data.size=32")
    recipe = load_recipe("vae", [*sizes, "objective.beta=2"])
    state, batches = begin(faces32, recipe)
    encoder, decoder = deepcopy(state.encoder), deepcopy(state.generator)
    train_step(recipe, state, batches, ENGINE, 0)

    x = batches.at(0, B).x_BCHW
    assert 0 <= x.min() < x.max() <= 1
    mean, log_variance = encoder(x)
    posterior = torch.distributions.Normal(mean, (log_variance / 2).exp())
    divergence = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0)).sum(1).mean()
    decoded = decoder(mean + (log_variance / 2).exp() * latents(recipe))
    reconstruction = F.binary_cross_entropy(decoded, x, reduction="sum") / B
    loss = reconstruction + 2 * divergence
    assert measured(state, "loss/divergence") == pytest.approx(divergence.item(), rel=1e-4)
    assert measured(state, "loss/reconstruction") == pytest.approx(reconstruction.item(), rel=1e-4)
    gradients = torch.autograd.grad(loss, [*encoder.parameters(), *decoder.parameters()])
    norm = torch.stack([gradient.square().sum() for gradient in gradients]).sum().sqrt()
    assert measured(state, "gradient/all") == pytest.approx(norm.item(), rel=1e-3)
    assert not torch.equal(weights(state.encoder), weights(encoder))
    assert not torch.equal(weights(state.generator), weights(decoder))


def test_the_attributes_of_real_images_alone_are_learnt_beside_a_projection(
    faces32: PackedFaces, small: Sequence[str]
) -> None:
    recipe = load_recipe("dcgan32", [*small, "conditioning.method=projection", "conditioning.weight=5"])
    state, batches = begin(faces32, recipe)
    G, D = deepcopy(state.generator), deepcopy(state.discriminator)
    train_step(recipe, state, batches, ENGINE, 0)
    x, y = batches.at(0, B)
    fake = G(torch.cat([latents(recipe), y], 1))
    outputs = [D(x), D(fake.detach())]
    real_B, fake_B = (o[:, 0] + ((2 * y - 1) * o[:, 1:]).sum(1) / A**0.5 for o in outputs)
    named = 5 * F.binary_cross_entropy_with_logits(outputs[0][:, 1:], y)
    loss = F.softplus(-real_B).mean() + F.softplus(fake_B).mean() + named
    gradients = torch.autograd.grad(loss, [*D.parameters()])
    norm = torch.stack([gradient.square().sum() for gradient in gradients]).sum().sqrt()
    assert measured(state, "gradient/discriminator") == pytest.approx(norm.item(), rel=1e-3)
    assert measured(state, "attributes/real") == pytest.approx(named.item(), rel=1e-4)
    outputs = state.discriminator(fake)
    loss = F.softplus(-(outputs[:, 0] + ((2 * y - 1) * outputs[:, 1:]).sum(1) / A**0.5)).mean()
    gradients = torch.autograd.grad(loss, [*G.parameters()])
    norm = torch.stack([gradient.square().sum() for gradient in gradients]).sum().sqrt()
    assert measured(state, "gradient/generator") == pytest.approx(norm.item(), rel=1e-2)


def test_equalised_rates_are_shares_of_each_weights_own_size(faces32: PackedFaces, small: Sequence[str]) -> None:
    """Adam's first step is the rate itself, up or down."""
    equalised = [
        f"optimizer.{player}.{of}" for player in ("generator", "discriminator") for of in ("lr=0.01", "equalised=true")
    ]
    recipe = load_recipe("dcgan32", [*small, *equalised])
    state, batches = begin(faces32, recipe)
    before = {name: deepcopy(state.networks[name]) for name in state.optimizers}
    assert state.learning_rates == {"generator": 0.01, "discriminator": 0.01}
    train_step(recipe, state, batches, ENGINE, 0)
    for name, network in before.items():
        for key, old in network.named_parameters():
            step = (state.networks[name].get_parameter(key) - old).abs().max().item()
            # A transposed convolution of stride 2 has a quarter of its 16 taps at any one place.
            fan_in = old.shape[0] * 4 if name == "generator" and old.ndim == 4 else old[0].numel()
            expected = 0.01 * ((2 / 1.04 / fan_in) ** 0.5 if old.ndim > 1 else 1)
            assert step == pytest.approx(expected, rel=1e-2), (name, key)
