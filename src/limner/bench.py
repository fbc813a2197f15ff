"""This machine's training and drawing speed against the plain loop that everyone starts from, side by side.

The reference is the algorithm of PyTorch's own DCGAN example: fp32, NCHW, `torch.nn`'s layers, a DataLoader with two
workers that decodes, crops and resizes JPEGs anew in every epoch, Adam as `torch.optim` gives it, the generator's
gradient also computed for the discriminator's weights. Ours is `limner.training.loop.train_step` on prepared pictures.
Both train the same networks from the same weights on the same pictures, in turn, so that whatever else the machine does
falls on both; `limner.bench.bench` also checks that in fp32 they compute the same losses.

Shapes: N pictures, B batch, C channels, H and W the picture's sides, Z latent.
"""

import math
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from copy import deepcopy
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from pydantic import BaseModel, ConfigDict, computed_field
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.optim import Adam
from torch.utils.data import DataLoader, Dataset

from limner import __version__
from limner.data.batches import Batches
from limner.data.crops import ALIGNED_SIZE, find_crop
from limner.data.packed import PackedFaces
from limner.data.prepare import prepare
from limner.data.synthetic import draw_face
from limner.errors import UserError
from limner.files import write_file
from limner.latent.noise import training_latents
from limner.model import Model, ModelConfig
from limner.networks import layers
from limner.progress import progress_bar
from limner.randomness import torch_seed
from limner.recipe import Optimizers, Recipe, load_recipe
from limner.training.engine import Engine, machine_facts, start_engine
from limner.training.loop import train_step
from limner.training.state import State

SEED = 0
LOOPS = ("reference", "ours")
DRAWN_FACES = 64
# Each drawn face is cut out at several places: files that differ, without the time to draw as many.
CUTS = (0, 13, 27, 40)
JPEG_QUALITY = 85  # gives files as large as CelebA's aligned pictures, about 7 kB
CELEBA_PICTURES = 202_599
WORKERS, PREFETCH = 2, 2
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


class Losses(_Record):
    """Of the first steps in fp32 on the same pictures and latents."""

    discriminator: list[float]
    generator: list[float]


class Bench(_Record):
    """All that was measured, and on what."""

    date: str
    limner_version: str
    torch_version: str
    machine: dict[str, Any]
    load_average: dict[str, tuple[float, float, float]]
    """Over 1, 5 and 15 minutes, before and after."""
    recipe: str
    batch: int
    precision: str
    """Of our loop; the reference's is fp32."""
    parameters: dict[str, int]
    jpeg_bytes: int
    """Mean size of the reference's picture files."""
    training: dict[str, Speed]
    training_ratio: Ratio
    memory: dict[str, Memory]
    profile: dict[str, Profile]
    losses: dict[str, Losses]
    loss_differences: list[float]
    """The larger of both players', by step."""
    drawing: dict[str, Speed]
    drawing_ratio: dict[str, Ratio]


# The reference ------------------------------------------------------------------------------------------------------


def plain(network: nn.Module) -> nn.Module:
    """A copy of `network` with the same weights in `torch.nn`'s own layers, laid out in memory as NCHW."""
    copy = deepcopy(network)
    for module in copy.modules():
        if isinstance(module, layers.Conv2d | layers.ConvTranspose2d):
            module.__class__ = type(module).__base__  # type: ignore[assignment]
    return copy.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload, no-any-return]


