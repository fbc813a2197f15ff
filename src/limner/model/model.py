"""The Model: what training leaves. `model.safetensors`, `config.json` and a model card; loading one runs no code of it.

Sampling from one, as far as it does not depend on what computes the images, is in `limner.model.sampler`.
"""

import copy
from functools import cached_property
from pathlib import Path
from typing import Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from limner.core.arguments import checked
from limner.core.device import all_finite, find_device, gains_by_bf16
from limner.core.errors import UserError
from limner.core.files import new_folder, sha256, write_file
from limner.core.precision import Precision
from limner.core.records import check_sum, read_record
from limner.core.weights import BoundedBy
from limner.latent.latents import face_latents
from limner.model.output import OUTPUTS
from limner.model.sampler import BATCH as BATCH
from limner.model.sampler import CPU_PASS, Sampler, SamplerConfig
from limner.model.sampler import KNOWN as KNOWN
from limner.model.sampler import MEND as MEND
from limner.model.shipped import CONFIG as CONFIG
from limner.model.shipped import WEIGHTS as WEIGHTS
from limner.model.shipped import find_model as find_model
from limner.networks import build_generator
from limner.recipes.schema import GeneratorSettings

CARD = "README.md"
NOTHING = np.zeros((0, 0), np.uint8)
CAST = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)  # what runs in bf16 under autocast


class ModelConfig(SamplerConfig):
    """config.json: how to build the generator, and where it comes from."""

    generator: GeneratorSettings


class Model(Sampler):
    """A trained generator and how to sample from it."""

    runtime: Literal["torch", "onnxruntime"] = "torch"
    config: ModelConfig

    def __init__(
        self, config: ModelConfig, generator: nn.Module, device: torch.device, known_MA: NDArray[np.uint8] = NOTHING
    ) -> None:
        self.config = config
        self.known_MA = known_MA
        self.device = device
        self.generator = generator.to(device, memory_format=torch.channels_last).eval().requires_grad_(False)  # type: ignore[call-overload]

    @classmethod
    @checked
    def load(cls, path: str | Path, device: str = "cpu") -> Self:
        """Load a model folder, the model of a run, by its name one that comes with Limner, or one of the Hub.

        Raises UserError where there is none, its files are broken or do not fit each other, or there is no such device.
        """
        place = find_device(device)
        folder = find_model(Path(path))
        config = read_config(folder)
        weights = folder / WEIGHTS
        check_sum(weights, config.weights_sha256, MEND)
        inputs = config.latent_size + len(config.attribute_names)
        try:
            tensors = load_file(weights)
            known_MA = tensors.pop(KNOWN, torch.empty(0, 0)).to(torch.uint8).numpy()
            with BoundedBy(weights):
                generator = build_generator(config.generator, config.size, inputs)
            generator.load_state_dict(tensors)
            if config.attribute_names and (not len(known_MA) or known_MA.shape[1:] != (len(config.attribute_names),)):
                raise RuntimeError
        except (SafetensorError, RuntimeError):
            raise UserError(f"{weights} does not hold the network that {folder / CONFIG} describes.") from None
        if not all_finite(tensors.values()):
            raise UserError(f"{weights} has weights that are infinite or NaN: its training diverged; train anew.")
        return cls(config, generator.float(), place, known_MA)

    @property
    def precision(self) -> str:
        """The precision that `auto` stands for on this model's device."""
        gains = OUTPUTS[self.config.kind].gains_by_bf16 and gains_by_bf16(self.device)
        return "bf16" if gains else "fp32"

    @property
    def _pass_size(self) -> int:
        return CPU_PASS if self.device.type == "cpu" else BATCH

    def _latents(self, seed: int, first: int, count: int) -> NDArray[np.float32]:
        latents_BZ = face_latents(seed, first, count, self.config.latent_size, self.config.latent_distribution)
        return latents_BZ.numpy()

    def _images(self, z_BZ: NDArray[np.float32], y_BA: NDArray[np.float32], precision: Precision) -> NDArray[np.uint8]:
        return self.generate(torch.from_numpy(z_BZ), torch.from_numpy(y_BA), precision)

    @checked
    def generate(self, z_BZ: Tensor, y_BA: Tensor, precision: Precision = "auto") -> NDArray[np.uint8]:
        """Latents B x Z and attributes B x A -> images, uint8, B x H x W x 3.

        A model of curves plots each in an image of 64 x 64. Raises UserError where a number that its generator gives
        is not finite, or the inputs are of other sizes than its generator takes.
        """
        x_BCHW = self.raw(z_BZ, y_BA, precision)
        if not all_finite([x_BCHW]):
            raise UserError(f"This model ({self.config.recipe}) makes images that are infinite or NaN: train anew.")
        return OUTPUTS[self.config.kind].to_images(x_BCHW, self.config.pixel_range)

    @checked
    @torch.inference_mode()
    def raw(self, z_BZ: Tensor, y_BA: Tensor, precision: Precision = "auto") -> Tensor:
        """What the generator gives for latents B x Z and attributes B x A, on the model's device.

        Images B x 3 x H x W in `config.pixel_range`, not clipped, or the heights of curves, B x P. Raises UserError
        where the inputs are of other sizes than its generator takes.
        """
        B, Z, A = len(z_BZ), self.config.latent_size, len(self.config.attribute_names)
        if (z_BZ.shape, y_BA.shape) != ((B, Z), (B, A)):
            shapes = f"{tuple(z_BZ.shape)} and {tuple(y_BA.shape)}"
            raise UserError(f"z_BZ and y_BA have the shapes {shapes}; they must be B x {Z} and B x {A}.")
        wants_bf16 = (self.precision if precision == "auto" else precision) == "bf16"
        inputs_BI = torch.cat([z_BZ, y_BA], 1).to(next(self.generator.parameters()))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=wants_bf16):
            x_BCHW: Tensor = (self._generator_bf16 if wants_bf16 else self.generator)(inputs_BI)
        return x_BCHW

    @cached_property
    def _generator_bf16(self) -> nn.Module:
        """The generator with the weights that autocast casts in every pass already cast.

        Biases too: one in fp32 that a layer adds itself, as our transposed convolutions do, would make all that follows
        them fp32, with twice the memory to move.
        """
        generator: nn.Module = copy.deepcopy(self.generator)
        for module in generator.modules():
            if isinstance(module, CAST) and not is_parametrized(module):
                for parameter in module.parameters():
                    parameter.data = parameter.to(torch.bfloat16)
        return generator


