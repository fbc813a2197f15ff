"""The plain PyTorch loop, for each recipe of images: what `limner bench` measures ours against.

It is the algorithm of PyTorch's own DCGAN example, with what the other recipes' papers add to it: fp32, NCHW, layers of
`torch.nn`, losses of `torch.nn.functional`, Adam as `torch.optim` gives it, a DataLoader with two workers that decodes,
crops and resizes JPEGs anew in every epoch, the generator's gradient also computed for the discriminator's weights. It
shares nothing with `limner.training` and `limner.objectives`, so that equal losses say something of both.

Shapes: B batch, C channels, H and W the image's height and width, Z latent, A attributes.
"""

import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import spectral_norm
from torch.utils.data import DataLoader

from limner.bench.jpegs import Jpegs
from limner.core.errors import UserError
from limner.networks import layers
from limner.recipes.schema import Adversarial, Classifier, Concatenation, Elbo, Recipe, Wasserstein

WORKERS, PREFETCH = 2, 2


def check_reference_fits(recipe: Recipe) -> None:
    """Raise UserError where `recipe` asks for something that the plain loop does not know."""
    objective = recipe.objective
    known: list[tuple[str, Any, list[Any]]] = [
        ("data.kind", recipe.data.kind, ["images"]),
        ("objective.name", objective.name, ["non-saturating", "wasserstein", "elbo"]),
        ("objective.r2", getattr(objective, "r2", 0), [0]),
        ("objective.penalty_every", getattr(objective, "penalty_every", 1), [1]),
        ("objective.clip", getattr(objective, "clip", 0), [0]),
        ("objective.reconstruction", getattr(objective, "reconstruction", "bernoulli"), ["bernoulli"]),
        (
            "conditioning.method",
            getattr(recipe.conditioning, "method", "none"),
            ["none", "concatenation", "classifier"],
        ),
        ("augment.colour", recipe.augment.colour, [0]),
        ("augment.shift", recipe.augment.shift, [0]),
        *((f"optimizer.{name}.name", settings.name, ["adam"]) for name, settings in recipe.optimizer if settings),
        *(
            (f"optimizer.{name}.equalised", getattr(settings, "equalised", False), [False])
            for name, settings in recipe.optimizer
            if settings
        ),
    ]
    for key, value, values in known:
        if value not in values:
            raise UserError(
                f"Recipe {recipe.name} has {key} = {value!r}, and the reference loop knows only "
                f"{', '.join(map(str, values))}: measure dcgan or another recipe."
            )


# Networks -----------------------------------------------------------------------------------------------------------


class PlainPixelNorm(nn.Module):
    """Karras et al. (2018), equation and epsilon as printed."""

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return x_BCHW * torch.rsqrt((x_BCHW**2).mean(dim=1, keepdim=True) + 1e-8)


PLAIN: dict[type[nn.Module], type[nn.Module]] = {
    layers.Conv2d: nn.Conv2d,
    layers.ConvTranspose2d: nn.ConvTranspose2d,
    layers.WideSigmoid: nn.Sigmoid,
    layers.PixelNorm: PlainPixelNorm,
}


def plain(network: nn.Module) -> nn.Module:
    """A copy of `network` with the same weights in the layers that everyone has, laid out in memory as NCHW."""
    copy = deepcopy(network).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    for module in list(copy.modules()):
        if parametrize.is_parametrized(module):  # by spectral norm: nothing else does it here
            with_norm, weight = module.state_dict(), module.parametrizations.weight.original
            # Not by `remove_parametrizations`: that takes the weight from the class, which the original shares.
            del module.parametrizations
            module.__class__ = PLAIN[type(module).__mro__[1]]
            module.register_parameter("weight", weight)
            spectral_norm(module).load_state_dict(with_norm)
        else:
            module.__class__ = PLAIN.get(type(module), type(module))
    return copy  # type: ignore[no-any-return]


# The loop -----------------------------------------------------------------------------------------------------------


