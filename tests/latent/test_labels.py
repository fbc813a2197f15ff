"""Attribute vectors for faces to draw: what was asked for holds, the rest follows the data."""

import numpy as np
import pytest

from limner.data.attributes import CELEBA_ATTRIBUTES
from limner.errors import UserError
from limner.latent.labels import face_labels, read_asked

NAMES = ("Male", "Mustache", "Smiling")
# Of the pictures with Male, half have a Mustache; without, none. Smiling is as frequent in both.
KNOWN_MA = np.array([[1, 1, 0], [1, 1, 1], [1, 0, 0], [1, 0, 1], [0, 0, 0], [0, 0, 1], [0, 0, 0], [0, 0, 1]], np.uint8)


def test_the_rest_follows_the_joint_distribution() -> None:
    men_NA = face_labels(0, 0, 2000, KNOWN_MA, {0: 1})
    assert men_NA[:, 0].all()
    assert men_NA[:, 1].mean() == pytest.approx(0.5, abs=0.04)
    assert men_NA[:, 2].mean() == pytest.approx(0.5, abs=0.04)
    assert face_labels(0, 0, 2000, KNOWN_MA, {0: 0})[:, 1].sum() == 0
    assert face_labels(0, 0, 2000, KNOWN_MA, {1: 1})[:, 0].all(), "whoever has a mustache is a man in this data"
    anyone_NA = face_labels(0, 0, 4000, KNOWN_MA, {})
    np.testing.assert_allclose(anyone_NA.mean(axis=0), KNOWN_MA.mean(axis=0), atol=0.04)


def test_a_wish_that_no_picture_fulfils_is_granted_all_the_same() -> None:
    labels_NA = face_labels(0, 0, 100, KNOWN_MA, {0: 0, 1: 1, 2: 1})
    assert (labels_NA == [0, 1, 1]).all()


def test_face_k_has_the_same_attributes_whatever_is_drawn_beside_it() -> None:
    all_NA = face_labels(7, 0, 20, KNOWN_MA, {})
    np.testing.assert_array_equal(face_labels(7, 5, 3, KNOWN_MA, {}), all_NA[5:8])
    assert (face_labels(8, 0, 20, KNOWN_MA, {}) != all_NA).any()


def test_known_vectors_stay_as_they_are() -> None:
    before = KNOWN_MA.copy()
    face_labels(0, 0, 50, KNOWN_MA, {1: 1})
    np.testing.assert_array_equal(KNOWN_MA, before)


def test_asking() -> None:
    assert read_asked(NAMES, ["male"], ["mustache"]) == {0: 1, 1: 0}
    assert read_asked(NAMES, [], []) == {}
    with pytest.raises(UserError, match=r"with and without at once"):
        read_asked(NAMES, ["male"], ["Male"])
    with pytest.raises(UserError, match=r"nearest is 'Eyeglasses'"):
        read_asked(CELEBA_ATTRIBUTES, ["eyeglass"], [])
