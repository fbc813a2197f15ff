"""Every recipe that can makes images of 128 x 128: it is built, takes a step, samples; the others say why not."""

import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from limner.core.errors import UserError
from limner.data.packed import PackedFaces
from limner.evaluation.conditional import load_judge_for
from limner.model.model import Model
from limner.preparation.prepare import prepare
from limner.recipes import recipe_names, recipe_text
from limner.recipes.load import load_recipe
from limner.training.session import train

CANNOT = {
    "avgpool-bce": "makes images of 64 only",
    "autoencoder-bce": r"takes 3 x 128 x 128 = 49152",  # so it can with that latent, in hours an epoch
    "painter": "curves have 15 points",
    "finetune": "faces makes images of 64 pixels",
}
SMALLER = {
    "generator.width": 64,
    "discriminator.width": 4,
    "encoder.width": 4,
    "schedule.batch": 4,
    "discriminator.stddev_group": 4,
    "engine.precision": "fp32",
    "record.grid": 4,
}
NARROW = {"generator.width": 4, "generator.max_width": 32, "discriminator.max_width": 32}


@pytest.fixture(scope="module")
def faces128(tmp_path_factory: pytest.TempPathFactory) -> PackedFaces:
    return prepare("synthetic:24", tmp_path_factory.mktemp("data") / "faces128", size=128, workers=1, quiet=True)


def smaller(name: str) -> list[str]:
    """`--size 128`, and what makes a recipe small enough for a test."""
    tables = tomllib.loads(recipe_text(name))
    changes = SMALLER | (NARROW if tables["generator"]["network"] == "modern" else {})
    always = ("schedule.batch", "engine.precision", "record.grid")
    kept = {key: value for key, value in changes.items() if key in always or _has(tables, key)}
    return ["data.size=128", *(f"{key}={value}" for key, value in kept.items())]


def _has(tables: dict[str, dict[str, object]], key: str) -> bool:
    table, _, setting = key.partition(".")
    return setting in tables.get(table, {})


@pytest.mark.parametrize("name", [name for name in recipe_names() if name not in CANNOT])
def test_a_recipe_trains_at_128(name: str, faces128: PackedFaces, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    run = train(name, faces128, tmp_path / "run", images=4, overrides=smaller(name), device="cpu", quiet=True)
    stop = run.log[-1]
    assert (stop["reason"], stop["images_seen"]) == ("finished", 4)
    model = Model.load(run.path, "cpu")
    assert model.sample(3, seed=1).shape == (3, 128, 128, 3)
    assert model.config.size == 128
    judge, caveats = load_judge_for(model, faces128)
    assert (judge is not None) == (name in ("acgan", "cgan", "modern-attributes"))
    assert judge is None or judge.config.size == 128, caveats


@pytest.mark.parametrize("name", CANNOT)
def test_a_recipe_that_cannot_says_so(name: str, faces128: PackedFaces, tmp_path: Path) -> None:
    data = None if name == "painter" else faces128
    init = "faces" if name == "finetune" else None
    with pytest.raises(UserError, match=CANNOT[name]) as caught:
        train(
            name,
            data,
            tmp_path / "run",
            init=init,
            overrides=["data.size=128", "schedule.batch=4"],
            device="cpu",
            quiet=True,
        )
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_the_recipe_for_128_is_modern_cpu_with_one_block_more() -> None:
    wide, narrow = load_recipe("modern-cpu-128"), load_recipe("modern-cpu")
    changed = wide.differences(narrow).keys() - {"name", "summary"}
    assert changed == {"data.size", "generator.width", "discriminator.width", "objective.r1"}


def test_faces_are_made_in_the_resolution_of_their_model_alone(refusal: Callable[..., str], tmp_path: Path) -> None:
    line = refusal("prepare", "faces:20", str(tmp_path / "data"), "--size", "128")
    assert "makes images of 64 pixels, not 128" in line
    assert not [*tmp_path.iterdir()]
