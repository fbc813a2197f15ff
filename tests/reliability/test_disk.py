"""A disk that is full, a place that cannot be written: one line that says what, and nothing half-written."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from endings import Ended, Full

from limner.runs.run import read_log
from limner.training.state import read_newest

Limner = Callable[..., Ended]
NOT_UTF8 = "caf\udce9"
ONE_AXIS = ("--vary", "optimizer.generator.lr=1e-4,2e-4")
Command = Callable[[Path, Path, Path], list[object]]
WRITING: dict[str, Command] = {
    # Arguments, of an output, a model and a data set.
    "prepare": lambda out, _, data: ["prepare", "synthetic:40", out, "--size", 32, "--workers", 1, "--quiet"],
    "label": lambda out, _, data: ["label", data, "--out", out, "--replace", "--quiet"],
    "train": lambda out, _, data: ["train", "dcgan32", "--data", data, "--out", out, "--images", 32, "--quiet"],
    "sample": lambda out, model, _: ["sample", model, "--out", out.with_suffix(".png"), "--quiet"],
    "evaluate": lambda out, model, data: [
        *("evaluate", model, "--data", data, "--samples", 16, "--out", out.with_suffix(".json"), "--quiet")
    ],
    "compare": lambda out, model, data: [
        *("compare", model, data / "twin", "--data", data, "--samples", 16, "--seeds", 1),
        *("--out", out.with_suffix(".html"), "--quiet"),
    ],
    "interpolate": lambda out, model, _: [
        *("explore", "interpolate", model, "--faces", "0:0,0:1", "--out", out.with_suffix(".gif"), "--quiet")
    ],
    "directions": lambda out, model, _: ["explore", "directions", model, "--out", out, "--samples", 256, "--quiet"],
    "project": lambda out, model, data: [
        *("explore", "project", model, data / "face.png", "--out", out, "--steps", 1, "--samples", 1, "--quiet")
    ],
    "export": lambda out, model, _: [*("export", model, "--to", "onnx", "--out", out.with_suffix(".onnx"), "--quiet")],
    "bench": lambda out, _, data: ["bench", "dcgan32", "--steps", 1, "--out", out.with_suffix(".json")],
    "demo": lambda out, _, data: ["demo", out],
    "sweep": lambda out, _, data: ["sweep", "dcgan32", "--data", data, "--out", out, *ONE_AXIS, "--quiet"],
}
SLOW = ("compare", "directions", "export", "sweep")  # they write at the end as others do
FILLING = [name for name in WRITING if name not in ("bench", "demo")]  # these say what they do on stderr
NAMES = [pytest.param(name, marks=pytest.mark.soak) if name in SLOW else name for name in FILLING]


def arguments(name: str, out: Path, model: Path, data: Path, sets: list[str]) -> list[object]:
    return [*WRITING[name](out, model, data), *(sets if name in ("train", "sweep", "bench") else [])]


@pytest.mark.parametrize("name", NAMES)
def test_a_full_disk_is_one_line_and_leaves_nothing(
    name: str, full_disk: Full, model_folder: Path, data: Path, sets: list[str], limner: Limner
) -> None:
    ended = limner(*arguments(name, full_disk.place / "out", model_folder, data, sets))
    assert ended.status == 1
    assert full_disk.reason in ended.line
    assert str(full_disk.place / "out") in ended.line
    assert name == "sweep" or [*full_disk.place.iterdir()] == []


@pytest.mark.parametrize("name", WRITING)
def test_a_place_that_only_reads_is_one_line(
    name: str,
    tmp_path: Path,
    read_only: Callable[[Path], Path],
    model_folder: Path,
    data: Path,
    sets: list[str],
    limner: Limner,
) -> None:
    (tmp_path / "place").mkdir()
    place = read_only(tmp_path / "place")
    ended = limner(*arguments(name, place / "out", model_folder, data, sets))
    assert ended.status == 1
    assert "read-only" in ended.line or "ermission denied" in ended.line
    assert str(place / "out") in ended.line


@pytest.mark.parametrize("name", WRITING)
def test_a_file_where_a_folder_should_be_is_one_line(
    name: str, tmp_path: Path, model_folder: Path, data: Path, sets: list[str], limner: Limner
) -> None:
    (tmp_path / "file").write_bytes(b"in the way")
    ended = limner(*arguments(name, tmp_path / "file" / "out", model_folder, data, sets))
    assert ended.status in (1, 2)
    assert str(tmp_path / "file") in ended.line
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("name", WRITING)
def test_an_output_whose_name_is_not_utf8_is_one_line(
    name: str, tmp_path: Path, model_folder: Path, data: Path, sets: list[str], limner: Limner
) -> None:
    """Python has its bytes as halves of surrogates. TensorBoard, for one, writes no such file."""
    ended = limner(*arguments(name, tmp_path / NOT_UTF8, model_folder, data, sets))
    assert ended.status == 2
    assert "caf\\udce9" in ended.line
    assert ended.line.endswith("is not UTF-8: choose another name.")
    assert [*tmp_path.iterdir()] == []


@pytest.mark.skipif(sys.platform != "linux", reason="this system has no such names")
@pytest.mark.parametrize("words", [("sample",), ("train", "--resume")])
def test_what_was_given_such_a_name_is_not_called_damaged(
    words: tuple[str, ...], tmp_path: Path, model_folder: Path, limner: Limner
) -> None:
    place = shutil.copytree(model_folder, tmp_path / NOT_UTF8)
    assert limner(*words, place).line.endswith("is not UTF-8: choose another name.")


def test_a_training_that_fills_the_disk_names_its_whole_checkpoint_and_goes_on(
    small_disk: Callable[[str], Path], data: Path, sets: list[str], limner: Limner, tmp_path: Path
) -> None:
    often = ["--set", "record.checkpoint_images=16", "--set", "record.keep_checkpoints=9"]
    whole = ["train", "dcgan32", "--data", data, "--images", 160, "--quiet", *sets, *often]
    assert limner(*whole, "--out", tmp_path / "alone").status == 0
    each = sum(file.stat().st_size for file in (tmp_path / "alone/checkpoints/000000032").iterdir())
    disk = small_disk(str(5 * each))
    ended = limner(*whole, "--out", disk / "run")
    newest = read_newest(disk / "run/checkpoints")
    kept = newest[0]["images_seen"]
    assert ended.status == 1
    assert 0 < kept < 160
    assert newest[2] == []
    assert f"Its checkpoint at {kept:,} images is whole" in ended.line
    assert ended.line.endswith(f"limner train --resume {disk / 'run'}")
    assert "no space left on device" in ended.line
    assert [*(disk / "run").rglob(".*")] == []

    moved = shutil.copytree(disk / "run", tmp_path / "moved")  # to where there is space
    assert limner("train", "--resume", moved, "--quiet").status == 0
    last = "checkpoints/000000160/state.safetensors"
    assert (moved / last).read_bytes() == (tmp_path / "alone" / last).read_bytes()
    assert [line["event"] for line in read_log(moved) if line["event"] != "log"] == ["start", "resume", "stop"]


def test_single_files_say_how_many_there_are_and_how_to_get_the_others(
    small_disk: Callable[[str], Path], model_folder: Path, limner: Limner
) -> None:
    out = small_disk("128k") / "faces"
    ended = limner("sample", model_folder, "--single", "--out", out, "--count", 64, "--quiet")
    there = sorted(path.name for path in out.iterdir())
    assert 0 < len(there) < 64
    assert there == [f"{index:06d}.png" for index in range(len(there))]
    assert ended.status == 1
    assert f"{len(there)} of 64 faces are in {out}" in ended.line
    assert f"--first {len(there)} --count {64 - len(there)}" in ended.line


def test_a_run_that_cannot_be_written_is_evaluated_all_the_same(
    read_only: Callable[[Path], Path], trained: Path, tmp_path: Path, data: Path, limner: Limner
) -> None:
    run = read_only(shutil.copytree(trained, tmp_path / "run"))
    ended = limner("evaluate", run, "--data", data, "--samples", 16, "--quiet")
    assert ended.status == 0
    assert "fd_" in ended.out
    assert "not kept in the run" in ended.line
    assert "--out FILE" in ended.line
    assert not (run / "metrics.jsonl").exists()
    assert limner("sample", run, "--out", tmp_path / "faces.png", "--quiet").status == 0
    resumed = limner("train", "--resume", run, "--images", 64)
    assert resumed.status == 1
    assert str(run) in resumed.line


def test_a_cache_on_a_full_disk_is_done_without(
    full_disk: Full, model_folder: Path, data: Path, limner: Limner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Mapped into memory, a file with holes on a full disk would end the process with SIGBUS."""
    measure = ["evaluate", model_folder, "--data", data, "--samples", 16]
    assert limner(*measure, "--out", tmp_path / "with.json").status == 0
    monkeypatch.setenv("LIMNER_CACHE", str(full_disk.place / "cache"))
    ended = limner(*measure, "--out", tmp_path / "without.json")
    assert ended.status == 0
    assert [line for line in ended.lines if line.startswith("Note: the cache cannot be used")]
    results = [json.loads((tmp_path / name).read_text())["results"] for name in ("with.json", "without.json")]
    assert [of["values"] for of in results[0]] == [of["values"] for of in results[1]]


def test_a_full_standard_output_is_one_line(limner: Limner) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "limner", "recipes"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "standard output: no space left" in done.stderr
