"""All that a training is at one moment, and its checkpoints on disk.

A checkpoint is a folder with `state.safetensors` (weights, EMA, optimisers, the sums of the unfinished log
line) and `state.json` (how far the run is, its recipe, the hash of its data, the checksum of the tensors). Randomness
and the place in the data follow from the number of images seen (`limner.core.randomness`): it is all they need.
"""

import json
import math
import shutil
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from limner.core import optimizers as optim
from limner.core.device import all_finite, seed_generators
from limner.core.errors import UserError
from limner.core.files import new_folder, sha256, sweep, write_file
from limner.core.randomness import torch_seed
from limner.core.records import parse_json
from limner.networks import build_discriminator, build_encoder, build_generator
from limner.networks.layers import he_std
from limner.objectives.conditioning import Conditioning
from limner.recipes.schema import Adam, Recipe, Sgd
from limner.training.ema import settle_spectral_norms

FORMAT = 1
KEYS = {"images_seen", "seconds", "lr_scale", "rollbacks", "recipe", "content_hash", "log_bytes"}  # of state.json


@dataclass
class State:
    """Networks, their optimisers and the counters of one training."""

    networks: dict[str, nn.Module]
    """`generator`, `discriminator` or `encoder`, and `ema_generator`: the names they have in a checkpoint."""
    optimizers: dict[str, torch.optim.Optimizer]
    images_seen: int = 0
    seconds: float = 0.0
    lr_scale: float = 1.0
    rollbacks: int = 0
    failed_at: int = 0
    """Images seen when the last rollback was needed, and `returned_to`: at the checkpoint that it returned to."""
    returned_to: int = 0
    sums: dict[str, Tensor] = field(default_factory=dict)
    """Of every metric, the sum since the last log line and of how many values it is."""

    @classmethod
    def fresh(cls, recipe: Recipe, seed: int, device: torch.device, attributes: int = 0) -> "State":
        """The state before the first step: the same weights for the same seed on every device and process.

        `attributes` is the number of attributes that the generator is given, 0 where the recipe has no conditioning.
        """
        seed_generators(torch_seed(seed, "weights"), torch.device("cpu"))  # where networks are built
        size, latent = recipe.data.size, recipe.latent.size
        networks = {"generator": build_generator(recipe.generator, size, latent + attributes)}
        if recipe.encoder is not None:
            networks["encoder"] = build_encoder(recipe.encoder, size, latent)
        if recipe.discriminator is not None:
            channels, outputs = Conditioning.of(recipe.conditioning).shape(attributes)
            networks["discriminator"] = build_discriminator(recipe.discriminator, size, channels, outputs)
            freeze_layers(networks["discriminator"], recipe.transfer.freeze)
        for network in networks.values():
            network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizers = {name: build_optimizer(getattr(recipe.optimizer, name), networks[name]) for name in networks}
        networks["ema_generator"] = deepcopy(networks["generator"]).eval().requires_grad_(False)
        return cls(networks, optimizers)

    @property
    def generator(self) -> nn.Module:
        return self.networks["generator"]

    @property
    def discriminator(self) -> nn.Module:
        return self.networks["discriminator"]

    @property
    def encoder(self) -> nn.Module:
        return self.networks["encoder"]

    @property
    def ema_generator(self) -> nn.Module:
        """The average of the generator's weights, as the last step left it."""
        return self.networks["ema_generator"]

    def averaged_generator(self) -> nn.Module:
        """The same, ready for use: samples and models are made from it."""
        return settle_spectral_norms(self.ema_generator)

    def set_learning(self, name: str, learning: bool) -> None:
        """Whether the weights of this network that its optimiser changes have gradients; frozen ones never have."""
        for parameter in _parameters(self.optimizers[name]):
            parameter.requires_grad_(learning)

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor of the state under a name of its own."""
        named = {f"sum.{name}": value for name, value in self.sums.items()}
        for name, network in self.networks.items():
            named |= {f"{name}.{key}": value for key, value in network.state_dict().items()}
        for name, optimizer in self.optimizers.items():
            for index, parameter in enumerate(_parameters(optimizer)):
                for key, value in optimizer.state[parameter].items():
                    if value is not None:
                        named[f"optimizer.{name}.{index}.{key}"] = value
        return named

    def load_tensors(self, named: dict[str, Tensor]) -> None:
        """Take over the tensors of `tensors()`; raises KeyError or RuntimeError where they do not fit the networks."""
        for name, network in self.networks.items():
            network.load_state_dict(under(named, f"{name}."))
        for name, optimizer in self.optimizers.items():
            optimizer.state.clear()
            for index, parameter in enumerate(_parameters(optimizer)):
                for key, value in under(named, f"optimizer.{name}.{index}.").items():
                    # A fused step walks through memory: moments must lie there exactly as their parameter does.
                    own = parameter if value.shape == parameter.shape else value
                    optimizer.state[parameter][key] = torch.empty_like(own, device=parameter.device).copy_(value)
        device = next(self.generator.parameters()).device
        self.sums = {name: value.to(device) for name, value in under(named, "sum.").items()}

    @property
    def learning_rates(self) -> dict[str, float]:
        """The optimisers' learning rates as they are now, of parameters at scale 1."""
        firsts = {name: optimizer.param_groups[0] for name, optimizer in self.optimizers.items()}
        return {name: float(group["lr"]) / group["scale"] for name, group in firsts.items()}

    def set_learning_rates(self, recipe: Recipe, progress: float) -> None:
        """Set the optimisers' learning rates to the recipe's at `progress` of the run, times `lr_scale`."""
        factor = recipe.schedule.lr_factor(progress) * self.lr_scale
        for name, optimizer in self.optimizers.items():
            for group in optimizer.param_groups:
                lr = getattr(recipe.optimizer, name).lr * factor * group["scale"]
                if isinstance(group["lr"], Tensor):
                    group["lr"].fill_(lr)
                else:
                    group["lr"] = lr


