"""Runs side by side: what was measured under the same conditions, curves over one another, verdicts."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from stand_ins import make_result, write_run

from limner.evaluation.results import append_metrics
from limner.reports.runs_page import runs_page


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    """Two runs of recipes that differ in one learning rate."""
    write_run(tmp_path / "one", "dcgan", [(100, 1.0), (200, 0.5)])
    write_run(tmp_path / "two", "dcgan-ttur", [(150, 2.0), (300, 1.5), (400, 1.25)])
    return [tmp_path / "one", tmp_path / "two"]


def measure(run: Path, *values: float, **facts: Any) -> None:
    """One evaluation, of three seeds or one."""
    append_metrics(run, [make_result("fd_lite0", values, **facts)])


def contents(runs: list[Path]) -> dict[str, Any]:
    found = re.search(r'id="data">(.*?)</script>', runs_page(runs).decode(), re.DOTALL)
    assert found
    read: dict[str, Any] = json.loads(found[1])
    return read


def test_each_run_is_a_column_and_a_line(runs: list[Path]) -> None:
    data = contents(runs)
    assert data["names"] == ["one", "two"]
    facts = {row["key"]: row["values"] for row in data["runs"]}
    assert facts["Images seen"] == [200, 400]
    assert facts["Verdict"] == ["learning", "learning"]
    assert facts["Minutes"] == [0.3, 0.7]
    assert data["settings"] == [{"key": "optimizer.discriminator.lr", "values": [2e-4, 5e-5]}]
    (loss,) = (chart for chart in data["charts"] if chart["group"] == "loss generator")
    points = {
        line["name"]: [(loss["images_seen"][at], y) for at, y in zip(line["at"], line["values"], strict=True)]
        for line in loss["series"]
    }
    assert points == {"one": [(100, 1.0), (200, 0.5)], "two": [(150, 2.0), (300, 1.5), (400, 1.25)]}


def test_nothing_measured_is_no_table_and_no_ranking(runs: list[Path]) -> None:
    data = contents(runs)
    assert (data["rows"], data["verdict"]) == ([], None)


def test_the_newest_numbers_of_the_same_conditions_are_ranked(runs: list[Path]) -> None:
    measure(runs[0], 30.0, 30.5, 31.0, images_seen=100, evaluated="2026-01-01T00:00:00+00:00")
    measure(runs[0], 20.0, 20.5, 21.0, images_seen=200, evaluated="2026-01-02T00:00:00+00:00")
    measure(runs[1], 9.0, 9.5, 10.0, images_seen=400)
    measure(runs[1], 1.0, 1.0, 1.0, images_seen=400, protocol="other", evaluated="2026-02-01T00:00:00+00:00")
    data = contents(runs)
    assert data["verdict"]["headline"] == "two is better"
    (row,) = data["rows"]
    assert [cell["value"] for cell in row["cells"]] == ["20.50", "9.50"]
    assert [cell["best"] for cell in row["cells"]] == [False, True]
    along = next(chart for chart in data["charts"] if chart.get("title") == "fd_lite0 (quick)")
    assert [s["name"] for s in along["series"]] == ["one", "two"]


def test_a_run_without_numbers_leaves_its_cells_empty(runs: list[Path]) -> None:
    measure(runs[1], 9.0, 9.5, 10.0)
    data = contents(runs)
    assert data["verdict"] is None
    assert [cell and cell["value"] for cell in data["rows"][0]["cells"]] == [None, "9.50"]
