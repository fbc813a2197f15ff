"""What a training sees of its images. Every made image tells its row, and on which side its left edge is."""

from collections import Counter

import numpy as np
import pytest
import torch

from limner.data.batches import Batches
from limner.data.packed import PackedFaces

TRAIN, HELDOUT = 30, 10
SPLITS = ["train", "train", "train", "valid"] * HELDOUT
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def faces(pack_faces) -> PackedFaces:  # type: ignore[no-untyped-def]
    """Red is the row, green is 0 at the left edge and 255 elsewhere, blue is 0."""
    images_NHWC = np.zeros((TRAIN + HELDOUT, 16, 16, 3), np.uint8)
    images_NHWC[..., 0] = np.arange(TRAIN + HELDOUT)[:, None, None]
    images_NHWC[:, :, 1:, 1] = 255
    return pack_faces(images_NHWC, SPLITS)


def rows(x_BCHW: torch.Tensor) -> list[int]:
    return ((x_BCHW[:, 0, 0, 0] + 1) * 127.5).round().int().tolist()


def mirrored(x_BCHW: torch.Tensor) -> list[bool]:
    assert ((x_BCHW[:, 1, :, 0] < 0).all(1) != (x_BCHW[:, 1, :, -1] < 0).all(1)).all()  # the edge is at one side
    return (x_BCHW[:, 1, 0, -1] < 0).tolist()


def test_every_training_image_once_an_epoch_and_never_a_held_out_one(faces: PackedFaces) -> None:
    batches = Batches(faces, 0, True, CPU)
    shown = [row for images in range(0, 4 * TRAIN, 8) for row in rows(batches.at(images, 8).x_BCHW)]  # 8 straddles
    train = [row for row, split in enumerate(SPLITS) if split == "train"]
    epochs = [shown[start : start + TRAIN] for start in range(0, 4 * TRAIN, TRAIN)]
    assert all(sorted(epoch) == train for epoch in epochs)
    assert len(set(map(tuple, epochs))) == 4  # shuffled anew
    assert train not in epochs


def test_the_place_in_the_stream_is_all_that_a_batch_depends_on(faces: PackedFaces) -> None:
    batches = Batches(faces, 3, True, CPU)
    forwards = [batches.at(images, 8).x_BCHW for images in range(0, 240, 8)]
    backwards = [Batches(faces, 3, True, CPU).at(images, 8).x_BCHW for images in range(232, -1, -8)]
    assert all(torch.equal(one, other) for one, other in zip(forwards, reversed(backwards), strict=True))
    other_seed = [Batches(faces, 4, True, CPU).at(images, 8).x_BCHW for images in range(0, 240, 8)]
    assert not any(torch.equal(one, other) for one, other in zip(forwards, other_seed, strict=True))


@pytest.mark.parametrize("world", [2, 4])
def test_the_processes_share_one_batch_between_them(faces: PackedFaces, world: int) -> None:
    whole, attributes_BA = Batches(faces, 0, True, CPU).at(24, 8)
    shares = [Batches(faces, 0, True, CPU).at(24, 8, rank, world) for rank in range(world)]
    assert all(len(x_BCHW) == 8 // world for x_BCHW, _ in shares)
    for rank, (x_BCHW, y_BA) in enumerate(shares):
        assert torch.equal(x_BCHW, whole[8 // world * rank :][: 8 // world])
        assert torch.equal(y_BA, attributes_BA[8 // world * rank :][: 8 // world])
    assert sorted(row for x_BCHW, _ in shares for row in rows(x_BCHW)) == sorted(rows(whole))


def test_attributes_belong_to_their_images(faces: PackedFaces) -> None:
    x_BCHW, y_BA = Batches(faces, 0, True, CPU).at(0, TRAIN)
    assert y_BA.dtype == torch.float32
    assert y_BA[:, 0].tolist() == [row % 2 for row in rows(x_BCHW)]


def test_about_half_are_mirrored_each_by_its_own_chance(faces: PackedFaces) -> None:
    batches = Batches(faces, 0, True, CPU)
    flips = [mirrored(batches.at(images, 30).x_BCHW) for images in range(0, 3000, 30)]
    assert np.mean(flips) == pytest.approx(0.5, abs=4 * 0.5 / 3000**0.5)
    assert len(set(map(tuple, flips))) == 100
    by_row = Counter(
        row
        for images in range(0, 3000, 30)
        for row, flip in zip(rows(batches.at(images, 30).x_BCHW), flips[images // 30], strict=True)
        if flip
    )
    assert len(by_row) == TRAIN
    assert 25 < min(by_row.values()) <= max(by_row.values()) < 75  # an image is seen both ways, over the epochs
    assert not any(mirrored(Batches(faces, 0, False, CPU).at(0, 30).x_BCHW))


def test_pixels_map_to_exactly_minus_one_to_one_channels_last(pack_faces) -> None:  # type: ignore[no-untyped-def]
    ramp = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=3)
    x_BCHW, _ = Batches(pack_faces(ramp.repeat(2, axis=0)), 0, False, CPU).at(0, 2)
    assert (x_BCHW.shape, x_BCHW.dtype) == ((2, 3, 16, 16), torch.float32)
    assert x_BCHW.is_contiguous(memory_format=torch.channels_last)
    expected = (np.arange(256, dtype=np.float64) / 127.5 - 1).reshape(16, 16)
    np.testing.assert_allclose(x_BCHW[1, 2].double().numpy(), expected, atol=1e-7)
    assert (x_BCHW.min().item(), x_BCHW.max().item()) == (-1.0, 1.0)


def test_the_data_on_disk_are_not_touched(faces32: PackedFaces) -> None:
    before = np.array(faces32.images_NHWC)
    batches = Batches(faces32, 0, True, CPU)
    for images in range(0, 200, 50):
        batches.at(images, 50)
    assert np.array_equal(faces32.images_NHWC, before)
