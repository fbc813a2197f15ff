"""What turns images into features. Shapes: N images, H and W an image's sides, D features."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Extractor(Protocol):
    """What turns pictures into features, and what a result must say of it."""

    @property
    def name(self) -> str: ...

    @property
    def dimension(self) -> int:
        """D, the features of one picture."""

    @property
    def weights_sha256(self) -> str: ...

    @property
    def resize(self) -> str:
        """How pictures are brought to the network's own size, in words."""

    def features(self, images_NHWC: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The features of any number of RGB pictures: N x H x W x 3 -> N x D."""
