"""What turns images into features. Shapes: N images, H and W the image's height and width, D features."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from limner.core.batching import batches_of
from limner.core.errors import UserError
from limner.core.files import release
from limner.data.packed import PackedFaces

BATCH = 256  # images between two steps of a progress bar


@runtime_checkable
class Extractor(Protocol):
    """What turns images into features, and what a result must say of it."""

    @property
    def name(self) -> str: ...

    @property
    def dimension(self) -> int:
        """D, the features of one image."""

    @property
    def weights_sha256(self) -> str: ...

    @property
    def resize(self) -> str:
        """How images are brought to the network's own size, in words."""

    def features(self, images_NHWC: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The features of any number of RGB images: N x H x W x 3 -> N x D."""


def extract(
    extractor: Extractor,
    faces: PackedFaces,
    rows: NDArray[np.int64],
    into_ND: NDArray[np.float32],
    advance: Callable[[int], None],
    *,
    mirrored: bool = False,
) -> None:
    """Write the features of the images in `rows`, or of their mirror images, into `into_ND`."""
    for some in batches_of(len(rows), BATCH):
        images_NHWC = faces.read(rows[some])
        into_ND[some] = extractor.features(np.ascontiguousarray(images_NHWC[:, :, ::-1]) if mirrored else images_NHWC)
        release(faces.images_NHWC)
        release(into_ND)
        advance(len(images_NHWC))


def in_batches(
    forward: Callable[[NDArray[np.uint8]], NDArray[np.float32]],
    images_NHWC: NDArray[np.uint8],
    dimension: int,
    size: int,
) -> NDArray[np.float32]:
    """The features of all images by `forward`, which takes `size` images at most: N x `dimension`."""
    features_ND = np.empty((len(images_NHWC), dimension), np.float32)
    for some in batches_of(len(images_NHWC), size):
        features_ND[some] = forward(images_NHWC[some])
    return features_ND


def read_weights(file: Path, expected_sha256: str, what: str, mend: str) -> bytes:
    """The content of a weights file; raises UserError where it cannot be read or is not the known one."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror}): it should hold {what}.") from None
    if (found := hashlib.sha256(content).hexdigest()) != expected_sha256:
        raise UserError(
            f"{file} does not hold {what}: it has {len(content):,} bytes and sha256 {found[:8]}..., not "
            f"{expected_sha256[:8]}...; {mend}."
        )
    return content
