"""The Model: what training leaves. `model.safetensors`, `config.json` and a model card; loading one runs no code of it.

Shapes: N faces, Z latent, H and W height and width. Face k of a seed is the same face whatever is sampled beside it.
"""

import copy
import warnings
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from limner.core.arguments import checked
from limner.core.batching import batches_of
from limner.core.device import all_finite, find_device, gains_by_bf16
from limner.core.errors import UserError
from limner.core.files import new_folder, sha256, write_file
from limner.core.records import check_sum, read_record
from limner.core.version import __version__
from limner.core.weights import BoundedBy
from limner.images.marks import Mark
from limner.latent.labels import face_labels, rare_request, read_requested
from limner.latent.latents import face_latents
from limner.model.output import OUTPUTS
from limner.model.shipped import CONFIG as CONFIG
from limner.model.shipped import WEIGHTS as WEIGHTS
from limner.model.shipped import find_model as find_model
from limner.networks import build_generator
from limner.recipes.schema import GeneratorSettings

CARD = "README.md"
NOTHING = np.zeros((0, 0), np.uint8)
KNOWN = "known_attributes"  # among the weights, but none of them
MEND = "take a whole copy of the model"
BATCH = 64  # faces that are sampled at a time
# Every pass runs on exactly this many latents, so that a face does not depend on how many are sampled. A CPU is nearly
# as fast with 16 at a time as with 64, and a single face then takes a quarter of the time; a GPU needs all of them.
CPU_PASS = 16
CAST = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)  # what runs in bf16 under autocast


