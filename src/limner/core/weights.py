"""Weights from whoever they come: a network is not built larger than the file that is said to hold it."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class BoundedBy(TorchFunctionMode):
    """Within it, a network of more numbers than `file` has bytes is a RuntimeError before it takes any memory.

    A few bytes of settings can describe a network of a hundred gigabytes.
    """

    def __init__(self, file: Path) -> None:
        super().__init__()
        self._left = file.stat().st_size

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func is torch.empty:  # what every layer makes its weights of
            self._left -= math.prod(torch.Size(args[0]) if isinstance(args[0], Sequence) else args)
            if self._left < 0:
                raise RuntimeError("more weights than the file has bytes")
        return func(*args, **(kwargs or {}))