class ReferenceLoop:
    """The plain loop of a recipe on plain copies of `networks`: `generator`, and `discriminator` or `encoder`."""

    def __init__(self, recipe: Recipe, networks: Mapping[str, nn.Module]) -> None:
        self.recipe = recipe
        self.networks = {name: plain(network) for name, network in networks.items()}
        self.optimizers = {name: _plain_adam(recipe, name, network) for name, network in self.networks.items()}
        self.steps = 0

    def step(self, x_BCHW: Tensor, y_BA: Tensor, z_BZ: Tensor) -> dict[str, float]:
        """One step on a batch of images; the losses, by the names that Limner's own loop gives them."""
        self.steps += 1
        if isinstance(self.recipe.objective, Elbo):
            losses = self._autoencode(self.recipe.objective, x_BCHW, z_BZ)
        else:
            losses = self._play(self.recipe.objective, x_BCHW, y_BA, z_BZ)
        return {name: loss.item() for name, loss in losses.items()}

    def _play(self, settings: Adversarial, x_BCHW: Tensor, y_BA: Tensor, z_BZ: Tensor) -> dict[str, Tensor]:
        """The discriminator's step and, every so many-th time, the generator's."""
        generator, discriminator = self.networks["generator"], self.networks["discriminator"]
        losses: dict[str, Tensor] = {}

        discriminator.zero_grad()
        x_BCHW.requires_grad_(settings.r1 > 0)
        real_B, attributes_real = self._judge(x_BCHW, y_BA)
        loss_real = self._loss(real_B, real=True)
        loss = loss_real + attributes_real
        if settings.r1:
            losses["penalty/r1"] = settings.r1 / 2 * _slopes(real_B, x_BCHW).square().sum(dim=1).mean()
            loss = loss + losses["penalty/r1"]
        _backward(loss)

        fake_BCHW = generator(torch.cat([z_BZ, y_BA], dim=1) if self.recipe.conditioning else z_BZ)
        fake_B, attributes_fake = self._judge(fake_BCHW.detach(), y_BA)
        loss_fake = self._loss(fake_B, real=False)
        _backward(loss_fake + attributes_fake)
        if settings.gradient_penalty:
            epsilon_B111 = torch.rand(len(x_BCHW), 1, 1, 1, device=x_BCHW.device)
            between_BCHW = (epsilon_B111 * x_BCHW + (1 - epsilon_B111) * fake_BCHW).detach().requires_grad_()
            between_B, _ = self._judge(between_BCHW, y_BA)
            penalty = ((_slopes(between_B, between_BCHW).norm(2, dim=1) - 1) ** 2).mean()
            losses["penalty/gradient"] = settings.gradient_penalty * penalty
            _backward(losses["penalty/gradient"])
        self.optimizers["discriminator"].step()
        losses["loss/discriminator"] = loss_real + loss_fake
        if isinstance(self.recipe.conditioning, Classifier):
            losses |= {"attributes/real": attributes_real, "attributes/fake": attributes_fake}

        if self.steps % settings.discriminator_steps == 0:
            generator.zero_grad()
            judged_B, attributes = self._judge(fake_BCHW, y_BA)
            losses["loss/generator"] = self._loss(judged_B, real=True)
            _backward(losses["loss/generator"] + attributes)
            self.optimizers["generator"].step()
        return losses

    def _judge(self, x_BCHW: Tensor, y_BA: Tensor) -> tuple[Tensor, Tensor]:
        """The discriminator's logits, B, and what the attributes that it names add to the loss."""
        conditioning = self.recipe.conditioning
        if isinstance(conditioning, Concatenation):
            x_BCHW = torch.cat([x_BCHW, y_BA[:, :, None, None].expand(-1, -1, *x_BCHW.shape[2:])], dim=1)
        outputs_BO = self.networks["discriminator"](x_BCHW)
        if isinstance(conditioning, Classifier):
            return outputs_BO[:, 0], conditioning.weight * F.binary_cross_entropy_with_logits(outputs_BO[:, 1:], y_BA)
        return outputs_BO[:, 0], outputs_BO.new_zeros(())

    def _loss(self, logits_B: Tensor, real: bool) -> Tensor:
        """Of logits that shall be those of real, or of generated images."""
        if isinstance(self.recipe.objective, Wasserstein):
            return -logits_B.mean() if real else logits_B.mean()
        return F.binary_cross_entropy_with_logits(logits_B, torch.full_like(logits_B, float(real)))

    def _autoencode(self, settings: Elbo, x_BCHW: Tensor, noise_BZ: Tensor) -> dict[str, Tensor]:
        """One step of encoder and decoder, Kingma and Welling (2014)."""
        for network in self.networks.values():
            network.zero_grad()
        mean_BZ, log_variance_BZ = self.networks["encoder"](x_BCHW)
        decoded_BCHW = self.networks["generator"](mean_BZ + torch.exp(0.5 * log_variance_BZ) * noise_BZ)
        reconstruction = F.binary_cross_entropy(decoded_BCHW, x_BCHW, reduction="sum") / len(x_BCHW)
        divergence = -0.5 * torch.sum(1 + log_variance_BZ - mean_BZ**2 - log_variance_BZ.exp()) / len(x_BCHW)
        loss = reconstruction + settings.beta * divergence
        _backward(loss)
        for optimizer in self.optimizers.values():
            optimizer.step()
        return {"loss/elbo": loss, "loss/reconstruction": reconstruction, "loss/divergence": divergence}


