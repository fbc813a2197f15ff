"""What a training needs before its first step: checks of what it is given, its folder, and the facts that it keeps."""

import json
import platform
import shlex
import shutil
import sys
from contextlib import ExitStack
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from limner.core.device import machine_facts
from limner.core.distributed import Engine
from limner.core.errors import UserError
from limner.core.files import BESIDE, check_place, write_file
from limner.core.version import __version__
from limner.data.packed import join_licences
from limner.model.model import ModelConfig
from limner.recipes.schema import Recipe
from limner.runs.run import INFO, LOG, Run
from limner.training.modality import Modality
from limner.training.schedule import Budget
from limner.training.training import Training


def check_shares(recipe: Recipe, engine: Engine) -> None:
    """Refuse, as a UserError, a batch whose share for each process no step can take (the recipe checks the whole)."""
    batch, world = recipe.schedule.batch, engine.world
    share = batch // world
    if batch % world:
        raise UserError(f"schedule.batch is {batch}, which {world} processes cannot share evenly.")
    if share < 2:
        raise UserError(f"schedule.batch is {batch}: each of {world} processes gets {share}, and needs at least 2.")
    group = getattr(recipe.discriminator, "stddev_group", 0)
    if group and share % group:
        raise UserError(
            f"schedule.batch is {batch}, {share} for each of {world} processes: it cannot be cut into groups of "
            f"discriminator.stddev_group = {group}."
        )


def attribute_names(recipe: Recipe, modality: Modality) -> tuple[str, ...]:
    """The attributes that the generator is given."""
    return modality.attribute_names if recipe.conditioning else ()


def make_room(run: Run, force: bool, held: ExitStack) -> None:
    """Make the folder of `run`, whose lock stays with `held`.

    Raises UserError where something is there that must not be replaced, or another process is training this run.
    """
    path = run.path
    check_place(path)
    if path.exists() and not _is_barely_begun(path):
        if not force:
            raise UserError(
                f"{path} exists: choose another --out, go on with --resume {path}, or replace it with --force."
            )
        if not (path / INFO).is_file():
            raise UserError(f"{path} is not a run; --force replaces nothing else: choose another --out.")
        with run.sole_writer():
            shutil.rmtree(path)
    path.mkdir(parents=True, exist_ok=True)
    held.enter_context(run.sole_writer())


def _is_barely_begun(path: Path) -> bool:
    """Whether this is an empty folder, or one that a training left which was killed before it wrote anything."""
    return path.is_dir() and all(file.name == LOG or BESIDE.fullmatch(file.name) for file in path.iterdir())


def run_facts(training: Training, budget: Budget) -> dict[str, Any]:
    """The contents of run.json: versions, machine, seed, command, budget, data and parameters."""
    return {
        "limner": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": machine_facts(training.engine.device),
        "processes": training.engine.world,
        "precision": f"{training.engine.precision} channels-last",
        "recipe": training.recipe.name,
        "seed": training.seed,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["limner", *sys.argv[1:]]) if Path(sys.argv[0]).stem in ("limner", "__main__") else "",
        "budget": vars(budget),
        "data": training.modality.facts,
        "init": training.init and asdict(training.init),
        "parameters": {
            name: sum(parameter.numel() for parameter in network.parameters())
            for name, network in training.state.networks.items()
            if name != "ema_generator"
        },
    }


def model_config(training: Training) -> ModelConfig:
    """The config of a training's models before the first step: `images` grows, and each has its own checksum."""
    recipe, modality, init = training.recipe, training.modality, training.init
    of_data = {"name": "name", "images": "train", "crop": "crop", "content_hash": "content_hash"}
    return ModelConfig(
        recipe=recipe.name,
        kind=recipe.data.kind,
        size=recipe.data.size,
        latent_size=recipe.latent.size,
        latent_distribution=recipe.latent.distribution,
        pixel_range=recipe.data.range,
        generator=recipe.generator,
        attribute_names=attribute_names(recipe, modality),
        images_seen=0,
        ema_halflife_images=recipe.ema.halflife_images,
        data={key: modality.facts[name] for key, name in of_data.items() if name in modality.facts},
        licence=join_licences(*([init.licence] if init else []), modality.facts["licence"]),
        init=str(init or ""),
    )


def write_info(run: Run, info: dict[str, Any]) -> None:
    """Write run.json."""
    write_file(run.path / INFO, (json.dumps(info, indent=1) + "\n").encode())


def warn_of_changes(info: dict[str, Any], engine: Engine) -> None:
    """Say what of the machine differs from when the run began, since then it does not end bit-identical."""
    now = machine_facts(engine.device)
    changed = [key for key in ("processor", "threads", "device_name") if info["machine"].get(key) != now[key]]
    if info["torch"] != torch.__version__:
        changed.append("torch")
    if info["processes"] != engine.world:
        changed.append("number of processes")
    if changed:
        print(
            f"Note: {', '.join(changed)} differ from when this run began; it goes on, but not to the same last bit.",
            file=sys.stderr,
        )
