"""Memorisation: copies are found whichever images were copied, honest draws pass, and memory stays small."""

import tracemalloc
from math import sqrt

import numpy as np
import pytest
from numpy.typing import NDArray

from limner.evaluation import memorisation as module
from limner.evaluation.memorisation import Pair, memorisation, nearest, nearest_sheet

DIMENSIONS = 12


def draw(count: int, seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(5, 1, (count, DIMENSIONS)).astype(np.float32)


def brute_force(query_ND: NDArray[np.float32], reference_MD: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.linalg.norm(query_ND[:, None].astype(np.float64) - reference_MD[None], axis=2)


@pytest.mark.parametrize("batch", [7, 50, 1000])
def test_nearest_is_the_least_of_all_distances(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH", batch)
    query_ND, reference_MD = draw(60, 0), draw(150, 1)
    distance_NM = brute_force(query_ND, reference_MD)
    rows, distances = nearest(query_ND, reference_MD)
    assert rows.tolist() == distance_NM.argmin(axis=1).tolist()
    np.testing.assert_allclose(distances, distance_NM.min(axis=1), rtol=1e-12)

    own = np.arange(40, 100)
    distance_NM = brute_force(reference_MD[own], reference_MD)
    distance_NM[np.arange(60), own] = np.inf
    rows, _ = nearest(reference_MD[own], reference_MD, but=own)
    assert rows.tolist() == distance_NM.argmin(axis=1).tolist()


def test_the_nearer_of_a_image_and_its_mirror_image_counts() -> None:
    def mirror(features_ND: NDArray[np.float32]) -> NDArray[np.float32]:
        return features_ND[:, ::-1]

    query_ND, reference_MD = draw(60, 0), draw(150, 1)
    either_NM = np.minimum(brute_force(query_ND, reference_MD), brute_force(query_ND[:, ::-1], reference_MD))
    rows, distances = nearest(query_ND, reference_MD, mirror=mirror)
    assert rows.tolist() == either_NM.argmin(axis=1).tolist()
    np.testing.assert_allclose(distances, either_NM.min(axis=1), rtol=1e-12)

    # The same for what is held out, and no image is its own mirrored neighbour: no copying, no difference.
    train_MD, heldout_MD = draw(2000, 2), draw(2000, 3)
    found = memorisation(draw(2000, 4), train_MD, heldout_MD, mirror)
    assert found.closer_to_train == pytest.approx(0.5, abs=0.04)
    assert found.heldout_ratio == pytest.approx(1, abs=0.04)
    assert memorisation(train_MD[:, ::-1], train_MD, heldout_MD, mirror).closer_to_train == 1
    assert memorisation(train_MD[:, ::-1], train_MD, heldout_MD).closer_to_train < 0.6


def test_small_distances_far_from_the_origin_keep_their_digits() -> None:
    reference_MD = draw(100, 0) + np.float32(1000)
    query_ND = reference_MD[:8].copy()
    query_ND[:, 0] += np.float32(2**-7)
    rows, distances = nearest(query_ND, reference_MD)
    assert rows.tolist() == [*range(8)]
    assert distances.tolist() == [2**-7] * 8


def test_pixels_do_not_wrap_round() -> None:
    pixels_ND = np.array([[250, 0], [0, 250], [128, 128]], np.uint8)
    rows, distances = nearest(np.array([[0, 10], [255, 5]], np.uint8), pixels_ND)
    assert rows.tolist() == [2, 0]
    np.testing.assert_allclose(distances, [sqrt(128**2 + 118**2), sqrt(50)])


def test_numbers_by_hand() -> None:
    """Four training images and two held-out ones on a line."""
    train_MD = np.array([[0], [10], [20], [30]], np.float32)
    heldout_MD = np.array([[5], [25]], np.float32)
    fake_ND = np.array([[1], [11], [21], [26]], np.float32)
    found = memorisation(fake_ND, train_MD, heldout_MD)
    # Three are won by one of four training images, one by one of two held-out images.
    assert found.closer_to_train == pytest.approx((3 / 4) / (3 / 4 + 1 / 2))
    assert found.median_ratio == pytest.approx(np.median([1 / 4, 1 / 6, 1 / 4, 4 / 1]))
    assert found.heldout_ratio == pytest.approx(5 / 20)
    assert sorted(found.closest) == [Pair(0, 0, 1.0), Pair(1, 1, 1.0), Pair(2, 2, 1.0), Pair(3, 3, 4.0)]
    assert found.closest[-1].fake == 3


def test_equal_distances_count_half_for_each() -> None:
    same_MD = draw(20, 0)
    found = memorisation(same_MD, same_MD, same_MD)
    assert (found.closer_to_train, found.median_ratio) == (0.5, 1.0)


def test_copies_are_found_whichever_images_were_copied() -> None:
    train_MD, heldout_MD = draw(3000, 0), draw(200, 1)
    copied = np.arange(7, 3000, 100)
    near_ND = train_MD[copied] + np.float32(0.01)
    for fake_ND, ratio in ((train_MD[copied], 0.0), (near_ND, 0.05)):
        found = memorisation(fake_ND, train_MD, heldout_MD)
        assert found.closer_to_train == 1.0
        assert found.median_ratio <= ratio
        assert len(found.closest) == 16
        assert all(copied[pair.fake] == pair.train for pair in found.closest)


def test_a_share_of_copies_raises_the_numbers_by_as_much_as_it_should() -> None:
    train_MD, heldout_MD, count = draw(4000, 0), draw(2000, 1), 4000
    fake_ND = draw(count, 2)
    fake_ND[: count // 2] = train_MD[: count // 2]
    found = memorisation(fake_ND, train_MD, heldout_MD)
    train_wins, heldout_wins = 0.5 + 0.5 * 2 / 3, 0.5 / 3
    expected = (train_wins / 2) / (train_wins / 2 + heldout_wins)
    assert found.closer_to_train == pytest.approx(expected, abs=0.03)


def test_honest_draws_pass_though_training_images_are_more() -> None:
    count, train, heldout = 3000, 4000, 500
    found = memorisation(draw(count, 2), draw(train, 0), draw(heldout, 1))
    h = heldout / (heldout + train)
    assert abs(found.closer_to_train - 0.5) < 4 / sqrt(16 * h * (1 - h) * count)
    assert found.median_ratio == pytest.approx(found.heldout_ratio, abs=0.04)
    assert 0.6 < found.heldout_ratio < 0.95
    # The distances of nearest neighbours in few dimensions shrink as the power -1 / D of the number of images.
    assert found.heldout_ratio == pytest.approx((train / heldout) ** (-1 / DIMENSIONS), abs=0.06)


def test_never_all_distances_in_memory() -> None:
    fake_ND, train_MD, heldout_MD = draw(6000, 0), draw(6000, 1), draw(100, 2)
    tracemalloc.start()
    try:
        memorisation(fake_ND, train_MD, heldout_MD)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 6000 * 6000 * 4 / 6


def test_sheet_shows_each_beside_its_nearest() -> None:
    fakes_NHWC = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), np.uint8)
    train_MHWC = np.random.default_rng(1).integers(0, 256, (30, 32, 32, 3), np.uint8)
    pairs = [Pair(fake, 29 - fake, 0.0) for fake in range(6)]
    sheet = np.asarray(nearest_sheet(fakes_NHWC, train_MHWC, pairs))
    side = 4 * 32
    assert sheet.shape == (2 * side + 12, 4 * 2 * side + 3 * 12, 3)
    fifth = sheet[side + 12 :, : 2 * side][::4, ::4]
    np.testing.assert_array_equal(fifth[:, :32], fakes_NHWC[4])
    np.testing.assert_array_equal(fifth[:, 32:], train_MHWC[25])
