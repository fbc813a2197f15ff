"""What a recipe learns from: images or curves. All that a training does differently for the two is here.

Shapes: N samples (what the generator makes, B x 3 x H x W or B x P), A attributes.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from rich.text import Text
from torch import Tensor

from limner.core.distributed import Engine
from limner.core.errors import UserError
from limner.core.pixels import to_pixels
from limner.core.randomness import stream
from limner.data.batches import Batch, Batches
from limner.data.curves import Curves
from limner.data.packed import PackedFaces
from limner.images.curve_plots import animation, painting, text_plot
from limner.images.grid import face_grid
from limner.recipes.schema import DataView, Recipe
from limner.runs.run import Run
from limner.training.health import SPREAD_OF, Health, mean_distance
from limner.training.validation import Validation


class Source(Protocol):
    """What the steps of a training read."""

    def at(self, images: int, count: int, rank: int = 0, world: int = 1) -> Batch:
        """The `count` samples that follow after `images` shown; of those, the `rank`-th of `world` equal blocks."""


class Modality(Protocol):
    """What is learnt from, and how what is made of it is measured and shown."""

    attribute_names: tuple[str, ...]
    threads: int | None
    """How many threads a step takes; `None`: torch's own number."""

    @property
    def facts(self) -> dict[str, Any]:
        """What run.json says of the data; `train` (how many samples), `crop` and `content_hash` where there are any."""

    def source(self, seed: int, device: torch.device) -> Source:
        """The training samples in the order of `seed`."""

    def known(self, count: int) -> NDArray[np.uint8]:
        """Attribute vectors of `count` training samples at the most, N x A."""

    def measure(self, x: Tensor, means: Mapping[str, float]) -> dict[str, float]:
        """What a log line says of samples, besides the means of its steps (see `limner.training.health`)."""

    def real(self, count: int) -> Image.Image:
        """Training samples as an image."""

    def sheet(self, x: Tensor, images: int, line: Mapping[str, Any]) -> Image.Image:
        """Samples as an image; after so many images seen, and with the newest log line (empty: none yet)."""

    def text(self, x: Tensor) -> Text | None:
        """Samples for the terminal, where characters can show them."""

    def film(self, sheets: Sequence[Path]) -> bytes | None:
        """All sheets in one animated PNG, where that shows more than each alone."""

    def validation(self, run: Run, engine: Engine, stopping: Callable[[], bool]) -> Validation:
        """What measures the models of `run` during training, until `stopping`.

        Raises UserError where there are no held-out images.
        """


