"""limner checks: what this machine has, and what will not work on it."""

import json
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from limner import checks as module
from limner.cli import main
from limner.model.shipped import FOLDER


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["limner", "checks", *words])
    with pytest.raises(SystemExit) as left:
        main()
    return int(left.value.code or 0)


def line_of(capsys: pytest.CaptureFixture[str], name: str) -> str:
    """The one line that is printed of what is looked at by this name."""
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.split()[1:2] == [name]]
    return line


def test_a_machine_on_which_everything_works(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path))
    assert run(monkeypatch, "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    found = {check["name"]: check["found"] for check in printed["checks"]}
    assert printed["works"] is True
    assert found["torch"] == version("torch")
    assert found["limner"].startswith(version("limner"))
    assert found["faces"] == found["judge"] == found["judge128"] == "whole"
    assert str(tmp_path) in found["cache"]
    assert list(tmp_path.iterdir()) == []

    assert run(monkeypatch) == 0
    assert "Everything works." in capsys.readouterr().out


def test_a_damaged_model_is_found(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    shutil.copytree(FOLDER / "faces", tmp_path / "models" / "faces")
    weights = tmp_path / "models" / "faces" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    monkeypatch.setattr(module, "MODELS", tmp_path / "models")
    assert run(monkeypatch) == 1
    assert line_of(capsys, "faces").startswith("!!") is True


def test_what_an_extra_lacks_is_named_and_is_no_fault(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def without_psycopg(name: str) -> str:
        if name == "psycopg":
            raise PackageNotFoundError(name)
        return "0.1" if name == "av" else version(name)

    monkeypatch.setattr(module, "version", without_psycopg)
    assert run(monkeypatch) == 0
    printed = capsys.readouterr().out
    assert "psycopg is not installed: pip install 'limner[sweep]'" in printed
    assert "av 0.1 does not fit >=14: pip install 'limner[video]'" in printed


def test_a_cache_that_cannot_be_written_is_found(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path / "file" / "cache"))
    assert run(monkeypatch) == 1
    assert "set LIMNER_CACHE in the environment to another folder" in line_of(capsys, "cache")


def test_a_torch_that_cannot_be_imported_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert run(monkeypatch) == 1
    assert line_of(capsys, "torch").endswith("pip install --force-reinstall torch")
