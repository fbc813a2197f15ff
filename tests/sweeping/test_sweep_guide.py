"""Every command of docs/sweep.md does what the page says, with trainings that take no time."""

import json
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from known_landscape import train

from limner.cli import main
from limner.preparation.prepare import prepare
from limner.recipes.load import load_recipe
from limner.sweeping.child import Job

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "sweep.md").read_text(encoding="utf-8")
LINES = [line.strip() for line in PAGE.splitlines() if line.startswith("    limner sweep ")]
DATABASE = "postgresql+psycopg://limner@db/sweeps"


@pytest.fixture(scope="module")
def celeba64(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare("synthetic:96", tmp_path_factory.mktemp("data") / "celeba64", heldout=8, workers=1, quiet=True).path


@pytest.fixture
def folder(tmp_path: Path, celeba64: Path, monkeypatch: pytest.MonkeyPatch, no_training: object) -> Path:
    """A working folder in which the page's data are."""
    (tmp_path / "celeba64").symlink_to(celeba64)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(line: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", shlex.split(line))
    with pytest.raises(SystemExit) as left:
        main()
    return int(left.value.code or 0)


@pytest.mark.parametrize("line", LINES)
def test_command_works(line: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a database in a file in the place of the one that the page names, and fewer trials."""
    line = re.sub(r"--trials \d+", "--trials 3", line.replace(DATABASE, "sqlite:///sweeps.db"))
    assert run(line, monkeypatch) == 0
    out = folder / shlex.split(line)[shlex.split(line).index("--out") + 1]
    assert (out / "sweep.html").is_file()
    assert load_recipe(out / "best.toml")
    assert (out / "trials" / "0000" / "seed-0").is_dir()
    assert (out / "journal.log").is_file() is (DATABASE not in line and "sqlite" not in line)


def test_there_are_commands_to_check() -> None:
    assert len(LINES) == 5


def test_an_interrupted_sweep_prints_the_command_that_goes_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(job: Job, watch: Callable[[], None]) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("limner.sweeping.trial.run_job", stop)
    assert run(LINES[0], monkeypatch) == 130
    told = capsys.readouterr().err.strip().splitlines()[-1]
    command = told.partition("Resume with: ")[2]
    assert shlex.split(command) == [*shlex.split(LINES[0]), "--resume"]
    monkeypatch.setattr("limner.sweeping.trial.run_job", train)
    assert run(command, monkeypatch) == 0
    assert len(list((folder / "rates" / "trials").iterdir())) == 9


def test_a_mistake_is_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("limner sweep dcgan --data celeba64 --out rates --vary optimizer.generator.lrr=1,2", monkeypatch) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (folder / "rates").exists()


def test_without_the_extra_it_says_what_to_install(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert run(LINES[0], monkeypatch) == 2
    assert "pip install 'limner[sweep]'" in capsys.readouterr().err


def test_the_example_in_python_runs(folder: Path) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, object] = {}
    exec(example, names)
    assert names["swept"].page.is_file()  # type: ignore[attr-defined]


def test_the_journal_is_one_that_optuna_reads(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line of JSON for each change; `optuna-dashboard rates/journal.log` opens it as `test_sweep` does."""
    assert run(LINES[0], monkeypatch) == 0
    for line in (folder / "rates" / "journal.log").read_text().splitlines():
        assert "op_code" in json.loads(line)