class Jpegs(Dataset[Tensor]):
    """JPEGs below `folder`, decoded, cropped, resized and normalised at every access; as many as CelebA has."""

    def __init__(self, folder: Path, crop: str, size: int) -> None:
        self.files = sorted(folder.glob("*.jpg"))
        self.box = find_crop(crop, size).box(*ALIGNED_SIZE)
        self.size = size
        self.decoded = multiprocessing.Value("q", 0)
        """By all processes together."""

    def __len__(self) -> int:
        # As long as the real thing: an epoch of a few batches would be all starting of workers.
        return CELEBA_PICTURES

    def __getitem__(self, index: int) -> Tensor:
        with Image.open(self.files[index % len(self.files)]) as picture:
            small = picture.convert("RGB").crop(self.box).resize((self.size, self.size), Image.Resampling.BILINEAR)
        x_CHW = torch.from_numpy(np.array(small)).permute(2, 0, 1).contiguous().float().div(255)
        with self.decoded.get_lock():
            self.decoded.value += 1
        return (x_CHW - 0.5) / 0.5


class ReferenceLoop:
    """The plain loop; takes over the networks it is given."""

    def __init__(self, generator: nn.Module, discriminator: nn.Module, optimizer: Optimizers) -> None:
        self.generator, self.discriminator = generator, discriminator
        self.optimizer_generator = _plain_adam(generator, optimizer.generator)
        self.optimizer_discriminator = _plain_adam(discriminator, optimizer.discriminator)

    def step(self, x_BCHW: Tensor, z_BZ: Tensor) -> tuple[float, float]:
        """One step of both players; the losses of discriminator and generator."""
        real_B, fake_B = x_BCHW.new_ones(len(x_BCHW)), x_BCHW.new_zeros(len(x_BCHW))

        self.discriminator.zero_grad()
        loss_real = F.binary_cross_entropy_with_logits(self.discriminator(x_BCHW), real_B)
        loss_real.backward()  # type: ignore[no-untyped-call]
        fake_BCHW = self.generator(z_BZ)
        loss_fake = F.binary_cross_entropy_with_logits(self.discriminator(fake_BCHW.detach()), fake_B)
        loss_fake.backward()  # type: ignore[no-untyped-call]
        self.optimizer_discriminator.step()

        self.generator.zero_grad()
        loss_generator = F.binary_cross_entropy_with_logits(self.discriminator(fake_BCHW), real_B)
        loss_generator.backward()  # type: ignore[no-untyped-call]
        self.optimizer_generator.step()
        return (loss_real + loss_fake).item(), loss_generator.item()


def _plain_adam(network: nn.Module, settings: Any) -> Adam:
    return Adam(network.parameters(), settings.lr, (settings.beta1, settings.beta2))


def reference_loop(recipe: Recipe, device: torch.device) -> ReferenceLoop:
    """The reference with the weights that a fresh run of `recipe` starts from."""
    state = State.fresh(recipe, SEED, device)
    return ReferenceLoop(plain(state.generator), plain(state.discriminator), recipe.optimizer)


def reference_training(recipe: Recipe, device: torch.device, jpegs: Jpegs) -> Work:
    """Steps of the reference with its DataLoader, for as long as the result lives.

    The loader's workers read ahead. Left alone they would do so while the other loop is measured, so every block ends,
    as it began, with all that they may read ahead: it pays for exactly as many pictures as it uses.
    """
    loop, batch = reference_loop(recipe, device), recipe.schedule.batch
    loader = DataLoader(jpegs, batch, shuffle=True, num_workers=WORKERS, prefetch_factor=PREFETCH, drop_last=True)
    batches = iter(loader)
    taken = 0

    def wait_for_workers() -> None:
        while jpegs.decoded.value < batch * (taken + WORKERS * PREFETCH):
            time.sleep(0.001)

    def run(times: int) -> None:
        nonlocal taken
        # Ours asks cuDNN for results that repeat; the reference need not pay for that.
        with torch.backends.cudnn.flags(enabled=True, benchmark=True, deterministic=False, allow_tf32=True):
            for _ in range(times):
                x_BCHW = next(batches).to(device)
                loop.step(x_BCHW, torch.randn(batch, recipe.latent.size, device=device))
                taken += 1
        wait_for_workers()

    wait_for_workers()
    return run


# Ours ---------------------------------------------------------------------------------------------------------------


