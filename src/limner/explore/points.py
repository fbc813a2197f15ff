"""Points of a model's input space: the latents of faces with the attributes beside them, and the images they give.

Shapes: N points, Z latent, A attributes (0 where the model takes none), H and W an image's height and width.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from limner.core.arguments import checked
from limner.core.batching import batches_of
from limner.core.errors import UserError, brief
from limner.core.version import __version__
from limner.images.png import generated_png
from limner.latent.latents import face_latents
from limner.model.model import BATCH, Model

FACE = re.compile(r"\s*(\d{1,9}):(\d{1,9})\s*")


@dataclass(frozen=True)
class Points:
    """N inputs of a generator."""

    z_NZ: Tensor
    y_NA: Tensor

    def __len__(self) -> int:
        return len(self.z_NZ)

    def __getitem__(self, rows: slice | Tensor | Sequence[int]) -> "Points":
        return Points(self.z_NZ[rows], self.y_NA[rows])

    @classmethod
    @checked
    def join(cls, parts: Sequence["Points"]) -> Self:
        """The points of all parts, one after the other; raises UserError where there are none."""
        if not parts:
            raise UserError("There are no points to join: name at least one face.")
        return cls(torch.cat([part.z_NZ for part in parts]), torch.cat([part.y_NA for part in parts]))

    def batches(self) -> Iterator["Points"]:
        """The same points, at most 64 at a time."""
        for some in batches_of(len(self), BATCH):
            yield self[some]


def open_model(model: str | Path | Model, device: str = "cpu") -> Model:
    """The model, loaded if need be.

    Raises UserError where there is none, or where it does not generate images.
    """
    loaded = model if isinstance(model, Model) else Model.load(model, device)
    if loaded.config.kind == "curves":
        raise UserError(
            f"This model ({loaded.config.recipe}) generates curves, and limner explore works with images: "
            "give a model of faces, such as faces."
        )
    return loaded


def face_points(model: Model, faces: str | Sequence[str]) -> Points:
    """The points of faces SEED:INDEX, in a list or with commas between them: the inputs `sample` gives them.

    Raises UserError where one is not of this form.
    """
    names = faces.split(",") if isinstance(faces, str) else faces
    return Points.join([sampled_points(model, 1, *_read_face(name)) for name in names])


def sampled_points(
    model: Model, count: int, seed: int, first: int = 0, *, with_: Sequence[str] = (), without: Sequence[str] = ()
) -> Points:
    """The points of the faces `first` ... `first + count - 1` of `seed`, as `Model.sample` takes them."""
    z_NZ = face_latents(seed, first, count, model.config.latent_size, model.config.latent_distribution)
    labels_NA = model.labels(count, seed, with_=with_, without=without, first=first)
    return Points(z_NZ, torch.from_numpy(labels_NA).float())


def generate(model: Model, points: Points, advance: Callable[[int], None] = lambda _: None) -> NDArray[np.uint8]:
    """The images of the points: uint8, N x H x W x 3."""
    images = []
    for some in points.batches():
        images.append(model.generate(some.z_NZ, some.y_NA))
        advance(len(some))
    return np.concatenate(images)


def signed_png(image: Image.Image, model: Model, command: str, **settings: Any) -> bytes:
    """An image of what `model` generated as a PNG with its mark, and how it was made."""
    mark = model.new_mark()
    return generated_png(image, provenance(model, command, **settings), mark)


def provenance(model: Model, command: str, **settings: Any) -> dict[str, Any]:
    """What a file records of how it was made."""
    return {
        "command": f"explore {command}",
        "recipe": model.config.recipe,
        "weights_sha256": model.config.weights_sha256,
        "limner": __version__,
        **settings,
    }


def _read_face(name: str) -> tuple[int, int]:
    if (found := FACE.fullmatch(name)) is None:
        raise UserError(f"{brief(name)} is no face: give SEED:INDEX, two whole numbers from 0, such as 0:3.")
    return int(found[1]), int(found[2])
