"""The verdict on made-up logs, and what it is measured from, on images whose answer is known."""

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from limner.data.packed import PackedFaces
from limner.training.health import GRACE, RECENT, REMEDIES, Health, overlap, verdict

SOUND = {
    "loss/generator": 0.9,
    "gradient/generator": 3.0,
    "overlap": 0.2,
    "diversity": 0.9,
    "nearest_training": 0.5,
    "contrast": 0.9,
    "roughness": 0.05,
}
RECORDED = json.loads((Path(__file__).parent / "recorded_runs.json").read_text())


def log(count: int = 20, first: int = 50_000, **last: float) -> list[dict[str, float]]:
    """`count` sound lines of which the last five are as `last` says."""
    lines = [{"images_seen": first + 3200 * index, "step": first // 64 + 50 * index} | SOUND for index in range(count)]
    return [
        *lines[:-5],
        *(line | {key.replace("__", "/"): value for key, value in last.items()} for line in lines[-5:]),
    ]


@pytest.mark.parametrize(
    ("signs", "expected"),
    [
        ({}, "learning"),
        ({"overlap": 0.001}, "discriminator winning"),
        ({"overlap": 0.02}, "learning"),
        ({"overlap": 0.44}, "generator winning"),
        ({"overlap": 0.38}, "learning"),
        ({"overlap": 0.5, "diversity": 0.3}, "collapsing"),
        ({"diversity": 0.3}, "collapsing"),
        ({"diversity": 0.7}, "learning"),
        ({"nearest_training": 0.95}, "memorising"),
        ({"nearest_training": 0.7}, "learning"),
        ({"diversity": 0.1, "overlap": 0.2, "nearest_training": 1.0}, "collapsing"),
        # As avgpool-bce goes on CelebA: black images that do not pass, though the discriminator errs now and then.
        ({"diversity": 0.03, "overlap": 0.05}, "discriminator winning"),
        ({"diversity": 0.7, "overlap": 0.05}, "learning"),
        ({"contrast": 0.02}, "blank"),
        ({"contrast": 0.02, "diversity": 0.0, "overlap": 0.5}, "blank"),  # rather than collapsing: what is to be seen
        ({"contrast": 0.02, "roughness": 0.9}, "blank"),  # what is left may be rounding
        ({"contrast": 0.2}, "learning"),
        ({"roughness": 0.9}, "noise"),
        ({"roughness": 0.9, "diversity": 0.03, "overlap": 0.3}, "noise"),
        ({"roughness": 0.3}, "learning"),
        ({"contrast": 0.02, "roughness": 0.9, "diversity": 0.03, "overlap": 0.05}, "discriminator winning"),
        ({"loss__generator": math.nan}, "diverged"),
        ({"loss__generator": math.inf}, "diverged"),
        ({"gradient__generator": math.nan}, "diverged"),
    ],
)
def test_verdicts(signs: dict[str, float], expected: str) -> None:
    assert verdict(log(**signs)) == expected


def test_a_run_that_starts_from_a_model_has_no_grace() -> None:
    lines = log(first=1_000, nearest_training=0.95)[-5:]
    early = [line | {"images_seen": 1_000 * (index + 1)} for index, line in enumerate(lines)]
    assert early[-1]["images_seen"] < GRACE
    assert verdict(early) == "learning"
    assert verdict(early, seen_before=GRACE) == "memorising"


@pytest.mark.parametrize(
    "signs",
    [
        {"overlap": 0.0},
        {"overlap": 0.5},
        {"diversity": 0.0},
        {"nearest_training": 1.0},
        {"contrast": 0.0},
        {"roughness": 0.95},
    ],
)
def test_no_verdict_from_one_bad_line_nor_too_early(signs: dict[str, float]) -> None:
    sick = log(**signs)
    assert verdict(sick) != "learning"
    assert verdict([*sick[:-1], sick[-1] | SOUND]) == "learning"  # the last one is well again
    assert verdict([*sick[:-5], *(line | SOUND for line in sick[-5:-1]), sick[-1]]) == "learning"
    assert verdict(sick[-4:]) == "learning"
    early = [line | {"images_seen": GRACE - 3200 * (20 - index), "step": 2 * index} for index, line in enumerate(sick)]
    assert verdict(early) == "learning"
    assert verdict([]) == "learning"


def test_curves_that_nobody_can_tell_apart_are_no_fault() -> None:
    lines = [{key: value for key, value in line.items() if key != "nearest_training"} for line in log(overlap=0.5)]
    assert verdict(lines) == "learning"


def test_noise_that_fades_is_no_fault() -> None:
    lines = log(roughness=0.9)
    fading = [line | {"roughness": 0.9 - 0.08 * index} for index, line in enumerate(lines[-5:])]
    assert min(line["roughness"] for line in fading) > 0.5
    assert verdict(lines) == "noise"
    assert verdict([*lines[:-5], *fading]) == "learning"


@pytest.mark.parametrize("name", RECORDED)
def test_runs_on_celeba_get_the_verdict_that_their_faces_show(name: str) -> None:
    # As recorded, with a line per 1,600 images (`autoencoder-bce`: 640), and the default of 3,200.
    recorded = RECORDED[name]
    lines = [dict(zip(recorded["columns"], line, strict=True)) for line in recorded["lines"]]
    lines = [{key: value for key, value in line.items() if value is not None} for line in lines]
    for kept in (lines, lines[1::2]):
        verdicts = [verdict(kept[: index + 1]) for index in range(len(kept))]
        if len(kept) >= RECENT:
            assert verdicts[-1] == recorded["expected"]
        assert set(verdicts) <= {"learning", recorded["expected"]}


def test_divergence_is_said_at_once() -> None:
    assert verdict([{"images_seen": 8, "loss/generator": math.nan}]) == "diverged"


def test_missing_measurements_accuse_nobody() -> None:
    assert verdict([{"images_seen": 50_000 + index} for index in range(9)]) == "learning"


def test_every_verdict_but_the_good_one_has_a_remedy_in_one_line() -> None:
    assert [name for name, words in REMEDIES.items() if not words] == ["learning"]
    assert not any("\n" in words for words in REMEDIES.values())


def test_overlap_counts_the_pairs() -> None:
    random = np.random.default_rng(0)
    for count in (1, 5, 40):
        real, fake = (random.integers(-3, 4, count).tolist() for _ in range(2))  # with ties
        above = sum(1.0 if f > r else 0.5 if f == r else 0.0 for r, f in itertools.product(real, fake))
        measured = overlap(torch.tensor(real, dtype=torch.float32), torch.tensor(fake, dtype=torch.float32))
        assert measured.item() == pytest.approx(above / count**2)
    assert overlap(torch.tensor([1.0, 2.0]), torch.tensor([-1.0, 0.0])).item() == 0


def test_diversity_is_nought_for_one_image_and_one_for_real_ones(faces32: PackedFaces) -> None:
    health = Health(faces32)
    train = faces32.images_NHWC[faces32.rows("train")]
    assert health.measure(np.repeat(train[:1], 16, axis=0))["diversity"] == pytest.approx(0, abs=1e-6)
    assert health.measure(train[:100])["diversity"] == pytest.approx(1, abs=0.1)
    half = (train[:100].astype(float) - train[:100].mean(axis=0)) / 2 + train[:100].mean(axis=0)
    assert health.measure(half.round().astype(np.uint8))["diversity"] == pytest.approx(0.5, abs=0.05)


def test_one_held_out_image_is_enough_to_measure_diversity(pack_faces) -> None:  # type: ignore[no-untyped-def]
    noise_NHWC = np.random.default_rng(0).integers(0, 256, (31, 32, 32, 3), np.uint8)
    health = Health(pack_faces(noise_NHWC, ["train"] * 30 + ["valid"]))
    assert health.measure(noise_NHWC[:30])["diversity"] == pytest.approx(1, abs=1e-3)


def test_copies_of_training_images_are_nearest_to_training(pack_faces) -> None:  # type: ignore[no-untyped-def]
    noise_NHWC = np.random.default_rng(0).integers(0, 256, (60, 32, 32, 3), np.uint8)
    health = Health(pack_faces(noise_NHWC, ["train", "valid"] * 30))
    assert health.measure(noise_NHWC[::2])["nearest_training"] == 1
    assert health.measure(noise_NHWC[1::2])["nearest_training"] == 0
    strangers_NHWC = np.random.default_rng(1).integers(0, 256, (400, 32, 32, 3), np.uint8)
    assert health.measure(strangers_NHWC)["nearest_training"] == pytest.approx(0.5, abs=0.2)


def test_more_training_than_held_out_images_are_no_sign_of_copying(pack_faces) -> None:  # type: ignore[no-untyped-def]
    noise_NHWC = np.random.default_rng(0).integers(0, 256, (440, 32, 32, 3), np.uint8)
    health = Health(pack_faces(noise_NHWC, ["train"] * 400 + ["valid"] * 40))
    strangers_NHWC = np.random.default_rng(1).integers(0, 256, (400, 32, 32, 3), np.uint8)
    assert health.measure(strangers_NHWC)["nearest_training"] == pytest.approx(0.5, abs=0.2)


def test_without_held_out_images_there_is_no_word_on_copying(pack_faces) -> None:  # type: ignore[no-untyped-def]
    noise_NHWC = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), np.uint8)
    assert set(Health(pack_faces(noise_NHWC)).measure(noise_NHWC)) == {"diversity", "contrast", "roughness"}


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (128, 128, 128), (200, 30, 90)])
def test_one_flat_colour_has_no_contrast(faces32: PackedFaces, colour: tuple[int, int, int]) -> None:
    flat_NHWC = np.broadcast_to(np.array(colour, np.uint8), (16, 32, 32, 3)).copy()
    measured = Health(faces32).measure(flat_NHWC)
    assert measured["contrast"] == pytest.approx(0, abs=1e-4)
    assert measured["roughness"] <= 0
    many_NHWC = np.random.default_rng(0).integers(0, 256, (16, 1, 1, 3), np.uint8).repeat(32, 1).repeat(32, 2)
    assert Health(faces32).measure(many_NHWC)["contrast"] == pytest.approx(0, abs=1e-4)  # each one flat, no two alike


