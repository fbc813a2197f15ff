"""Where a training computes: device, precision and processes.

One process or many (`torchrun`, `accelerate launch`): N processes are the same training as one with the same batch.
Each takes a block of consecutive images; gradients are averaged; statistics are those of the whole batch; random
numbers are generated for the whole batch in every process, which takes those of its own images.
"""

import atexit
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor

from limner.core.batching import batches_of, block_of
from limner.core.device import find_device, gains_by_bf16
from limner.core.errors import Abandoned, ProcessLost, UserError
from limner.core.heartbeat import INTERVAL, LOST, SILENCE, Heartbeat
from limner.core.precision import Precision
from limner.core.process import process_count, process_rank
from limner.core.signals import ended_at_once

PATIENCE = timedelta(minutes=30)
"""How long a process waits for others that live."""
MESSAGE = 1 << 24
"""Numbers in one message of an array."""
WORLD_SIZES = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
"""Where launchers say how many processes there are: torchrun, accelerate and several kinds of MPI."""
RowSampler = Callable[[Callable[[int], Tensor], int], Tensor]
"""Takes what gives random numbers for n images and a number of images; see `Engine.rows`."""


@dataclass(frozen=True)
class Engine:
    """The device, the precision of the networks' products, this process's rank and how many there are."""

    device: torch.device
    precision: Precision
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

    def part(self, count: int) -> slice:
        """Which of `count` images, a multiple of `world`, are those of this process."""
        return block_of(count, self.rank, self.world)

    def rows(self, sample: Callable[[int], Tensor], count: int) -> Tensor:
        """The random numbers of this process's `count` images: its part of `sample(n)`, those of the whole batch."""
        return sample(count * self.world)[self.part(count * self.world)]

    def gather(self, values_B: Tensor) -> Tensor:
        """The values of all processes, in the order of their ranks; without a gradient."""
        if self.world == 1:
            return values_B.detach()
        whole_N = values_B.new_zeros(len(values_B) * self.world)
        whole_N[self.part(len(whole_N))] = values_B.detach()
        _all_reduce(whole_N)
        return whole_N

    def span(self, count: int, size: int) -> slice:
        """Which of `count` images this process works on, in whole batches of `size`; the processes share them out."""
        batches = math.ceil(count / size)
        first, last = (min(count, size * (batches * rank // self.world)) for rank in (self.rank, self.rank + 1))
        return slice(first, last)

    def combine(self, array: NDArray[Any]) -> None:
        """Fill in what the other processes computed, where this one left zeros."""
        if self.world > 1:
            rows = max(1, MESSAGE * len(array) // array.size)
            for some in batches_of(len(array), rows):
                total = torch.from_numpy(array[some]).to(self.device, copy=True)
                _all_reduce(total)
                array[some] = total.cpu().numpy()

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Replace every tensor by its mean over all processes, in one message."""
        if self.world == 1:
            return
        tensors = list(tensors)
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        _all_reduce(flat)
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
        if self.world > 1:
            _all_reduce(torch.zeros(1, device=self.device))

    def once(self, work: Callable[[], None]) -> None:
        """Do `work` in the main process while the others wait; where it raises UserError, every process does."""
        error = None
        if self.is_main:
            try:
                work()
            except UserError as raised:
                error = raised
        if self.any(error is not None):
            raise error or UserError("The main process has stopped and says why.")

    @contextmanager
    def long_work(self, stopping: Callable[[], bool]) -> Iterator[Callable[[], None]]:
        """For work that takes minutes: yields a check, to be called now and then, whether to give it up.

        It raises Abandoned where this process is `stopping`; at the end Abandoned is raised in all where it was in one.
        """

        def check() -> None:
            if stopping():
                raise Abandoned

        abandoned = False
        try:
            yield check
        except Abandoned:
            abandoned = True
        if self.any(abandoned):
            raise Abandoned

    @contextmanager
    def watched(self, describe: Callable[[str], str]) -> Iterator[None]:
        """While all processes are in here, none waits for one that has ended or hangs: ProcessLost is raised.

        Its message is what `describe` makes of the reason.
        """
        if self.world == 1:
            yield
            return
        global _heartbeat
        _heartbeat = Heartbeat(describe)
        try:
            yield
            _heartbeat.leave()
        except ProcessLost as lost:
            raise ProcessLost(describe(str(lost))) from lost
        finally:
            _heartbeat.stop()
            _heartbeat = None


ALONE = Engine(torch.device("cpu"), "fp32")
"""One process on the CPU."""


def count_processes() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def mean_over_processes(x: Tensor) -> Tensor:
    """The mean of `x` over all processes, differentiable any number of times; `x` itself where there is one process.

    Its gradient is summed over the processes: each has the loss of its own images, and all of them depend on the mean.
    """
    if count_processes() == 1:
        return x
    total: Tensor = _SumOverProcesses.apply(x)  # type: ignore[no-untyped-call]
    return total / count_processes()


class _SumOverProcesses(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        _all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total: Tensor = _SumOverProcesses.apply(gradient.contiguous())  # type: ignore[no-untyped-call]
        return total


_heartbeat: Heartbeat | None = None


def _all_reduce(tensor: Tensor) -> None:
    """Sum `tensor` over all processes, in place; raises ProcessLost where one has ended or does not answer.

    On a GPU only the stream waits; a loss is then noticed by the heartbeat.
    """
    try:
        work = dist.all_reduce(tensor, async_op=True)
        if tensor.is_cuda:
            work.wait()
        else:
            _wait(work, PATIENCE if _heartbeat else SILENCE)
    except RuntimeError as error:
        raise ProcessLost(LOST) from error


def _wait(work: dist.Work, most: timedelta) -> None:
    """Wait for a message; raises RuntimeError where it failed or took longer than `most`, or a process is lost."""
    end = time.monotonic() + most.total_seconds()
    while True:
        try:
            work.wait(timedelta(seconds=INTERVAL))
            return
        except RuntimeError:
            if work.is_completed():  # it failed; or it has come since this waiting ended, and waiting again says so
                work.wait()
                return
            if time.monotonic() > end or (_heartbeat and _heartbeat.lost.is_set()):
                raise


def start_engine(device: str, precision: Precision, graphs: bool = True) -> Engine:
    """Choose the device (`auto`, `cpu`, `cuda`, `mps`) and precision (`auto`, `bf16`, `fp32`), and join the processes.

    `auto` is the GPU where torch can use one, and for several processes otherwise the CPU.
    `graphs`: whether one process on a GPU may capture its steps. Raises UserError where the machine has no such device,
    or the environment names other processes that cannot be joined.
    """
    found = find_device(device)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS does not repeat its sums exactly
    torch.backends.cudnn.deterministic = True
    expected = process_count()
    missing = [name for name in ("RANK", "MASTER_ADDR") if name not in os.environ]
    if expected > 1 and missing:  # it would wait for the others in vain
        raise UserError(
            f"WORLD_SIZE is {expected} in the environment, {missing[0]} is missing: start with torchrun, or unset it."
        )
    if 1 < expected <= process_rank():
        raise UserError(f"RANK is {process_rank()} in the environment, of {expected} processes: they count from 0.")
    on_cpu = device == "cpu" or (device == "auto" and expected > 1 and not torch.cuda.is_available())
    beside = process_count("LOCAL_WORLD_SIZE")
    if not on_cpu and 1 < beside > torch.cuda.device_count():
        raise UserError(
            f"{beside} processes share {torch.cuda.device_count()} GPUs: start one for each, or say --device cpu."
        )
    if dist.is_initialized() or any(os.environ.get(name, "1") != "1" for name in WORLD_SIZES):
        where, rank, world = _join_processes(device, on_cpu, expected)
    else:
        where, rank, world = found, 0, 1
    if precision == "auto":
        precision = "bf16" if gains_by_bf16(where) else "fp32"
    return Engine(where, precision, rank, world, graphs and where.type == "cuda" and world == 1)


def _join_processes(device: str, on_cpu: bool, expected: int) -> tuple[torch.device, int, int]:
    """Join the other processes: this one's device and rank, and how many there are."""
    from accelerate import PartialState  # a second of importing that one process does without

    joined_before = dist.is_initialized()
    try:
        with ended_at_once():
            processes = PartialState(cpu=on_cpu, timeout=PATIENCE)
    except (ValueError, dist.DistError) as error:
        raise UserError(f"The processes cannot join ({error}): start with torchrun, or unset WORLD_SIZE.") from error
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
    return where, processes.process_index, processes.num_processes
