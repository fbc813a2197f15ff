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


def run(monkeypatch: pytest.MonkeyPatch, *words: str, imports: bool = False) -> int:
    monkeypatch.setattr(sys, "argv", ["limner", "checks", *words])
    if not imports:  # of all extras, they take seconds
        monkeypatch.setattr(module, "_import_problem", lambda packages: "")
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


def test_an_extra_that_cannot_be_imported_is_named_with_the_command_that_mends_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "av.py").write_text("raise ImportError('libavcodec.so.99: no such file\\n\x1b[31m')")
    (tmp_path / "uvicorn.py").write_text("import os; os._exit(7)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(module, "requires", lambda _: ["av>=14; extra == 'video'", "uvicorn; extra == 'studio'"])
    assert run(monkeypatch, imports=True) == 0
    printed = capsys.readouterr().out
    assert "cannot be imported (ImportError: libavcodec.so.99: no such file)" in printed
    assert "pip install --force-reinstall 'av>=14'" in printed
    assert "cannot be imported (status 7): pip install --force-reinstall 'uvicorn'" in printed
    assert all(line.isprintable() for line in printed.splitlines())


def test_an_import_that_does_not_end_is_given_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "av.py").write_text("import time; time.sleep(600)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(module, "LONGEST_IMPORT", 1)
    assert module._import_problem(["av"]) == "importing av takes more than 1 s"


def test_what_is_imported_of_the_extras_is_what_limner_imports() -> None:
    """Every extra that is installed here can be imported by the names that the check has."""
    extras = ["mtcnn", "c2pa-python", "cryptography", "pillow-heif", "huggingface_hub", "filelock", "av"]
    assert module._import_problem([name for name in extras if is_installed(name)]) == ""
    assert "No module named 'limner_is_not'" in module._import_problem(["limner_is_not"])


def is_installed(name: str) -> bool:
    try:
        return bool(version(name))
    except PackageNotFoundError:
        return False


def test_a_folder_that_has_gone_and_a_home_that_cannot_be_read_end_no_page(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(Path, "rglob", refuse)
    assert run(monkeypatch, "--json") == 1
    found = {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}
    assert "Permission denied" in found["cache"]["found"]
    assert "LIMNER_CACHE" in found["cache"]["mend"]
    assert "cannot be looked at" in found["disk"]["found"]
    assert found["faces"]["found"] == "whole"
    assert set(found["disk"]) == {"name", "found", "mend", "optional"}
