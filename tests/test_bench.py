"""`limner bench`: the reference is the algorithm it says it is, ours computes the same, and the numbers add up."""

import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from limner import bench
from limner.data.batches import Batches
from limner.data.packed import PackedFaces
from limner.data.prepare import prepare
from limner.errors import UserError
from limner.networks import layers
from limner.recipe import Adam, Optimizers, Recipe, load_recipe
from limner.training.state import State

CPU = torch.device("cpu")
RECIPE = """
name = "tiny"
follows = "no report"
summary = "small enough for a test"
[data]
size = 32
flip = false
[generator]
network = "dcgan32"
width = 64
[discriminator]
network = "dcgan32"
width = 8
[objective]
name = "non-saturating"
[optimizer.generator]
name = "adam"
lr = 1e-3
[optimizer.discriminator]
name = "adam"
lr = 1e-3
[schedule]
images = 1000
batch = 8
"""


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[pytest.MonkeyPatch]:
    """Few pictures, one repetition a block, one thread (two would wait for each other on a busy machine)."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")  # for the processes that measure memory
        patch.setattr(bench, "DRAWN_FACES", 8)
        patch.setattr(bench, "BLOCK_SECONDS", 0)
        patch.setattr(bench, "FACES", 64)
        yield patch
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def recipe_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="module")
def recipe(recipe_file: Path) -> Recipe:
    return load_recipe(recipe_file)


@pytest.fixture(scope="module")
def jpegs(tmp_path_factory: pytest.TempPathFactory, quick: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("bench") / "jpegs"
    bench.write_jpegs(folder)
    return folder


@pytest.fixture(scope="module")
def faces(jpegs: Path) -> PackedFaces:
    return prepare(jpegs, jpegs.with_name("packed"), size=32, crop="report004", workers=1, quiet=True)


def test_every_jpeg_is_an_aligned_picture_of_its_own(jpegs: Path, faces: PackedFaces) -> None:
    assert len(faces) == len(list(jpegs.iterdir())) == 8 * len(bench.CUTS)
    assert faces.info.counts.rejected == 0


def test_both_loops_see_the_same_pictures(jpegs: Path, faces: PackedFaces) -> None:
    reference = bench.Jpegs(jpegs, "report004", 32)
    ours_NCHW = Batches(faces, 0, flip=False, device=CPU).to_network(np.array(faces.images_NHWC))
    for x_CHW, ours_CHW, name in zip(
        map(reference.__getitem__, range(len(faces))), ours_NCHW, faces.files, strict=True
    ):
        assert (jpegs / name).is_file()
        # The plain loader resizes in one step and Limner in two: a grey level or so apart, never another picture.
        assert (x_CHW - ours_CHW).abs().mean() < 0.03
    assert reference.decoded.value == len(faces)


def test_the_reference_is_the_algorithm() -> None:
    """Two scalar players, by hand: G(z) = g z, D(x) = d x, so every gradient has a closed form."""
    generator, discriminator = nn.Linear(1, 1, bias=False), nn.Sequential(nn.Linear(1, 1, bias=False), nn.Flatten(0))
    g, d, rates, betas, eps = 0.7, -0.4, (0.01, 0.03), (0.5, 0.999), 1e-8
    with torch.no_grad():
        generator.weight.fill_(g)
        discriminator[0].weight.fill_(d)
    optimizers = Optimizers(
        generator=Adam(name="adam", lr=rates[0], beta1=betas[0], beta2=betas[1]),
        discriminator=Adam(name="adam", lr=rates[1], beta1=betas[0], beta2=betas[1]),
    )
    loop = bench.ReferenceLoop(generator, discriminator, optimizers)

    def sigmoid(v: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-v))

    moments = {"g": (0.0, 0.0), "d": (0.0, 0.0)}

    def adam(name: str, gradient: float, rate: float, step: int) -> float:
        m, v = moments[name]
        m, v = betas[0] * m + (1 - betas[0]) * gradient, betas[1] * v + (1 - betas[1]) * gradient**2
        moments[name] = (m, v)
        return -rate * (m / (1 - betas[0] ** step)) / (np.sqrt(v / (1 - betas[1] ** step)) + eps)

    random = np.random.default_rng(0)
    for step in (1, 2, 3):
        x, z = random.normal(1.5, 0.5, 6), random.normal(0, 1, 6)
        loss_d = -np.log(sigmoid(d * x)).mean() - np.log(1 - sigmoid(d * g * z)).mean()
        gradient_d = (-(1 - sigmoid(d * x)) * x).mean() + (sigmoid(d * g * z) * g * z).mean()
        d += adam("d", gradient_d, rates[1], step)
        loss_g = -np.log(sigmoid(d * g * z)).mean()  # by the discriminator that has just learnt
        g += adam("g", (-(1 - sigmoid(d * g * z)) * d * z).mean(), rates[0], step)

        columns = (torch.tensor(values[:, None], dtype=torch.float32) for values in (x, z))
        assert loop.step(*columns) == pytest.approx((loss_d, loss_g), abs=1e-5)
        assert generator.weight.item() == pytest.approx(g, abs=1e-5)
        assert discriminator[0].weight.item() == pytest.approx(d, abs=1e-5)


def test_plain_networks_are_torchs_own_layers_and_compute_the_same(recipe: Recipe) -> None:
    wide = load_recipe("dcgan", ["data.size=32", "generator.width=256", "discriminator.width=64"])
    for chosen in (recipe, wide):
        state = State.fresh(chosen, 0, CPU)
        for network, input_shape in (
            (state.generator, (4, chosen.latent.size)),
            (state.discriminator, (4, 3, chosen.data.size, chosen.data.size)),
        ):
            kinds_before = Counter(type(module) for module in network.modules())
            plain = bench.plain(network)
            assert not any(isinstance(module, layers.Conv2d | layers.ConvTranspose2d) for module in plain.modules())
            assert all(weight.is_contiguous() for weight in plain.parameters())
            assert [weight.shape for weight in plain.parameters()] == [w.shape for w in network.parameters()]
            assert Counter(type(module) for module in network.modules()) == kinds_before  # ours are left as they were
            x = torch.randn(input_shape)
            torch.testing.assert_close(plain(x), network(x), atol=1e-5, rtol=1e-4)


def test_both_loops_compute_the_same_losses_in_fp32(recipe: Recipe, faces: PackedFaces) -> None:
    losses = bench.compare_losses(recipe, CPU, faces)
    reference, ours = losses["reference"], losses["ours"]
    assert ours.discriminator == pytest.approx(reference.discriminator, abs=1e-4)
    assert ours.generator == pytest.approx(reference.generator, abs=1e-4)
    # The steps did something, or equal losses would say nothing.
    assert len(set(reference.discriminator)) == bench.CHECKED_STEPS


def test_ratios_of_given_samples() -> None:
    reference = bench.Speed(images=64, repetitions=1, seconds=[4.0, 6.0, 20.0])
    ours = bench.Speed(images=64, repetitions=1, seconds=[2.0, 1.0, 4.0])
    ratio = bench.Ratio.of(reference, ours)
    assert (reference.median_seconds, reference.least_seconds) == (6.0, 4.0)
    assert ours.images_per_second == 32.0
    assert ratio.of_medians == 3.0
    assert ratio.median_of_pairs == 5.0  # of 2, 6 and 5
    twice = bench.Speed(images=128, repetitions=1, seconds=ours.seconds)
    assert bench.Ratio.of(reference, twice).of_medians == 6.0  # per picture, not per time


def test_loss_differences_are_the_larger_players_by_step() -> None:
    reference = bench.Losses(discriminator=[1.0, 2.0], generator=[5.0, 5.0])
    ours = bench.Losses(discriminator=[1.5, 2.25], generator=[5.0, 4.0])
    assert bench.loss_differences(reference, ours) == [0.5, 1.0]


def test_interleaving_takes_turns_after_the_warm_up() -> None:
    calls: list[tuple[str, int]] = []
    works = {name: lambda times, name=name: calls.append((name, times)) for name in "ab"}
    speeds = bench.interleave(works, 64, rounds=3, advance=lambda _: None)
    assert calls[-6:] == [("a", 1), ("b", 1)] * 3
    assert [len(speeds[name].seconds) for name in "ab"] == [3, 3]


class SlowJpegs(bench.Jpegs):
    """Decoding takes longer than a step, so that a loop which does not wait for it is found out."""

    def __getitem__(self, index: int) -> torch.Tensor:
        time.sleep(0.02)
        return super().__getitem__(index)


def test_every_block_of_the_reference_pays_for_the_pictures_it_uses(recipe: Recipe, jpegs: Path) -> None:
    pictures = SlowJpegs(jpegs, recipe.data.crop, recipe.data.size)
    run = bench.reference_training(recipe, CPU, pictures)
    ahead = pictures.decoded.value
    assert ahead == bench.WORKERS * bench.PREFETCH * recipe.schedule.batch
    run(3)
    assert pictures.decoded.value - ahead == 3 * recipe.schedule.batch


def test_profile_tells_products_from_casts_and_the_rest() -> None:
    a_MM = torch.randn(400, 400)

    def work(times: int) -> None:
        for _ in range(times):
            (a_MM @ a_MM).sin_()

    profile = bench.profile(work, CPU)
    assert 0 < profile.products < 1
    assert "aten::sin_" in profile.other
    assert not profile.other.keys() & bench.PRODUCTS
    assert profile.products + sum(profile.other.values()) == pytest.approx(1)

    layer = layers.Conv2d(128, 128, 4, 2, 1)
    x_BCHW = torch.randn(2, 128, 8, 8, requires_grad=True)

    def convolve(times: int) -> None:
        for _ in range(times):
            with torch.autocast("cpu", torch.bfloat16):
                y_BCHW = layer(x_BCHW)
            y_BCHW.float().sum().backward()

    profile = bench.profile(convolve, CPU)
    assert bench.CAST_LABEL in profile.other
    # The copies that gathering and scattering of windows make are counted with the products that need them.
    assert profile.other.get("aten::add_", 0) < 0.2 * profile.products


def test_bench_writes_every_sample_and_what_it_was_measured_on(
    recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    in_a_process_of_its_own = bench._in_a_process_of_its_own

    def one_process_is_enough(loop: str, *arguments: Any) -> bench.Memory:
        return (in_a_process_of_its_own if loop == "ours" else bench._memory)(loop, *arguments)

    monkeypatch.setattr(bench, "_in_a_process_of_its_own", one_process_is_enough)
    out = tmp_path / "bench.json"
    bench.bench(str(recipe_file), 2, out)
    result = json.loads(out.read_text())

    assert {"date", "torch_version", "limner_version", "load_average"} <= result.keys()
    assert result["torch_version"] == torch.__version__
    assert {"processor", "cores", "threads", "device"} <= result["machine"].keys()
    for loop in ("reference", "ours"):
        training = result["training"][loop]
        assert len(training["seconds"]) == 2
        assert training["median_seconds"] == pytest.approx(sum(training["seconds"]) / 2)
        assert training["images_per_second"] == pytest.approx(8 / training["median_seconds"])
        assert result["memory"][loop]["peak"] >= result["memory"][loop]["libraries"] > 20
        assert 0 < result["profile"][loop]["products"] < 1
    slow, fast = (result["training"][loop]["median_seconds"] for loop in ("reference", "ours"))
    assert result["training_ratio"]["of_medians"] == pytest.approx(slow / fast)
    assert len(result["loss_differences"]) == bench.CHECKED_STEPS
    assert max(result["loss_differences"]) < 1e-4
    assert {"reference", "Model.batches", "generator, batch 256"} <= result["drawing"].keys()
    assert result["drawing_ratio"].keys() == result["drawing"].keys() - {"reference"}

    printed = " ".join(capsys.readouterr().out.split())  # however wide the terminal is
    assert "Training tiny, batch 8" in printed
    assert f"trains {result['training_ratio']['of_medians']:.2f} times as fast" in printed


def test_mistakes_are_named_before_anything_is_measured(tmp_path: Path, recipe_file: Path) -> None:
    with pytest.raises(UserError, match="--steps is 0"):
        bench.bench("dcgan", 0)
    with pytest.raises(UserError, match="there is no folder"):
        bench.bench("dcgan", 1, tmp_path / "nowhere" / "out.json")
    minimax = tmp_path / "minimax.toml"
    minimax.write_text(RECIPE.replace("non-saturating", "minimax"))
    with pytest.raises(UserError, match=r"objective\.name = 'minimax'"):
        bench.bench(str(minimax), 1)
