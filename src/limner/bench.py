"""This machine's training and drawing speed against a plain PyTorch loop, side by side.

The reference is `limner.reference_loop`, ours is `limner.training.loop.train_step` on prepared pictures. Both train the
same networks from the same weights on the same pictures, in turn, so that whatever else the machine does falls on both;
`limner.bench.bench` also checks that in fp32 they compute the same losses.

Shapes: N pictures, B batch, C channels, H and W the picture's sides, Z latent, A attributes.
"""

import math
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import mean, median
from tempfile import TemporaryDirectory
from typing import Any, Self

import torch
from pydantic import BaseModel, ConfigDict, computed_field
from rich.console import Console
from rich.table import Table
from torch import nn

from limner import __version__
from limner.arguments import checked
from limner.data.attributes import CELEBA_ATTRIBUTES
from limner.data.batches import Batches
from limner.data.packed import PackedFaces
from limner.data.prepare import prepare
from limner.errors import UserError
from limner.files import write_file
from limner.latent.noise import training_latents
from limner.model import Model, ModelConfig
from limner.progress import progress_bar
from limner.randomness import torch_seed
from limner.recipe import Recipe, load_recipe
from limner.reference_loop import (
    Jpegs,
    ReferenceLoop,
    check_reference_fits,
    plain,
    reference_training,
    steps_per_round,
    write_jpegs,
)
from limner.training.engine import Engine, machine_facts, start_engine
from limner.training.loop import train_step
from limner.training.state import State

SEED = 0
LOOPS = ("reference", "ours")
# What is measured at a time lasts at least this long, or it would be the clock and the hand-over that are measured.
BLOCK_SECONDS = 0.5
WARM_UP = 2
MEMORY_STEPS = 3
PROFILED_STEPS = 2
CHECKED_STEPS = 3
FACES = 512  # drawn at a time
BATCHES = (64, 128, 256)

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
CAST_LABEL = "casts between number formats"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)


class Speed(_Record):
    """Samples of one thing's speed: seconds of one time doing it, each the mean over a block of `repetitions`."""

    images: int
    """Pictures per time."""
    repetitions: int
    seconds: list[float]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def median_seconds(self) -> float:
        return median(self.seconds)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def least_seconds(self) -> float:
        return min(self.seconds)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def images_per_second(self) -> float:
        return self.images / self.median_seconds


class Ratio(_Record):
    """How many times faster ours is than the reference, per picture."""

    of_medians: float
    median_of_pairs: float
    """Of the ratios between samples taken one after the other."""

    @classmethod
    def of(cls, reference: Speed, ours: Speed) -> Self:
        per_image = reference.images / ours.images
        pairs = zip(reference.seconds, ours.seconds, strict=True)
        return cls(
            of_medians=reference.median_seconds / ours.median_seconds / per_image,
            median_of_pairs=median(slow / fast for slow, fast in pairs) / per_image,
        )


class Memory(_Record):
    """Resident memory in MiB of a process of its own that runs one loop (without the DataLoader's workers)."""

    libraries: float
    """Before the networks are built."""
    peak: float
    device_peak: float | None
    """The most that torch had allocated on the accelerator."""


class Profile(_Record):
    """Where the time in torch's operators goes: on CUDA that of the kernels, else that of the operators themselves."""

    seconds_per_step: float
    products: float
    """Share in convolutions and matrix products, with the gathering of windows that ours need."""
    other: dict[str, float]
    """Shares of everything else, largest first."""


class Bench(_Record):
    """All that was measured, and on what."""

    date: str
    limner_version: str
    torch_version: str
    machine: dict[str, Any]
    load_average: dict[str, tuple[float, float, float]]
    """Over 1, 5 and 15 minutes, before and after."""
    recipe: str
    settings: list[str]
    """Changes to the recipe, `key=value`."""
    batch: int
    steps_per_round: int
    """Steps of the discriminator for one of the generator; all of them together are one time."""
    precision: str
    """Of our loop; the reference's is fp32."""
    parameters: dict[str, int]
    jpeg_bytes: int
    """Mean size of the reference's picture files."""
    training: dict[str, Speed]
    training_ratio: Ratio
    memory: dict[str, Memory]
    profile: dict[str, Profile]
    losses: dict[str, list[dict[str, float]]]
    """Of each loop's first steps in fp32, on the same pictures and latents."""
    loss_differences: list[float]
    """The largest difference of any loss, by step; relative where the loss is above 1."""
    drawing: dict[str, Speed]
    drawing_ratio: dict[str, Ratio]


