"""Every command of docs/export.md does what the page says."""

import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from limner.cli import main
from limner.exporting import onnx
from limner.exporting.export import export
from limner.model.model import Model, save_model

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "export.md").read_text(encoding="utf-8")
COMMANDS = [line.strip() for line in PAGE.splitlines() if line.startswith("    limner ")]
LINES = [line for line in COMMANDS if "MODEL" not in line]


@pytest.mark.parametrize("line", LINES)
def test_command_works(
    line: str, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, untrained: Callable[..., Model]
) -> None:
    """With an untrained model in the place of the one that the page names, for speed."""
    monkeypatch.chdir(tmp_path)
    arguments = shlex.split(line)
    if arguments[2] == "runs/painter":
        painter = untrained("painter")
        save_model(tmp_path / "runs" / "painter", painter.generator, painter.config)
    else:
        arguments[2] = str(model_folder)
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as left:
        main()
    assert not left.value.code
    assert (tmp_path / arguments[arguments.index("--out") + 1]).exists()


def test_the_example_in_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(onnx, "BATCHES", (1,))
    export("faces", "faces.onnx", to="onnx", quiet=True)
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, object] = {}
    exec(example, names)
    assert names["images"].shape == (16, 3, 64, 64)  # type: ignore[attr-defined]
