"""The speed, memory, losses and operators of the plain loop and of ours.

Both train the same networks from the same weights on the same images, in turn, so that whatever else the machine does
falls on both. Ours is `limner.training.loop.train_step` on prepared images.

Shapes: N images, B batch, C channels, H and W the image's height and width, Z latent, A attributes.
"""

import math
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from limner.bench.jpegs import Jpegs
from limner.bench.plain_loop import ReferenceLoop, plain, reference_training, steps_per_round
from limner.bench.records import LOOPS, Memory, Profile, Speed
from limner.core.distributed import Engine
from limner.core.memory import keep_freed_memory
from limner.core.precision import Precision
from limner.core.randomness import torch_seed
from limner.core.signals import deaf_to_ctrl_c
from limner.data.attributes import CELEBA_ATTRIBUTES
from limner.data.batches import Batches
from limner.data.packed import PackedFaces
from limner.latent.latents import training_latents
from limner.model.model import Model, ModelConfig
from limner.recipes.schema import Recipe
from limner.training.graphs import Graphs
from limner.training.loop import train_step
from limner.training.state import State

SEED = 0
# What is measured at a time lasts at least this long, or it would be the clock and the hand-over that are measured.
BLOCK_SECONDS = 0.5
WARM_UP = 2
PROFILED_STEPS = 2
CHECKED_STEPS = 3
FACES = 512  # sampled at a time
BATCHES = (64, 128, 256)

Result = TypeVar("Result")
Work = Callable[[int], None]
"""Do something this many times and come back when all of it is done."""

PRODUCTS = frozenset(
    {
        *("aten::convolution", "aten::convolution_backward", "aten::conv2d", "aten::conv_transpose2d"),
        *("aten::linear", "aten::matmul", "aten::mm", "aten::addmm"),
        *("GatherWindows", "GatherWindowsBackward", "ScatterWindows", "ScatterWindowsBackward"),
    }
)
CASTS = frozenset({"aten::to", "aten::_to_copy"})
CAST_LABEL = "casts between precisions"


# The loops ----------------------------------------------------------------------------------------------------------


def fresh_state(recipe: Recipe, device: torch.device) -> State:
    """What every loop starts from; the drawn faces have CelebA's attributes."""
    return State.fresh(recipe, SEED, device, len(CELEBA_ATTRIBUTES) if recipe.conditioning else 0)


def reference_loop(recipe: Recipe, device: torch.device) -> ReferenceLoop:
    """The reference with the weights that a fresh run of `recipe` starts from."""
    state = fresh_state(recipe, device)
    return ReferenceLoop(recipe, {name: state.networks[name] for name in state.optimizers})


def our_training(recipe: Recipe, engine: Engine, faces: PackedFaces) -> Work:
    """Rounds of Limner's loop on prepared images."""
    state, batches = fresh_state(recipe, engine.device), _batches(recipe, engine.device, faces)
    graphs = Graphs() if engine.graphs else None

    def run(times: int) -> None:
        for _ in range(times * steps_per_round(recipe)):
            train_step(recipe, state, batches, engine, SEED, graphs)
        _synchronise(engine.device)

    return run