class ImageModality:
    """The images of a prepared data set."""

    threads: int | None = None

    def __init__(self, faces: PackedFaces, view: DataView) -> None:
        self.faces, self.view = faces, view
        self.attribute_names = faces.attribute_names

    @property
    def facts(self) -> dict[str, Any]:
        info = self.faces.info
        return {
            "name": info.source.name,
            "path": str(self.faces.path.resolve()),
            "images": len(self.faces),
            "train": len(self._rows),
            "heldout": len(self.faces) - len(self._rows),
            "size": self.faces.size,
            "crop": info.crop.preset if info.crop else "none",
            "content_hash": info.content_hash,
            "licence": info.source.licence,
        }

    def source(self, seed: int, device: torch.device) -> Batches:
        return Batches(self.faces, seed, self.view.flip, device, self.view.range)

    def known(self, count: int) -> NDArray[np.uint8]:
        known_NA: NDArray[np.uint8] = self.faces.attributes_NA[stream(0, "known").permutation(self._rows)[:count]]
        return known_NA

    def measure(self, x: Tensor, means: Mapping[str, float]) -> dict[str, float]:
        return self._health.measure(to_pixels(x, self.view.range))

    def real(self, count: int) -> Image.Image:
        return face_grid(self.faces.images_NHWC[self._rows[:: max(1, len(self._rows) // count)][:count]])

    def sheet(self, x: Tensor, images: int, line: Mapping[str, Any]) -> Image.Image:
        return face_grid(to_pixels(x, self.view.range))

    def text(self, x: Tensor) -> None:
        return None

    def film(self, sheets: Sequence[Path]) -> None:
        return None

    def validation(self, run: Run, engine: Engine, stopping: Callable[[], bool]) -> Validation:
        return Validation(run, self.faces, engine, stopping)

    @cached_property
    def _rows(self) -> NDArray[np.int64]:
        return self.faces.rows("train")

    @cached_property
    def _health(self) -> Health:
        return Health(self.faces)


class CurveModality:
    """Report 002's curves, sampled during training: there is no end of them, so none can be memorised."""

    attribute_names: tuple[str, ...] = ()
    threads: int | None = 1  # the networks are so small that sharing out a step takes longer than the step

    @property
    def facts(self) -> dict[str, Any]:
        return {"name": "curves y = a x^2 + c, 1 < a < 2, 0 < c < 1", "size": "15 points", "licence": "none needed"}

    def source(self, seed: int, device: torch.device) -> Curves:
        return Curves(seed, device)

    def known(self, count: int) -> NDArray[np.uint8]:
        return np.zeros((count, 0), np.uint8)

    def measure(self, x: Tensor, means: Mapping[str, float]) -> dict[str, float]:
        """`diversity`, from the curves' 15 heights, and in a game of cross-entropy its `value`.

        That is V(D, G) = E log D(x) + E log(1 - D(G(z))) of Goodfellow et al. (2014), minus the discriminator's loss.
        """
        measured = {"diversity": mean_distance(x.float().cpu()) / self._spread}
        return measured | ({"value": -means["loss/discriminator"]} if "accuracy/real" in means else {})

    def real(self, count: int) -> Image.Image:
        return painting(_heights(_real(count)), "Training curves", "y = a x^2 + c, a from 1 to 2, c from 0 to 1")

    def sheet(self, x: Tensor, images: int, line: Mapping[str, Any]) -> Image.Image:
        words = ""
        if "value" in line:
            right = (line["accuracy/real"] + line["accuracy/fake"]) / 2
            words = f"D is right on {right:.0%}, V(D, G) = {line['value']:.3f} (where D cannot tell: 50%, -1.386)"
        return painting(_heights(x), f"After {images:,} curves" if images else "Before any training", words)

    def text(self, x: Tensor) -> Text:
        return text_plot(_heights(x))

    def film(self, sheets: Sequence[Path]) -> bytes:
        return animation(sheets)

    def validation(self, run: Run, engine: Engine, stopping: Callable[[], bool]) -> Validation:
        raise UserError("curves have no held-out images.")

    @cached_property
    def _spread(self) -> float:
        return mean_distance(_real(SPREAD_OF))


def open_modality(recipe: Recipe, data: PackedFaces | str | Path | None) -> Modality:
    """What `recipe` learns from; `data` are prepared images or their folder.

    Raises UserError where they are missing, there is no use for them, or they do not fit the recipe.
    """
    if recipe.data.kind == "curves":
        if data is not None:
            raise UserError(f"{recipe.name} samples its own curves and learns from no images: leave --data out.")
        modality: Modality = CurveModality()
    else:
        if data is None:
            raise UserError(f"{recipe.name} learns from images: give those that limner prepare made with --data DIR.")
        faces = data if isinstance(data, PackedFaces) else PackedFaces.open(data)
        if faces.size != recipe.data.size:
            raise UserError(
                f"{faces.path} holds images of {faces.size} pixels, the recipe wants {recipe.data.size}: "
                f"prepare them with --size {recipe.data.size}, or train with --size if the recipe can."
            )
        if recipe.conditioning and not faces.attribute_names:
            raise UserError(
                f"{faces.path} has no attributes, and {recipe.name} is conditioned on them: prepare images with "
                "--labels, or let limner label name those of CelebA."
            )
        train = len(faces.rows("train"))
        if recipe.schedule.batch > train:
            raise UserError(
                f"schedule.batch is {recipe.schedule.batch}, but {faces.path} has only {train} training images."
            )
        modality = ImageModality(faces, recipe.data)
    return modality


def _real(count: int) -> Tensor:
    return Curves(0, torch.device("cpu")).at(0, count).x_BCHW


def _heights(x_NP: Tensor) -> NDArray[np.float32]:
    heights_NP: NDArray[np.float32] = x_NP.float().cpu().numpy()
    return heights_NP
