"""Trainings that start from the weights of another one: what they take, what they refuse, and what then learns."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from typer.testing import CliRunner

from limner.cli import app
from limner.core.errors import UserError
from limner.data.packed import PackedFaces
from limner.model.model import KNOWN, Model
from limner.preparation.prepare import prepare
from limner.training.session import resume, train

SMALL = (
    "data.size=32",
    "generator.width=4",
    "discriminator.width=4",
    "discriminator.stddev_group=2",
    "schedule.batch=4",
    "schedule.decay=0",
    "record.grid=4",
    "record.evaluate_images=0",
    "engine.precision=fp32",
)
NO_WARM_UP = "transfer.warm_up_images=0"
AS_BASE = ("generator.depth=0", "generator.max_width=256")  # finetune's generator is the larger one of `faces`


def base_run(out: Path, data: PackedFaces, *overrides: str, recipe: str = "modern-attributes") -> Path:
    """A run of eight images with a network small enough for a test."""
    return train(recipe, data, out, images=8, overrides=[*SMALL, *overrides], quiet=True).path


def finetune(out: Path, data: PackedFaces, init: Path, *overrides: str, images: int = 8, seed: int = 1) -> Path:
    every = [*SMALL, *AS_BASE, NO_WARM_UP, *overrides]
    return train("finetune", data, out, images=images, overrides=every, seed=seed, init=init, quiet=True).path


def checkpoint(run: Path, images: int) -> dict[str, Tensor]:
    return load_file(run / "checkpoints" / f"{images:09d}" / "state.safetensors")


def network(tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key.partition(".")[2]: value for key, value in tensors.items() if key.startswith(f"{name}.")}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, faces32: PackedFaces) -> Path:
    return base_run(tmp_path_factory.mktemp("runs") / "base", faces32)


def test_a_run_gives_its_ema_and_its_discriminator(base: Path, faces32: PackedFaces, tmp_path: Path) -> None:
    run = finetune(tmp_path / "run", faces32, base)
    begun, before = checkpoint(run, 0), checkpoint(base, 8)
    for name in ("generator", "ema_generator"):
        assert same(network(begun, name), network(before, "ema_generator"))
    assert not same(network(begun, "generator"), network(before, "generator"))
    assert same(network(begun, "discriminator"), network(before, "discriminator"))
    assert not any(name.startswith("optimizer") for name in begun)  # their moments belong to other images

    said = json.loads((run / "run.json").read_text())["init"]
    assert said["model"] == str(base)
    assert said["weights_sha256"] == Model.load(base).config.weights_sha256
    assert said["networks"] == ["generator", "discriminator"]


def test_a_model_folder_gives_its_generator_alone(base: Path, faces32: PackedFaces, tmp_path: Path) -> None:
    begun = checkpoint(finetune(tmp_path / "run", faces32, base / "model", seed=0), 0)
    weights = load_file(base / "model" / "model.safetensors")
    weights.pop(KNOWN)
    assert same(network(begun, "generator"), weights)
    assert same(network(begun, "discriminator"), network(checkpoint(base, 0), "discriminator"))  # as fresh as its own


def test_the_model_card_names_the_start_and_both_licences(base: Path, tmp_path: Path) -> None:
    images = prepare("synthetic:40", tmp_path / "drawn", size=32, workers=1, quiet=True)
    info = json.loads((images.path / "dataset.json").read_text())
    info["source"]["licence"] = "mine"
    (images.path / "dataset.json").write_text(json.dumps(info))
    run = finetune(tmp_path / "run", PackedFaces.open(images.path), base)
    config, before = Model.load(run).config, Model.load(base).config
    assert config.licence == f"{before.licence}; mine"
    assert config.init.startswith(f"{base.name}, weights {before.weights_sha256[:16]}")
    assert config.init in (run / "model" / "README.md").read_text()
    # A model that was made of this one inherits both.
    again = Model.load(finetune(tmp_path / "again", PackedFaces.open(images.path), run)).config
    assert again.licence == config.licence


def test_it_resumes_exactly_without_the_model_it_started_from(base: Path, faces32: PackedFaces, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    shutil.copytree(base, gone)
    settings = ("transfer.freeze=1", "transfer.warm_up_images=8")
    whole = finetune(tmp_path / "whole", faces32, gone, *settings, images=24)
    part = finetune(tmp_path / "part", faces32, gone, *settings, images=12)
    shutil.rmtree(gone)
    resume(part, images=24, quiet=True)
    mine, theirs = checkpoint(whole, 24), checkpoint(part, 24)
    assert same(mine, theirs)
    assert Model.load(whole).config == Model.load(part).config


def test_frozen_layers_keep_their_weights(base: Path, faces32: PackedFaces, tmp_path: Path) -> None:
    run = finetune(tmp_path / "run", faces32, base, "transfer.freeze=2")
    begun, ended = (network(checkpoint(run, images), "discriminator") for images in (0, 8))
    changed = {name.rpartition(".")[0] for name in begun if not torch.equal(begun[name], ended[name])}
    assert changed == {"main.4", "linear"}  # its layers are main.0, main.2, main.4 and linear


def test_the_generator_waits_until_the_discriminator_is_warm(base: Path, faces32: PackedFaces, tmp_path: Path) -> None:
    run = finetune(
        tmp_path / "run", faces32, base, "transfer.warm_up_images=8", "record.checkpoint_images=4",
        "record.keep_checkpoints=9", images=12,
    )  # fmt: skip
    weights = [
        {key: value for key, value in network(checkpoint(run, images), "generator").items() if ".norm." not in key}
        for images in (0, 4, 8, 12)
    ]
    assert same(weights[0], weights[1])
    assert same(weights[0], weights[2])
    assert not same(weights[0], weights[3])
    assert not same(*(network(checkpoint(run, images), "discriminator") for images in (0, 4)))


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ((), "generator.depth is 0, here 1"),
        ((*AS_BASE, "generator.width=8"), "generator.width is 4, here 8"),
        ((*AS_BASE, "latent.size=16"), "latent.size is 128, here 16"),
        ((*AS_BASE, "discriminator.width=8"), "discriminator.width is 4, here 8"),
    ],
)
def test_settings_that_differ_are_named_and_what_the_message_says_mends_them(
    overrides: tuple[str, ...], words: str, base: Path, faces32: PackedFaces, tmp_path: Path
) -> None:
    every = [*SMALL, NO_WARM_UP, *overrides]
    with pytest.raises(UserError, match=re.escape(words)) as caught:
        train("finetune", faces32, tmp_path / "run", images=4, overrides=every, init=base, quiet=True)
    assert not (tmp_path / "run").exists()
    mended = re.findall(r"--set ([\w.]+=\w+)", str(caught.value))
    assert mended
    train("finetune", faces32, tmp_path / "run", images=4, overrides=[*every, *mended], init=base, quiet=True)


def test_another_network_size_or_kind_of_conditioning_is_refused(
    base: Path, model_folder: Path, faces32: PackedFaces, tmp_path: Path
) -> None:
    """`base` is a conditional model of modern's network with 32 pixels, `model_folder` a plain one of dcgan32's."""
    plain = base_run(tmp_path / "plain", faces32, recipe="modern-cpu")
    faces64 = prepare("synthetic:40", tmp_path / "faces64", size=64, workers=1, quiet=True)
    of_modern = [*SMALL, *AS_BASE, NO_WARM_UP]
    networks, kinds = (
        "generator.network = dcgan32, and the recipe modern-cpu has modern: .*dcgan32",
        "on none: .*finetune",
    )
    own_recipe = f"has no attributes.*{re.escape(str(plain / 'recipe.toml'))}"
    for init, recipe, data, overrides, words in (
        (model_folder, "modern-cpu", faces32, SMALL, networks),
        (
            base,
            "finetune",
            faces64,
            [*of_modern, "data.size=64"],
            "images of 32 pixels, and data.size is 64: .*size 32",
        ),
        (base, "modern-cpu", faces32, SMALL, kinds),
        (plain, "finetune", faces32, of_modern, own_recipe),
    ):
        with pytest.raises(UserError, match=words) as caught:
            train(recipe, data, tmp_path / "run", images=4, overrides=overrides, init=init, quiet=True)
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "run").exists()
    # What the last message says works.
    train(plain / "recipe.toml", faces32, tmp_path / "run", images=4, init=plain, quiet=True)


def beside(folder: Path, model: Path, settings: dict[str, object], weights: dict[str, Tensor]) -> Path:
    """A copy of `model` with a discriminator in half precision beside it."""
    shutil.copytree(model, folder)
    metadata = {"settings": json.dumps(settings)}
    save_file({key: value.half() for key, value in weights.items()}, folder / "discriminator.safetensors", metadata)
    return folder


def test_a_discriminator_beside_a_model_is_taken_where_it_fits(
    base: Path, faces32: PackedFaces, tmp_path: Path
) -> None:
    weights = network(checkpoint(base, 8), "discriminator")

    def settings(width: int) -> dict[str, object]:
        return {"discriminator": {"network": "modern", "width": width}, "conditioning": {"method": "projection"}}

    model = beside(tmp_path / "model", base / "model", settings(4), weights)
    begun = network(checkpoint(finetune(tmp_path / "run", faces32, model), 0), "discriminator")
    assert same(begun, {key: value.half().float() for key, value in weights.items()})

    other = beside(tmp_path / "other", base / "model", settings(8), weights)
    run = finetune(tmp_path / "fresh", faces32, other)
    assert json.loads((run / "run.json").read_text())["init"]["networks"] == ["generator"]

    weights["linear.bias"] = weights["linear.bias"][:1]
    with pytest.raises(UserError, match="does not hold the discriminator that its settings describe"):
        finetune(tmp_path / "short", faces32, beside(tmp_path / "cut", base / "model", settings(4), weights))

    (model / "discriminator.safetensors").write_bytes(b"no weights")
    with pytest.raises(UserError, match="is damaged"):
        finetune(tmp_path / "damaged", faces32, model)


def relabelled(data: PackedFaces, folder: Path, names: list[str]) -> PackedFaces:
    shutil.copytree(data.path, folder)
    info = json.loads((folder / "dataset.json").read_text())
    info["attribute_names"] = names
    (folder / "dataset.json").write_text(json.dumps(info))
    return PackedFaces.open(folder)


def test_other_attributes_are_refused_and_label_is_named(base: Path, faces32: PackedFaces, tmp_path: Path) -> None:
    names = list(faces32.attribute_names)
    for place, (known, words) in enumerate(
        [(["Beak", *names[1:]], "2 differ, such as 5_o_Clock_Shadow"), (names[::-1], "their order differs")]
    ):
        data = relabelled(faces32, tmp_path / f"data{place}", known)
        with pytest.raises(UserError, match=f"{words}.*limner label DATA --out DATA2"):
            finetune(tmp_path / "run", data, base)
    assert not (tmp_path / "run").exists()


def test_what_the_command_refuses(
    base: Path, faces32: PackedFaces, tmp_path: Path, refusal: Callable[..., str]
) -> None:
    run = str(tmp_path / "run")
    small = [word for override in (*SMALL, *AS_BASE) for word in ("--set", override)]
    new = ["--data", str(faces32.path), "--out", run]
    frozen = ["--init", str(base), "--set", "transfer.freeze=4"]
    for arguments, words in (
        (["--resume", str(base), "--init", "faces"], "--out, --seed, --init and --force belong to a new run"),
        (["finetune", *new, *small], "add --init faces"),
        (["finetune", *new, *small, "--init", "nowhere"], "nowhere is no run"),
        (["finetune", *new, *small, *frozen], "transfer.freeze is 4; the discriminator has 4 layers"),
        (["vae", *new, "--set", "transfer.freeze=1"], "transfer.freeze has no effect"),
    ):
        assert words in refusal("train", *arguments)
        assert not Path(run).exists()


def test_the_recipe_fits_the_model_that_ships(tmp_path: Path) -> None:
    """By the command of its header."""
    data = prepare("synthetic:40", tmp_path / "faces64", size=64, workers=1, quiet=True)
    run = tmp_path / "run"
    small = ["schedule.batch=4", "record.grid=4", "record.evaluate_images=0"]
    arguments = ["train", "finetune", "--init", "faces", "--data", str(data.path), "--out", str(run), "--images", "4"]
    result = CliRunner().invoke(app, [*arguments, "--quiet", *(word for one in small for word in ("--set", one))])
    assert result.exit_code == 0, result.output
    assert Model.load(run).config.init.startswith("faces, weights ")
    before = Model.load("faces")
    begun = network(checkpoint(run, 0), "generator")
    assert same(begun, before.generator.state_dict())
