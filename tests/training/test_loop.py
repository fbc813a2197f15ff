"""The training step against a plain loop, a recorded loss curve, and the rule for losses that are not finite."""

import gc
import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from limner.core.distributed import Engine
from limner.core.errors import Interrupted, UserError
from limner.core.randomness import torch_seed
from limner.data.batches import Batches
from limner.data.packed import PackedFaces
from limner.latent.latents import training_latents
from limner.objectives.adversarial import OBJECTIVES, Objective
from limner.recipes.load import load_recipe
from limner.recipes.schema import Recipe
from limner.runs.run import Run, read_log
from limner.training import loop
from limner.training.loop import train_step
from limner.training.session import resume, train
from limner.training.state import State, read_newest

CPU = torch.device("cpu")
ENGINE = Engine(CPU, "fp32")
SGD = tuple(
    f"optimizer.{player}.{setting}"
    for player in ("generator", "discriminator")
    for setting in ("name=sgd", "lr=0.01", "momentum=0.9")
)
CURVE = Path(__file__).with_name("loss_curve.json")


@pytest.fixture(scope="module")
def patterns(pack_faces) -> PackedFaces:  # type: ignore[no-untyped-def]
    """64 smooth images made by whole-number arithmetic alone, so that every machine has the same ones."""
    n, h, w, c = np.ogrid[:64, :32, :32, :3]
    return pack_faces((((n * 7 + 3) * h + (n * 5 + 11) * w + 60 * c + n * n) // 4 % 256).astype(np.uint8))


def steps(recipe: Recipe, faces: PackedFaces, count: int, seed: int = 0) -> tuple[State, list[tuple[float, float]]]:
    """The state after `count` steps, and both players' losses at each."""
    state = State.fresh(recipe, seed, CPU)
    batches, losses = Batches(faces, seed, recipe.data.flip, CPU), []
    for _ in range(count):
        train_step(recipe, state, batches, ENGINE, seed)
        losses.append((state.sums["loss/discriminator"][0].item(), state.sums["loss/generator"][0].item()))
        state.sums.clear()
    return state, losses


def test_three_steps_are_those_of_a_plain_loop(patterns: PackedFaces, tiny: tuple[str, ...]) -> None:
    """Written out as every tutorial does it: plain tensors, torch's own losses, an Adam that is not fused."""
    recipe = load_recipe("dcgan32", [*tiny, "optimizer.generator.lr=1e-3", "optimizer.discriminator.beta2=0.9"])
    ours, losses = steps(recipe, patterns, 3, seed=5)

    start = State.fresh(recipe, 5, CPU)
    G, D = start.generator, start.discriminator
    optimizer_G = torch.optim.Adam(G.parameters(), 1e-3, betas=(0.5, 0.999), foreach=False, fused=False)
    optimizer_D = torch.optim.Adam(D.parameters(), 2e-4, betas=(0.5, 0.9), foreach=False, fused=False)
    batches = Batches(patterns, 5, True, CPU)
    for step in range(3):
        x = batches.at(8 * step, 8).x_BCHW.contiguous()
        z = training_latents(8, 100, "gaussian", torch.Generator().manual_seed(torch_seed(5, "latents", 8 * step)))
        D.zero_grad()
        real, fake = D(x)[:, 0], D(G(z).detach())[:, 0]
        loss_D = F.binary_cross_entropy_with_logits(real, torch.ones(8))
        loss_D = loss_D + F.binary_cross_entropy_with_logits(fake, torch.zeros(8))
        loss_D.backward()
        optimizer_D.step()
        G.zero_grad()
        # Once more through G would count its batch norm twice: the step does it once.
        for module in G.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.track_running_stats = False
        loss_G = F.binary_cross_entropy_with_logits(D(G(z))[:, 0], torch.ones(8))
        for module in G.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.track_running_stats = True
        loss_G.backward()
        optimizer_G.step()
        assert losses[step] == pytest.approx((loss_D.item(), loss_G.item()), rel=1e-4)
    for mine, plain, rate in ((ours.generator, G, 1e-3), (ours.discriminator, D, 2e-4)):
        for name, parameter in mine.named_parameters():
            # Rounding alone decides where a ReLU is at its kink, and Adam makes a full step of any gradient.
            off = (parameter - plain.get_parameter(name)).abs()
            assert off.mean() < 0.02 * 3 * rate, name
    assert ours.images_seen == 24


def test_the_logged_numbers_are_those_of_the_step(patterns: PackedFaces, tiny: tuple[str, ...]) -> None:
    recipe = load_recipe("dcgan32", [*tiny, "objective.name=minimax"])
    state, before = State.fresh(recipe, 0, CPU), State.fresh(recipe, 0, CPU)
    batches = Batches(patterns, 0, True, CPU)
    train_step(recipe, state, batches, ENGINE, 0)

    z_BZ = training_latents(8, 100, "gaussian", torch.Generator().manual_seed(torch_seed(0, "latents", 0)))
    fake_BCHW = before.generator(z_BZ)
    real, fake = before.discriminator(batches.at(0, 8).x_BCHW)[:, 0], before.discriminator(fake_BCHW)[:, 0]
    p_real, p_fake = (1 / (1 + np.exp(-logits.detach().double().numpy())) for logits in (real, fake))
    generator_sees = state.discriminator(fake_BCHW)[:, 0].sigmoid().double().detach().numpy()  # after its own step
    expected = {
        "loss/discriminator": -np.mean(np.log(p_real) + np.log(1 - p_fake)),
        "loss/generator": np.mean(np.log(1 - generator_sees)),
        "output/real": p_real.mean(),
        "output/fake": p_fake.mean(),
        "accuracy/real": np.mean(p_real > 0.5),
        "accuracy/fake": np.mean(p_fake < 0.5),
        "overlap": np.mean(p_fake[:, None] > p_real),
    }
    for name, value in expected.items():
        assert state.sums[name][0].item() == pytest.approx(value, rel=1e-4, abs=1e-6), name
    loss = -(F.logsigmoid(real).mean() + F.logsigmoid(-fake).mean())
    gradients = torch.autograd.grad(loss, [*before.discriminator.parameters()])
    norm = math.sqrt(sum(gradient.double().square().sum().item() for gradient in gradients))
    assert state.sums["gradient/discriminator"][0].item() == pytest.approx(norm, rel=1e-4)


def test_many_steps_leave_nothing_behind(patterns: PackedFaces, tiny: tuple[str, ...]) -> None:
    recipe = load_recipe("dcgan32", [*tiny, "discriminator.width=4", "schedule.batch=2"])
    state, batches = State.fresh(recipe, 0, CPU), Batches(patterns, 0, True, CPU)

    def tensors_after(count: int) -> int:
        for _ in range(count):
            train_step(recipe, state, batches, ENGINE, 0)
        gc.collect()
        return sum(issubclass(type(thing), Tensor) for thing in gc.get_objects())

    warm = tensors_after(5)
    assert tensors_after(200) <= warm
    assert all(
        value.grad_fn is None for value in state.sums.values()
    )  # a sum that kept its graph would keep every step


# --- the recorded curve -----------------------------------------------------------------------------------------------


def curve(patterns: PackedFaces, tiny: tuple[str, ...], *overrides: str) -> np.ndarray:
    recipe = load_recipe("dcgan32", [*tiny, *overrides])
    return np.array(steps(recipe, patterns, 20)[1])


def is_recorded(measured: np.ndarray) -> bool:
    """Close at first, less so later: what rounds differently on another processor grows with every step."""
    recorded = np.array(json.loads(CURVE.read_text()))
    rtol_N1 = np.where(np.arange(20) < 8, 1e-3, 1e-2)[:, None]
    return bool((np.abs(measured - recorded) <= rtol_N1 * np.abs(recorded)).all())


def test_the_loss_curve_is_the_recorded_one(patterns: PackedFaces, tiny: tuple[str, ...]) -> None:
    assert is_recorded(curve(patterns, tiny))


@pytest.mark.parametrize(
    "change",
    [
        "optimizer.generator.lr=2.2e-4",
        "optimizer.discriminator.lr=1.8e-4",
        "optimizer.generator.beta1=0.6",
        "optimizer.discriminator.beta1=0.4",
        "generator.init_std=0.021",
        "discriminator.init_std=0.019",
        "objective.name=minimax",
        "latent.distribution=uniform",
        "data.flip=false",
        "discriminator.norm=none",
    ],
)
def test_the_recorded_curve_notices(change: str, patterns: PackedFaces, tiny: tuple[str, ...]) -> None:
    assert not is_recorded(curve(patterns, tiny, change))


# --- what is not finite -----------------------------------------------------------------------------------------------


def undefined_gradient(loss: Tensor) -> Tensor:
    """The same loss with a gradient of NaN: the square root of nought has none."""
    return loss + (loss * 0).sqrt()


def undefined(loss: Tensor) -> Tensor:
    return loss * math.nan


@pytest.fixture
def poison(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Spoil a player's loss in the steps that begin after so many images were shown: always, or the first time only."""
    step, sound = loop.train_step, OBJECTIVES["non-saturating"]

    def arrange(spoil: Callable[[Tensor], Tensor], player: str, images: set[int] | range, always: bool = False) -> None:
        done: set[int] = set()

        def poisoned_step(recipe: Recipe, state: State, *rest: Any) -> None:
            if state.images_seen in images and (always or state.images_seen not in done):
                done.add(state.images_seen)
                spoilt = sound._replace(**{player: lambda *logits: spoil(getattr(sound, player)(*logits))})
                monkeypatch.setitem(OBJECTIVES, "non-saturating", Objective(*spoilt))
            try:
                step(recipe, state, *rest)
            finally:
                monkeypatch.setitem(OBJECTIVES, "non-saturating", sound)

        monkeypatch.setattr(loop, "train_step", poisoned_step)

    return arrange


def snapshot(state: State, player: str) -> dict[str, Tensor]:
    network = dict(getattr(state, player).named_parameters())
    moments = {name: value for name, value in state.tensors().items() if name.startswith(f"optimizer.{player}.")}
    return {name: value.detach().clone() for name, value in (network | moments).items()}


@pytest.mark.parametrize("spoil", [undefined, undefined_gradient])
@pytest.mark.parametrize("player", ["generator", "discriminator"])
@pytest.mark.parametrize("optimizer", [(), SGD], ids=["adam", "sgd"])
def test_a_step_that_is_not_finite_changes_no_weight(
    spoil: Callable[[Tensor], Tensor],
    player: str,
    optimizer: tuple[str, ...],
    patterns: PackedFaces,
    tiny: tuple[str, ...],
    poison: Callable[..., None],
) -> None:
    recipe = load_recipe("dcgan32", [*tiny, *optimizer])
    state, _ = steps(recipe, patterns, 2)
    before = snapshot(state, player)
    poison(spoil, player, {16})
    loop.train_step(recipe, state, Batches(patterns, 0, True, CPU), ENGINE, 0)
    after = snapshot(state, player)
    assert before.keys() == after.keys()
    assert [name for name in before if not torch.equal(before[name], after[name])] == []
    assert not math.isfinite(state.sums[f"gradient/{player}"][0].item())
    loop.train_step(recipe, state, Batches(patterns, 0, True, CPU), ENGINE, 0)
    assert not torch.equal(
        before["main.1.weight" if player == "generator" else "main.0.weight"],
        snapshot(state, player)["main.1.weight" if player == "generator" else "main.0.weight"],
    )


def events(run: Path, kind: str) -> list[dict[str, Any]]:
    return [line for line in read_log(run) if line["event"] == kind]


@pytest.mark.parametrize("optimizer", [(), SGD], ids=["adam", "sgd"])
@pytest.mark.parametrize(
    ("spoil", "player"), [(undefined, "discriminator"), (undefined_gradient, "generator")], ids=["loss", "gradient"]
)
def test_the_run_returns_to_its_last_good_checkpoint_at_half_the_rate(
    spoil: Callable[[Tensor], Tensor],
    player: str,
    optimizer: tuple[str, ...],
    faces32: PackedFaces,
    tiny: tuple[str, ...],
    tmp_path: Path,
    poison: Callable[..., None],
) -> None:
    poison(spoil, player, {40, 104})
    overrides = [*tiny, *optimizer, "record.checkpoint_images=32"]
    run = train("dcgan32", faces32, tmp_path / "run", images=128, overrides=overrides, device="cpu", quiet=True)
    rollbacks = [(line["from_images"], line["to_images"], line["lr_scale"]) for line in events(run.path, "rollback")]
    assert rollbacks == [(64, 32, 0.5), (128, 96, 0.25)]
    lines = events(run.path, "log")
    assert [line["images_seen"] for line in lines] == [32, 64, 64, 96, 128, 128]
    rate = run.recipe.optimizer.generator.lr
    assert [line["lr/generator"] / rate for line in lines] == pytest.approx([1, 1, 0.5, 0.5, 0.5, 0.25])
    assert [line["verdict"] for line in lines] == [
        "learning",
        "diverged",
        "learning",
        "learning",
        "diverged",
        "learning",
    ]
    record, tensors, _ = read_newest(run.path / "checkpoints")
    assert (record["images_seen"], record["rollbacks"], record["lr_scale"]) == (128, 2, 0.25)
    assert all(torch.isfinite(value).all() for value in tensors.values())
    assert Run(run.path).model.sample(1).shape == (1, 32, 32, 3)


def test_what_follows_a_return_is_trained_at_half_the_rate(
    faces32: PackedFaces, tiny: tuple[str, ...], tmp_path: Path, poison: Callable[..., None]
) -> None:
    """To the last bit: from the checkpoint at nought, at rates of half the recipe's."""
    poison(undefined, "generator", {8})
    returned = train("dcgan32", faces32, tmp_path / "a", images=64, overrides=tiny, device="cpu", quiet=True)
    halved = [f"optimizer.{player}.lr=1e-4" for player in ("generator", "discriminator")]
    slow = train("dcgan32", faces32, tmp_path / "b", images=64, overrides=[*tiny, *halved], device="cpu", quiet=True)
    ours, theirs = (read_newest(run.path / "checkpoints")[1] for run in (returned, slow))
    assert len(events(returned.path, "rollback")) == 1
    assert [name for name in theirs if not torch.equal(ours[name], theirs[name])] == []


@pytest.mark.parametrize("optimizer", [(), SGD], ids=["adam", "sgd"])
def test_after_three_returns_the_run_stops_and_says_so(
    optimizer: tuple[str, ...],
    faces32: PackedFaces,
    tiny: tuple[str, ...],
    tmp_path: Path,
    poison: Callable[..., None],
) -> None:
    poison(undefined, "generator", range(40, 999), always=True)
    overrides = [*tiny, *optimizer, "record.checkpoint_images=32"]
    with pytest.raises(UserError, match=r"diverged at 64 images.*lower optimizer\.generator\.lr") as error:
        train("dcgan32", faces32, tmp_path / "run", images=128, overrides=overrides, device="cpu", quiet=True)
    assert "\n" not in str(error.value)
    assert [line["lr_scale"] for line in events(tmp_path / "run", "rollback")] == [0.5, 0.25, 0.125]
    assert events(tmp_path / "run", "stop")[-1]["reason"] == "diverged"
    record, tensors, broken = read_newest(tmp_path / "run/checkpoints")
    assert (record["images_seen"], broken) == (32, [])
    assert all(torch.isfinite(value).all() for value in tensors.values())
    assert Run(tmp_path / "run").model.config.images_seen == 32


def test_no_checkpoint_and_no_image_between_the_fault_and_the_log_line(
    faces32: PackedFaces, tiny: tuple[str, ...], tmp_path: Path, poison: Callable[..., None]
) -> None:
    """A checkpoint that held the sums of a window with a fault in it would be returned to for ever."""
    poison(undefined, "discriminator", {24})
    overrides = [*tiny, "record.checkpoint_images=16", "record.log_images=64"]
    run = train("dcgan32", faces32, tmp_path / "run", images=64, overrides=overrides, device="cpu", quiet=True)
    (rollback,) = events(run.path, "rollback")
    assert (rollback["from_images"], rollback["to_images"]) == (32, 16)
    (line,) = events(run.path, "log")
    assert math.isfinite(line["loss/discriminator"])


def test_a_fault_after_the_last_log_line_is_not_hidden(
    faces32: PackedFaces, tiny: tuple[str, ...], tmp_path: Path, poison: Callable[..., None]
) -> None:
    poison(undefined, "generator", {32})
    run = train("dcgan32", faces32, tmp_path / "run", images=48, overrides=tiny, device="cpu", quiet=True)
    assert [(line["from_images"], line["to_images"]) for line in events(run.path, "rollback")] == [(48, 0)]
    _, tensors, _ = read_newest(run.path / "checkpoints")
    assert all(torch.isfinite(value).all() for value in tensors.values())


def test_weights_that_the_last_step_spoilt_are_not_kept(
    faces32: PackedFaces, tiny: tuple[str, ...], tmp_path: Path
) -> None:
    """The only loss was measured before the only step: it is finite, the weights are not."""
    overrides = [*tiny, "optimizer.generator.lr=1e300"]
    with pytest.raises(UserError, match=r"diverged at 8 images.*lower optimizer\.generator\.lr"):
        train("dcgan32", faces32, tmp_path / "run", images=8, overrides=overrides, device="cpu", quiet=True)
    assert [line["to_images"] for line in events(tmp_path / "run", "rollback")] == [0, 0, 0]
    record, tensors, _ = read_newest(tmp_path / "run/checkpoints")
    assert record["images_seen"] == 0
    assert all(torch.isfinite(value).all() for value in tensors.values())
    assert Run(tmp_path / "run").model.config.images_seen == 0


def test_a_return_that_does_not_help_goes_further_back(
    faces32: PackedFaces, tiny: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checkpoint at 48 is whole and finite, but its weights are so large that no step from it is."""
    step, spoilt = loop.train_step, []

    def spoiling_step(recipe: Recipe, state: State, *rest: Any) -> None:
        step(recipe, state, *rest)
        if state.images_seen == 48 and not spoilt:
            spoilt.append(state.images_seen)
            for parameter in state.generator.parameters():
                parameter.data.fill_(1e38)

    monkeypatch.setattr(loop, "train_step", spoiling_step)
    overrides = [*tiny, "record.checkpoint_images=16"]
    run = train("dcgan32", faces32, tmp_path / "run", images=96, overrides=overrides, device="cpu", quiet=True)
    returns = [(line["from_images"], line["to_images"], line["lr_scale"]) for line in events(run.path, "rollback")]
    assert returns == [(64, 48, 0.5), (64, 32, 0.25)]
    record, tensors, _ = read_newest(run.path / "checkpoints")
    # A resumed run knows as much as one that never stopped.
    assert [record[name] for name in ("images_seen", "rollbacks", "failed_at", "returned_to")] == [96, 2, 64, 32]
    assert tensors["generator.linear.weight"].abs().max() < 10


def test_weights_whose_images_are_not_finite_are_not_kept(
    faces32: PackedFaces, tiny: tuple[str, ...], tmp_path: Path
) -> None:
    """Weights of 1e38 are finite themselves."""
    overrides = [*tiny, "optimizer.generator.lr=1e38", "record.checkpoint_images=8"]
    with pytest.raises(UserError, match="diverged at 8 images"):
        train("dcgan32", faces32, tmp_path / "run", images=64, overrides=overrides, device="cpu", quiet=True)
    assert [path.name for path in (tmp_path / "run/checkpoints").iterdir()] == ["000000000"]


def test_a_run_stopped_right_after_a_fault_keeps_a_good_checkpoint(
    faces32: PackedFaces,
    tiny: tuple[str, ...],
    tmp_path: Path,
    poison: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    poison(undefined, "generator", {72})
    spoilt_step = loop.train_step

    def stopping_step(recipe: Recipe, state: State, *rest: Any) -> None:
        spoilt_step(recipe, state, *rest)
        if state.images_seen == 80:
            os.kill(os.getpid(), 15)

    monkeypatch.setattr(loop, "train_step", stopping_step)
    with pytest.raises(Interrupted):
        train("dcgan32", faces32, tmp_path / "run", images=128, overrides=tiny, device="cpu", quiet=True)
    record, tensors, _ = read_newest(tmp_path / "run/checkpoints")
    assert record["images_seen"] == 64
    assert all(torch.isfinite(value).all() for value in tensors.values())
    monkeypatch.setattr(loop, "train_step", spoilt_step)
    run = resume(tmp_path / "run", device="cpu", quiet=True)
    assert [line["images_seen"] for line in events(run.path, "log")] == [32, 64, 96, 128]
