"""Every recipe that ships, by the command in its own header: it trains, stops, goes on exactly, and draws."""

import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from typer.testing import CliRunner

from limner.cli import app
from limner.data.packed import PackedFaces
from limner.data.prepare import prepare
from limner.recipes import recipe_names, recipe_text

# `demo` is trained by `limner demo` (tests/test_demo.py); its settings are those of dcgan32.
NAMES = [name for name in recipe_names() if name != "demo"]
SMALLER = {  # where a network has no width to shrink, its pictures are smaller or its batches
    "generator.width": 64,
    "discriminator.width": 4,
    "encoder.width": 4,
    "schedule.batch": 2,
    "discriminator.stddev_group": 2,
    "schedule.decay": 0,  # or the run that ends early would slow down earlier
    "record.log_images": 4,
    "record.checkpoint_images": 10,  # so that the stop lies at none
    "record.grid": 4,
    "engine.precision": "fp32",
}


@pytest.fixture(scope="module")
def faces64(tmp_path_factory: pytest.TempPathFactory) -> PackedFaces:
    return prepare("synthetic:48", tmp_path_factory.mktemp("data") / "faces64", size=64, workers=1, quiet=True)


def header_command(name: str) -> list[str]:
    """The arguments of the command that a recipe's header says it is trained with."""
    (line,) = re.findall(r"^# Command: limner (train .*)$", recipe_text(name), re.MULTILINE)
    return shlex.split(line)


def shrunk(name: str) -> list[str]:
    """Overrides that make a recipe small enough for a test, of settings that it has."""
    tables = tomllib.loads(recipe_text(name))
    arguments = []
    for key, value in SMALLER.items():
        table, _, setting = key.partition(".")
        if table in ("record", "engine") or key == "schedule.batch" or setting in tables.get(table, {}):
            arguments += ["--set", f"{key}={value}"]
    if tables["generator"]["network"] == "autoencoder":
        arguments += ["--set", "data.size=32", "--set", "latent.size=3072"]
    return arguments


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("name", NAMES)
def test_the_command_in_the_header(name: str, faces64: PackedFaces, faces32: PackedFaces, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    command = header_command(name)
    assert command[:2] == ["train", name]
    options = dict(zip(command[2::2], command[3::2], strict=True))
    assert {"--out"} <= options.keys() <= {"--out", "--minutes", "--data"}

    small = shrunk(name)
    data = []
    if "--data" in options:
        data = ["--data", str((faces32 if "data.size=32" in small or "32" in name else faces64).path)]
    arguments = ["train", name, *data, *small, "--device", "cpu", "--quiet"]
    alone, stopped = str(tmp_path / "alone"), str(tmp_path / "stopped")
    run(*arguments, "--out", alone, "--images", "20")
    run(*arguments, "--out", stopped, "--images", "12")
    run("train", "--resume", stopped, "--images", "20", "--device", "cpu", "--quiet")

    mine, theirs = (
        load_file(max((Path(path) / "checkpoints").iterdir()) / "state.safetensors") for path in (alone, stopped)
    )
    assert mine.keys() == theirs.keys()
    assert [tensor for tensor in mine if not torch.equal(mine[tensor], theirs[tensor])] == []
    logs = ([json.loads(line) for line in (Path(path) / "log.jsonl").open()] for path in (alone, stopped))
    mine_at, theirs_at = ({line["images"]: line for line in log if line["event"] == "log"} for log in logs)
    assert [*mine_at] == [*theirs_at] == [4, 8, 12, 16, 20]
    clocked = ("seconds", "images_per_second")
    for images, line in mine_at.items():
        assert {k: v for k, v in line.items() if k not in clocked} == {
            k: v for k, v in theirs_at[images].items() if k not in clocked
        }

    before = load_file(min((Path(alone) / "checkpoints").iterdir()) / "state.safetensors")
    learnt = [name for name in mine if name.startswith("generator.") and not torch.equal(mine[name], before[name])]
    assert learnt, "the generator learns nothing"

    picture = tmp_path / "faces.png"
    wishes = (
        ["--with", "smiling,male", "--without", "eyeglasses"] if name in ("cgan", "acgan", "modern-attributes") else []
    )
    run("sample", alone, "--out", str(picture), "--count", "4", "--quiet", *wishes)
    with Image.open(picture) as opened:
        assert min(opened.size) >= 64
