"""The command as a newcomer meets it: help that can be read, one line for a mistake, the right exit status."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from limner import cli
from limner.cli import app, main
from limner.runs.run import Run

if TYPE_CHECKING:
    from limner.data.packed import PackedFaces

COMMANDS = ["bench", "compare", "demo", "evaluate", "prepare", "recipes", "sample", "train"]


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The exit status of `limner ARGUMENTS`, run as the installed command runs."""
    monkeypatch.setattr(sys, "argv", ["limner", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    return int(left.value.code or 0)


def test_help_lists_every_command() -> None:
    result = CliRunner().invoke(app, ["--help"])
    assert result.exit_code == 0
    assert [name for name in COMMANDS if not re.search(rf"\b{name}\b", result.output)] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_explained(command: str) -> None:
    group = cli.typer.main.get_command(app)
    parameters = group.commands[command].params  # type: ignore[attr-defined]
    assert [parameter.name for parameter in parameters if not getattr(parameter, "help", None)] == []
    result = CliRunner().invoke(app, [command, "--help"])
    assert result.exit_code == 0


def test_python_dash_m_and_version() -> None:
    said = subprocess.run([sys.executable, "-m", "limner", "--version"], capture_output=True, text=True, check=True)
    assert re.fullmatch(r"limner \d+\.\d+\.\d+\n", said.stdout)


def test_import_brings_no_torch() -> None:
    """`import limner` and `limner --help` are quick because torch and numpy come only when they are needed."""
    code = "import sys, limner, limner.cli; print(*({'torch', 'numpy', 'PIL', 'matplotlib'} & set(sys.modules)))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.split() == []


def test_public_api() -> None:
    import limner

    assert sorted(limner.__all__) == [
        "compare",
        "evaluate",
        "export",
        "label",
        "load",
        "prepare",
        "resume",
        "sweep",
        "train",
        "verify",
    ]
    assert all(callable(getattr(limner, name)) for name in limner.__all__)
    with pytest.raises(AttributeError, match="no attribute 'tarin'"):
        _ = limner.tarin


def test_recipes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "recipes") == 0
    listed = capsys.readouterr().out
    assert "dcgan-ttur" in listed
    assert "report 002" in listed
    assert run(monkeypatch, "recipes", "dcgan") == 0
    assert "[optimizer.generator]" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "dcgn", "--data", "d", "--out", "o"], "did you mean dcgan?"),
        (["train", "dcgan", "--data", "nowhere", "--out", "o"], "nowhere"),
        (["train", "dcgan"], "limner train RECIPE --data DIR --out RUN"),
        (["train", "--resume", "nowhere"], "nowhere is not a run"),
        (["train", "--resume", "r", "--out", "o"], "leave them out"),
        (["train", "dcgan", "--data", "d", "--out", "o", "--set", "x=1"], "no setting x"),
        (["prepare", "nowhere", "out"], "nowhere"),
        (["prepare", "synthetic:10", "out", "--size", "9"], "size"),
        (["sample"], "limner sample MODEL"),
        (["sample", "nowhere"], "nowhere is no run and no model folder"),
        (["recipes", "dcgan-tur"], "did you mean dcgan-ttur?"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, *arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("limner: ")
    assert said.count("\n") == 1
    assert words in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [["recipes"], ["recipes", "dcgan"], ["--help"]])
@pytest.mark.parametrize("unbuffered", ["", "1"])  # the fault is met when the interpreter ends, or at the first print
def test_a_reader_that_leaves_is_no_fault(arguments: list[str], unbuffered: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "limner", *arguments]
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False, env=environment)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(os.name != "posix", reason="this system has no such shell")
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_without_standard_streams_a_command_writes_its_file_and_nothing_into_it(closed: str, tmp_path: Path) -> None:
    def sample(out: Path, redirections: str) -> "subprocess.CompletedProcess[str]":
        words = [sys.executable, "-m", "limner", "sample", "faces", "--count", "2", "--out", str(out)]
        command = ["sh", "-c", f'exec "$@" {redirections}', "sh", *words]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def pixels(file: Path) -> bytes:
        with Image.open(file) as image:
            return image.tobytes()

    assert sample(tmp_path / "open.png", "").returncode == 0
    done = sample(tmp_path / "closed.png", closed)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    assert pixels(tmp_path / "closed.png") == pixels(tmp_path / "open.png")
    file = (tmp_path / "closed.png").read_bytes()
    assert file.endswith(b"IEND\xaeB`\x82")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["closed.png", "open.png"]


def test_a_training_goes_on_when_nobody_reads_its_progress(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, faces32: "PackedFaces", tiny: tuple[str, ...]
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    sets = [part for setting in tiny for part in ("--set", setting)]
    with os.fdopen(writer, "w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        arguments = ["--data", str(faces32.path), "--out", str(tmp_path / "run"), "--images", "64", "--device", "cpu"]
        assert run(monkeypatch, "train", "dcgan32", *arguments, *sets) == 0
    assert Run.open(tmp_path / "run").log[-1]["reason"] == "finished"


def test_of_several_processes_the_main_one_speaks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    waited: list[float] = []
    monkeypatch.setattr("time.sleep", waited.append)
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        assert run(monkeypatch, "recipes", "dcgan-tur") == 2
    assert waited == [0, cli.SECONDS_FOR_MAIN]  # by then torchrun has ended it, if it was not alone with its mistake
    assert capsys.readouterr().err.count("did you mean dcgan-ttur?") == 2


def test_unknown_option_is_status_2(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, "train", "--nonsense") == 2


def test_interruption_is_status_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("limner.model.sample.sample", interrupted)
    assert run(monkeypatch, "sample", "model") == 130
    assert "Traceback" not in capsys.readouterr().err


def test_a_fault_of_ours_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("limner.model.sample.sample", broken)
    monkeypatch.setattr(sys, "argv", ["limner", "sample", "model"])
    with pytest.raises(ZeroDivisionError):
        main()


def test_compare_hands_on_what_it_is_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: dict[str, Any] = {}

    def compare(models: list[str], data: Path, out: Path, **options: Any) -> Path:
        asked.update(options, models=models, data=data)
        return out

    monkeypatch.setattr("limner.reports.compare.compare", compare)
    options = ["--samples", "64", "--seeds", "4", "--extractor", "lite0", "--no-nearest", "--protocol", "training"]
    assert run(monkeypatch, "compare", "a", "b", "--data", "d", "--out", str(tmp_path / "c.html"), *options) == 0
    assert (asked["models"], asked["data"]) == (["a", "b"], Path("d"))
    assert (asked["samples"], asked["seeds"], asked["extractor"]) == (64, 4, "lite0")
    assert (asked["nearest"], asked["protocol"], asked["weights"]) == (False, "training", None)