def test_noise_is_rough_and_faces_are_not(faces32: PackedFaces) -> None:
    health = Health(faces32)
    faces_NHWC = faces32.images_NHWC[faces32.rows("train")[:64]]
    random = np.random.default_rng(0)
    measured = health.measure(faces_NHWC)
    assert measured["contrast"] == pytest.approx(1, abs=0.1)
    assert measured["roughness"] == pytest.approx(0, abs=0.03)
    half_NHWC = (faces_NHWC / 2 + 64).round().astype(np.uint8)
    assert health.measure(half_NHWC)["contrast"] == pytest.approx(measured["contrast"] / 2, abs=0.02)
    assert health.measure(half_NHWC)["roughness"] == pytest.approx(measured["roughness"], abs=0.02)
    for spread in (20, 128):
        noise_NHWC = random.integers(128 - spread, 128 + spread, (64, 32, 32, 3)).astype(np.uint8)
        assert health.measure(noise_NHWC)["roughness"] == pytest.approx(_neighbours(faces_NHWC), abs=0.05)
        # One pattern for all is noise too: what is measured is within an image.
        assert health.measure(noise_NHWC[:1].repeat(64, axis=0))["roughness"] > 0.5
    shuffled_NHWC = random.permutation(faces_NHWC.reshape(64, -1, 3), axis=1).reshape(faces_NHWC.shape)
    shuffled = health.measure(shuffled_NHWC)
    assert shuffled["contrast"] == pytest.approx(measured["contrast"], rel=1e-5)  # the same pixels in other places
    assert shuffled["roughness"] > 0.5


def _neighbours(images_NHWC: np.ndarray) -> float:
    """The correlation of pixels one apart, down and across, about each image's own mean colour, pooled over all."""
    x = images_NHWC - images_NHWC.mean(axis=(1, 2), keepdims=True)
    down = np.vdot(x[:, 1:], x[:, :-1]) / x[:, 1:].size
    across = np.vdot(x[:, :, 1:], x[:, :, :-1]) / x[:, :, 1:].size
    return float((down + across) / 2 / x.var())
