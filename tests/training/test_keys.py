"""Every key of every recipe: another value is refused in one line, or it changes what is trained.

A key is walked where its recipe has it, by default or in its file, and with it the conditioning that a recipe could
have. `name`, `follows` and `summary` are for people; `engine.graphs` is for CUDA, where
`test_replayed_steps_are_the_steps` looks at it. Keys of `record` and `data.crop` are seen in whole runs: the recorder
is the same for all recipes.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
import torch
from PIL import Image
from pydantic import BaseModel
from test_recipes import faces64, shrunk, slow_in_soak  # noqa: F401

from limner.core.distributed import start_engine
from limner.core.errors import UserError
from limner.data.packed import PackedFaces
from limner.preparation.prepare import prepare
from limner.recipes import recipe_names
from limner.recipes.load import load_recipe
from limner.recipes.schema import Recipe
from limner.training.loop import train_step
from limner.training.modality import open_modality
from limner.training.schedule import Budget
from limner.training.session import train
from limner.training.state import State

FOR_PEOPLE = ("name", "follows", "summary")
ELSEWHERE = ("engine.graphs", "data.crop", "record")
# Where neither half nor twice the value says enough in two steps of tiny networks.
OTHERS: dict[str, list[Any]] = {
    "objective.penalty_every": [1, 2],
    "discriminator.stddev_group": [1, 0],
    "max_width": [8],
    "depth": [1, 0],
    "ema.halflife_images": [0],
    "latent.size": [8],
    "data.size": [32, 64, 128],
    "schedule.batch": [4],
    "engine.precision": ["bf16"],  # `auto` is one of the two, which depends on the machine
}


def walk(recipe: Recipe) -> Iterator[tuple[str, list[Any]]]:
    """The keys of a recipe, each with other values for it."""
    tables: list[tuple[str, BaseModel]] = [("", recipe)]
    while tables:
        prefix, table = tables.pop()
        for name, field in type(table).model_fields.items():
            key, value = f"{prefix}{name}", getattr(table, name)
            if isinstance(value, BaseModel):
                tables.append((f"{key}.", value))
            elif key not in FOR_PEOPLE and not key.startswith(ELSEWHERE) and value is not None:
                yield key, other_values(key, value, field.annotation)
    if recipe.conditioning is None:
        yield "conditioning.method", ["concatenation", "classifier", "projection"]
    for player in ("generator", "discriminator", "encoder"):
        if getattr(recipe.optimizer, player) is not None:
            yield f"optimizer.{player}.name", [{"adam": "sgd", "sgd": "adam"}[getattr(recipe.optimizer, player).name]]


def other_values(key: str, value: Any, annotation: Any) -> list[Any]:
    known = next((values for ending, values in OTHERS.items() if key.endswith(ending)), None)
    if known is None and get_origin(annotation) is Literal and len(get_args(annotation)) > 1:
        known = [*get_args(annotation)]
    if known is None and isinstance(value, bool):
        known = [not value]
    if known is None and isinstance(value, int):
        known = [2 * value or 1]
    if known is None and isinstance(value, float):
        known = [value / 2 or 0.25]
    return [other for other in known or [] if other != value]


def stages(recipe: Recipe, faces: dict[int, PackedFaces]) -> Iterator[dict[str, Any]]:
    """How long a recipe trains by itself, and its whole state before the first, after the first and the second step."""
    yield {"budget": Budget.choose(recipe.schedule.images, None, None, None, None)}
    modality = open_modality(recipe, faces[recipe.data.size] if recipe.data.kind == "images" else None)
    engine = start_engine("cpu", recipe.engine.precision)
    state = State.fresh(recipe, 0, engine.device, len(modality.attribute_names) if recipe.conditioning else 0)
    source = modality.source(0, engine.device)
    for _ in range(2):
        yield {name: value.clone() for name, value in state.tensors().items()}
        state.set_learning_rates(recipe, 0.9)
        train_step(recipe, state, source, engine, 0)
    yield state.tensors()


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    if one.keys() != other.keys():
        return False
    pairs = [(value, other[key]) for key, value in one.items()]
    return all(a.shape == b.shape and torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in pairs)


def base(name: str) -> list[str]:
    """Overrides that make a recipe small, with a step of both players and a penalty, if any, within two steps."""
    overrides = [word for word in shrunk(name) if word != "--set" and not word.startswith("schedule.decay")]
    objective, network = load_recipe(name).objective, load_recipe(name).generator.network
    if network == "modern":
        overrides.append("data.size=32")
    if getattr(objective, "discriminator_steps", 1) > 1:
        overrides.append("objective.discriminator_steps=1")
    if getattr(objective, "penalty_every", 1) > 1:
        overrides.append("objective.penalty_every=2")
    if load_recipe(name).transfer.warm_up_images:
        overrides.append("transfer.warm_up_images=0")
    return overrides


@pytest.fixture(scope="module")
def faces(faces64: PackedFaces, faces32: PackedFaces) -> dict[int, PackedFaces]:  # noqa: F811
    torch.set_num_threads(1)
    return {32: faces32, 64: faces64}


def walked(name: str, faces: dict[int, PackedFaces]) -> dict[str, dict[str, Any]]:
    """What every other value of every key does: refused (the message), or whether it changes anything."""
    overrides = base(name)
    recipe = load_recipe(name, overrides)
    before = [*stages(recipe, faces)]
    found: dict[str, dict[str, Any]] = {}
    for key, values in walk(recipe):
        for value in values:
            try:
                changed = load_recipe(name, [*overrides, f"{key}={json.dumps(value)}"])
                if changed.data.size != 128:  # another size than the data's is refused when it is opened
                    found.setdefault(key, {})[value] = not all(
                        same(*pair) for pair in zip(before, stages(changed, faces), strict=False)
                    )
            except UserError as error:
                found.setdefault(key, {})[value] = str(error)
    return found


@pytest.mark.parametrize("name", slow_in_soak(recipe_names()))
def test_every_key_changes_something_or_is_refused(name: str, faces: dict[int, PackedFaces]) -> None:
    found = walked(name, faces)
    assert len(found) > 25
    assert [key for key, values in found.items() if False in values.values()] == []
    refusals = [told for values in found.values() for told in values.values() if isinstance(told, str)]
    assert all("\n" not in told and len(told) < 300 for told in refusals)


@pytest.mark.parametrize(
    ("name", "override", "words"),
    [
        ("acgan", "optimizer.generator.equalised=true", "generator.equalised has no effect"),
        ("sngan-pixelnorm", "optimizer.discriminator.equalised=true", "discriminator.equalised has no effect"),
        ("vae", "augment.colour=0.5", "augment.colour has no effect with objective.name = elbo"),
        ("vae", "latent.distribution=uniform", "latent.distribution = uniform does not fit objective.name = elbo"),
        ("vae", "generator.output=tanh", "data.range = unit does not fit the generator's output"),
        ("painter", "augment.shift=0.1", "augment.shift has no effect with data.kind = curves"),
        ("painter", "record.evaluate_images=100", "record.evaluate_images has no effect"),
        ("dcgan", "data.range=unit", "data.range = unit does not fit the generator's output: it needs signed"),
        ("dcgan", "augment.cutout=0.001", "less than half a pixel"),
        ("modern", "schedule.batch=6", "discriminator.stddev_group = 4 does not divide schedule.batch = 6"),
    ],
)
def test_settings_that_do_not_fit_are_refused(name: str, override: str, words: str) -> None:
    with pytest.raises(UserError) as caught:
        load_recipe(name, [override])
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


RECORD = {
    "log_images": (40, lambda run: sum('"event": "log"' in line for line in (run / "log.jsonl").open())),
    "sample_images": (40, lambda run: len([*(run / "samples").glob("0*.png")])),
    "checkpoint_images": (40, lambda run: sorted(path.name for path in (run / "checkpoints").iterdir())[0]),
    "keep_checkpoints": (1, lambda run: len([*(run / "checkpoints").iterdir()])),
    "grid": (9, lambda run: (run / "samples" / "000000000.png").read_bytes()),
}  # evaluate_images: tests/training/test_validation.py


@pytest.mark.parametrize("name", ["dcgan32", "painter"])
def test_every_key_of_record_changes_what_is_written(name: str, faces32: PackedFaces, tmp_path: Path) -> None:
    small = {"dcgan32": ["generator.width=64", "discriminator.width=4"], "painter": []}[name]
    plain = [*small, "schedule.batch=8", *(f"record.{key}_images=16" for key in ("log", "sample", "checkpoint"))]
    plain += ["record.grid=4", "record.keep_checkpoints=3", "record.evaluate_images=0"]
    data = faces32 if name == "dcgan32" else None
    train(name, data, tmp_path / "plain", images=80, overrides=plain, quiet=True)
    for key, (value, look) in RECORD.items():
        changed = [*plain, f"record.{key}={value}"]
        train(name, data, tmp_path / key, images=80, overrides=changed, quiet=True)
        assert look(tmp_path / key) != look(tmp_path / "plain"), key


def test_another_crop_is_said(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for number in range(20):
        Image.new("RGB", (40, 40), (12 * number, 99, 99)).save(images / f"{number}.png")
    data = prepare(images, tmp_path / "data", size=32, quiet=True)
    small = ["generator.width=64", "discriminator.width=4", "schedule.batch=8", "record.evaluate_images=0"]
    said = {}
    for crop in ("square", "report004"):
        train("dcgan32", data, tmp_path / crop, images=8, overrides=[*small, f"data.crop={crop}"])
        said[crop] = capfd.readouterr().err
    assert "made for the crop report004, the images have square" in said["report004"]
    assert "crop" not in said["square"]


def test_report_003_s_critic_loss_has_its_penalty_in_it(faces: dict[int, PackedFaces]) -> None:
    *_, sums = stages(load_recipe("wgan-gp", base("wgan-gp")), faces)
    parts = [float(sums[f"sum.{name}"][0]) for name in ("loss/critic", "loss/discriminator", "penalty/gradient")]
    assert parts[0] == pytest.approx(parts[1] + parts[2])
    assert parts[2] > 0


def test_report_002_s_leaky_generator() -> None:
    from torch import nn

    recipe = load_recipe("dcgan", ["generator.activation=leaky-relu", "generator.width=64"])
    generator = State.fresh(recipe, 0, torch.device("cpu")).generator
    slopes = [layer.negative_slope for layer in generator.modules() if isinstance(layer, nn.LeakyReLU)]
    assert slopes == [0.2] * 4
    assert not any(isinstance(layer, nn.ReLU) for layer in generator.modules())
