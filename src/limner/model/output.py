"""What a generator's output stands for: images of faces, or the curves of report 002.

Shapes: B samples, H and W height and width, P points of a curve.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from limner.core.pixels import to_pixels
from limner.images.curve_plots import small_images


class Output(NamedTuple):
    """One kind of output; the keys of `OUTPUTS` are the values of `data.kind` in a recipe."""

    things: str
    description: str
    """For a model card; `{size}` is the resolution, or the number of points."""
    gains_by_bf16: bool
    to_images: Callable[[Tensor, str], NDArray[np.uint8]]
    """B x 3 x H x W in a pixel range, or heights B x P -> uint8, B x H x W x 3."""


def _plotted(heights_BP: Tensor, _: str) -> NDArray[np.uint8]:
    return small_images(heights_BP.float().cpu().numpy())


OUTPUTS = {
    "images": Output("faces", "{size} x {size} images of people who do not exist", True, to_pixels),
    "curves": Output("curves", "curves of {size} points, each in an image of 64 x 64", False, _plotted),
}
