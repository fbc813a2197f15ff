"""Between stored pixels (uint8, 0 to 255) and what networks compute with, at a fixed range, whatever is in the batch.

Ranges: `signed` [-1, 1], `unit` [0, 1] (report 003 divides by 255), `byte` [0, 255] (report 000 scales nothing).
Shapes: B batch, C channels, H and W the image's height and width.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

SHIFT_AND_SCALE = {"signed": (1.0, 127.5), "unit": (0.0, 255.0), "byte": (0.0, 1.0)}  # pixel = (x + shift) * scale


def from_pixels(images_BHWC: Tensor, pixel_range: str) -> Tensor:
    """uint8 B x H x W x 3 -> float32 B x 3 x H x W in `pixel_range`, channels last in memory."""
    shift, scale = SHIFT_AND_SCALE[pixel_range]
    return images_BHWC.permute(0, 3, 1, 2).float().div_(scale).sub_(shift)


def to_unit(x_BCHW: Tensor, pixel_range: str) -> Tensor:
    """Float B x 3 x H x W in `pixel_range` -> the same in [0, 1]; what lies outside is not clipped."""
    shift, scale = SHIFT_AND_SCALE[pixel_range]
    return (x_BCHW.float() + shift) * (scale / 255)


def to_pixels(x_BCHW: Tensor, pixel_range: str) -> NDArray[np.uint8]:
    """Float B x 3 x H x W in `pixel_range` -> uint8 B x H x W x 3, rounded; what lies outside is clipped."""
    shift, scale = SHIFT_AND_SCALE[pixel_range]
    pixels = x_BCHW.float().add(shift).mul_(scale).round_().clamp_(0, 255).to(torch.uint8)
    return np.ascontiguousarray(pixels.permute(0, 2, 3, 1).cpu().numpy())
