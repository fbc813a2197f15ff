"""`limner bench`: the reference is the algorithm it says it is, ours computes the same, and the numbers add up."""

import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm
from typer.testing import CliRunner

from limner.bench import bench, measure, plain_loop
from limner.bench.jpegs import CUTS, Jpegs, write_jpegs
from limner.bench.plain_loop import ReferenceLoop, plain
from limner.bench.records import Ratio, Speed
from limner.cli import app
from limner.core.distributed import Engine
from limner.core.errors import UserError
from limner.core.pixels import from_pixels
from limner.data.packed import PackedFaces
from limner.networks import layers
from limner.preparation.prepare import prepare
from limner.recipes import recipe_names
from limner.recipes.load import load_recipe
from limner.recipes.schema import DataView, Recipe

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
# Small sizes that every recipe of images can be measured in; R1 is a change to dcgan.
NARROW = ["data.size=32", "generator.width=64", "discriminator.width=4"]
WIDE_START = ["generator.init_std=0.1", "discriminator.init_std=0.1"]  # so that three steps change something
SMALL = {
    "acgan": NARROW,
    "autoencoder-bce": ["data.size=32", "latent.size=3072", "schedule.batch=2"],
    "avgpool-bce": [],
    "cgan": NARROW,
    "dcgan": NARROW,
    "dcgan r1": [*NARROW, *WIDE_START, "discriminator.norm=none", "objective.r1=3"],
    "dcgan-ttur": NARROW,
    "dcgan32": [*NARROW, *WIDE_START],
    "demo": NARROW,
    "gan": NARROW,
    "sngan-pixelnorm": NARROW,
    "vae": ["data.size=32", "generator.width=64", "encoder.width=4"],
    "wgan-gp": NARROW,
}


