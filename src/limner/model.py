"""The Model: what training leaves. `model.safetensors`, `config.json` and a model card; loading one runs no code of it.

Shapes: N faces, Z latent, H and W the picture's sides. Face k of a seed is the same face whatever is drawn beside it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from limner import __version__
from limner.errors import UserError
from limner.files import new_folder, sha256, write_file
from limner.latent.noise import face_latents
from limner.networks import build_generator
from limner.recipe import GeneratorSettings
from limner.training.engine import gains_by_bf16

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
MAX_CONFIG_BYTES = 1 << 20
# Every pass runs on exactly this many latents, so that a face does not depend on how many are asked for.
BATCH = 64


class ModelConfig(BaseModel):
    """config.json: how to build the generator, and where it comes from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["limner model"] = "limner model"
    format_version: Literal[1] = 1
    limner_version: str = __version__
    recipe: str
    size: Literal[32, 64, 128]
    latent_size: int = Field(ge=1, le=4096)
    latent_distribution: Literal["gaussian", "uniform", "spherical"]
    generator: GeneratorSettings
    attribute_names: tuple[str, ...] = ()
    images: int = Field(ge=0)
    """Images shown in training."""
    ema_halflife_images: float
    data: dict[str, str | int]
    licence: str
    weights_sha256: str


class Model:
    """A trained generator and how to draw from it."""

    def __init__(self, config: ModelConfig, generator: nn.Module, device: torch.device) -> None:
        self.config = config
        self.device = device
        self.generator = generator.to(device, memory_format=torch.channels_last).eval().requires_grad_(False)  # type: ignore[call-overload]

    @classmethod
    def load(cls, path: str | Path, device: str = "cpu") -> Self:
        """Load a model folder or the model of a run.

        Raises UserError where there is none, or its files are broken or do not fit each other.
        """
        folder = find_model(Path(path))
        config = read_config(folder)
        weights = folder / WEIGHTS
        if not weights.is_file() or sha256(weights) != config.weights_sha256:
            raise UserError(f"{weights} is missing or damaged (its checksum is not the one in {CONFIG}).")
        generator = build_generator(config.generator, config.size, config.latent_size)
        try:
            generator.load_state_dict(load_file(weights))
        except (SafetensorError, RuntimeError):
            raise UserError(f"{weights} does not hold the network that {folder / CONFIG} describes.") from None
        return cls(config, generator.float(), torch.device(device))

    def sample(
        self,
        count: int,
        seed: int = 0,
        *,
        truncation: float = 1.0,
        first: int = 0,
        precision: Literal["auto", "bf16", "fp32"] = "auto",
    ) -> NDArray[np.uint8]:
        """The faces `first` ... `first + count - 1` of `seed`: uint8, N x H x W x 3, 0 to 255.

        `truncation` shrinks the latents towards the middle of their space: 1 is the model as it was trained, less gives
        more ordinary faces, 0 the same face every time. `precision` is the number format of the convolutions (`auto`:
        bf16 where the device gains by it).

        Raises UserError for a count, seed, first or truncation out of range.
        """
        return np.concatenate(list(self.batches(count, seed, truncation=truncation, first=first, precision=precision)))

    def batches(
        self, count: int, seed: int = 0, *, truncation: float = 1.0, first: int = 0, precision: str = "auto"
    ) -> Iterator[NDArray[np.uint8]]:
        """The faces of `sample` in portions of at most 64, so that any number of them fits in memory."""
        for name, value, least in (("count", count, 1), ("seed", seed, 0), ("first", first, 0)):
            if value < least:
                raise UserError(f"{name} is {value}; it must be at least {least}.")
        if not 0 <= truncation <= 2:
            raise UserError(f"truncation is {truncation}; it must lie between 0 and 2 (1: as trained).")
        if precision == "auto":
            precision = self.precision
        for start in range(first, first + count, BATCH):
            z_BZ = face_latents(seed, start, BATCH, self.config.latent_size, self.config.latent_distribution)
            faces_NHWC = to_pixels(self._generate(z_BZ * truncation, precision))
            yield faces_NHWC[: first + count - start]

    @property
    def precision(self) -> str:
        """The number format that `auto` stands for on this model's device."""
        return "bf16" if gains_by_bf16(self.device) else "fp32"

    def _generate(self, z_BZ: Tensor, precision: str) -> Tensor:
        bf16 = torch.autocast(self.device.type, torch.bfloat16, enabled=precision == "bf16")
        with torch.inference_mode(), bf16:
            return self.generator(z_BZ.to(self.device))  # type: ignore[no-any-return]


def to_pixels(x_BCHW: Tensor) -> NDArray[np.uint8]:
    """Float B x 3 x H x W in [-1, 1] -> uint8 B x H x W x 3, rounded at this fixed range, whatever is in the batch."""
    pixels = x_BCHW.float().add(1.0).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)
    return np.ascontiguousarray(pixels.permute(0, 2, 3, 1).cpu().numpy())


def find_model(path: Path) -> Path:
    """The model folder that `path` (a run or a model folder) stands for; raises UserError where there is none."""
    for folder in (path, path / "model"):
        if (folder / CONFIG).is_file():
            return folder
    what = "has no model in it yet" if path.is_dir() else "is no run and no model folder"
    raise UserError(f"{path} {what}: give the folder of a run, or one that holds {CONFIG} and {WEIGHTS}.")


def read_config(folder: Path) -> ModelConfig:
    """config.json of a model folder; raises UserError where it is not one that we can read."""
    file = folder / CONFIG
    try:
        if file.stat().st_size > MAX_CONFIG_BYTES:
            raise UserError(f"{file} is larger than {MAX_CONFIG_BYTES:,} bytes: that is no model's config.")
        return ModelConfig.model_validate_json(file.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise UserError(f"{file} cannot be used, {where}: {first['msg']}.") from None
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}.") from None


def save_model(folder: Path, generator: nn.Module, facts: dict[str, Any]) -> None:
    """Write a model folder in one step; `facts` are the fields of ModelConfig but the checksum."""
    with new_folder(folder) as beside:
        tensors = {name: value.detach().cpu().contiguous() for name, value in generator.state_dict().items()}
        write_file(beside / WEIGHTS, save(tensors, metadata={"format": "pt"}))
        config = ModelConfig(**facts, weights_sha256=sha256(beside / WEIGHTS))
        write_file(beside / CONFIG, (config.model_dump_json(indent=1) + "\n").encode())
        write_file(beside / CARD, _card(config).encode())


def _card(config: ModelConfig) -> str:
    data = ", ".join(f"{key} {value}" for key, value in config.data.items())
    return f"""---
library_name: limner
license: other
tags: [faces, gan, image-generation]
---
# {config.recipe}: a face generator made with Limner

Draws {config.size} x {config.size} pictures of people who do not exist.

| | |
|---|---|
| recipe | `{config.recipe}` |
| images shown in training | {config.images:,} |
| weights | running mean of the generator, half-life {config.ema_halflife_images:,.0f} images |
| data | {data} |
| licence | {config.licence} |
| Limner | {config.limner_version} |

    limner sample . --out faces.png --count 64 --seed 0

The exact settings are in `config.json`. What it draws is synthetic; say so wherever you show it.
"""


def load(path: str | Path, device: str = "cpu") -> Model:
    """Load the model at `path`, a run or a model folder, onto `device`.

    Raises UserError where there is none, or its files are broken or do not fit each other.
    """
    return Model.load(path, device)
