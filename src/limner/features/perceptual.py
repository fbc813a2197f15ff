"""A perceptual distance with gradients: normalised maps of lite0's first blocks.

As LPIPS (Zhang et al. 2018) compares maps of early layers, each normalised over its channels. Here all channels weigh
the same, and images keep their own size, which is five times as fast as at 224 pixels. Shapes: B images, C channels,
H and W height and width.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from limner.features.efficientnet_lite import MEAN, SCALE, Lite0

COMPARED = (0, 2, 4)
"""The blocks whose maps are compared: of 1/2, 1/4 and 1/8 of the image's width."""


class PerceptualMaps:
    """The maps that images are compared by."""

    def __init__(self, device: torch.device) -> None:
        network: Any = Lite0.load_network()
        self._network = network.to(device, memory_format=torch.channels_last)

    def __call__(self, x_BCHW: Tensor) -> list[Tensor]:
        """B x 3 x H x W in [0, 1] -> maps B x C x H' x W', of length 1 over their channels."""
        network, maps = self._network, []
        y_BCHW = network._bn0(network._conv_stem((x_BCHW * 255 - MEAN) / SCALE)).clamp(0, 6)
        for place, block in enumerate(network._blocks[: COMPARED[-1] + 1]):
            y_BCHW = block(y_BCHW)
            if place in COMPARED:
                maps.append(F.normalize(y_BCHW, dim=1))
        return maps


def map_distance(some: Sequence[Tensor], others: Sequence[Tensor]) -> Tensor:
    """The mean over places of the squared distance, added up over the maps: B values, 0 to 4 for each map."""
    return torch.stack([(a - b).square().sum(1).mean((1, 2)) for a, b in zip(some, others, strict=True)]).sum(0)
