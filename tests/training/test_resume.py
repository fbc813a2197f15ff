"""A run that was stopped, killed or damaged, and goes on, against one that was left alone."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from limner.cli import main
from limner.core.errors import Interrupted, UserError
from limner.core.files import sha256
from limner.data.packed import PackedFaces
from limner.recipes.load import load_recipe
from limner.runs.run import Run, read_log
from limner.training import loop, recorder, state
from limner.training.session import resume, train
from limner.training.state import State, checkpoints, read_newest, save_checkpoint

ROOT = Path(__file__).parents[2]
CLOCKED = ("seconds", "images_per_second")
TRAININGS = {
    "adam": ("optimizer.generator.lr=1e-3",),
    "rates that fall, augmentation": (
        "optimizer.generator.lr=1e-3",
        "schedule.decay=0.5",
        "augment.colour=0.5",
        "augment.shift=0.125",
    ),
    "sgd": tuple(
        f"optimizer.{player}.{setting}"
        for player in ("generator", "discriminator")
        for setting in ("name=sgd", "lr=0.01", "momentum=0.9")
    ),
}
OFTEN = ("record.checkpoint_images=16", "record.keep_checkpoints=3")


def log_lines(run: Path) -> list[dict[str, Any]]:
    """The log lines, without what the clock wrote."""
    lines = [line for line in read_log(run) if line["event"] == "log"]
    return [{key: value for key, value in line.items() if key not in CLOCKED} for line in lines]


def events(run: Path, kind: str) -> list[dict[str, Any]]:
    return [line for line in read_log(run) if line["event"] == kind]


def newest(run: Path) -> dict[str, torch.Tensor]:
    return load_file(max((run / "checkpoints").iterdir()) / "state.safetensors")


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def assert_same_end(one: Path, other: Path) -> None:
    """Weights, EMA, moments and unfinished sums; the model; the images; the log: all to the last bit."""
    mine, theirs = newest(one), newest(other)
    assert mine.keys() == theirs.keys()
    assert [name for name in mine if not torch.equal(mine[name], theirs[name])] == []
    assert files(one / "samples") == files(other / "samples")
    assert files(one / "model") == files(other / "model")
    assert log_lines(one) == log_lines(other)


@pytest.fixture
def stop_at(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Ask this process to stop, as a batch system does, once so many images were shown."""
    step = loop.train_step

    def arrange(*moments: int) -> None:
        def stopping_step(recipe: Any, state: State, *rest: Any) -> None:
            step(recipe, state, *rest)
            if state.images_seen in moments:
                os.kill(os.getpid(), signal.SIGTERM)

        monkeypatch.setattr(loop, "train_step", stopping_step)

    return arrange