def small(name: str) -> Recipe:
    return load_recipe(name.split()[0], ["schedule.batch=4", *SMALL[name]])


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[pytest.MonkeyPatch]:
    """Few images, one repetition a block, one thread (two would wait for each other on a busy machine)."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")  # for the processes that measure memory
        patch.setattr("limner.bench.jpegs.DRAWN_FACES", 8)
        patch.setattr(measure, "BLOCK_SECONDS", 0)
        patch.setattr(measure, "FACES", 64)
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
    write_jpegs(folder, 0)
    return folder


@pytest.fixture(scope="module")
def faces(jpegs: Path) -> PackedFaces:
    return prepare(jpegs, jpegs.with_name("packed"), size=32, crop="report004", workers=1, quiet=True)


@pytest.fixture(scope="module")
def faces64(jpegs: Path) -> PackedFaces:
    return prepare(jpegs, jpegs.with_name("packed64"), size=64, crop="report000", workers=1, quiet=True)


def test_every_jpeg_is_an_aligned_image_of_its_own(jpegs: Path, faces: PackedFaces) -> None:
    assert len(faces) == len(list(jpegs.glob("*.jpg"))) == 8 * len(CUTS)
    assert faces.info.counts.rejected == 0


@pytest.mark.parametrize("pixel_range", ["signed", "unit", "byte"])
def test_both_loops_see_the_same_images_and_attributes(jpegs: Path, faces: PackedFaces, pixel_range: str) -> None:
    reference = Jpegs(jpegs, DataView(size=32, crop="report004", range=pixel_range))
    ours_NCHW = from_pixels(torch.from_numpy(np.array(faces.images_NHWC)), pixel_range)
    grey_level = {"signed": 2 / 255, "unit": 1 / 255, "byte": 1}[pixel_range]
    assert [file.name for file in reference.files] == faces.files
    for row, ours_CHW in enumerate(ours_NCHW):
        x_CHW, y_A = reference[row]
        # The plain loader resizes in one step and Limner in two: a grey level or so apart, never another image.
        assert (x_CHW - ours_CHW).abs().mean() < 4 * grey_level
        assert y_A.tolist() == faces.attributes_NA[row].tolist()
    assert reference.decoded.value == len(faces)
    assert 0 < faces.attributes_NA.mean() < 1


def test_the_reference_is_the_algorithm() -> None:
    """Two scalar players, by hand: G(z) = g z, D(x) = d x, so every gradient has a closed form."""
    generator, discriminator = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    g, d, rates, betas, eps = 0.7, -0.4, (0.01, 0.03), (0.5, 0.999), 1e-8
    with torch.no_grad():
        generator.weight.fill_(g)
        discriminator.weight.fill_(d)
    recipe = load_recipe("dcgan", [f"optimizer.generator.lr={rates[0]}", f"optimizer.discriminator.lr={rates[1]}"])
    loop = ReferenceLoop(recipe, {"generator": generator, "discriminator": discriminator})
    generator, discriminator = loop.networks["generator"], loop.networks["discriminator"]

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

        real_BX, latents_BZ = (torch.tensor(values[:, None], dtype=torch.float32) for values in (x, z))
        losses = loop.step(real_BX, torch.empty(6, 0), latents_BZ)
        assert losses == pytest.approx({"loss/discriminator": loss_d, "loss/generator": loss_g}, abs=1e-5)
        assert generator.weight.item() == pytest.approx(g, abs=1e-5)
        assert discriminator.weight.item() == pytest.approx(d, abs=1e-5)


@pytest.mark.parametrize(("settings", "slope"), [("gradient_penalty=3", 3.6), ("r1=5", -2.0)])
def test_a_critics_penalty_in_closed_form(settings: str, slope: float) -> None:
    """C(x) = c x has the slope c everywhere: the gradient penalty is lambda (|c| - 1)^2, R1 is gamma c^2 / 2."""
    c, g = -0.4, 0.7
    recipe = load_recipe("dcgan", ["objective.name=wasserstein", f"objective.{settings}"])
    linear_generator, linear_critic = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    nn.init.constant_(linear_generator.weight, g)
    nn.init.constant_(linear_critic.weight, c)
    networks = {
        "generator": nn.Sequential(linear_generator, nn.Unflatten(1, (1, 1, 1))),
        "discriminator": nn.Sequential(nn.Flatten(), linear_critic),
    }
    loop = ReferenceLoop(recipe, networks)
    critic, gradients = loop.networks["discriminator"][1], []
    loop.optimizers["discriminator"].register_step_pre_hook(lambda *_: gradients.append(critic.weight.grad.item()))
    x_BCHW, z_BZ = torch.randn(6, 1, 1, 1), torch.randn(6, 1)
    losses = loop.step(x_BCHW, torch.empty(6, 0), z_BZ)

    distance = (g * z_BZ - x_BCHW.detach().flatten(1)).mean().item()
    assert losses["loss/discriminator"] == pytest.approx(c * distance, abs=1e-6)
    assert losses["loss/generator"] == pytest.approx(-critic.weight.item() * g * z_BZ.mean().item(), abs=1e-6)
    penalty = {"gradient_penalty=3": 3 * (0.4 - 1) ** 2, "r1=5": 5 * 0.4**2 / 2}[settings]
    assert losses["penalty/" + settings.split("=")[0].split("_")[0]] == pytest.approx(penalty, rel=1e-5)
    assert gradients == [pytest.approx(distance + slope, rel=1e-4)]


@pytest.mark.parametrize("name", ["tiny", "wide", "sngan-pixelnorm", "vae"])
def test_plain_networks_are_torchs_own_layers_and_compute_the_same(name: str, recipe: Recipe) -> None:
    wide = load_recipe("dcgan", ["data.size=32", "generator.width=256", "discriminator.width=64"])
    chosen = {"tiny": recipe, "wide": wide}.get(name) or small(name)
    state, size = measure.fresh_state(chosen, CPU), chosen.data.size
    for player in state.optimizers:
        network = state.networks[player]
        kinds_before = Counter(type(module) for module in network.modules())
        copy = plain(network)
        ours = (layers.Conv2d, layers.ConvTranspose2d, layers.PixelNorm, layers.WideSigmoid)
        assert not any(isinstance(module, ours) for module in copy.modules())
        assert all(weight.is_contiguous() for weight in copy.parameters())
        assert [weight.shape for weight in copy.parameters()] == [w.shape for w in network.parameters()]
        assert Counter(type(module) for module in network.modules()) == kinds_before  # ours are left as they were
        x = torch.randn((4, chosen.latent.size) if player == "generator" else (4, 3, size, size))
        for _ in range(2):  # the second time the power iteration of spectral norm has gone on
            torch.testing.assert_close(copy(x), network(x), atol=1e-5, rtol=1e-4)


def test_a_plain_layer_with_spectral_norm_is_the_one_of_torch() -> None:
    with_norm = spectral_norm(layers.Conv2d(3, 4, 4, 2, 1))
    copy, theirs = plain(with_norm), spectral_norm(nn.Conv2d(3, 4, 4, 2, 1))
    theirs.load_state_dict(with_norm.state_dict())
    x_BCHW = torch.randn(2, 3, 8, 8)
    assert type(copy).__mro__[1] is nn.Conv2d
    assert torch.equal(copy(x_BCHW), theirs(x_BCHW))


def test_every_recipe_of_images_is_compared() -> None:
    unknown_to_it = {"painter", "modern", "modern-cpu", "modern-cpu-128", "modern-attributes", "finetune"}
    assert {name.split()[0] for name in SMALL} == {*recipe_names()} - unknown_to_it


@pytest.mark.parametrize("name", SMALL)
def test_both_loops_compute_the_same_losses_in_fp32(
    name: str, faces: PackedFaces, faces64: PackedFaces, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layers, "GEMM_MIN_CHANNELS", 1)  # ours by matrix products, as at full width
    monkeypatch.setattr(measure, "CHECKED_STEPS", 2)
    chosen = small(name)
    losses = measure.compare_losses(chosen, CPU, faces if chosen.data.size == 32 else faces64)
    assert max(measure.loss_differences(losses["reference"], losses["ours"])) < 1e-5
    # The steps did something, or equal losses would say nothing.
    for loss in losses["reference"][-1]:
        first, second = (step[loss] for step in losses["reference"][:2])
        assert abs(second - first) > 1e-4 * abs(first)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["conditioning.method=classifier"], {"attributes/real", "attributes/fake"}),
        (["objective.gradient_penalty=1"], {"penalty/gradient"}),
        (["objective.r1=1"], {"penalty/r1"}),
    ],
)
def test_every_part_of_the_loss_is_compared(overrides: Sequence[str], expected: set[str], faces: PackedFaces) -> None:
    chosen = load_recipe("dcgan", [*NARROW, "schedule.batch=2", "discriminator.norm=none", *overrides])
    for steps in measure.compare_losses(chosen, CPU, faces).values():
        assert all(step.keys() == {"loss/discriminator", "loss/generator"} | expected for step in steps)


def test_ratios_of_given_samples() -> None:
    reference = Speed(images=64, repetitions=1, seconds=[4.0, 6.0, 20.0])
    ours = Speed(images=64, repetitions=1, seconds=[2.0, 1.0, 4.0])
    ratio = Ratio.of(reference, ours)
    assert (reference.median_seconds, reference.least_seconds) == (6.0, 4.0)
    assert ours.images_per_second == 32.0
    assert ratio.of_medians == 3.0
    assert ratio.median_of_pairs == 5.0  # of 2, 6 and 5
    twice = Speed(images=128, repetitions=1, seconds=ours.seconds)
    assert Ratio.of(reference, twice).of_medians == 6.0  # per image, not per time


def test_loss_differences_are_the_largest_by_step() -> None:
    reference = [{"D": 0.5, "G": 5.0}, {"D": 2.0, "G": -5.0}]
    ours = [{"D": 0.25, "G": 5.0}, {"D": 1.5, "G": -4.0}]
    assert measure.loss_differences(reference, ours) == [0.25, 0.25]  # the last of 2, and so a quarter of it


def test_interleaving_takes_turns_after_the_warm_up() -> None:
    calls: list[tuple[str, int]] = []
    works = {name: lambda times, name=name: calls.append((name, times)) for name in "ab"}
    speeds = measure.interleave(works, 64, rounds=3, advance=lambda _: None)
    assert calls[-6:] == [("a", 1), ("b", 1)] * 3
    assert [len(speeds[name].seconds) for name in "ab"] == [3, 3]


class SlowJpegs(Jpegs):
    """Decoding takes longer than a step, so that a loop which does not wait for it is found out."""

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        time.sleep(0.02)
        return super().__getitem__(index)


@pytest.mark.parametrize("critic_steps", [1, 2])
def test_every_block_of_the_reference_pays_for_the_images_it_uses(
    recipe_file: Path, critic_steps: int, jpegs: Path
) -> None:
    recipe = load_recipe(recipe_file, [f"objective.discriminator_steps={critic_steps}"])
    images = SlowJpegs(jpegs, recipe.data)
    run = plain_loop.reference_training(measure.reference_loop(recipe, CPU), images, CPU)
    ahead = images.decoded.value
    assert ahead == plain_loop.WORKERS * plain_loop.PREFETCH * recipe.schedule.batch
    run(3)
    assert images.decoded.value - ahead == 3 * critic_steps * recipe.schedule.batch


def test_a_round_ends_with_the_generators_step(faces: PackedFaces, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or blocks of a WGAN would hold now more, now fewer of them."""
    recipe, states = small("wgan-gp"), []
    fresh_state = measure.fresh_state
    monkeypatch.setattr(measure, "fresh_state", lambda *settings: states.append(fresh_state(*settings)) or states[0])
    run = measure.our_training(recipe, Engine(CPU, "fp32"), faces)
    for rounds in (1, 2):
        run(1)
        assert states[0].images_seen == rounds * 5 * recipe.schedule.batch
        assert states[0].sums["loss/generator"][1].item() == rounds