# The loops ----------------------------------------------------------------------------------------------------------


def fresh_state(recipe: Recipe, device: torch.device) -> State:
    """What every loop starts from; the drawn faces have CelebA's attributes."""
    return State.fresh(recipe, SEED, device, len(CELEBA_ATTRIBUTES) if recipe.conditioning else 0)


def reference_loop(recipe: Recipe, device: torch.device) -> ReferenceLoop:
    """The reference with the weights that a fresh run of `recipe` starts from."""
    state = fresh_state(recipe, device)
    return ReferenceLoop(recipe, {name: state.networks[name] for name in state.optimizers})


def our_training(recipe: Recipe, engine: Engine, faces: PackedFaces) -> Work:
    """Rounds of Limner's loop on prepared pictures."""
    state, batches = fresh_state(recipe, engine.device), _batches(recipe, engine.device, faces)

    def run(times: int) -> None:
        for _ in range(times * steps_per_round(recipe)):
            train_step(recipe, state, batches, engine, SEED)
        _synchronise(engine.device)

    return run


def training_works(recipe: Recipe, engine: Engine, jpegs: Path, faces: PackedFaces) -> dict[str, Work]:
    """Both loops, each on its own kind of the same pictures; the reference's workers live as long as the result."""
    return {
        "reference": reference_training(
            reference_loop(recipe, engine.device), Jpegs(jpegs, recipe.data), engine.device
        ),
        "ours": our_training(recipe, engine, faces),
    }


def _batches(recipe: Recipe, device: torch.device, faces: PackedFaces) -> Batches:
    return Batches(faces, SEED, recipe.data.flip, device, recipe.data.range)


# Measuring ----------------------------------------------------------------------------------------------------------


@checked
def bench(recipe: str = "dcgan", steps: int = 8, out: Path | None = None, overrides: Sequence[str] = ()) -> Bench:
    """Measure training and drawing of `recipe` and print tables; `steps` samples of each loop, taken in turn.

    `overrides` change the recipe, `key=value` each. With `out`, every sample is also written there as JSON. Raises
    UserError for a recipe that is none or that the reference cannot follow, for `steps` below 1, and where `out` cannot
    be written.
    """
    if steps < 1:
        raise UserError(f"--steps is {steps}; it must be at least 1.")
    if out is not None and not out.parent.is_dir():
        raise UserError(f"--out {out} cannot be written: there is no folder {out.parent}.")
    chosen = load_recipe(recipe, overrides)
    check_reference_fits(chosen)
    engine = start_engine("auto", chosen.engine.precision, chosen.engine.graphs)

    rounds = 2 * (steps + WARM_UP) + 4
    with TemporaryDirectory(prefix="limner-bench-") as folder, progress_bar("Measuring", rounds, "rounds") as advance:
        jpegs = Path(folder) / "jpegs"
        write_jpegs(jpegs, SEED)
        faces = prepare(
            jpegs, Path(folder) / "packed", size=chosen.data.size, crop=chosen.data.crop, seed=SEED, quiet=True
        )
        advance(1)
        result = _measure(chosen, list(overrides), engine, jpegs, faces, steps, advance)
    if out is not None:
        write_file(out, (result.model_dump_json(indent=1) + "\n").encode())
    print_result(result)
    return result