def our_training(recipe: Recipe, engine: Engine, faces: PackedFaces) -> Work:
    """Steps of Limner's loop on prepared pictures."""
    state = State.fresh(recipe, SEED, engine.device)
    batches = Batches(faces, SEED, recipe.data.flip, engine.device)

    def run(times: int) -> None:
        for _ in range(times):
            train_step(recipe, state, batches, engine, SEED)
        _synchronise(engine.device)

    return run


# Measuring ----------------------------------------------------------------------------------------------------------


def bench(recipe: str = "dcgan", steps: int = 8, out: Path | None = None) -> Bench:
    """Measure training and drawing of `recipe` and print tables; `steps` samples of each loop, taken in turn.

    With `out`, every sample is also written there as JSON. Raises UserError for a recipe that the reference cannot
    follow, for `steps` below 1, and where `out` cannot be written.
    """
    if steps < 1:
        raise UserError(f"--steps is {steps}; it must be at least 1.")
    if out is not None and not out.parent.is_dir():
        raise UserError(f"--out {out} cannot be written: there is no folder {out.parent}.")
    chosen = load_recipe(recipe)
    _check_reference_fits(chosen)
    engine = start_engine("auto", chosen.engine.precision)

    rounds = 2 * (steps + WARM_UP) + 4
    with TemporaryDirectory(prefix="limner-bench-") as folder, progress_bar("Measuring", rounds, "rounds") as advance:
        jpegs = Path(folder) / "jpegs"
        write_jpegs(jpegs)
        faces = prepare(
            jpegs, Path(folder) / "packed", size=chosen.data.size, crop=chosen.data.crop, seed=SEED, quiet=True
        )
        advance(1)
        result = _measure(chosen, engine, jpegs, faces, steps, advance)
    if out is not None:
        write_file(out, (result.model_dump_json(indent=1) + "\n").encode())
    print_result(result)
    return result


