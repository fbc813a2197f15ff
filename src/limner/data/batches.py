"""Batches of training images as a pure function of how many images the run has shown.

Nothing is remembered between batches: the place in the stream is the number of images seen, so a resumed run reads
exactly what an uninterrupted one would have read, on any number of processes. Shapes: B batch, H and W height and
width, A attributes.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from limner.core.batching import block_of
from limner.core.files import release
from limner.core.pixels import from_pixels
from limner.core.randomness import stream
from limner.data.packed import PackedFaces

RELEASE_IMAGES = 1024  # after so many, the memory is given back that the pages of their file hold


class Batch(NamedTuple):
    """Images in the recipe's pixel range (B x 3 x H x W, channels last), their attributes (B x A, 0 or 1)."""

    x_BCHW: Tensor
    y_BA: Tensor


class Batches:
    """The training images, shuffled anew in every epoch by `seed`; each mirrored with probability 1/2 where `flip`."""

    def __init__(
        self, faces: PackedFaces, seed: int, flip: bool, device: torch.device, pixel_range: str = "signed"
    ) -> None:
        self.faces, self.seed, self.flip, self.device, self.pixel_range = faces, seed, flip, device, pixel_range
        self.rows = faces.rows("train")
        self._order = (-1, self.rows)

    def at(self, images: int, count: int, rank: int = 0, world: int = 1) -> Batch:
        """The `count` images that follow after `images` shown; of those, the `rank`-th of `world` equal blocks."""
        epochs, places = np.divmod(np.arange(images, images + count), len(self.rows))
        rows = np.concatenate([self._epoch(epoch)[places[epochs == epoch]] for epoch in np.unique(epochs).tolist()])
        mine = block_of(count, rank, world)
        mirrored = (stream(self.seed, "flip", images).random(count) < 0.5 * self.flip)[mine]
        rows = rows[mine]
        images_BHWC = self.faces.read(rows)
        images_BHWC[mirrored] = images_BHWC[mirrored][:, :, ::-1]
        if images % RELEASE_IMAGES < count:
            release(self.faces.images_NHWC)
        x_BCHW = from_pixels(self._to_device(images_BHWC), self.pixel_range)
        return Batch(x_BCHW, self._to_device(self.faces.attributes_NA[rows]).float())

    def _to_device(self, array: NDArray[np.uint8]) -> Tensor:
        tensor = torch.from_numpy(np.ascontiguousarray(array))
        if self.device.type == "cuda":
            return tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor.to(self.device)

    def _epoch(self, epoch: int) -> NDArray[np.int64]:
        if self._order[0] != epoch:
            self._order = (epoch, stream(self.seed, "order", epoch).permutation(self.rows))
        return self._order[1]
