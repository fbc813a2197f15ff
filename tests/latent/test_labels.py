"""Attribute vectors for faces to draw: what was asked for holds, the rest follows the data."""

import numpy as np
import pytest

from limner.core.errors import UserError
from limner.core.randomness import stream
from limner.data.attributes import CELEBA_ATTRIBUTES
from limner.latent.labels import FEW, face_labels, rare_request, read_requested

NAMES = ("Male", "Mustache", "Smiling")
# Of the images with Male, half have a Mustache; without, none. Smiling is as frequent in both.
EIGHT_MA = np.array([[1, 1, 0], [1, 1, 1], [1, 0, 0], [1, 0, 1], [0, 0, 0], [0, 0, 1], [0, 0, 0], [0, 0, 1]], np.uint8)
KNOWN_MA = np.tile(EIGHT_MA, (16, 1))
# Of 0, 1, 2 and 3, a vector has one, and a single vector three; the other eight are as it comes.
APART_MA = stream(0, "test").integers(0, 2, (400, 12), dtype=np.uint8)
APART_MA[:, :4] = np.eye(4)[np.arange(400) % 4]
APART_MA[7, :4] = 1, 1, 1, 0
ALL_FOUR = {0: 1, 1: 1, 2: 1, 3: 1}


def test_the_rest_follows_the_joint_distribution() -> None:
    men_NA = face_labels(0, 0, 2000, KNOWN_MA, {0: 1})
    assert men_NA[:, 0].all()
    assert men_NA[:, 1].mean() == pytest.approx(0.5, abs=0.04)
    assert men_NA[:, 2].mean() == pytest.approx(0.5, abs=0.04)
    assert face_labels(0, 0, 2000, KNOWN_MA, {0: 0})[:, 1].sum() == 0
    assert face_labels(0, 0, 2000, KNOWN_MA, {1: 1})[:, 0].all(), "whoever has a mustache is a man in this data"
    anyone_NA = face_labels(0, 0, 4000, KNOWN_MA, {})
    np.testing.assert_allclose(anyone_NA.mean(axis=0), KNOWN_MA.mean(axis=0), atol=0.04)


def test_a_wish_that_no_image_fulfils_is_granted_all_the_same() -> None:
    labels_NA = face_labels(0, 0, 100, KNOWN_MA, {0: 0, 1: 1, 2: 1})
    assert (labels_NA == [0, 1, 1]).all()


@pytest.mark.parametrize("asked", [{}, {0: 1}, ALL_FOUR])
def test_face_k_has_the_same_attributes_whatever_is_drawn_beside_it(asked: dict[int, int]) -> None:
    all_NA = face_labels(7, 0, 20, APART_MA, asked)
    np.testing.assert_array_equal(face_labels(7, 5, 3, APART_MA, asked), all_NA[5:8])
    np.testing.assert_array_equal(face_labels(7, 5, 3, APART_MA, dict(reversed(asked.items()))), all_NA[5:8])
    assert (face_labels(8, 0, 20, APART_MA, asked) != all_NA).any()


def test_attributes_that_no_known_vector_has_together_come_with_various_others() -> None:
    """The vector that agrees in the most is a single one: all faces would be like it."""
    labels_NA = face_labels(0, 0, 500, APART_MA, ALL_FOUR)
    assert labels_NA[:, :4].all()
    assert len(np.unique(labels_NA, axis=0)) > 50  # of 256


def test_few_agreeing_vectors_are_not_all_there_is() -> None:
    labels_NA = face_labels(0, 0, 300, APART_MA, {0: 1, 1: 1, 2: 1, 3: 0})
    assert (labels_NA[:, :4] == [1, 1, 1, 0]).all()
    assert len(np.unique(labels_NA, axis=0)) > 50


@pytest.mark.parametrize("asked", [{}, {0: 1}, {0: 0, 4: 1}])
def test_where_many_known_vectors_agree_faces_get_theirs(asked: dict[int, int]) -> None:
    agreeing_MA = APART_MA[[all(y_A[i] == value for i, value in asked.items()) for y_A in APART_MA]]
    assert len(agreeing_MA) >= FEW
    expected = [agreeing_MA[stream(3, "labels", k).integers(len(agreeing_MA))] for k in range(50)]
    np.testing.assert_array_equal(face_labels(3, 0, 50, APART_MA, asked), expected)


def test_a_rare_request_is_told_in_one_line() -> None:
    names = [f"Name_{i}" for i in range(12)]
    rare = dict.fromkeys(range(12), 1) | {3: 0}
    told = rare_request(APART_MA, rare, names)
    assert told is not None
    assert told.startswith("Name_0, Name_1, Name_2, not Name_3, Name_4,")
    assert "Name_10 and Name_11 together are rarer than 1 in 10,000 in the training data" in told
    assert "\n" not in told
    for asked in ({}, {0: 1}, {0: 1, 4: 0}, {4: 1, 5: 1, 6: 1, 7: 0}):
        assert rare_request(APART_MA, asked, names) is None
    never_MA = np.concatenate([np.zeros((100_000, 1), np.uint8), np.ones((100_000, 1), np.uint8)], 1)
    assert rare_request(never_MA, {0: 1}, names[:2]) == (
        "Name_0 is rarer than 1 in 10,000 in the training data: expect weaker faces."
    )


def test_known_vectors_stay_as_they_are() -> None:
    before = KNOWN_MA.copy()
    face_labels(0, 0, 50, KNOWN_MA, {1: 1})
    np.testing.assert_array_equal(KNOWN_MA, before)


def test_asking() -> None:
    assert read_requested(NAMES, ["male"], ["mustache"]) == {0: 1, 1: 0}
    assert read_requested(NAMES, [], []) == {}
    assert read_requested(NAMES, "male, smiling", "mustache") == {0: 1, 2: 1, 1: 0}
    assert read_requested(NAMES, "smiling", ()) == read_requested(NAMES, ["smiling,"], ()) == {2: 1}
    with pytest.raises(UserError, match=r"with and without at once"):
        read_requested(NAMES, ["male"], ["Male"])
    with pytest.raises(UserError, match=r"nearest is 'Eyeglasses'"):
        read_requested(CELEBA_ATTRIBUTES, ["eyeglass"], [])
