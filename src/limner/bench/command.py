"""`limner bench`: everything that is measured of a recipe, printed and written."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory

import torch

from limner.bench.jpegs import write_jpegs
from limner.bench.measure import (
    SEED,
    WARM_UP,
    compare_losses,
    fresh_state,
    interleave,
    load_average,
    loop_processes,
    loss_differences,
    memory_here,
    profile_here,
    sampling_speeds,
)
from limner.bench.plain_loop import check_reference_fits, steps_per_round
from limner.bench.records import LOOPS, Bench, Ratio
from limner.bench.show import print_result
from limner.core.arguments import checked
from limner.core.console import progress_bar
from limner.core.device import machine_facts
from limner.core.distributed import Engine, start_engine
from limner.core.errors import UserError
from limner.core.files import check_place, write_file
from limner.core.version import __version__
from limner.data.packed import PackedFaces
from limner.preparation.prepare import prepare
from limner.recipes.load import load_recipe
from limner.recipes.schema import Recipe

MOST_STEPS = 1000


@checked
def bench(recipe: str = "dcgan", steps: int = 8, out: Path | None = None, overrides: Sequence[str] = ()) -> Bench:
    """Measure training and sampling of `recipe` and print tables; `steps` samples of each loop, taken in turn.

    `overrides` change the recipe, `key=value` each. With `out`, every sample is also written there as JSON. Raises
    UserError for a recipe that is none or that the reference cannot follow, for `steps` below 1, and where `out` cannot
    be written.
    """
    if not 1 <= steps <= MOST_STEPS:
        raise UserError(f"--steps is {steps}; it must lie between 1 and {MOST_STEPS:,}.")
    if out is not None and not out.parent.is_dir():
        raise UserError(f"--out {out} cannot be written: there is no folder {out.parent}.")
    if out is not None:
        check_place(out)
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
    with loop_processes(recipe, engine, jpegs, faces.path) as processes:
        advance(len(LOOPS))
        works = {loop: process.work for loop, process in processes.items()}
        training = interleave(works, recipe.schedule.batch * steps_per_round(recipe), steps, advance)
        memory = {loop: process.call(memory_here, engine.device) for loop, process in processes.items()}
        profiles = {loop: process.call(profile_here, engine.device) for loop, process in processes.items()}
        advance(1)

    state = fresh_state(recipe, engine.device)
    sampling = sampling_speeds(recipe, engine, state.ema_generator, steps, advance)

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
        sampling=sampling,
        sampling_ratio={
            name: Ratio.of(sampling["reference"], speed) for name, speed in sampling.items() if name != "reference"
        },
    )