@pytest.fixture(scope="module")
def stopped(faces32: PackedFaces, tiny: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 48 images with checkpoints at 16, 32 and 48; its log lines are at 32, 64, ..."""
    out = tmp_path_factory.mktemp("runs") / "stopped"
    return train("dcgan32", faces32, out, images=48, overrides=[*tiny, *OFTEN], device="cpu", quiet=True).path


@pytest.fixture
def run(stopped: Path, tmp_path: Path) -> Path:
    """A copy of `stopped` to spoil."""
    return shutil.copytree(stopped, tmp_path / "run")


def go_on(run: Path, images: int | None = 72, **more: Any) -> Run:
    return resume(run, images=images, device="cpu", quiet=True, **more)


def one_line(error: pytest.ExceptionInfo[UserError]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("training", TRAININGS)
def test_a_run_stopped_twice_ends_as_one_left_alone(
    training: str,
    faces32: PackedFaces,
    tiny: tuple[str, ...],
    tmp_path: Path,
    stop_at: Callable[..., None],
) -> None:
    overrides = [*tiny, *TRAININGS[training], "generator.init_std=0.3"]  # or the samples would be plain grey
    alone = train("dcgan32", faces32, tmp_path / "alone", images=136, overrides=overrides, device="cpu", quiet=True)
    stop_at(40, 120)  # both in the middle of a log window, and at no checkpoint
    with pytest.raises(Interrupted, match=r"limner train --resume .*stopped"):
        train("dcgan32", faces32, tmp_path / "stopped", images=136, overrides=overrides, device="cpu", quiet=True)
    with pytest.raises(Interrupted):
        resume(tmp_path / "stopped", device="cpu", quiet=True)
    run = resume(tmp_path / "stopped", device="cpu", quiet=True)

    (tmp_path / "stopped/samples/000000040.png").unlink()  # what each stop leaves besides
    (tmp_path / "stopped/samples/000000120.png").unlink()
    assert_same_end(alone.path, run.path)
    assert np.asarray(Image.open(run.path / "samples/000000128.png")).std() > 20
    assert [line["images_seen"] for line in log_lines(run.path)] == [32, 64, 96, 128]
    assert [line["images_seen"] for line in events(run.path, "resume")] == [40, 120]
    moments = {"momentum_buffer"} if training == "sgd" else {"exp_avg", "exp_avg_sq", "step"}
    kinds = {name.rsplit(".", 1)[1] for name in newest(run.path) if name.startswith("optimizer.")}
    assert kinds == moments
    assert newest(run.path)["sum.overlap"][1].item() == 1  # of the window from 128 on


def test_a_run_killed_at_twenty_random_moments_ends_as_one_left_alone(faces32: PackedFaces, tmp_path: Path) -> None:
    sets = (
        "generator.width=64",
        "discriminator.width=8",
        "schedule.batch=8",
        "record.log_images=24",
        "record.sample_images=64",
        "record.checkpoint_images=32",
        "record.grid=4",
    )
    script = [
        sys.executable,
        str(ROOT / "benchmarks/kill_resume.py"),
        "--fork",
        "--recipe",
        "dcgan32",
        "--device",
        "cpu",
    ]
    goal = ["--data", str(faces32.path), "--out", str(tmp_path), "--images", "400", "--kills", "20"]
    done = subprocess.run(
        [*script, *goal, *(part for setting in sets for part in ("--set", setting))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    verdict = json.loads(done.stdout)
    assert verdict["same"]
    assert verdict["kills"] == 20
    assert_same_end(tmp_path / "untouched", tmp_path / "killed")
    assert [line["images_seen"] for line in log_lines(tmp_path / "killed")] == list(range(24, 401, 24))


def truncated(share: float, less: int = 0) -> Callable[[Path], None]:
    def damage(checkpoint: Path) -> None:
        file = checkpoint / "state.safetensors"
        os.truncate(file, max(0, int(file.stat().st_size * share) - less))

    return damage


def flipped(place: float) -> Callable[[Path], None]:
    def damage(checkpoint: Path) -> None:
        content = bytearray((checkpoint / "state.safetensors").read_bytes())
        content[int(place * (len(content) - 1))] ^= 1
        (checkpoint / "state.safetensors").write_bytes(content)

    return damage


def record(content: bytes) -> Callable[[Path], None]:
    return lambda checkpoint: (checkpoint / "state.json").write_bytes(content) and None  # type: ignore[func-returns-value]


def infinite(checkpoint: Path) -> None:
    """One weight, in a file that is whole."""
    file, record = checkpoint / "state.safetensors", checkpoint / "state.json"
    tensors = load_file(file)
    tensors["generator.linear.bias"][3] = torch.inf
    save_file(tensors, file)
    record.write_text(json.dumps(json.loads(record.read_text()) | {"sha256": sha256(file)}))


DAMAGE: dict[str, Callable[[Path], None]] = {
    "tensors empty": truncated(0),
    "tensors 8 bytes": lambda checkpoint: os.truncate(checkpoint / "state.safetensors", 8),
    "tensors halved": truncated(0.5),
    "tensors short of one byte": truncated(1, less=1),
    "tensors missing": lambda checkpoint: (checkpoint / "state.safetensors").unlink(),
    "header flipped": flipped(0.0001),
    "weight flipped": flipped(0.6),
    "last bit flipped": flipped(1),
    "weight infinite": infinite,
    "record missing": lambda checkpoint: (checkpoint / "state.json").unlink(),
    "record empty": record(b""),
    "record cut": lambda checkpoint: os.truncate(checkpoint / "state.json", 200),
    "record no text": record(b"\xff\xfe\x00"),
    "record null": record(b"null"),
    "record a list": record(b"[1]"),
    "record without keys": record(b'{"format": 1}'),
    "all missing": lambda checkpoint: [file.unlink() for file in checkpoint.iterdir()] and None,  # type: ignore[func-returns-value]
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_broken_newest_checkpoint_falls_back_to_the_one_before(damage: str, run: Path) -> None:
    DAMAGE[damage](run / "checkpoints/000000048")
    found, tensors, broken = read_newest(run / "checkpoints")
    assert found["images_seen"] == 32
    assert [path.name for path in broken] == ["000000048"]
    whole = load_file(run / "checkpoints/000000032/state.safetensors")
    assert all(torch.equal(tensors[name], whole[name]) for name in whole)


def test_a_run_with_broken_checkpoints_goes_on_and_says_so(
    run: Path, faces32: PackedFaces, tiny: tuple[str, ...], tmp_path: Path
) -> None:
    truncated(0.5)(run / "checkpoints/000000048")
    flipped(0.6)(run / "checkpoints/000000032")
    for leftover in ("checkpoints/.000000064.0123abcd.partial", ".model.0123abcd.partial", ".model.0123abcd.retired"):
        (run / leftover).mkdir()
        (run / leftover / "state.safetensors").write_bytes(b"half")
    for leftover in (".run.json.0123abcd.partial", "samples/.000000064.png.0123abcd.partial"):
        (run / leftover).write_bytes(b"half")
    with (run / "log.jsonl").open("a") as log:
        log.write('{"event": "log", "images_seen": 64, "los')
    go_on(run, 80)

    (resumed,) = events(run, "resume")
    assert resumed["images_seen"] == 16
    assert resumed["broken_checkpoints"] == ["000000048", "000000032"]
    assert [*run.rglob(".*")] == []
    goal = tmp_path / "alone"
    train("dcgan32", faces32, goal, images=80, overrides=[*tiny, *OFTEN], device="cpu", quiet=True)
    (run / "samples/000000048.png").unlink()  # of the run's first end
    assert_same_end(run, goal)


def test_nothing_whole_is_one_line_that_says_what_to_do(run: Path) -> None:
    for checkpoint in (run / "checkpoints").iterdir():
        truncated(0.9)(checkpoint)
    with pytest.raises(UserError, match=r"no whole checkpoint.*--force") as error:
        go_on(run)
    one_line(error)
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(UserError, match="no whole checkpoint"):
        go_on(run)


def test_a_checkpoint_of_another_version_is_one_line(run: Path) -> None:
    path = run / "checkpoints/000000048/state.json"
    content = json.loads(path.read_text())
    for changed in (content | {"format": 99}, content | {"recipe": {"name": "of old"}}):
        path.write_text(json.dumps(changed))
        with pytest.raises(UserError, match="another version") as error:
            go_on(run)
        one_line(error)


@pytest.fixture
def fresh(tiny: tuple[str, ...]) -> State:
    return State.fresh(load_recipe("dcgan32", tiny), 0, torch.device("cpu"))


def saved(folder: Path, state: State, images: int, keep: int) -> list[int]:
    """The checkpoints there are after saving one more."""
    state.images_seen = images
    save_checkpoint(folder, state, keep, recipe={}, content_hash=None, log_bytes=0)
    return [int(path.name) for path in checkpoints(folder)]


def test_the_newest_few_are_kept(fresh: State, tmp_path: Path) -> None:
    assert [saved(tmp_path, fresh, images, 2) for images in (0, 8, 16, 24)] == [[0], [0, 8], [8, 16], [16, 24]]


def test_a_broken_later_one_does_not_push_out_a_good_one(fresh: State, tmp_path: Path) -> None:
    for images in (8, 16):
        saved(tmp_path, fresh, images, 2)
    truncated(0.5)(tmp_path / "000000016")
    assert saved(tmp_path, fresh, 12, 1) == [12]
    assert read_newest(tmp_path)[0]["images_seen"] == 12


def test_a_billion_images_are_more_than_a_million(fresh: State, tmp_path: Path) -> None:
    saved(tmp_path, fresh, 999_999_999, 2)
    assert saved(tmp_path, fresh, 1_000_000_000, 2) == [999_999_999, 1_000_000_000]
    assert read_newest(tmp_path)[0]["images_seen"] == 1_000_000_000


def test_a_crash_while_saving_leaves_the_older_one(
    fresh: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(tmp_path, fresh, 8, 2)

    def full_disk(tensors: dict[str, torch.Tensor], path: Path) -> None:
        path.write_bytes(b"\x40")
        raise OSError("No space left on device")

    monkeypatch.setattr(state, "save_file", full_disk)
    with pytest.raises(OSError, match="No space"):
        saved(tmp_path, fresh, 16, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["000000008"]
    assert read_newest(tmp_path)[0]["images_seen"] == 8


@pytest.mark.filterwarnings("ignore:.*no-op")
def test_the_optimisers_state_returns_to_the_parameters_device(fresh: State, tiny: tuple[str, ...]) -> None:
    """A checkpoint is read on the CPU; a fused optimiser wants its counters beside its parameters."""
    for network in (fresh.generator, fresh.discriminator):
        for parameter in network.parameters():
            parameter.grad = torch.ones_like(parameter)
    for optimizer in fresh.optimizers.values():
        optimizer.step()
    elsewhere = State.fresh(load_recipe("dcgan32", tiny), 0, torch.device("meta"))
    elsewhere.load_tensors(fresh.tensors())
    tensors = [
        value
        for optimizer in elsewhere.optimizers.values()
        for own in optimizer.state.values()
        for value in own.values()
    ]
    assert len(tensors) == 3 * sum(
        1 for network in (fresh.generator, fresh.discriminator) for _ in network.parameters()
    )
    assert {value.device.type for value in tensors} == {"meta"}


def test_no_checkpoint_is_ever_written_twice(
    faces32: PackedFaces, tiny: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Replacing a whole checkpoint would put it at risk for a moment, and the last one may be the only one."""
    written = []

    def noted(folder: Path, state: State, *rest: Any, **facts: Any) -> Path:
        written.append(state.images_seen)
        return save_checkpoint(folder, state, *rest, **facts)

    monkeypatch.setattr(recorder, "save_checkpoint", noted)
    overrides = [*tiny, "record.checkpoint_images=16"]
    train("dcgan32", faces32, tmp_path / "run", images=32, overrides=overrides, device="cpu", quiet=True)
    assert written == [0, 16, 32]


def test_a_run_killed_after_its_last_checkpoint_is_finished_by_resuming(run: Path, stopped: Path) -> None:
    log = (run / "log.jsonl").read_text().splitlines(keepends=True)
    assert '"stop"' in log[-1]
    (run / "log.jsonl").write_text("".join(log[:-1]))
    shutil.rmtree(run / "model")
    (run / "samples/000000048.png").unlink()
    go_on(run, None)
    assert_same_end(run, stopped)
    assert events(run, "stop")[-1]["reason"] == "finished"
    with pytest.raises(UserError, match="finished"):
        go_on(run, None)


def test_a_log_shorter_than_the_checkpoint_knows_does_no_harm(run: Path) -> None:
    (run / "log.jsonl").unlink()
    go_on(run)
    assert [line["event"] for line in read_log(run)] == ["resume", "log", "stop"]
    assert b"\0" not in (run / "log.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("how", "key"),
    [
        ({"overrides": ["optimizer.generator.lr=1e-3"]}, "optimizer.generator.lr is 0.001 and was 0.0002"),
        ({"overrides": ["ema.halflife_images=50"]}, "ema.halflife_images is 50.0 and was 10000.0"),
        ({"recipe": "dcgan32"}, "generator.width is 256 and was 64"),
        ({"recipe": "dcgan"}, "generator.network is 'dcgan' and was 'dcgan32'"),
    ],
)
def test_a_changed_recipe_is_refused_by_the_name_of_what_changed(run: Path, how: dict[str, Any], key: str) -> None:
    with pytest.raises(UserError, match=key) as error:
        go_on(run, **how)
    one_line(error)
    assert events(run, "resume") == []


def test_an_edited_recipe_is_refused(run: Path) -> None:
    recipe = run / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("batch = 8", "batch = 16"))
    with pytest.raises(UserError, match=r"schedule\.batch is 16 and was 8"):
        go_on(run)
    recipe.write_text(recipe.read_text().replace("batch = 16", "batch = 8"))
    go_on(run, overrides=["schedule.batch=8"])  # what says the same is no change


