"""Where a training computes: device, precision and processes.

One process or many (`torchrun`, `accelerate launch`): gradients are averaged over them, and random numbers
are generated for the whole batch in every process, and each takes its part.
"""

import atexit
import os
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from limner.core.device import find_device, gains_by_bf16
from limner.core.errors import UserError


@dataclass(frozen=True)
class Engine:
    """The device, the precision of the networks' products, this process's rank and how many there are."""

    device: torch.device
    precision: str
    rank: int = 0
    world: int = 1
    graphs: bool = False
    """Whether steps are captured as CUDA graphs (`limner.training.graphs`)."""

    @property
    def is_main(self) -> bool:
        """Whether this process writes what the run leaves on disk."""
        return self.rank == 0

    def autocast(self) -> AbstractContextManager[Any]:
        """bf16 for products and convolutions where `precision` says so; weights and losses stay fp32."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Replace every tensor by its mean over all processes, in one message."""
        if self.world == 1:
            return
        tensors = list(tensors)
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        dist.all_reduce(flat)
        flat /= self.world
        for tensor, mean in zip(tensors, torch.split(flat, [tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(mean.view(tensor.shape))

    def mean(self, value: float) -> float:
        """The mean of every process's `value`."""
        if self.world == 1:
            return value
        values = torch.tensor(value, device=self.device)
        self.average([values])
        return values.item()

    def any(self, flag: bool) -> bool:
        """Whether `flag` is set in any process."""
        return self.mean(float(flag)) > 0

    def wait(self) -> None:
        """Wait until every process is here."""
        self.any(False)

    def once(self, work: Callable[[], None]) -> None:
        """Do `work` in the main process while the others wait; where it raises UserError, every process does."""
        self.wait()
        error = None
        if self.is_main:
            try:
                work()
            except UserError as raised:
                error = raised
        if self.any(error is not None):
            raise error or UserError("The main process has stopped and says why.")


def start_engine(device: str, precision: str, graphs: bool = True) -> Engine:
    """Choose the device (`auto`, `cpu`, `cuda`, `mps`) and precision (`auto`, `bf16`, `fp32`), and join the processes.

    `auto` is the GPU where torch can use one, and for several processes otherwise the CPU.
    `graphs`: whether one process on a GPU may capture its steps. Raises UserError where the machine has no such device,
    or the environment names other processes that cannot be joined.
    """
    find_device(device)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS does not repeat its sums exactly
    torch.backends.cudnn.deterministic = True
    expected = int(os.environ.get("WORLD_SIZE", "1"))
    if expected > 1 and "RANK" not in os.environ:  # it would wait for the others in vain
        raise UserError(
            f"WORLD_SIZE is {expected} in the environment and RANK is missing: start with torchrun, or unset it."
        )
    on_cpu = device == "cpu" or (device == "auto" and expected > 1 and not torch.cuda.is_available())
    beside = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if not on_cpu and 1 < beside > torch.cuda.device_count():
        raise UserError(
            f"{beside} processes share {torch.cuda.device_count()} GPUs: start one for each, or say --device cpu."
        )
    from accelerate import PartialState  # a second of importing that nothing else needs

    joined_before = dist.is_initialized()
    processes = PartialState(cpu=on_cpu)
    if expected > 1 and processes.num_processes == 1:
        raise UserError(
            f"WORLD_SIZE is {expected} in the environment, but with --device {device} no process joins others."
        )
    if dist.is_initialized() and not joined_before:
        # A thread of gloo's that still lets go of a tensor when the interpreter ends would abort the process.
        atexit.register(processes.destroy_process_group)
    where = processes.device
    if device != "auto" and processes.num_processes == 1:
        where = torch.device(device)  # PartialState keeps for good what it was first given
    if precision == "auto":
        precision = "bf16" if gains_by_bf16(where) else "fp32"
    rank, world = processes.process_index, processes.num_processes
    return Engine(where, precision, rank, world, graphs and where.type == "cuda" and world == 1)
