"""torch's optimisers without torch.compile, which each would load: seconds of every start, and never used here."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch.optim import Optimizer

Kind = TypeVar("Kind", bound=Optimizer)


def light(kind: type[Kind]) -> type[Kind]:
    """The optimiser `kind` with the same steps to the last bit, which does not import `torch._dynamo`.

    Some of its methods are wrapped to keep torch.compile out of them, and the wrapper imports it to do so.
    """
    methods = {"add_param_group": _bare(kind.add_param_group), "zero_grad": _bare(kind.zero_grad)}
    return type(kind.__name__, (kind,), {**methods, "step": torch.no_grad()(_bare(kind.step))})


def _bare(method: Callable[..., Any]) -> Callable[..., Any]:
    """The method in its wrapper, or `method` itself: another torch may have none."""
    return getattr(method, "__wrapped__", method)


Adam, AdamW, SGD = light(torch.optim.Adam), light(torch.optim.AdamW), light(torch.optim.SGD)
LBFGS = light(torch.optim.LBFGS)