def test_profile_tells_products_from_casts_and_the_rest() -> None:
    a_MM = torch.randn(400, 400)

    def work(times: int) -> None:
        for _ in range(times):
            (a_MM @ a_MM).sin_()

    profile = measure.profile(work, CPU)
    assert 0 < profile.products < 1
    assert "aten::sin_" in profile.other
    assert not profile.other.keys() & measure.PRODUCTS
    assert profile.products + sum(profile.other.values()) == pytest.approx(1)

    layer = layers.Conv2d(128, 128, 4, 2, 1)
    x_BCHW = torch.randn(2, 128, 8, 8, requires_grad=True)

    def convolve(times: int) -> None:
        for _ in range(times):
            with torch.autocast("cpu", torch.bfloat16):
                y_BCHW = layer(x_BCHW)
            y_BCHW.float().sum().backward()

    profile = measure.profile(convolve, CPU)
    assert measure.CAST_LABEL in profile.other
    # The copies that gathering and scattering of windows make are counted with the products that need them.
    assert profile.other.get("aten::add_", 0) < 0.2 * profile.products


def test_bench_writes_every_sample_and_what_it_was_measured_on(
    recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "BLOCK_SECONDS", 0.05)
    out = tmp_path / "bench.json"
    changes = ["--set", "conditioning.method=classifier", "--set", "objective.discriminator_steps=2"]
    ran = CliRunner().invoke(
        app, ["bench", str(recipe_file), "--steps", "2", "--out", str(out), *changes], catch_exceptions=False
    )
    assert ran.exit_code == 0
    result = json.loads(out.read_text())

    assert {"date", "torch_version", "limner_version", "load_average"} <= result.keys()
    assert result["torch_version"] == torch.__version__
    assert {"processor", "cores", "threads", "device"} <= result["machine"].keys()
    for loop in ("reference", "ours"):
        training = result["training"][loop]
        assert len(training["seconds"]) == 2
        assert training["median_seconds"] == pytest.approx(sum(training["seconds"]) / 2)
        assert training["images_per_second"] == pytest.approx(2 * 8 / training["median_seconds"])
        assert result["memory"][loop]["peak"] >= result["memory"][loop]["libraries"] > 20
        assert 0 < result["profile"][loop]["products"] < 1
    slow, fast = (result["training"][loop]["median_seconds"] for loop in ("reference", "ours"))
    assert result["training_ratio"]["of_medians"] == pytest.approx(slow / fast)
    assert len(result["loss_differences"]) == measure.CHECKED_STEPS
    assert max(result["loss_differences"]) < 1e-4
    assert {"reference", "Model.batches", "generator, batch 256"} <= result["sampling"].keys()
    assert result["sampling_ratio"].keys() == result["sampling"].keys() - {"reference"}

    printed = " ".join(ran.output.split())  # however wide the terminal is
    assert "Training tiny, conditioning.method=classifier, objective.discriminator_steps=2, batch 8" in printed
    assert f"trains {result['training_ratio']['of_medians']:.2f} times as fast" in printed


def test_mistakes_are_named_before_anything_is_measured(tmp_path: Path, recipe_file: Path) -> None:
    with pytest.raises(UserError, match="--steps is 0"):
        bench("dcgan", 0)
    with pytest.raises(UserError, match="there is no folder"):
        bench("dcgan", 1, tmp_path / "nowhere" / "out.json")
    for overrides, message in (
        (["objective.name=minimax"], r"objective\.name = 'minimax'.*only non-saturating, wasserstein, elbo"),
        (["optimizer.generator.name=sgd"], r"optimizer\.generator\.name = 'sgd'"),
        (["objective.r2=1"], r"objective\.r2 = 1"),
        (["conditioning.method=projection"], r"conditioning\.method = 'projection'"),
        (["objective.name=wasserstein", "objective.clip=0.1"], r"objective\.clip = 0\.1"),
        (["augment.shift=0.1"], r"augment\.shift = 0\.1"),
        (["optimizer.discriminator.equalised=true"], r"optimizer\.discriminator\.equalised = True"),
    ):
        with pytest.raises(UserError, match=message):
            bench(str(recipe_file), 1, overrides=overrides)
    with pytest.raises(UserError, match=r"data\.kind = 'curves'"):
        bench("painter", 1)
