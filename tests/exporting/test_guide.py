"""Every command of docs/export.md does what the page says."""

import re
import shlex
import sys
from pathlib import Path

import pytest

from limner.cli import main

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "export.md").read_text(encoding="utf-8")
LINES = [line.strip() for line in PAGE.splitlines() if line.startswith("    limner ") and "[" not in line]


@pytest.mark.parametrize("line", LINES)
def test_command_works(line: str, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With an untrained model in the place of the one that the page names, for speed."""
    monkeypatch.chdir(tmp_path)
    arguments = shlex.split(line)
    arguments[2] = str(model_folder)
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as left:
        main()
    assert not left.value.code
    assert (tmp_path / arguments[arguments.index("--out") + 1]).exists()


def test_the_example_in_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from limner.exporting.export import export

    monkeypatch.chdir(tmp_path)
    export("faces", "faces.onnx", to="onnx", quiet=True)
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, object] = {}
    exec(example, names)
    assert names["images"].shape == (16, 3, 64, 64)  # type: ignore[attr-defined]