def _measure(
    recipe: Recipe, engine: Engine, folder: Path, faces: PackedFaces, steps: int, advance: Callable[[int], None]
) -> Bench:
    load_before = _load_average()
    jpegs = Jpegs(folder, recipe.data.crop, recipe.data.size)
    losses = compare_losses(recipe, engine.device, faces)
    memory = {}
    for loop in LOOPS:
        memory[loop] = _in_a_process_of_its_own(loop, recipe, engine, folder, faces.path)
        advance(1)

    works: dict[str, Work] = {
        "reference": reference_training(recipe, engine.device, jpegs),
        "ours": our_training(recipe, engine, faces),
    }
    training = interleave(works, recipe.schedule.batch, steps, advance)
    profiles = {loop: profile(work, engine.device) for loop, work in works.items()}
    advance(1)
    works.clear()  # and with them the DataLoader's workers

    state = State.fresh(recipe, SEED, engine.device)
    drawing_works = _drawing(recipe, engine, state.mean_generator)
    drawing = interleave(drawing_works, FACES, steps, advance)

    return Bench(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        limner_version=__version__,
        torch_version=torch.__version__,
        machine=machine_facts(engine.device),
        load_average={"before": load_before, "after": _load_average()},
        recipe=recipe.name,
        batch=recipe.schedule.batch,
        precision=engine.precision,
        parameters={
            "generator": sum(weight.numel() for weight in state.generator.parameters()),
            "discriminator": sum(weight.numel() for weight in state.discriminator.parameters()),
        },
        jpeg_bytes=round(sum(file.stat().st_size for file in jpegs.files) / len(jpegs.files)),
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


def _load_average() -> tuple[float, float, float]:
    return os.getloadavg() if hasattr(os, "getloadavg") else (math.nan,) * 3


def _check_reference_fits(recipe: Recipe) -> None:
    objective, optimizer = recipe.objective.name, recipe.optimizer
    for key, value, known in (
        ("objective.name", objective, "non-saturating"),
        ("optimizer.generator.name", optimizer.generator.name, "adam"),
        ("optimizer.discriminator.name", optimizer.discriminator.name, "adam"),
    ):
        if value != known:
            raise UserError(
                f"Recipe {recipe.name} has {key} = {value!r}, and the reference loop knows only {known!r}: "
                "measure dcgan or another recipe of its kind."
            )


def write_jpegs(folder: Path) -> None:
    """Fill `folder` with drawn faces in the size and shape of CelebA's aligned pictures."""
    folder.mkdir()
    width, height = ALIGNED_SIZE
    for index in range(DRAWN_FACES):
        face_HWC, _ = draw_face(SEED, index, height)
        for cut, left in enumerate(CUTS):
            picture = Image.fromarray(np.ascontiguousarray(face_HWC[:, left : left + width]))
            picture.save(folder / f"{index:06d}-{cut}.jpg", quality=JPEG_QUALITY)


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


def compare_losses(recipe: Recipe, device: torch.device, faces: PackedFaces) -> dict[str, Losses]:
    """The losses of both loops' first steps in fp32, on the same pictures and latents: they are one algorithm."""
    engine = Engine(device, "fp32")
    state, loop = State.fresh(recipe, SEED, device), reference_loop(recipe, device)
    batches = Batches(faces, SEED, recipe.data.flip, device)
    theirs, ours = [], []
    for _ in range(CHECKED_STEPS):
        x_BCHW, _ = batches.at(state.images, recipe.schedule.batch)
        source = torch.Generator(device).manual_seed(torch_seed(SEED, "latents", state.images))
        z_BZ = training_latents(recipe.schedule.batch, recipe.latent.size, recipe.latent.distribution, source)
        theirs.append(loop.step(x_BCHW.contiguous(), z_BZ))
        state.sums.clear()
        train_step(recipe, state, batches, engine, SEED)
        ours.append((state.sums["loss/discriminator"].item(), state.sums["loss/generator"].item()))
    return {
        name: Losses(discriminator=[first for first, _ in pairs], generator=[second for _, second in pairs])
        for name, pairs in zip(LOOPS, (theirs, ours), strict=True)
    }


def loss_differences(reference: Losses, ours: Losses) -> list[float]:
    """How far the losses are apart, by step: of the two players' differences the larger."""
    pairs = zip(reference.discriminator, ours.discriminator, reference.generator, ours.generator, strict=True)
    return [max(abs(d - our_d), abs(g - our_g)) for d, our_d, g, our_g in pairs]


def _drawing(recipe: Recipe, engine: Engine, generator: nn.Module) -> dict[str, Work]:
    """Ways to draw `FACES` faces: the plain generator, the Model from seed to pixels, the generator by batch size."""
    device, latent = engine.device, recipe.latent
    config = ModelConfig(
        recipe=recipe.name,
        size=recipe.data.size,
        latent_size=latent.size,
        latent_distribution=latent.distribution,
        generator=recipe.generator,
        images=0,
        ema_halflife_images=0,
        data={},
        licence="none",
        weights_sha256="",
    )
    model = Model(config, generator, device)
    z_NZ = torch.randn(FACES, latent.size, device=device)

    def call(network: nn.Module, batch: int, precision: str, times: int) -> None:
        with torch.inference_mode(), Engine(device, precision).autocast():
            for _ in range(times):
                for z_BZ in torch.split(z_NZ, batch):
                    network(z_BZ)
        _synchronise(device)

    def model_batches(times: int) -> None:
        for _ in range(times):
            for _ in model.batches(FACES, SEED, precision=engine.precision):
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
        pictures = Jpegs(jpegs, recipe.data.crop, recipe.data.size)
        work = reference_training(recipe, engine.device, pictures)
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
    return [
        (f"Training {result.recipe}, batch {result.batch}", headings, training),
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
        f"Losses of the first {CHECKED_STEPS} steps in fp32 differ by "
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
