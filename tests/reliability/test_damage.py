"""Every file that Limner wrote and reads again, damaged in every way: one line, or as if it were not there."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from endings import Ended

from limner.data.packed import PackedFaces

Limner = Callable[..., Ended]
NOISE = random.Random(0).randbytes(4096)
DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "cut": lambda content: content[: len(content) // 2],
    "noise": lambda content: (NOISE * (len(content) // len(NOISE) + 1))[: len(content)],
    "null": lambda content: b"null",
    "a list": lambda content: b"[1]",
    "an object": lambda content: b'{"event": [], "names": {}, "seed": "x"}',
}


class Things(NamedTuple):
    """What is damaged: each of these is a copy for one test."""

    run: Path
    data: Path
    model: Path
    directions: Path
    projected: Path
    judge: Path
    study: Path
    out: Path


@pytest.fixture(scope="session")
def whole(trained: Path, model_folder: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of each, whole, in one folder."""
    from limner.core.files import write_file
    from limner.explore.attribute_directions import DirectionsConfig
    from limner.explore.points import sampled_points
    from limner.explore.projection import ProjectedConfig, Projection
    from limner.explore.stored import store
    from limner.judge.judge import SHIPPED
    from limner.model.model import load

    folder = tmp_path_factory.mktemp("whole")
    for name, source in {"run": trained, "data": data, "model": model_folder, "judge": SHIPPED}.items():
        shutil.copytree(source, folder / name)
    write_file(folder / "run/metrics.jsonl", b"")
    model, points = load(model_folder), sampled_points(load(model_folder), 1, 0)
    facts = {"names": ("Smiling",), "samples": 256, "seed": 0}
    (folder / "directions").mkdir()
    store(folder / "directions", DirectionsConfig, model, points, log_odds=(1.0,), judge_sha256="", **facts)
    (folder / "projected").mkdir()
    far = Projection(pixels=0.1, perceptual=0.1, sample_pixels=0.1)
    store(folder / "projected", ProjectedConfig, model, points, distances=(far,), steps=1, **facts)
    return folder


@pytest.fixture
def things(whole: Path, tmp_path: Path) -> Things:
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    return Things(**{name: tmp_path / name for name in Things._fields})


def edit(things: Things) -> list[object]:
    faces = ("--projected", things.projected, "--directions", things.directions, "--by", "smiling=1")
    return ["explore", "edit", things.model, *faces, "--out", things.out.with_suffix(".png")]


def resume(things: Things) -> list[object]:
    return ["train", "--resume", things.run, "--images", 48, "--quiet"]


def evaluate(things: Things) -> list[object]:
    return ["evaluate", things.model, "--data", things.data, "--samples", 16, "--quiet"]


def label(things: Things) -> list[object]:
    return ["label", things.data, "--out", things.out, "--replace", "--judge", things.judge, "--quiet"]


def sample(things: Things) -> list[object]:
    return ["sample", things.model, "--out", things.out.with_suffix(".png"), "--quiet"]


REFUSED: dict[str, Callable[[Things], list[object]]] = {
    "run/run.json": resume,
    "run/recipe.toml": resume,
    "data/dataset.json": evaluate,
    "data/images.npy": evaluate,
    "data/attributes.npy": evaluate,
    "data/index.csv": evaluate,
    "model/config.json": sample,
    "model/model.safetensors": sample,
    "directions/config.json": edit,
    "directions/latents.safetensors": edit,
    "projected/config.json": edit,
    "projected/latents.safetensors": edit,
    "judge/config.json": label,
    "judge/judge.safetensors": label,
    "judge/calibration.json": label,
}
SURVIVED: dict[str, Callable[[Things], list[object]]] = {
    "run/log.jsonl": resume,
    "run/metrics.jsonl": resume,
    "run/checkpoints/000000032/state.json": resume,
    "run/checkpoints/000000032/state.safetensors": resume,
    "run/model/model.safetensors": resume,
    "run/samples/000000032.png": resume,
}


def damage(things: Things, file: str, how: str) -> None:
    path = things.run.parent / file
    path.write_bytes(DAMAGES[how](path.read_bytes()))


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("file", REFUSED)
def test_a_damaged_file_is_one_line(file: str, how: str, things: Things, limner: Limner) -> None:
    damage(things, file, how)
    ended = limner(*REFUSED[file](things))
    assert ended.status == 2
    assert ended.line.startswith("limner: ")
    assert not things.out.exists()


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("file", SURVIVED)
def test_a_run_goes_on_without_a_damaged_file(file: str, how: str, things: Things, limner: Limner) -> None:
    damage(things, file, how)
    ended = limner(*SURVIVED[file](things))
    assert (ended.status, ended.lines) == (0, [])
    assert limner("sample", things.run, "--out", things.out.with_suffix(".png"), "--quiet").status == 0


