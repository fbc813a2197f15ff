"""The licences of the package are those of what is in it."""

import email
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CELEBA = "LicenseRef-CelebA-NonCommercial"


def test_the_wheels_metadata_names_both_licences_and_holds_their_texts(tmp_path: Path) -> None:
    pytest.importorskip("setuptools", minversion="77", reason="what builds the wheel is not installed")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "LICENSES", tmp_path / "LICENSES")
    (tmp_path / "src" / "limner").mkdir(parents=True)
    build = "from setuptools.build_meta import *; prepare_metadata_for_build_wheel('.')"
    subprocess.run([sys.executable, "-c", build], cwd=tmp_path, check=True, capture_output=True)
    (folder,) = tmp_path.glob("*.dist-info")
    metadata = email.message_from_string((folder / "METADATA").read_text(encoding="utf-8"))

    licences = metadata["License-Expression"].split(" AND ")
    assert licences == ["Apache-2.0", CELEBA]
    assert {f"LICENSES/{one}.txt" for one in licences} <= set(metadata.get_all("License-File"))
    for one in licences:
        text = (folder / "licenses" / "LICENSES" / f"{one}.txt").read_text(encoding="utf-8")
        assert text == (ROOT / "LICENSES" / f"{one}.txt").read_text(encoding="utf-8")


def test_everything_derived_from_celeba_is_named() -> None:
    text = (ROOT / "LICENSES" / f"{CELEBA}.txt").read_text(encoding="utf-8")
    patterns = re.findall(r"(?:src|docs)/\S+\.(?:safetensors|png)", text)
    named = {file for pattern in patterns for file in ROOT.glob(pattern)}
    weights = set((ROOT / "src").rglob("*.safetensors"))
    assert len(weights) >= 2
    assert weights | set((ROOT / "docs").rglob("*.png")) == named
    for card in [file.parent / "README.md" for file in weights] + [ROOT / "README.md"]:
        assert CELEBA in card.read_text(encoding="utf-8"), card