def _plain_adam(recipe: Recipe, name: str, network: nn.Module) -> torch.optim.Adam:
    settings = getattr(recipe.optimizer, name)
    return torch.optim.Adam(network.parameters(), settings.lr, (settings.beta1, settings.beta2))


def _slopes(outputs_B: Tensor, x_BCHW: Tensor) -> Tensor:
    """The gradient of every output by its own image, B x (C * H * W), to be differentiated once more."""
    (slope_BCHW,) = torch.autograd.grad(outputs_B.sum(), x_BCHW, create_graph=True)
    return slope_BCHW.flatten(1)


def _backward(loss: Tensor) -> None:
    loss.backward()  # type: ignore[no-untyped-call]


def reference_training(loop: ReferenceLoop, jpegs: Jpegs, device: torch.device) -> Callable[[int], None]:
    """Rounds of the reference with its DataLoader, for as long as the result lives.

    A round is one step of the generator with the discriminator's that belong to it. The loader's workers read ahead.
    Left alone they would do so while the other loop is measured, so every block ends, as it began, with all that they
    may read ahead: it pays for exactly as many images as it uses.
    """
    recipe = loop.recipe
    batch = recipe.schedule.batch
    loader = DataLoader(jpegs, batch, shuffle=True, num_workers=WORKERS, prefetch_factor=PREFETCH, drop_last=True)
    batches = iter(loader)
    taken = 0

    def wait_for_workers() -> None:
        while jpegs.decoded.value < batch * (taken + WORKERS * PREFETCH):
            time.sleep(0.001)

    def run(times: int) -> None:
        nonlocal taken
        # Ours asks cuDNN for results that repeat; the reference need not pay for that.
        with torch.backends.cudnn.flags(enabled=True, benchmark=True, deterministic=False, allow_tf32=True):
            for _ in range(times * steps_per_round(recipe)):
                x_BCHW, y_BA = next(batches)
                z_BZ = torch.randn(batch, recipe.latent.size, device=device)
                loop.step(x_BCHW.to(device), y_BA.to(device), z_BZ)
                taken += 1
        wait_for_workers()

    wait_for_workers()
    return run


def steps_per_round(recipe: Recipe) -> int:
    """Steps of the discriminator for one of the generator."""
    return 1 if isinstance(recipe.objective, Elbo) else recipe.objective.discriminator_steps
