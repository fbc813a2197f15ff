"""Measuring a training as it goes: at the right moments, the best model kept, nothing left of a lost future."""

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stand_ins import SquareMeans

from limner.core.errors import Interrupted, UserError
from limner.data.packed import PackedFaces
from limner.evaluation.results import read_metrics
from limner.model.model import Model, load
from limner.runs.run import how_ended, read_log
from limner.training.session import resume, train
from limner.training.validation import Validation, forget_after

OFTEN = ("record.evaluate_images=24", "generator.init_std=0.1")


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("limner.evaluation.setup.load_extractor", lambda *_: SquareMeans(squares=2))
    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path / "cache"))


def distances(run: Path) -> dict[int, float]:
    return {result.images_seen: result.value for result in read_metrics(run) if result.metric == "fd_lite0"}


def test_a_run_is_measured_as_it_goes(faces32: PackedFaces, tiny: tuple[str, ...], tmp_path: Path) -> None:
    options: dict[str, Any] = {"overrides": [*tiny, *OFTEN], "device": "cpu", "quiet": True}
    run = train("dcgan32", faces32, tmp_path / "run", images=80, **options)
    found = distances(run.path)
    assert [*found] == [24, 48, 72]
    assert len(set(found.values())) == 3, "the EMA moves"
    assert load(run.path / "best").config.images_seen == min(found, key=found.__getitem__)
    of = {(result.protocol, result.split, result.n_real, result.chooses) for result in read_metrics(run.path)}
    assert of == {("training", "val", len(faces32.rows("val")), True)}, "what chooses best/ is not what reports"

    alone = train("dcgan32", faces32, tmp_path / "alone", images=56, **options)
    resume(alone.path, images=80, device="cpu", quiet=True)
    assert distances(alone.path) == found


def test_a_last_measurement_that_was_given_up_is_made_by_going_on(
    faces32: PackedFaces, tiny: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"images": 48, "overrides": [*tiny, *OFTEN], "device": "cpu", "quiet": True}
    alone = train("dcgan32", faces32, tmp_path / "alone", **options)
    stop, run = threading.Event(), tmp_path / "run"
    validate = Validation.validate

    def stopped(self: Validation, model: Model) -> float | None:
        if model.config.images_seen == 48:
            stop.set()
        return validate(self, model)

    monkeypatch.setattr(Validation, "validate", stopped)
    with pytest.raises(Interrupted):
        train("dcgan32", faces32, run, stop=stop, **options)
    assert ([*distances(run)], how_ended(read_log(run))) == ([24], "interrupted")
    with pytest.raises(Interrupted):
        resume(run, device="cpu", quiet=True, stop=stop)
    resume(run, device="cpu", quiet=True)
    assert distances(run) == distances(alone.path)
    assert how_ended(read_log(run)) == "finished"
    with pytest.raises(UserError, match="is finished"):
        resume(run, device="cpu", quiet=True)


def test_an_interrupted_run_does_not_end_at_fewer_images_than_it_has_seen(
    faces32: PackedFaces, tiny: tuple[str, ...], tmp_path: Path
) -> None:
    stop, run = threading.Event(), tmp_path / "run"
    train("dcgan32", faces32, run, images=16, overrides=tiny, device="cpu", quiet=True)
    stop.set()
    with pytest.raises(Interrupted):
        resume(run, images=48, device="cpu", quiet=True, stop=stop)
    log = (run / "log.jsonl").read_bytes()
    with pytest.raises(UserError, match="is finished"):
        resume(run, images=8, device="cpu", quiet=True)
    assert (run / "log.jsonl").read_bytes() == log
    resume(run, images=48, device="cpu", quiet=True)
    assert how_ended(read_log(run)) == "finished"


def test_best_is_the_model_it_started_from_where_training_made_that_worse(
    faces32: PackedFaces, tiny: tuple[str, ...], tmp_path: Path
) -> None:
    options: dict[str, Any] = {"device": "cpu", "quiet": True}
    base = train("dcgan32", faces32, tmp_path / "base", images=48, overrides=[*tiny, *OFTEN], **options)
    ruin = ("optimizer.generator.lr=0.5", "ema.halflife_images=0")
    run = train(
        "dcgan32", faces32, tmp_path / "run", images=48, overrides=[*tiny, *OFTEN, *ruin], init=base.path, **options
    )
    found = distances(run.path)
    assert [*found] == [0, 24, 48]
    assert found[0] < min(found[24], found[48])
    best, begun = (load(path).generator.state_dict() for path in (run.path / "best", base.path))
    assert all(torch.equal(best[name], begun[name]) for name in begun)


def test_data_without_held_out_images(
    pack_faces: Any, tiny: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    faces = pack_faces(np.random.default_rng(0).integers(0, 256, (64, 32, 32, 3), np.uint8))
    run = train("dcgan32", faces, tmp_path / "run", images=64, overrides=[*tiny, *OFTEN], device="cpu")
    said = capsys.readouterr()
    assert (said.out + said.err).count("Nothing is measured in this training") == 1
    assert not (run.path / "metrics.jsonl").exists()


def test_what_comes_after_a_checkpoint_is_forgotten(tmp_path: Path) -> None:
    lines = [json.dumps({"images_seen": images, "value": 1.0}) for images in (24, 48, 72)]
    (tmp_path / "metrics.jsonl").write_text("\n".join([*lines, '{"images_seen": 24, "val']) + "\n")
    forget_after(tmp_path, 48)
    assert (tmp_path / "metrics.jsonl").read_text().splitlines() == lines[:2]
    forget_after(tmp_path / "nothing there", 0)