def _measure(
    recipe: Recipe,
    settings: list[str],
    engine: Engine,
    jpegs: Path,
    faces: PackedFaces,
    steps: int,
    advance: Callable[[int], None],
) -> Bench:
    load_before = load_average()
    losses = compare_losses(recipe, engine.device, faces)
    memory = {}
    for loop in LOOPS:
        memory[loop] = _in_a_process_of_its_own(loop, recipe, engine, jpegs, faces.path)
        advance(1)

    works = training_works(recipe, engine, jpegs, faces)
    training = interleave(works, recipe.schedule.batch * steps_per_round(recipe), steps, advance)
    profiles = {loop: profile(work, engine.device) for loop, work in works.items()}
    advance(1)
    works.clear()  # and with them the DataLoader's workers

    state = fresh_state(recipe, engine.device)
    drawing = interleave(_drawing(recipe, engine, state.mean_generator), FACES, steps, advance)

    return Bench(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        limner_version=__version__,
        torch_version=torch.__version__,
        machine=machine_facts(engine.device),
        load_average={"before": load_before, "after": load_average()},
        recipe=recipe.name,
        settings=settings,
        batch=recipe.schedule.batch,
        steps_per_round=steps_per_round(recipe),
        precision=engine.precision,
        parameters={
            name: sum(weight.numel() for weight in state.networks[name].parameters()) for name in state.optimizers
        },
        jpeg_bytes=round(mean(file.stat().st_size for file in jpegs.glob("*.jpg"))),
        training=training,
        training_ratio=Ratio.of(training["reference"], training["ours"]),
        memory=memory,
        profile=profiles,
        losses=losses,
        loss_differences=loss_differences(losses["reference"], losses["ours"]),
        drawing=drawing,
        drawing_ratio={
            name: Ratio.of(drawing["reference"], speed) for name, speed in drawing.items() if name != "reference"
        },
    )


def load_average() -> tuple[float, float, float]:
    """Processes that wanted to run, over 1, 5 and 15 minutes; not numbers where the system does not say."""
    return os.getloadavg() if hasattr(os, "getloadavg") else (math.nan,) * 3


def interleave(works: Mapping[str, Work], images: int, rounds: int, advance: Callable[[int], None]) -> dict[str, Speed]:
    """The speed of several works on `images` pictures a time, measured in turn `rounds` times after a warm-up."""
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
    """Every loss of both loops' first steps in fp32, on the same pictures and latents: they are one algorithm.

    The generator learns at least once before the last of these steps.
    """
    engine, batch = Engine(device, "fp32"), recipe.schedule.batch
    state, loop, batches = fresh_state(recipe, device), reference_loop(recipe, device), _batches(recipe, device, faces)
    losses: dict[str, list[dict[str, float]]] = {name: [] for name in LOOPS}
    for _ in range(max(CHECKED_STEPS, steps_per_round(recipe) + 1)):
        x_BCHW, y_BA = batches.at(state.images, batch)
        source = torch.Generator(device).manual_seed(torch_seed(SEED, "latents", state.images))
        z_BZ = training_latents(batch, recipe.latent.size, recipe.latent.distribution, source)
        torch.manual_seed(torch_seed(SEED, "step", state.images, engine.rank))  # as train_step does: for the penalty
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


def _drawing(recipe: Recipe, engine: Engine, generator: nn.Module) -> dict[str, Work]:
    """Ways to draw `FACES` faces: the plain generator, the Model from seed to pixels, the generator by batch size."""
    device, latent = engine.device, recipe.latent
    config = ModelConfig(
        recipe=recipe.name,
        size=recipe.data.size,
        latent_size=latent.size,
        latent_distribution=latent.distribution,
        pixel_range=recipe.data.range,
        generator=recipe.generator,
        attribute_names=CELEBA_ATTRIBUTES if recipe.conditioning else (),
        images=0,
        ema_halflife_images=0,
        data={},
        licence="none",
        weights_sha256="",
    )
    known_MA = torch.randint(0, 2, (FACES, len(config.attribute_names)), dtype=torch.uint8)
    model = Model(config, generator, device, known_MA.numpy())
    z_NZ = torch.cat([torch.randn(FACES, latent.size), known_MA.float()], dim=1).to(device)

    def call(network: nn.Module, batch: int, precision: str, times: int) -> None:
        with torch.inference_mode(), Engine(device, precision).autocast():
            for _ in range(times):
                for z_BZ in torch.split(z_NZ, batch):
                    network(z_BZ)
        _synchronise(device)

    def model_batches(times: int) -> None:
        for _ in range(times):
            for _ in model.batches(FACES, SEED, precision="bf16" if engine.precision == "bf16" else "fp32"):
                pass

    return {
        "reference": partial(call, plain(generator), 64, "fp32"),
        "Model.batches": model_batches,
        **{f"generator, batch {batch}": partial(call, generator, batch, engine.precision) for batch in BATCHES},
    }


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