def test_what_changes_nothing_but_speed_may_change(run: Path, tmp_path: Path) -> None:
    other = shutil.copytree(run, tmp_path / "other")
    go_on(run, overrides=["engine.graphs=false"])
    go_on(other)
    assert_same_end(run, other)


@pytest.mark.parametrize("quiet", [False, True])
def test_a_changed_machine_is_said_unless_quiet(quiet: bool, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    info = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(info | {"torch": "1.0"}))
    resume(run, images=56, device="cpu", quiet=quiet)
    assert ("torch differ from when this run began" in capsys.readouterr().err) is not quiet


def test_changed_data_are_refused(run: Path, faces32: PackedFaces, tmp_path: Path) -> None:
    from limner.preparation.prepare import prepare

    other = prepare("synthetic:20", tmp_path / "other", size=32, workers=1, quiet=True)
    with pytest.raises(UserError, match=r"not what .* was trained on"):
        go_on(run, data=other)
    moved = shutil.copytree(faces32.path, tmp_path / "moved")
    go_on(run, data=moved)


def test_a_finished_run_is_refused_unless_it_is_to_be_longer(run: Path) -> None:
    before = (run / "log.jsonl").read_bytes()
    for images in (None, 48, 40):
        with pytest.raises(UserError, match=r"finished .48 images.*--images") as error:
            go_on(run, images)
        one_line(error)
    assert (run / "log.jsonl").read_bytes() == before
    go_on(run, 64)
    assert [line["images_seen"] for line in log_lines(run)] == [32, 64]
    with pytest.raises(UserError, match=r"finished .64 images"):
        go_on(run, None)  # the new length is the run's own now