@dataclass(frozen=True)
class WorkProcess:
    """A process that does one work, as users run it."""

    pool: ProcessPoolExecutor

    def work(self, times: int) -> None:
        self.call(_work, times)

    def call(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """What `function` returns there."""
        return self.pool.submit(function, *arguments).result()


@contextmanager
def work_processes(begin: Mapping[str, Callable[[], Work]]) -> Iterator[dict[str, WorkProcess]]:
    """A process for each work, in which `begin` makes it; the processes end with the context."""
    with ExitStack() as stack:
        context = multiprocessing.get_context("spawn")
        pools = {name: stack.enter_context(ProcessPoolExecutor(1, context)) for name in begin}
        with deaf_to_ctrl_c():
            begun = [pool.submit(_begin, begin[name]) for name, pool in pools.items()]
        for one in begun:
            one.result()
        yield {name: WorkProcess(pool) for name, pool in pools.items()}


def loop_processes(
    recipe: Recipe, engine: Engine, jpegs: Path, packed: Path
) -> AbstractContextManager[dict[str, WorkProcess]]:
    """Both loops, each on its own kind of the same images."""
    begin = (partial(_reference, recipe, engine, jpegs), partial(packed_training, recipe, engine, packed, True))
    return work_processes(dict(zip(LOOPS, begin, strict=True)))


def packed_training(recipe: Recipe, engine: Engine, packed: Path, keep_memory: bool) -> Work:
    """`our_training` on the data set at `packed`, with freed memory kept as a training on the CPU does."""
    if keep_memory and engine.device.type == "cpu":
        keep_freed_memory()
    return our_training(recipe, engine, PackedFaces.open(packed))


def _reference(recipe: Recipe, engine: Engine, jpegs: Path) -> Work:
    return reference_training(reference_loop(recipe, engine.device), Jpegs(jpegs, recipe.data), engine.device)


# What a process of `work_processes` does.
_here: dict[str, Any] = {}


def _begin(begin: Callable[[], Work]) -> None:
    _here["libraries"] = resident_mib()
    _here["work"] = begin()


def _work(times: int) -> None:
    _here["work"](times)


def profile_here(device: torch.device) -> Profile:
    """Of the work of this process."""
    return profile(_here["work"], device)


def memory_here(device: torch.device) -> Memory:
    """What this process has needed so far."""
    return Memory(
        libraries=_here["libraries"],
        peak=resident_mib(peak=True),
        device_peak=torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else None,
    )


def _batches(recipe: Recipe, device: torch.device, faces: PackedFaces) -> Batches:
    return Batches(faces, SEED, recipe.data.flip, device, recipe.data.range)


# Measuring ----------------------------------------------------------------------------------------------------------


def load_average() -> tuple[float, float, float]:
    """Processes that wanted to run, over 1, 5 and 15 minutes; not numbers where the system does not say."""
    return os.getloadavg() if hasattr(os, "getloadavg") else (math.nan,) * 3


def interleave(works: Mapping[str, Work], images: int, rounds: int, advance: Callable[[int], None]) -> dict[str, Speed]:
    """The speed of several works on `images` images a time, measured in turn `rounds` times after a warm-up."""
    repetitions: dict[str, int] = {}
    for name, work in works.items():
        work(WARM_UP)  # the first time allocates, chooses kernels and fills caches
        repetitions[name] = max(1, math.ceil(BLOCK_SECONDS / _seconds(work, 1)))
    advance(WARM_UP)
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            seconds[name].append(_seconds(work, repetitions[name]) / repetitions[name])
        advance(1)
    return {name: Speed(images=images, repetitions=repetitions[name], seconds=seconds[name]) for name in works}


def _seconds(work: Work, times: int) -> float:
    start = time.perf_counter()
    work(times)
    return time.perf_counter() - start


def _synchronise(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def compare_losses(recipe: Recipe, device: torch.device, faces: PackedFaces) -> dict[str, list[dict[str, float]]]:
    """Every loss of both loops' first steps in fp32, on the same images and latents: they are one algorithm.

    The generator learns at least once before the last of these steps.
    """
    engine, batch = Engine(device, "fp32"), recipe.schedule.batch
    state, loop, batches = fresh_state(recipe, device), reference_loop(recipe, device), _batches(recipe, device, faces)
    losses: dict[str, list[dict[str, float]]] = {name: [] for name in LOOPS}
    for _ in range(max(CHECKED_STEPS, steps_per_round(recipe) + 1)):
        x_BCHW, y_BA = batches.at(state.images_seen, batch)
        source = torch.Generator(device).manual_seed(torch_seed(SEED, "latents", state.images_seen))
        z_BZ = training_latents(batch, recipe.latent.size, recipe.latent.distribution, source)
        torch.manual_seed(torch_seed(SEED, "step", state.images_seen, 0))  # for the penalty, as train_step
        reference = loop.step(x_BCHW.contiguous(), y_BA, z_BZ)
        state.sums.clear()
        train_step(recipe, state, batches, engine, SEED)
        losses["reference"].append(reference)
        losses["ours"].append({name: state.sums[name][0].item() for name in reference})
    return losses


def loss_differences(reference: Sequence[Mapping[str, float]], ours: Sequence[Mapping[str, float]]) -> list[float]:
    """How far the losses are apart, by step: the largest difference, relative to a loss that is above 1."""
    return [
        max(abs(loss - our[name]) / max(1.0, abs(loss)) for name, loss in their.items())
        for their, our in zip(reference, ours, strict=True)
    ]


def sampling_speeds(
    recipe: Recipe, engine: Engine, generator: nn.Module, rounds: int, advance: Callable[[int], None]
) -> dict[str, Speed]:
    """How fast `FACES` faces are sampled: plain generator, Model from seed to pixels, our generator by batch size."""
    device, latent = engine.device, recipe.latent
    config = ModelConfig(
        recipe=recipe.name,
        size=recipe.data.size,
        latent_size=latent.size,
        latent_distribution=latent.distribution,
        pixel_range=recipe.data.range,
        generator=recipe.generator,
        attribute_names=CELEBA_ATTRIBUTES if recipe.conditioning else (),
        images_seen=0,
        ema_halflife_images=0,
        data={},
        licence="none",
        weights_sha256="",
    )
    known_MA = torch.randint(0, 2, (FACES, len(config.attribute_names)), dtype=torch.uint8)
    model = Model(config, generator, device, known_MA.numpy())
    z_NZ = torch.cat([torch.randn(FACES, latent.size), known_MA.float()], dim=1).to(device)

    def call(network: nn.Module, batch: int, precision: Precision, times: int) -> None:
        with torch.inference_mode(), Engine(device, precision).autocast():
            for _ in range(times):
                for z_BZ in torch.split(z_NZ, batch):
                    network(z_BZ)
        _synchronise(device)

    def model_batches(times: int) -> None:
        for _ in range(times):
            for _ in model.batches(FACES, SEED, precision="bf16" if engine.precision == "bf16" else "fp32"):
                pass

    works: dict[str, Work] = {
        "reference": partial(call, plain(generator), 64, "fp32"),
        "Model.batches": model_batches,
        **{f"generator, batch {batch}": partial(call, generator, batch, engine.precision) for batch in BATCHES},
    }
    return interleave(works, FACES, rounds, advance)


def profile(work: Work, device: torch.device) -> Profile:
    """Where the time of one step goes, by torch's profiler over `PROFILED_STEPS`."""
    cuda = device.type == "cuda"
    activities = [torch.profiler.ProfilerActivity.CPU, *([torch.profiler.ProfilerActivity.CUDA] if cuda else [])]
    with _silent_stderr(), torch.profiler.profile(activities=activities) as profiler:
        work(PROFILED_STEPS)
    microseconds: Counter[str] = Counter()
    for event in profiler.events():
        if event.device_type.name == "CPU":  # a kernel's time is also that of the operator that launched it
            microseconds[_kind(event)] += event.self_device_time_total if cuda else event.self_cpu_time_total
    total = sum(microseconds.values())
    products = microseconds.pop("products", 0)
    return Profile(
        seconds_per_step=total / 1e6 / PROFILED_STEPS,
        products=products / total,
        other={name: value / total for name, value in microseconds.most_common()},
    )


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Torch's profiler writes traces of itself to the process's stderr, which no setting turns off."""
    stderr = os.dup(2)
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def _kind(event: Any) -> str:
    """`products`, casts, or the operator's own name; a product's helpers belong to it, but not its casts."""
    above = event
    while above is not None:
        if above.name in CASTS:
            return CAST_LABEL
        if above.name in PRODUCTS:
            return "products"
        above = above.cpu_parent
    return str(event.name)


def resident_mib(peak: bool = False) -> float:
    """This process's resident memory in MiB, now or at most so far; away from Linux always the most, or not a number.

    Not by `getrusage` where it can be helped: on Linux a new process inherits its parent's peak there.
    """
    if sys.platform == "linux":
        key = "VmHWM:" if peak else "VmRSS:"
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) / 2**10 for line in lines if line.startswith(key))
    if sys.platform == "win32":
        return math.nan
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
