"""What sampling is, whatever computes the images: which faces there are, and in which batches. Free of torch.

Shapes: N faces, B latents of a pass, Z latent, A attributes, H and W height and width. Face k of a seed is the same
face whatever is sampled beside it.
"""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from limner.core.arguments import checked
from limner.core.batching import batches_of
from limner.core.errors import UserError
from limner.core.precision import Precision
from limner.core.records import read_record
from limner.core.version import __version__
from limner.images.marks import Mark
from limner.latent.labels import face_labels, rare_request, read_requested
from limner.model.shipped import CONFIG

KNOWN = "known_attributes"  # among the weights, but none of them
MEND = "take a whole copy of the model"
BATCH = 64  # faces that are sampled at a time
# Every pass runs on exactly this many latents, so that a face does not depend on how many are sampled. A CPU is nearly
# as fast with 16 at a time as with 64, and a single face then takes a quarter of the time; a GPU needs all of them.
CPU_PASS = 16
MOST_FACES = 10_000_000  # at a time: the attributes of all are in memory


class SamplerConfig(BaseModel):
    """config.json, as `ModelConfig` describes it, but for the settings of the network, which are not checked."""

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
    generator: Any
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


class Sampler(ABC):
    """A trained generator and how to sample from it."""

    runtime: Literal["torch", "onnxruntime"]
    """What computes the images."""
    config: SamplerConfig
    known_MA: NDArray[np.uint8]
    """Attribute vectors of training images, from which those of new faces are sampled; 0 x 0 without attributes."""

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
        precision: Precision = "auto",
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
        precision: Precision = "auto",
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
        self, count: int, seed: int, truncation: float, first: int, precision: Precision, labels_NA: NDArray[np.uint8]
    ) -> Iterator[NDArray[np.uint8]]:
        def images(part: slice) -> NDArray[np.uint8]:
            n = part.stop - part.start
            z_BZ = self._latents(seed, first + part.start, n) * np.float32(truncation)
            y_BA = labels_NA[part].astype(np.float32)
            # A pass of another size could give other last bits.
            z_BZ, y_BA = (np.pad(t_BK, ((0, self._pass_size - n), (0, 0))) for t_BK in (z_BZ, y_BA))
            return self._images(z_BZ, y_BA, precision)[:n]

        for some in batches_of(count, BATCH):
            yield np.concatenate(list(self._map(images, batches_of(some.stop, self._pass_size, first=some.start))))

    def new_mark(self) -> Mark:
        """The mark of a file that is being generated with this model."""
        return Mark.now(self.config.recipe, self.config.weights_sha256)

    @property
    @abstractmethod
    def precision(self) -> str:
        """The precision that `auto` stands for."""

    @property
    def _pass_size(self) -> int:
        return CPU_PASS

    def _map(self, images: Callable[[slice], NDArray[np.uint8]], parts: Iterable[slice]) -> Iterator[NDArray[np.uint8]]:
        """`images` of every part of a batch, in their order."""
        return map(images, parts)

    @abstractmethod
    def _latents(self, seed: int, first: int, count: int) -> NDArray[np.float32]:
        """Latents of faces: `count` x Z."""

    @abstractmethod
    def _images(self, z_BZ: NDArray[np.float32], y_BA: NDArray[np.float32], precision: Precision) -> NDArray[np.uint8]:
        """Latents B x Z and attributes B x A -> images, uint8, B x H x W x 3."""


def _check_range(count: int, seed: int, first: int) -> None:
    if count > MOST_FACES:
        raise UserError(f"count is {count}; it must be at most {MOST_FACES:,}: ask for fewer, with another first.")
    for name, value, least in (("count", count, 1), ("seed", seed, 0), ("first", first, 0)):
        if value < least:
            raise UserError(f"{name} is {value}; it must be at least {least}.")


def read_sampler_config(folder: Path) -> SamplerConfig:
    """config.json of a model folder; raises UserError where it is not one that we can read."""
    return read_record(folder / CONFIG, SamplerConfig, MEND)
