"""The commands of docs/photos.md, one after the other, in one folder."""

import re
import shlex
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import limner
from limner.cli import app
from limner.data.packed import PackedFaces
from limner.model.model import Model

PAGE = Path(__file__).resolve().parents[1] / "docs" / "photos.md"
QUICK = ["--images", "16", "--set", "record.grid=4", "--set", "record.evaluate_images=0", "--quiet"]


def commands() -> list[list[str]]:
    """The arguments of every command of the page that is not the form of one."""
    lines = re.findall(r"^    limner (.*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return [shlex.split(line) for line in lines if "[" not in line]


@pytest.mark.skipif(find_spec("mtcnn") is None, reason="the extra align is not installed")
def test_the_way_from_photos_to_new_faces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("limner.preparation.prepare.usable_cores", lambda: 1)  # seconds sooner than with processes
    (tmp_path / "photos").mkdir()
    for row, image_HWC in enumerate(limner.load("faces").sample(80, seed=0)):
        Image.fromarray(image_HWC).resize((192, 192), Image.Resampling.BICUBIC).save(f"photos/{row:02}.png")
    ran = []
    for arguments in commands():
        result = CliRunner().invoke(app, [*arguments, *(QUICK if arguments[0] == "train" else [])])
        assert result.exit_code == 0, result.output
        ran.append(arguments[0])
    assert ran == ["prepare", "prepare", "label", "train", "sample"]
    splits = PackedFaces.open("labelled").info.counts.splits
    assert (splits["test"], splits["val"]) == (20, 20)
    assert splits["train"] >= 38
    assert Model.load("runs/mine").config.init.startswith("faces, ")
    with Image.open("mine.png") as opened:
        assert np.asarray(opened).std() > 20
