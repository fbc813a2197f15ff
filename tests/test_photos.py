"""The sections of docs/photos.md on labels and fine-tuning: their commands, one after the other, in one folder."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from limner.cli import app
from limner.data.packed import PackedFaces
from limner.model.model import Model
from limner.preparation.prepare import prepare

PAGE = Path(__file__).resolve().parents[1] / "docs" / "photos.md"
QUICK = ["--images", "16", "--set", "record.grid=4", "--set", "record.evaluate_images=0", "--quiet"]


def commands() -> list[list[str]]:
    """The arguments of every command in the two sections that is not the form of one."""
    sections = re.findall(
        r"^## (?:Label|Fine-tune)\n(.*?)(?=^## |\Z)", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    lines = [line for section in sections for line in re.findall(r"^    limner (.*)$", section, re.MULTILINE)]
    return [shlex.split(line) for line in lines if "[" not in line]


def test_the_way_from_photos_to_new_faces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for row, image_HWC in enumerate(prepare("synthetic:80", "drawn", size=64, workers=1, quiet=True).images_NHWC):
        Image.fromarray(image_HWC).save(tmp_path / "photos" / f"{row:02}.png")
    ran = []
    for arguments in commands():
        result = CliRunner().invoke(app, [*arguments, *(QUICK if arguments[0] == "train" else [])])
        assert result.exit_code == 0, result.output
        ran.append(arguments[0])
    assert ran == ["prepare", "label", "train", "sample"]
    labelled = PackedFaces.open("labelled")
    assert labelled.info.counts.splits == {"test": 20, "train": 40, "val": 20}
    assert Model.load("runs/mine").config.init.startswith("faces, ")
    with Image.open("mine.png") as opened:
        assert np.asarray(opened).std() > 20
