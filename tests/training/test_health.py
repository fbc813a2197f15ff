"""The verdict on made-up logs, and what it is measured from, on pictures whose answer is known."""

import itertools
import math

import numpy as np
import pytest
import torch

from limner.data.packed import PackedFaces
from limner.training.health import GRACE, REMEDIES, Health, overlap, verdict

SOUND = {"loss/generator": 0.9, "gradient/generator": 3.0, "overlap": 0.2, "diversity": 0.9, "nearest_training": 0.5}


def log(count: int = 20, first: int = 50_000, **last: float) -> list[dict[str, float]]:
    """`count` sound lines of which the last five are as `last` says."""
    lines = [{"images": first + 3200 * index} | SOUND for index in range(count)]
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
        # As avgpool-bce goes on CelebA: black pictures that do not pass, though the discriminator errs now and then.
        ({"diversity": 0.03, "overlap": 0.05}, "discriminator winning"),
        ({"diversity": 0.7, "overlap": 0.05}, "learning"),
        ({"loss__generator": math.nan}, "diverged"),
        ({"loss__generator": math.inf}, "diverged"),
        ({"gradient__generator": math.nan}, "diverged"),
    ],
)
def test_verdicts(signs: dict[str, float], expected: str) -> None:
    assert verdict(log(**signs)) == expected


@pytest.mark.parametrize("signs", [{"overlap": 0.0}, {"overlap": 0.5}, {"diversity": 0.0}, {"nearest_training": 1.0}])
def test_no_verdict_from_one_bad_line_nor_too_early(signs: dict[str, float]) -> None:
    sick = log(**signs)
    assert verdict(sick) != "learning"
    assert verdict([*sick[:-1], sick[-1] | SOUND]) == "learning"  # the last one is well again
    assert verdict([*sick[:-5], *(line | SOUND for line in sick[-5:-1]), sick[-1]]) == "learning"
    assert verdict(sick[-4:]) == "learning"
    early = [line | {"images": GRACE - 3200 * (20 - index)} for index, line in enumerate(sick)]
    assert verdict(early) == "learning"
    assert verdict([]) == "learning"


def test_curves_that_nobody_can_tell_apart_are_no_fault() -> None:
    lines = [{key: value for key, value in line.items() if key != "nearest_training"} for line in log(overlap=0.5)]
    assert verdict(lines) == "learning"


def test_divergence_is_said_at_once() -> None:
    assert verdict([{"images": 8, "loss/generator": math.nan}]) == "diverged"


def test_missing_measurements_accuse_nobody() -> None:
    assert verdict([{"images": 50_000 + index} for index in range(9)]) == "learning"


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


def test_diversity_is_nought_for_one_picture_and_one_for_real_ones(faces32: PackedFaces) -> None:
    health = Health(faces32)
    train = faces32.images_NHWC[faces32.rows("train")]
    assert health.measure(np.repeat(train[:1], 16, axis=0))["diversity"] == pytest.approx(0, abs=1e-6)
    assert health.measure(train[:100])["diversity"] == pytest.approx(1, abs=0.1)
    half = (train[:100].astype(float) - train[:100].mean(axis=0)) / 2 + train[:100].mean(axis=0)
    assert health.measure(half.round().astype(np.uint8))["diversity"] == pytest.approx(0.5, abs=0.05)


def test_one_held_out_picture_is_enough_to_measure_diversity(pack_faces) -> None:  # type: ignore[no-untyped-def]
    noise_NHWC = np.random.default_rng(0).integers(0, 256, (31, 32, 32, 3), np.uint8)
    health = Health(pack_faces(noise_NHWC, ["train"] * 30 + ["valid"]))
    assert health.measure(noise_NHWC[:30])["diversity"] == pytest.approx(1, abs=1e-3)


def test_copies_of_training_pictures_are_nearest_to_training(pack_faces) -> None:  # type: ignore[no-untyped-def]
    noise_NHWC = np.random.default_rng(0).integers(0, 256, (60, 32, 32, 3), np.uint8)
    health = Health(pack_faces(noise_NHWC, ["train", "valid"] * 30))
    assert health.measure(noise_NHWC[::2])["nearest_training"] == 1
    assert health.measure(noise_NHWC[1::2])["nearest_training"] == 0
    strangers_NHWC = np.random.default_rng(1).integers(0, 256, (400, 32, 32, 3), np.uint8)
    assert health.measure(strangers_NHWC)["nearest_training"] == pytest.approx(0.5, abs=0.2)


def test_more_training_than_held_out_pictures_are_no_sign_of_copying(pack_faces) -> None:  # type: ignore[no-untyped-def]
    noise_NHWC = np.random.default_rng(0).integers(0, 256, (440, 32, 32, 3), np.uint8)
    health = Health(pack_faces(noise_NHWC, ["train"] * 400 + ["valid"] * 40))
    strangers_NHWC = np.random.default_rng(1).integers(0, 256, (400, 32, 32, 3), np.uint8)
    assert health.measure(strangers_NHWC)["nearest_training"] == pytest.approx(0.5, abs=0.2)


def test_without_held_out_pictures_there_is_no_word_on_copying(pack_faces) -> None:  # type: ignore[no-untyped-def]
    noise_NHWC = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), np.uint8)
    assert set(Health(pack_faces(noise_NHWC)).measure(noise_NHWC)) == {"diversity"}