def _in_a_process_of_its_own(loop: str, recipe: Recipe, engine: Engine, jpegs: Path, packed: Path) -> Memory:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_memory, loop, recipe, engine, jpegs, packed).result()


def _memory(loop: str, recipe: Recipe, engine: Engine, jpegs: Path, packed: Path) -> Memory:
    libraries = resident_mib()
    if loop == "reference":
        work = reference_training(reference_loop(recipe, engine.device), Jpegs(jpegs, recipe.data), engine.device)
    else:
        work = our_training(recipe, engine, PackedFaces.open(packed))
    work(MEMORY_STEPS)
    on_cuda = engine.device.type == "cuda"
    return Memory(
        libraries=libraries,
        peak=resident_mib(peak=True),
        device_peak=torch.cuda.max_memory_allocated(engine.device) / 2**20 if on_cuda else None,
    )


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


# Printing -----------------------------------------------------------------------------------------------------------


def tables(result: Bench) -> list[tuple[str, list[str], list[list[str]]]]:
    """What people read of the result: titles, headers and rows."""
    training = [
        [
            "plain reference loop" if loop == "reference" else f"Limner ({result.precision})",
            _time(result.training[loop].median_seconds),
            _time(result.training[loop].least_seconds),
            f"{result.training[loop].images_per_second:,.0f}",
            f"{result.memory[loop].peak:,.0f} MiB",
            f"{1 - result.profile[loop].products:.0%}",
        ]
        for loop in LOOPS
    ]
    drawing = [
        [
            "plain generator, fp32, batch 64" if name == "reference" else f"{name}, {result.precision}",
            f"{speed.images_per_second:,.0f}",
            "" if name == "reference" else f"{result.drawing_ratio[name].of_medians:.2f}",
            "" if name == "reference" else f"{result.drawing_ratio[name].median_of_pairs:.2f}",
        ]
        for name, speed in result.drawing.items()
    ]
    headings = ["loop", "step, median", "step, least", "images/s", "peak memory", "outside products"]
    words = [result.recipe, *result.settings, f"batch {result.batch}"]
    if result.steps_per_round > 1:
        words.append(f"a step: {result.steps_per_round} of the discriminator and one of the generator")
    return [
        (f"Training {', '.join(words)}", headings, training),
        ("Drawing", ["way", "faces/s", "ratio of medians", "median of ratios"], drawing),
    ]


def summary(result: Bench) -> list[str]:
    """What the tables do not say, in sentences."""
    ratio, machine = result.training_ratio, result.machine
    outside = {
        loop: ", ".join(f"{_short(name)} {share:.1%}" for name, share in list(result.profile[loop].other.items())[:5])
        for loop in LOOPS
    }
    return [
        f"Limner trains {ratio.of_medians:.2f} times as fast (ratio of medians; median of the ratios of neighbouring "
        f"samples: {ratio.median_of_pairs:.2f}; {len(result.training['ours'].seconds)} samples of each loop in turn).",
        "Most of the time outside convolutions and matrix products: "
        f"reference {outside['reference']}; Limner {outside['ours']}.",
        f"Losses of the first {len(result.loss_differences)} steps in fp32 differ by "
        f"{', '.join(f'{difference:.0e}' for difference in result.loss_differences)} (rounding, which Adam lets grow).",
        f"{machine['device_name']}, {machine['threads']} threads, torch {result.torch_version}, {result.date}; "
        f"load average {result.load_average['before'][0]:.1f} before, {result.load_average['after'][0]:.1f} after.",
    ]


def print_result(result: Bench) -> None:
    """Print tables and summary to stdout."""
    console = Console()
    for title, header, rows in tables(result):
        table = Table(*header, title=title, title_justify="left")
        for row in rows:
            table.add_row(*row)
        console.print(table)
    for line in summary(result):
        console.print(line, highlight=False)


def _time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1e3:.1f} ms"


def _short(name: str) -> str:
    return name.removeprefix("aten::").partition("#")[0]