def test_data_that_changed_are_refused_at_the_start_and_by_resuming(
    things: Things, limner: Limner, sets: list[str]
) -> None:
    new = ["train", "dcgan32", "--data", things.data, "--out", things.out, "--images", 16, "--quiet", *sets]
    assert limner(*new).status == 0
    images = np.load(things.data / "images.npy", mmap_mode="r+")
    images[7, 8, 9, 0] ^= 1  # one bit, in place
    images.flush()
    for arguments in ([*new, "--force"], ["train", "--resume", things.out, "--images", 32, "--quiet"]):
        ended = limner(*arguments)
        assert ended.status == 2
        assert "was changed or damaged" in ended.line


def test_a_copy_is_looked_through_once(things: Things, monkeypatch: pytest.MonkeyPatch) -> None:
    (things.data / "images.npy").touch()
    PackedFaces.open(things.data)
    monkeypatch.setattr(PackedFaces, "_content_hash", lambda _: pytest.fail("it was hashed again"))
    PackedFaces.open(things.data)


@pytest.fixture
def during_training(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """Has something happen at the fifth step of a training."""
    from limner.training import loop

    step, done = loop.train_step, []

    def plan(event: Callable[[], None]) -> None:
        def stepped(*arguments: object) -> None:
            done.append(1)
            if len(done) == 5:
                event()
            step(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(loop, "train_step", stepped)

    return plan


def test_data_cut_short_under_a_training_are_one_line_and_no_sigbus(
    things: Things, limner: Limner, sets: list[str], during_training: Callable[[Callable[[], None]], None]
) -> None:
    during_training(lambda: (things.data / "images.npy").open("r+b").truncate(200))
    often = ["--set", "record.checkpoint_images=16"]
    new = ["train", "dcgan32", "--data", things.data, "--out", things.out, "--images", 96, "--quiet", *sets, *often]
    ended = limner(*new)
    assert ended.status == 1
    assert f"{things.data / 'images.npy'}: cut short while it was in use" in ended.line
    assert "Its checkpoint at 32 images is whole" in ended.line
    assert f"limner train --resume {things.out}" in ended.line


def test_data_deleted_under_a_training_are_missed_by_the_next_one_alone(
    things: Things, limner: Limner, sets: list[str], during_training: Callable[[Callable[[], None]], None]
) -> None:
    """What is mapped stays until nobody has it."""
    during_training(lambda: shutil.rmtree(things.data))
    new = ["train", "dcgan32", "--data", things.data, "--out", things.out, "--images", 96, "--quiet", *sets]
    assert limner(*new).status == 0
    ended = limner("train", "--resume", things.out, "--images", 128, "--quiet")
    assert ended.status == 2
    assert f"{things.data} is not a prepared data set" in ended.line


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("file", ["labels.csv", "recipe.toml", "protocol.toml"])
def test_a_damaged_file_of_the_user_is_one_line(file: str, how: str, things: Things, limner: Limner) -> None:
    recipe = (things.run / "recipe.toml").read_bytes()
    content = {"labels.csv": b"file,smiling\n" + b"a.png,1\n" * 8, "recipe.toml": recipe}
    damaged = things.run.parent / file
    damaged.write_bytes(DAMAGES[how](content.get(file, b'name = "mine"\nsplit = "val"\nfake = 16\n')))
    source = things.run.parent / "images"
    source.mkdir()
    shutil.copyfile(things.data / "preview.png", source / "a.png")
    commands = {
        "labels.csv": ["prepare", source, things.out, "--labels", damaged, "--size", 32, "--workers", 1, "--quiet"],
        "recipe.toml": ["train", damaged, "--data", things.data, "--out", things.out, "--quiet"],
        "protocol.toml": ["evaluate", things.model, "--data", things.data, "--protocol", damaged, "--quiet"],
    }
    ended = limner(*commands[file])
    assert ended.status == 2
    assert ended.line.startswith("limner: ")
    assert not things.out.exists()


@pytest.mark.parametrize("how", [*DAMAGES, "half a line"])
def test_a_damaged_study_is_one_line_or_goes_on(
    how: str, things: Things, limner: Limner, monkeypatch: pytest.MonkeyPatch, sets: list[str]
) -> None:
    pytest.importorskip("optuna", reason="Optuna is not installed (pip install 'limner[sweep]')")
    monkeypatch.setattr("limner.sweeping.trial.run_job", lambda job, watch: None)  # so that no trial measures anything
    sweep = ["sweep", "dcgan32", "--data", things.data, "--out", things.study, "--images", 16, "--quiet", *sets]
    sweep += ["--vary", "optimizer.generator.lr=1e-4,2e-4"]
    begun = limner(*sweep)
    assert begun.status == 2
    assert "go on with --resume" in begun.line
    journal = things.study / "journal.log"
    content = journal.read_bytes()
    journal.write_bytes(content[:-20] if how == "half a line" else DAMAGES[how](content))
    ended = limner(*sweep, "--resume")
    assert ended.status == 2
    assert ended.line.startswith("limner: ")
