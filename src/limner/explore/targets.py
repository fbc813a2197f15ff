"""Photos as a model's training images: the face found and aligned, cropped and resized.

Shapes: N images, H and W a model's resolution.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from limner.core.errors import UserError
from limner.model.model import Model
from limner.preparation.align import Align
from limner.preparation.crops import ALIGNED_SIZE, CROPS, Crop, Rejected, decode, read_upright
from limner.preparation.sources.containers import MAX_FILE_BYTES
from limner.preparation.workers import PreparedImage


@dataclass
class Files:
    """Image files anywhere, by their paths."""

    names: list[str]
    rejects: dict[str, str] = field(default_factory=dict)

    def read(self, name: str, limit: int = MAX_FILE_BYTES) -> bytes:
        """The file's bytes; `Rejected` where it cannot be read or is larger than `limit`."""
        try:
            if Path(name).stat().st_size > limit:
                raise Rejected(f"larger than {limit:,} bytes")
            return Path(name).read_bytes()
        except OSError as error:
            raise Rejected(f"it cannot be read ({error.strerror})") from None


def read_targets(files: Sequence[Path], model: Model) -> NDArray[np.uint8]:
    """One face of each file, as the model's training images: uint8 N x H x W x 3.

    Images of exactly the model's resolution are taken as they are, and CelebA's aligned 178 x 218 get the crop of the
    training images. Where that is a crop of CelebA, the largest face of any other photo is aligned as there; a model of
    other images gets the central square. Raises UserError where a file is no image, or no face is found in it.
    """
    names = [str(file) for file in files]
    crop = CROPS.get(str(model.config.data.get("crop")), Crop(None))
    align = Align(Files(names), crop, model.config.size, every=False)
    return np.stack([read_target(name, align) for name in names])


def read_target(name: str, align: Align) -> NDArray[np.uint8]:
    """The one face of a file, uint8 H x W x 3; as `read_targets`."""
    size = align.size
    try:
        data = align.images.read(name)
        photo_size = read_upright(data).size
        if photo_size == (size, size) or align.crop.side is None:
            return decode(data, Crop(None), size)
        if photo_size == ALIGNED_SIZE:
            return decode(data, align.crop, size)
        (face,) = align(name)
        if not isinstance(face, PreparedImage):
            raise Rejected(face)
    except Rejected as reason:
        raise UserError(f"{name} cannot be projected, {reason}: give a photo of a face.") from None
    return np.frombuffer(face.pixels, np.uint8).reshape(size, size, 3)
