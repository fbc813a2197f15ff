"""What a run folder holds: when it was due, and that it is true."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from limner.core.errors import UserError
from limner.data.packed import PackedFaces
from limner.images.marks import SYNTHETIC
from limner.images.png import read_settings
from limner.runs.run import Run, read_log
from limner.training.schedule import Budget
from limner.training.session import train
from limner.training.state import State

# So short a run would leave nothing but grey.
VIVID = ("generator.init_std=0.3", "optimizer.generator.lr=0.02", "ema.halflife_images=3")


@pytest.fixture(scope="module")
def run(faces32: PackedFaces, tiny: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """96 images in batches of 8, with intervals that no batch divides."""
    sets = ("record.log_images=20", "record.sample_images=36", "record.checkpoint_images=60", *VIVID)
    out = tmp_path_factory.mktemp("runs") / "run"
    return train("dcgan32", faces32, out, images=90, overrides=[*tiny, *sets], device="cpu", seed=4, quiet=True)


def cells(image: Path, side: int = 32, padding: int = 2) -> np.ndarray:
    """The images of a grid, row by row, as many as fit: N x H x W x 3."""
    pixels = np.asarray(Image.open(image).convert("RGB"))
    step = side + padding
    rows, columns = ((length + padding) // step for length in pixels.shape[:2])
    return np.stack(
        [pixels[r * step : r * step + side, c * step : c * step + side] for r in range(rows) for c in range(columns)]
    )


def due(every: int, until: int, batch: int = 8) -> list[int]:
    """The first step's end at or after each multiple."""
    return [math.ceil(multiple / batch) * batch for multiple in range(every, until + 1, every)]


def test_everything_is_written_when_it_is_due(run: Run) -> None:
    events = run.log
    assert [line["images_seen"] for line in events if line["event"] == "log"] == due(20, 96) == [24, 40, 64, 80]
    samples = sorted(path.stem for path in (run.path / "samples").glob("0*.png"))
    assert [int(name) for name in samples] == [0, *due(36, 96), 96]
    assert [int(path.name) for path in sorted((run.path / "checkpoints").iterdir())] == [64, 96]
    assert [line["event"] for line in events] == ["start", *["log"] * 4, "stop"]
    stop = events[-1]
    assert stop == {"event": "stop", "images_seen": 96, "seconds": stop["seconds"], "reason": "finished"}
    assert stop["seconds"] >= events[-2]["seconds"]
    assert run.info["budget"] == {"images": 90, "seconds": None}
    assert run.recipe.record.log_images == 20
    assert (run.path / "report.html").stat().st_size > 1000
    assert list(run.path.rglob(".*")) == []


def test_a_log_line_says_all_of_its_window(run: Run) -> None:
    lines = [line for line in run.log if line["event"] == "log"]
    for line in lines:
        assert line["step"] == line["images_seen"] // 8
        assert line["verdict"] == "learning"
        assert 0 <= line["overlap"] <= 1
        assert all(math.isfinite(value) for value in line.values() if isinstance(value, float))
    for line, before in zip(lines[1:], lines, strict=False):
        spent = line["seconds"] - before["seconds"]
        assert line["images_per_second"] == pytest.approx(
            (line["images_seen"] - before["images_seen"]) / spent, rel=0.1
        )


def test_a_line_is_the_mean_of_its_steps(run: Run, faces32: PackedFaces, tiny: tuple[str, ...], tmp_path: Path) -> None:
    sets = ("record.log_images=8", "record.checkpoint_images=9999", *VIVID)
    every = train(
        "dcgan32", faces32, tmp_path / "run", images=40, overrides=[*tiny, *sets], device="cpu", seed=4, quiet=True
    )
    singles = [line for line in every.log if line["event"] == "log"]
    first, second = (line for line in run.log if line["event"] == "log" and line["images_seen"] <= 40)
    for key in ("loss/generator", "loss/discriminator", "output/real", "gradient/generator", "overlap"):
        assert first[key] == pytest.approx(np.mean([line[key] for line in singles[:3]]), rel=1e-5)
        assert second[key] == pytest.approx(np.mean([line[key] for line in singles[3:]]), rel=1e-5)


def test_the_samples_are_the_models_own_faces(run: Run) -> None:
    grid = cells(run.path / "samples/000000096.png")
    assert len(grid) == 4
    drawn = run.model.sample(4, seed=4, precision="fp32")
    assert np.abs(grid.astype(int) - drawn).max() <= 1
    untrained = cells(run.path / "samples/000000000.png")
    assert np.abs(untrained.astype(int) - drawn).max() > 20
    assert read_settings(run.path / "samples/000000096.png") == {"recipe": "dcgan32", "images_seen": 96}
    assert SYNTHETIC.encode() in (run.path / "samples/000000096.png").read_bytes()


def test_the_model_is_the_running_mean_not_the_generator(run: Run) -> None:
    from safetensors.torch import load_file

    model = load_file(run.path / "model/model.safetensors")
    state = load_file(run.path / "checkpoints/000000096/state.safetensors")
    assert all(torch.equal(model[name], state[f"ema_generator.{name}"]) for name in model)
    assert not torch.equal(model["linear.weight"], state["generator.linear.weight"])
    assert run.model.config.images_seen == 96


