"""Folders of points that belong to one model: directions and projected images.

Each has `config.json`, which says what they are, and `latents.safetensors` with latents and attributes. Loading one
runs no code of it. Shapes: N points, Z latent, A attributes.
"""

from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from limner.core.errors import UserError
from limner.core.files import sha256, write_file
from limner.core.records import check_sum, read_record
from limner.core.version import __version__
from limner.explore.points import Points
from limner.model.model import Model

CONFIG, LATENTS = "config.json", "latents.safetensors"


class StoredConfig(BaseModel):
    """What config.json says of any such points."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format_version: int = Field(default=1, ge=1, le=1)
    limner_version: str = __version__
    recipe: str
    model_sha256: str
    names: tuple[str, ...] = Field(min_length=1)
    """Of the N points."""
    seed: int
    licence: str
    """Of what the model generates."""
    latents_sha256: str


Stored = TypeVar("Stored", bound=StoredConfig)


def store(folder: Path, kind: type[Stored], model: Model, points: Points, **facts: Any) -> Stored:
    """Write points of `model` and the `facts` about them into an empty folder."""
    tensors = {"latents": points.z_NZ.contiguous(), "attributes": points.y_NA.contiguous()}
    write_file(folder / LATENTS, save(tensors))
    config = kind(
        recipe=model.config.recipe,
        model_sha256=model.config.weights_sha256,
        licence=model.config.licence,
        latents_sha256=sha256(folder / LATENTS),
        **facts,
    )
    write_file(folder / CONFIG, (config.model_dump_json(indent=1) + "\n").encode())
    return config


def load_stored(folder: Path, kind: type[Stored], model: Model, command: str) -> tuple[Stored, Points]:
    """The points of `model` in a folder that `command` wrote.

    Raises UserError where there are none, they are damaged, or they belong to another model.
    """
    mend = f"make it with {command}"
    config = read_record(folder / CONFIG, kind, mend)
    if config.model_sha256 != model.config.weights_sha256:
        raise UserError(
            f"{folder} belongs to another model ({config.recipe}, weights {config.model_sha256[:8]}...), not to this "
            f"one ({model.config.recipe}, {model.config.weights_sha256[:8]}...): {mend}."
        )
    check_sum(folder / LATENTS, config.latents_sha256, mend)
    expected = (len(config.names), model.config.latent_size), (len(config.names), len(model.config.attribute_names))
    try:
        tensors = load_file(folder / LATENTS)
        points = Points(tensors["latents"], tensors["attributes"])
        if (points.z_NZ.shape, points.y_NA.shape) != expected:
            raise KeyError
    except (SafetensorError, KeyError):
        raise UserError(f"{folder / LATENTS} does not hold what {CONFIG} beside it describes: {mend}.") from None
    return config, points
