"""The 40 names against CelebA's own file, and finding one by what a person types."""

from pathlib import Path

import pytest

from limner.core.errors import UserError
from limner.data.attributes import CELEBA_ATTRIBUTES, match_attribute


def test_names_are_celeba_s_in_its_order(real_celeba: Path) -> None:
    with (real_celeba / "list_attr_celeba.txt").open() as lines:
        next(lines)
        assert tuple(next(lines).split()) == CELEBA_ATTRIBUTES


def test_there_are_40_different_names() -> None:
    assert len(CELEBA_ATTRIBUTES) == len(set(CELEBA_ATTRIBUTES)) == 40


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("No_Beard", "No_Beard"),
        ("black hair", "Black_Hair"),
        ("5-o-clock-shadow", "5_o_Clock_Shadow"),
        ("5 o'clock shadow", "5_o_Clock_Shadow"),
        ("  SMILING ", "Smiling"),
        ("mouth-slightly_open", "Mouth_Slightly_Open"),
    ],
)
def test_spelling_does_not_matter(typed: str, meant: str) -> None:
    assert CELEBA_ATTRIBUTES[match_attribute(typed, CELEBA_ATTRIBUTES)] == meant


def test_every_name_finds_itself_however_it_is_written() -> None:
    for position, name in enumerate(CELEBA_ATTRIBUTES):
        for typed in (name, name.lower(), name.upper(), name.replace("_", " "), name.replace("_", "-")):
            assert match_attribute(typed, CELEBA_ATTRIBUTES) == position


def test_the_position_is_in_the_names_given() -> None:
    assert match_attribute("young", ["Male", "Young"]) == 1


@pytest.mark.parametrize(
    ("typed", "nearest"), [("smilling", "Smiling"), ("blonde hair", "Blond_Hair"), ("glasses", "Eyeglasses")]
)
def test_an_unknown_name_is_refused_with_the_nearest_one(typed: str, nearest: str) -> None:
    with pytest.raises(UserError, match=nearest) as refusal:
        match_attribute(typed, CELEBA_ATTRIBUTES)
    assert typed in str(refusal.value)
    assert "dataset.json" in str(refusal.value)  # where to see all names
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("typed", ["", "---", "xyzzy", "мужчина", "a" * 200, "ab" * 30_000, "\n\0" * 50])
def test_nonsense_is_refused_too(typed: str) -> None:
    with pytest.raises(UserError) as refusal:
        match_attribute(typed, CELEBA_ATTRIBUTES)
    assert str(refusal.value).isprintable()
    assert len(str(refusal.value)) < 200


def test_data_without_attributes_says_so() -> None:
    with pytest.raises(UserError, match="no attributes"):
        match_attribute("smiling", [])
