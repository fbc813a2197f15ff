"""Training steps captured once as CUDA graphs and replayed: the same kernels, without the host's launching of each.

A step of small networks is some thousand kernels of a few microseconds, which Python launches more slowly than a GPU
computes them. What differs from step to step (images, latents, learning rates, random seeds) lies in tensors that are
filled before each replay; what decides which kernels run is the step's `kind`, and every kind has a graph of its own.
"""

from collections import Counter
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import torch
from torch import Tensor

# Steps of a kind before it is captured: libraries load their kernels and optimisers make their moments in the first.
WARM_UP = 3

Step = Callable[[Tensor, Tensor, Tensor], dict[str, Tensor]]


class Captured(NamedTuple):
    graph: torch.cuda.CUDAGraph
    outputs: dict[str, Tensor]


class Graphs:
    """The captured steps of one training; they hold the addresses of all tensors that the steps read and change."""

    def __init__(self) -> None:
        self._seen: Counter[Hashable] = Counter()
        self._captured: dict[Hashable, Captured] = {}
        self._inputs: tuple[Tensor, ...] = ()
        self._pool: Any = None

    @property
    def kinds(self) -> list[Hashable]:
        """The kinds of step that are captured."""
        return [*self._captured]

    def run(self, kind: Hashable, step: Step, *inputs: Tensor) -> dict[str, Tensor]:
        """What `step(*inputs)` returns, by replay where this kind has been seen before.

        The values returned are overwritten by the next step. `inputs` have the same shapes at every call.
        """
        if kind not in self._captured:
            if self._seen[kind] < WARM_UP:
                self._seen[kind] += 1
                return step(*inputs)
            self._captured[kind] = self._capture(step, inputs)
        captured = self._captured[kind]
        for own, given in zip(self._inputs, inputs, strict=True):
            own.copy_(given)
        captured.graph.replay()
        return captured.outputs

    def _capture(self, step: Step, inputs: tuple[Tensor, ...]) -> Captured:
        if not self._inputs:
            self._inputs = tuple(torch.empty_like(given) for given in inputs)
            self._pool = torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            outputs = step(*(own.detach() for own in self._inputs))
        return Captured(graph, outputs)