def freeze_layers(discriminator: nn.Module, count: int) -> None:
    """Let the first `count` convolutions and linear layers keep their weights; raises UserError where none is left."""
    layers = [module for module in discriminator.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    if count >= len(layers):
        raise UserError(f"transfer.freeze is {count}; the discriminator has {len(layers)} layers: freeze fewer.")
    for layer in layers[:count]:
        layer.requires_grad_(False)


def build_optimizer(settings: Adam | Sgd, network: nn.Module) -> torch.optim.Optimizer:
    """The fused optimiser that `settings` describe; a step with `found_inf` set to 1 changes nothing.

    On a CUDA device its learning rates are tensors, which a captured step reads anew at every replay.
    """
    device = next(network.parameters()).device
    on_cuda = device.type == "cuda"
    groups = _groups(network, settings.lr, isinstance(settings, Adam) and settings.equalised)
    if on_cuda:
        for group in groups:
            group["lr"] = torch.tensor(group["lr"], device=device)
    if isinstance(settings, Sgd):
        return optim.SGD(groups, settings.lr, settings.momentum, fused=True)
    betas = (settings.beta1, settings.beta2)
    return optim.Adam(groups, settings.lr, betas, fused=True, capturable=on_cuda)


def _groups(network: nn.Module, lr: float, equalised: bool) -> list[dict[str, Any]]:
    """The parameters by the `scale` that the optimiser's learning rate has for them."""
    scales: dict[Tensor, float] = {}
    if equalised:
        layers = [(module, std) for module in network.modules() if (std := he_std(module)) is not None]
        scales = {module.weight: std for module, std in layers}  # type: ignore[misc]
    groups: dict[float, list[Tensor]] = {}
    for parameter in filter(lambda parameter: parameter.requires_grad, network.parameters()):
        groups.setdefault(scales.get(parameter, 1.0), []).append(parameter)
    return [{"params": parameters, "scale": scale, "lr": lr * scale} for scale, parameters in groups.items()]


def save_checkpoint(folder: Path, state: State, keep: int, **facts: Any) -> Path:
    """Write the checkpoint of `state` below `folder` beside, synced, then renamed; keep the newest `keep`."""
    path = folder / f"{state.images_seen:09d}"
    with new_folder(path) as beside:
        tensors = {name: value.detach().cpu().contiguous() for name, value in state.tensors().items()}
        save_file(tensors, beside / "state.safetensors")
        record = {
            "format": FORMAT,
            "images_seen": state.images_seen,
            "seconds": state.seconds,
            "lr_scale": state.lr_scale,
            "rollbacks": state.rollbacks,
            "failed_at": state.failed_at,
            "returned_to": state.returned_to,
            "sha256": sha256(beside / "state.safetensors"),
            **facts,
        }
        write_file(beside / "state.json", json.dumps(record, indent=1).encode())
    kept = checkpoints(folder)
    newest = kept.index(path) + 1  # what lies after it was broken, and passed over
    for other in [*kept[: max(0, newest - keep)], *kept[newest:]]:
        shutil.rmtree(other)
    sweep(folder)
    return path


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints below `folder`, oldest first."""
    return sorted((path for path in folder.glob("*") if path.name.isdecimal()), key=lambda path: int(path.name))


def read_newest(folder: Path, before: float = math.inf) -> tuple[dict[str, Any], dict[str, Tensor], list[Path]]:
    """Record and tensors of the newest whole checkpoint below `folder`, and the broken ones that were passed over.

    Only those with fewer images seen than `before` are looked at, or the oldest where there is none. Raises UserError
    where none is whole.
    """
    broken: list[Path] = []
    found = checkpoints(folder)
    for path in reversed([path for path in found if int(path.name) < before] or found[:1]):
        try:
            record = parse_json((path / "state.json").read_bytes())
            if record["format"] != FORMAT:
                raise UserError(f"{path} was written by another version of Limner (format {record['format']}).")
            if sha256(path / "state.safetensors") == record["sha256"] and record.keys() >= KEYS:
                tensors = load_file(path / "state.safetensors")
                if all_finite(tensors.values()):
                    return record, tensors, broken
        except (OSError, ValueError, KeyError, TypeError, SafetensorError):
            pass
        broken.append(path)
    raise UserError(f"There is no whole checkpoint in {folder}: start the run anew with --force.")


def restore(state: State, record: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Make `state` what it was when the checkpoint was written."""
    state.load_tensors(tensors)
    for name in ("images_seen", "seconds", "lr_scale", "rollbacks"):
        setattr(state, name, record[name])
    for name in ("failed_at", "returned_to"):  # older checkpoints lack them
        setattr(state, name, record.get(name, 0))


def _parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def under(named: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix`, under the rest of their names."""
    return {name[len(prefix) :]: value for name, value in named.items() if name.startswith(prefix)}