class ModelConfig(BaseModel):
    """config.json: how to build the generator, and where it comes from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["limner model"] = "limner model"
    format_version: Literal[1] = 1
    limner_version: str = __version__
    recipe: str
    kind: Literal["images", "curves"] = "images"
    size: Literal[15, 32, 64, 128]
    """The images' width and height, or the number of a curve's points."""
    latent_size: int = Field(ge=1, le=3 * 128 * 128)
    latent_distribution: Literal["gaussian", "uniform", "spherical"]
    pixel_range: Literal["signed", "unit", "byte"] = "signed"
    generator: GeneratorSettings
    attribute_names: tuple[str, ...] = ()
    """What the generator is given beside the latent; empty where it takes no attributes."""
    images_seen: int = Field(ge=0)
    """Images seen in training."""
    ema_halflife_images: float
    data: dict[str, str | int]
    init: str = ""
    """The model whose weights its training started from; empty: it started from random ones."""
    licence: str
    weights_sha256: str = ""
    """Of model.safetensors; empty until the model is written."""


class Model:
    """A trained generator and how to sample from it."""

    def __init__(
        self, config: ModelConfig, generator: nn.Module, device: torch.device, known_MA: NDArray[np.uint8] = NOTHING
    ) -> None:
        self.config = config
        self.known_MA = known_MA
        """Attribute vectors of training images, from which those of new faces are sampled; 0 x 0 without attributes."""
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

    @checked
    def sample(
        self,
        count: int,
        seed: int = 0,
        *,
        with_: str | Sequence[str] = (),
        without: str | Sequence[str] = (),
        truncation: float = 1.0,
        first: int = 0,
        precision: Literal["auto", "bf16", "fp32"] = "auto",
    ) -> NDArray[np.uint8]:
        """The faces `first` ... `first + count - 1` of `seed`: uint8, N x H x W x 3, 0 to 255.

        `with_` and `without` name attributes that the faces shall and shall not have, in a list or with commas between
        them; all others follow as they go together in the training images. `truncation` multiplies the latents: 1 is
        the model as it was trained, less gives more ordinary faces, 0 one face, or of a model with attributes one for
        each attribute vector. `precision` is the precision of the convolutions (`auto`: bf16 where the device gains
        by it).

        Warns where the request is rarer than 1 in 10,000 in the training data. Raises UserError for a count,
        seed, first or truncation out of range, an attribute that the model does not know, and for attributes requested
        of a model that was trained without.
        """
        labels_NA = self.labels(count, seed, with_=with_, without=without, first=first)
        batches = self.batches(
            count, seed, truncation=truncation, first=first, precision=precision, labels_NA=labels_NA
        )
        return np.concatenate(list(batches))

    @checked
    def labels(
        self,
        count: int,
        seed: int = 0,
        *,
        with_: str | Sequence[str] = (),
        without: str | Sequence[str] = (),
        first: int = 0,
    ) -> NDArray[np.uint8]:
        """The attribute vectors that `sample` uses: uint8, N x A, in the order of `config.attribute_names`.

        Warns and raises as `sample`.
        """
        _check_range(count, seed, first)
        if not self.config.attribute_names:
            if with_ or without:
                raise UserError(
                    f"This model ({self.config.recipe}) was trained without attributes, it cannot sample faces with or "
                    "without some; recipes that can are modern-attributes, acgan and cgan."
                )
            return np.zeros((count, 0), np.uint8)
        requested = read_requested(self.config.attribute_names, with_, without)
        if note := rare_request(self.known_MA, requested, self.config.attribute_names):
            warnings.warn(note, stacklevel=3)
        return face_labels(seed, first, count, self.known_MA, requested)

    @checked
    def batches(
        self,
        count: int,
        seed: int = 0,
        *,
        truncation: float = 1.0,
        first: int = 0,
        precision: Literal["auto", "bf16", "fp32"] = "auto",
        labels_NA: NDArray[np.uint8] | None = None,
    ) -> Iterator[NDArray[np.uint8]]:
        """The faces of `sample` in batches of at most 64, so that any number of them fits in memory.

        `labels_NA` are the faces' attribute vectors, uint8 N x A; by default as in `sample` without a request.
        """
        _check_range(count, seed, first)
        if not 0 <= truncation <= 2:
            raise UserError(f"truncation is {truncation}; it must lie between 0 and 2 (1: as trained).")
        if labels_NA is None:
            labels_NA = self.labels(count, seed, first=first)
        attributes = len(self.config.attribute_names)
        if labels_NA.shape != (count, attributes):
            raise UserError(f"labels_NA has the shape {labels_NA.shape}; it must be {(count, attributes)}.")
        return self._batches(count, seed, truncation, first, precision, labels_NA)

    def _batches(
        self, count: int, seed: int, truncation: float, first: int, precision: str, labels_NA: NDArray[np.uint8]
    ) -> Iterator[NDArray[np.uint8]]:
        size = CPU_PASS if self.device.type == "cpu" else BATCH
        for some in batches_of(count, BATCH):
            passes = []
            for part in batches_of(some.stop, size, first=some.start):
                n = part.stop - part.start
                z_BZ = face_latents(
                    seed, first + part.start, n, self.config.latent_size, self.config.latent_distribution
                )
                y_BA = torch.from_numpy(labels_NA[part]).float()
                # A pass of another size could give other last bits.
                z_BZ, y_BA = (F.pad(t_BK, (0, 0, 0, size - n)) for t_BK in (z_BZ * truncation, y_BA))
                passes.append(self.generate(z_BZ, y_BA, precision)[:n])
            yield np.concatenate(passes)

    @property
    def precision(self) -> str:
        """The precision that `auto` stands for on this model's device."""
        gains = OUTPUTS[self.config.kind].gains_by_bf16 and gains_by_bf16(self.device)
        return "bf16" if gains else "fp32"

    def new_mark(self) -> Mark:
        """The mark of a file that is being generated with this model."""
        return Mark.now(self.config.recipe, self.config.weights_sha256)

    def generate(self, z_BZ: Tensor, y_BA: Tensor, precision: str = "auto") -> NDArray[np.uint8]:
        """Latents B x Z and attributes B x A -> images, uint8, B x H x W x 3.

        A model of curves plots each in an image of 64 x 64. Raises UserError where a number that its generator gives
        is not finite.
        """
        x_BCHW = self.raw(z_BZ, y_BA, precision)
        if not all_finite([x_BCHW]):
            raise UserError(f"This model ({self.config.recipe}) makes images that are infinite or NaN: train anew.")
        return OUTPUTS[self.config.kind].to_images(x_BCHW, self.config.pixel_range)

    @torch.inference_mode()
    def raw(self, z_BZ: Tensor, y_BA: Tensor, precision: str = "auto") -> Tensor:
        """What the generator gives for latents B x Z and attributes B x A, on the model's device.

        Images B x 3 x H x W in `config.pixel_range`, not clipped, or the heights of curves, B x P.
        """
        wants_bf16 = (self.precision if precision == "auto" else precision) == "bf16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=wants_bf16):
            generator = self._generator_bf16 if wants_bf16 else self.generator
            x_BCHW: Tensor = generator(torch.cat([z_BZ, y_BA], 1).to(self.device))
        return x_BCHW

    @cached_property
    def _generator_bf16(self) -> nn.Module:
        """The generator with the weights that autocast casts in every pass already cast: the same images.

        Biases stay: where a layer adds its bias itself, autocast does not cast it.
        """
        generator: nn.Module = copy.deepcopy(self.generator)
        for module in generator.modules():
            if isinstance(module, CAST) and not is_parametrized(module):
                module.weight.data = module.weight.to(torch.bfloat16)
        return generator


def _check_range(count: int, seed: int, first: int) -> None:
    for name, value, least in (("count", count, 1), ("seed", seed, 0), ("first", first, 0)):
        if value < least:
            raise UserError(f"{name} is {value}; it must be at least {least}.")


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