def read_config(folder: Path) -> ModelConfig:
    """config.json of a model folder; raises UserError where it is not one that we can read."""
    return read_record(folder / CONFIG, ModelConfig, MEND)


def save_model(folder: Path, generator: nn.Module, config: ModelConfig, known_MA: NDArray[np.uint8] = NOTHING) -> None:
    """Write a model folder in one step: the weights of `generator`, and `config` with their checksum.

    `known_MA` are the attribute vectors of training images that a conditional model samples from. Raises UserError, and
    writes nothing, where a weight is not finite.
    """
    if not all_finite(generator.state_dict().values()):
        raise UserError(f"No model is written to {folder}: the generator has weights that are infinite or NaN.")
    with new_folder(folder) as beside:
        tensors = {name: value.detach().cpu().contiguous() for name, value in generator.state_dict().items()}
        if known_MA.size:
            tensors[KNOWN] = torch.from_numpy(known_MA)
        write_file(beside / WEIGHTS, save(tensors, metadata={"format": "pt"}))
        config = config.model_copy(update={"weights_sha256": sha256(beside / WEIGHTS)})
        write_file(beside / CONFIG, (config.model_dump_json(indent=1) + "\n").encode())
        write_file(beside / CARD, _card(config).encode())


def _card(config: ModelConfig) -> str:
    data = ", ".join(f"{key} {value}" for key, value in config.data.items())
    output = OUTPUTS[config.kind]
    things, content = output.things, output.description.format(size=config.size)
    return f"""---
library_name: limner
license: other
tags: [{things}, gan, image-generation]
---
# {config.recipe}: a generator of {things}, made with Limner

Generates {content}.

| | |
|---|---|
| recipe | `{config.recipe}` |
| images seen in training | {config.images_seen:,} |
| weights | EMA of the generator, half-life {config.ema_halflife_images:,.0f} images |
| data | {data} |
| started from | {config.init or "random weights"} |
| licence of the weights | {config.licence} |
| Limner | {config.limner_version} |

    limner sample . --out {things}.png --count 64 --seed 0

The exact settings are in `config.json`. Its images are synthetic; say so wherever you show it.
"""


@checked
def load(path: str | Path, device: str = "cpu") -> Model:
    """Load a model onto `device`: a run, a model folder, the name of one that comes with Limner (`faces`), or one on
    the Hugging Face Hub, `user/name@revision`.

    Raises UserError where there is none, its files are broken or do not fit each other, or there is no such device.
    """
    return Model.load(path, device)
