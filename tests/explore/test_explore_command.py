"""limner explore as a command: options that are explained, and mistakes that are one line and exit status 2."""

import shlex
import sys
from pathlib import Path

import pytest
import typer

from limner.cli import main
from limner.explore.command import explore_app

COMMANDS = typer.main.get_command(explore_app).commands  # type: ignore[attr-defined]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_explained(command: str) -> None:
    assert [option.name for option in COMMANDS[command].params if not getattr(option, "help", None)] == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("interpolate faces --faces 0:3,0:x", "'0:x' is no face"),
        ("interpolate faces --faces 0:3,0:7 --out walk.mp4", "pip install 'limner[video]'"),
        ("interpolate nothing --faces 0:3,0:7", "nothing is no run and no model folder"),
        ("arithmetic faces 'smilling female'", "no attribute 'smilling'"),
        ("directions faces --attributes horns --out d", "no attribute 'horns'"),
        ("edit faces --face 0:3 --directions nowhere --by smiling=2", "config.json cannot be read"),
        ("edit faces --directions nowhere --by smiling=2", "give --face SEED:INDEX or --projected DIR"),
        ("project faces letter.txt --out p", "letter.txt cannot be projected, not an image"),
        ("project faces missing.jpg --out p", "missing.jpg cannot be projected, it cannot be read"),
    ],
)
def test_a_mistake_is_one_line(
    line: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.setattr(sys, "argv", ["limner", "explore", *shlex.split(line)])
    Path("letter.txt").write_text("Dear Sir or Madam")
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert said in lines[0]
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]
