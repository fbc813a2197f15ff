"""How far a run is: the same as the whole log says, however it grew, was cut or was replaced between two looks."""

import json
from pathlib import Path
from typing import Any

import pytest
from stand_ins import write_run

from limner.runs import progress
from limner.runs.progress import Progress
from limner.runs.run import how_ended, read_log


@pytest.fixture
def run(tmp_path: Path) -> Path:
    write_run(tmp_path / "run", "dcgan", [(64, 1.0), (128, 0.5)])
    return tmp_path / "run"


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The lengths of the texts that were read."""
    lengths: list[int] = []
    parse = progress.rows_of

    def counted(text: str) -> list[dict[str, Any]]:
        lengths.append(len(text))
        return parse(text)

    monkeypatch.setattr(progress, "rows_of", counted)
    return lengths


def add(run: Path, text: str) -> None:
    with (run / "log.jsonl").open("a") as log:
        log.write(text)


def line(images: int, **others: Any) -> str:
    return json.dumps({"event": "log", "images_seen": images, "seconds": images / 10, **others}) + "\n"


def agrees(looked: Progress, run: Path) -> None:
    """With what a fresh look at the whole log says."""
    log = read_log(run)
    assert looked.images_seen == next(row["images_seen"] for row in reversed(log) if "images_seen" in row)
    assert looked.verdict == next((row["verdict"] for row in reversed(log) if row.get("verdict")), None)
    assert looked.ended == how_ended(log)


def test_only_what_was_appended_is_read(run: Path, read: list[int]) -> None:
    one = Progress(run).look()
    agrees(one, run)
    added = line(192, verdict="noise", remedy="train longer", images_per_second=80.0)
    add(run, added)
    agrees(one.look(), run)
    assert (one.verdict, one.remedy, one.images_per_second, one.recipe) == ("noise", "train longer", 80.0, "dcgan")
    one.look()
    assert read[1:] == [len(added), 0]
    add(run, json.dumps({"event": "stop", "reason": "finished", "images_seen": 192}) + "\n")
    agrees(one.look(), run)
    assert one.ended == "finished"


def test_half_a_line_waits_for_its_end(run: Path) -> None:
    one = Progress(run).look()
    whole = line(192)
    add(run, whole[:20])
    assert one.look().images_seen == 128
    add(run, whole[20:])
    assert one.look().images_seen == 192
    add(run, whole[:20])  # killed
    one.look()
    add(run, whole + line(256))  # and resumed: the line after the broken one is the first that is whole
    agrees(one.look(), run)


@pytest.mark.parametrize("regrown", [1, 2, 9])
def test_a_log_that_a_resume_cut_is_read_anew(run: Path, regrown: int) -> None:
    """Also where it has grown beyond its old length by the next look."""
    log = run / "log.jsonl"
    kept = log.stat().st_size
    add(run, line(192, verdict="noise") + line(256, verdict="noise"))
    one = Progress(run).look()
    assert one.images_seen == 256
    with log.open("ab") as file:
        file.truncate(kept)
    add(run, "".join(line(128 + 32 * (k + 1), verdict="learning") for k in range(regrown)))
    agrees(one.look(), run)
    assert one.images_seen == 128 + 32 * regrown


def test_a_new_run_in_its_place_and_none(run: Path) -> None:
    one = Progress(run).look()
    (run / "log.jsonl").write_text(line(8))
    (run / "run.json").write_text('{"recipe": "painter"}')
    agrees(one.look(), run)
    assert one.recipe == "painter"
    (run / "log.jsonl").unlink()
    assert (one.look().images_seen, one.verdict) == (0, None)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "\xff"])
def test_a_damaged_record_names_no_recipe(run: Path, content: str) -> None:
    (run / "run.json").write_bytes(content.encode("latin-1"))
    assert Progress(run).look().recipe is None
