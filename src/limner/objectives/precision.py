"""The precision of losses."""

import torch
from torch import Tensor


def widen(x: Tensor) -> Tensor:
    """`x` in fp32, or in fp64 where it already is: sums over an image and log-probabilities are too coarse in bf16."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
