"""How results are printed: every number whole at any width and in any encoding, after they are written."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from stand_ins import make_result

from limner import cli
from limner.evaluation import evaluate as evaluating
from limner.evaluation.results import decimals, fixed, results_table

RESULTS = [
    make_result("fd_lite0", [264.21, 264.45, 264.6], 4.7),
    make_result("kid_lite0", [0.012345, 0.0126, 0.0121], 0.00004, standard_error=0.00032),
    make_result("precision_lite0", [0.1 + 0.2, 0.3, 0.3], 0.72),  # three equal ones, but for rounding
    make_result("attribute_control_rarest", [0.91234]),
]


@pytest.mark.parametrize("width", [20, 30, 40, 60, 80, 200])
def test_a_number_is_never_cut(width: int) -> None:
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(results_table(RESULTS, width))
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= width
    words = " ".join(lines).split()
    assert "…" not in "".join(words)
    assert {"264.42", "0.01235", "0.30000", "0.9123"} <= {*words}
    if width >= 40:
        assert {"0.20", "4.70", "0.72000"} <= {*words}  # spread and floor
    if width >= 80:
        assert "0.00032" in words
        assert "attribute_control_rarest" in words


def test_no_number_has_more_than_five_digits() -> None:
    for values in ([0.1 + 0.2, 0.3, 0.3], [264.2, 264.2 + 1e-12, 264.2], [1e-5, 1.0001e-5, 1e-5], [0.0, 1e-17, 0.0]):
        one = make_result("fd_lite0", values)
        text = fixed(one.value, decimals([one]))
        assert len(text.replace(".", "").lstrip("0")) <= 5, text
        assert float(text) == pytest.approx(one.value, rel=1e-4, abs=1e-9)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp437", "utf-8"])
def test_evaluate_prints_where_the_terminal_does_not_know_every_sign(
    encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an hour of measuring, a plus-minus sign must not be what fails."""
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "argv", ["limner", "evaluate", "model", "--data", "data"])
    monkeypatch.setattr(evaluating, "evaluate", lambda *_, **__: RESULTS)
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code in (None, 0)
    out.seek(0)
    text = out.read()
    assert "264.42" in text
    assert ("± 0.20" if encoding in ("latin-1", "utf-8", "cp437") else "+/- 0.20") in text


def test_results_are_written_before_they_are_printed(
    faces: Any,
    extractor: Any,
    fair: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(6, "no terminal")

    out = tmp_path / "results.json"
    monkeypatch.setattr(sys, "argv", ["limner", "evaluate", "faces", "--data", "data", "--out", str(out)])
    monkeypatch.setattr(evaluating.Model, "load", lambda *_: fair)
    monkeypatch.setattr(evaluating.PackedFaces, "open", lambda *_, **__: faces)
    monkeypatch.setattr("limner.evaluation.setup.load_extractor", lambda *_: extractor)
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--samples", "64"])
    monkeypatch.setattr(sys, "stdout", Broken())
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 1
    assert capsys.readouterr().err.endswith("limner: the standard output: no terminal.\n")
    assert json.loads(out.read_text())["results"][0]["n_fake"] == 64
