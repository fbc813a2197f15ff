"""Every command of docs/explore.md is run, one after the other, on a small model and with little work each."""

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner

from limner.cli import app
from limner.data.attributes import CELEBA_ATTRIBUTES
from limner.explore import attribute_directions, inversion, sums

PAGE = Path(__file__).resolve().parents[2] / "docs" / "explore.md"
LESS = {
    "interpolate": ["--frames", "6"],
    "arithmetic": ["--samples", "8", "--count", "2"],
    "directions": ["--samples", "64"],
    "project": ["--steps", "2", "--samples", "8"],
    "edit": [],
}


class PixelJudge:
    """Knows CelebA's attributes, and sees each in about half of all images: by sums of pixels with random signs."""

    attribute_names = CELEBA_ATTRIBUTES
    config = SimpleNamespace(weights_sha256="0" * 64)

    def log_odds(self, images_NHWC: NDArray[np.uint8]) -> NDArray[np.float32]:
        pixels_NP = images_NHWC.reshape(len(images_NHWC), -1).astype(np.float32)
        signs_PJ = np.random.default_rng(0).choice([-1, 1], (pixels_NP.shape[1], len(CELEBA_ATTRIBUTES)))
        log_odds_NJ: NDArray[np.float32] = (pixels_NP @ signs_PJ / pixels_NP.shape[1]).astype(np.float32)
        return log_odds_NJ

    def decide(self, images_NHWC: NDArray[np.uint8]) -> NDArray[np.uint8]:
        log_odds_NJ = self.log_odds(images_NHWC)
        return (log_odds_NJ > np.median(log_odds_NJ, axis=0)).astype(np.uint8)


@pytest.fixture
def workplace(model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a model called `faces`, which goes before the one that comes with Limner, and two photos."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(model_folder, "faces")
    for name in ("photo.jpg", "other.jpg"):
        Image.fromarray(np.random.default_rng(1).integers(0, 256, (40, 50, 3), np.uint8)).save(name)
    judge: Any = PixelJudge()
    for module in (sums, attribute_directions):
        monkeypatch.setattr(module, "load_judge", lambda *_: judge)
    monkeypatch.setattr(attribute_directions, "FEWEST_SAMPLES", 16)
    monkeypatch.setattr(inversion, "SCOUT_STEPS", 2)
    return tmp_path


def test_every_command_of_the_page_runs(workplace: Path) -> None:
    lines = [line.strip() for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("    limner ")]
    assert len(lines) >= 10
    for line in lines:
        _, *arguments = shlex.split(line)
        out = Path(arguments[arguments.index("--out") + 1])
        if out.exists():  # the page shows some commands twice
            shutil.rmtree(out) if out.is_dir() else out.unlink()
        result = CliRunner().invoke(app, [*arguments, *LESS[arguments[1]]])
        assert result.exit_code == 0, f"{line}: {result.exception!r}"
        assert str(out) in result.output
        assert out.exists()


def test_the_page_s_python_runs(workplace: Path) -> None:
    text = PAGE.read_text(encoding="utf-8")
    (block,) = re.findall(r"((?:    (?:import limner|limner\.explore).*\n)+)", text)
    assert (
        CliRunner().invoke(app, ["explore", "directions", "faces", "--out", "directions", "--samples", "64"]).exit_code
        == 0
    )
    exec("\n".join(line.strip() for line in block.splitlines()), {})
    assert (workplace / "walk.png").is_file()
    assert (workplace / "edited.png").is_file()