@pytest.mark.parametrize("given", [["--out", "x"], ["--seed", "1"], ["--force"]])
def test_what_belongs_to_a_new_run_is_refused_on_the_command_line(
    given: Sequence[str], run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["limner", "train", "--resume", str(run), *given])
    with pytest.raises(SystemExit) as leaving:
        main()
    assert leaving.value.code == 2
    error = capsys.readouterr().err
    assert "with --resume" in error
    assert error.count("\n") == 1


def test_a_training_in_a_thread_is_stopped_by_its_handle(
    faces32: PackedFaces, tiny: tuple[str, ...], tmp_path: Path
) -> None:
    """Signals reach the main thread alone."""
    out, stop, ends = tmp_path / "run", threading.Event(), []

    def work() -> None:
        try:
            train("dcgan32", faces32, out, images=10**9, overrides=tiny, device="cpu", stop=stop, quiet=True)
        except Interrupted as end:
            ends.append(str(end))

    thread = threading.Thread(target=work)
    thread.start()
    while not any(row["event"] == "log" for row in read_log(out)):
        time.sleep(0.01)
    stop.set()
    thread.join()
    assert ends == [f"limner train --resume {out}"]
    stopped = read_log(out)[-1]
    assert (stopped["event"], stopped["reason"]) == ("stop", "interrupted")
    resume(out, images=stopped["images_seen"] + 8, device="cpu", quiet=True)
    assert read_log(out)[-1]["reason"] == "finished"