def test_the_real_images_are_training_images(run: Run, faces32: PackedFaces) -> None:
    shown = cells(run.path / "samples/real.png")[:20]
    train_rows = {faces32.images_NHWC[row].tobytes() for row in faces32.rows("train")}
    assert len({image.tobytes() for image in shown} & train_rows) == 20
    assert SYNTHETIC.encode() not in (run.path / "samples/real.png").read_bytes()


def test_run_json_says_what_a_reader_must_know(run: Run, faces32: PackedFaces) -> None:
    info = json.loads((run.path / "run.json").read_text())
    assert (info["seed"], info["processes"], info["precision"]) == (4, 1, "fp32 channels-last")
    assert info["data"]["content_hash"] == faces32.info.content_hash
    assert info["data"]["train"] + info["data"]["heldout"] == len(faces32)
    # Report 001's discriminator at width 8: three 4 x 4 convolutions, two batch norms, one linear layer.
    assert info["parameters"]["discriminator"] == 16 * (3 * 8 + 8 * 16 + 16 * 32) + 2 * (16 + 32) + 32 * 16 + 1


def test_tensorboard_shows_the_log(run: Run) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(run.path / "events"))
    board.Reload()
    logged = [(line["images_seen"], line["loss/generator"]) for line in run.log if line["event"] == "log"]
    shown = [(point.step, point.value) for point in board.Scalars("loss/generator")]
    assert shown == [(step, pytest.approx(value, rel=1e-6)) for step, value in logged]


# --- how long ---------------------------------------------------------------------------------------------------------


def at(images: int = 0, seconds: float = 0.0) -> State:
    state = State.__new__(State)
    state.images_seen, state.seconds = images, seconds
    return state


def choose(**given: Any) -> Budget:
    return Budget.choose(1000, 160, **({"images": None, "epochs": None, "minutes": None} | given))


def test_budgets() -> None:
    assert choose() == Budget(images=1000)
    assert choose(images=64) == Budget(images=64)
    assert choose(epochs=2.5) == Budget(images=400)
    assert choose(epochs=1e-9) == Budget(images=1)  # less than an image is one, not none
    assert choose(minutes=1.5) == Budget(seconds=90)
    assert [choose(images=64).progress(at(images)) for images in (0, 16, 64, 72)] == [0, 0.25, 1, 1]
    assert choose(minutes=1).finished(at(seconds=60))
    assert not choose(minutes=1).finished(at(images=10**9, seconds=59.9))
    assert choose(images=64).seconds_left(at(16), 12.0) == 4
    assert choose(images=64).seconds_left(at(16), None) is None
    assert choose(minutes=1).seconds_left(at(seconds=15), None) == 45


@pytest.mark.parametrize(
    "given", [{"images": 0}, {"images": -5}, {"epochs": 0.0}, {"minutes": -1.0}, {"minutes": math.nan}]
)
def test_a_budget_of_nothing_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=f"--{next(iter(given))} is .*above 0"):
        choose(**given)


def test_two_budgets_are_refused() -> None:
    with pytest.raises(UserError, match="--images and --minutes"):
        choose(images=8, minutes=1.0)


def test_minutes_end_a_training_by_the_clock(faces32: PackedFaces, tiny: tuple[str, ...], tmp_path: Path) -> None:
    run = train("dcgan32", faces32, tmp_path / "run", minutes=0.005, overrides=tiny, device="cpu", quiet=True)
    stop = run.log[-1]
    assert (stop["event"], stop["reason"]) == ("stop", "finished")
    assert stop["images_seen"] > 0
    record = json.loads((run.path / f"checkpoints/{stop['images_seen']:09d}/state.json").read_text())
    assert record["seconds"] >= 0.3


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ({"overrides": ["schedule.batch=512"]}, "only 173 training images"),
        ({"overrides": ["data.size=64"]}, "holds images of 32 pixels, the recipe wants 64"),
        ({"seed": -1}, "--seed is -1"),
        (
            {
                "overrides": [
                    "discriminator.network=sngan-pixelnorm",
                    "discriminator.stddev_group=4",
                    "schedule.batch=6",
                ]
            },
            r"discriminator\.stddev_group = 4 does not divide schedule\.batch = 6",
        ),
        ({"overrides": ["discriminator.init_std=1e300"]}, r"not finite at the start: lower discriminator\.init_std"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(
    what: dict[str, Any], words: str, faces32: PackedFaces, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=words):
        train("dcgan32", faces32, tmp_path / "run", device="cpu", quiet=True, **what)
    assert not (tmp_path / "run").exists()


def test_a_run_is_replaced_only_by_force(faces32: PackedFaces, tiny: tuple[str, ...], tmp_path: Path) -> None:
    def again(out: Path, force: bool = False) -> Run:
        return train("dcgan32", faces32, out, images=8, overrides=tiny, device="cpu", quiet=True, force=force)

    again(tmp_path / "run")
    with pytest.raises(UserError, match=r"--resume .*--force"):
        again(tmp_path / "run")
    (tmp_path / "run/old").touch()
    assert [line["event"] for line in again(tmp_path / "run", force=True).log] == ["start", "stop"]
    assert not (tmp_path / "run/old").exists()
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/chapter1.txt").touch()
    with pytest.raises(UserError, match="is not a run; --force replaces nothing else"):
        again(tmp_path / "thesis", force=True)
    assert (tmp_path / "thesis/chapter1.txt").exists()
    assert read_log(tmp_path / "thesis") == []
