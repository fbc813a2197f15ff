"""The drawn faces: reproducible, labelled truly, and drawn where the labels say."""

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from limner.preparation.synthetic import ATTRIBUTE_NAMES, FaceParameters, draw_face, labels, render, sample_parameters

SIZE = 96
COLUMN = {name: position for position, name in enumerate(ATTRIBUTE_NAMES)}
# A region is (left, top, right, bottom) in fractions of the image.
Region = tuple[float, float, float, float]
EYES: Region = (0.24, 0.36, 0.76, 0.56)
MOUTH: Region = (0.33, 0.59, 0.67, 0.80)
SKULL: Region = (0.05, 0.00, 0.95, 0.45)
LOWER_FACE: Region = (0.18, 0.55, 0.82, 0.92)
EVERYWHERE: Region = (0, 0, 1, 1)


@cache
def many_labels() -> NDArray[np.uint8]:
    return np.array([labels(sample_parameters(0, index)) for index in range(2000)])


def has(name: str) -> NDArray[np.bool_]:
    return many_labels()[:, COLUMN[name]] == 1


@cache
def plain_face(male: bool) -> FaceParameters:
    """A face that looks straight ahead with nothing special about it."""
    drawn: Any = sample_parameters(5, 1)
    no_flags = {name: False for name, value in vars(drawn).items() if isinstance(value, bool)}
    plain = {
        "yaw": 0.0,
        "roll": 0.0,
        "shift_x": 0.0,
        "shift_y": 0.0,
        "scale": 1.0,
        "light": 0.2,
        "skin_tone": 0.15,
        "hair_shade": 0.6,
    }
    cut = {"hair_cut": "short" if male else "long", "straight_hair": True, "hair_colour": "brown", "age": 30.0}
    return replace(drawn, **(no_flags | plain | cut | {"male": male, "accessory": 1}))


def crop(image_HWC: NDArray[np.uint8], region: Region) -> NDArray[np.uint8]:
    left, top, right, bottom = (round(edge * SIZE) for edge in region)
    return image_HWC[top:bottom, left:right]


# ------------------------------------------------------------------ a pure function of (seed, index)


@pytest.mark.parametrize("size", [16, 33, 64, 512])
def test_shapes_and_types(size: int) -> None:
    image, truth = draw_face(3, 4, size)
    assert image.shape == (size, size, 3)
    assert image.dtype == np.uint8
    assert truth.shape == (40,)
    assert truth.dtype == np.uint8
    assert set(truth.tolist()) <= {0, 1}


def test_the_same_face_whatever_was_drawn_before() -> None:
    first = [draw_face(1, index, 32)[0] for index in range(6)]
    again = [draw_face(1, index, 32)[0] for index in reversed(range(6))][::-1]
    assert np.array_equal(first, again)


def test_the_same_face_in_another_process_with_another_number_of_threads() -> None:
    code = "import sys, numpy as np; from limner.preparation.synthetic import draw_face; "
    code += "sys.stdout.buffer.write(np.stack([draw_face(7, i, 64)[0] for i in range(4)]).tobytes())"
    threads = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    there = subprocess.run([sys.executable, "-c", code], env=os.environ | threads, capture_output=True, check=True)
    here = np.stack([draw_face(7, index, 64)[0] for index in range(4)]).tobytes()
    assert hashlib.sha256(there.stdout).digest() == hashlib.sha256(here).digest()


def test_seeds_and_indices_give_different_faces() -> None:
    images = {draw_face(seed, index, 16)[0].tobytes() for seed in range(5) for index in range(10)}
    assert len(images) == 50


def test_size_changes_the_resolution_and_not_the_face() -> None:
    for index in range(8):
        small, small_truth = draw_face(2, index, 32)
        large, large_truth = draw_face(2, index, 128)
        assert np.array_equal(small_truth, large_truth)
        reduced = large.reshape(32, 4, 32, 4, 3).mean((1, 3))
        assert np.abs(reduced - small).mean() < 8  # of 255; two different faces are about 60 apart
        other = draw_face(2, index + 8, 32)[0].astype(float)
        assert np.abs(reduced - other).mean() > 16


# ------------------------------------------------------------------ labels


def test_every_attribute_occurs_both_ways() -> None:
    share = many_labels().mean(0)
    for name, column in COLUMN.items():
        assert 0.01 < share[column] < 0.9, name


@pytest.mark.parametrize(
    ("name", "percent"),
    [
        ("Bald", 2.2),
        ("Mustache", 4.2),
        ("Gray_Hair", 4.2),
        ("Eyeglasses", 6.5),
        ("Wearing_Hat", 4.8),
        ("Male", 41.7),
        ("Smiling", 48.2),
        ("Young", 77.4),
        ("No_Beard", 83.5),
        ("Attractive", 51.3),
        ("Oval_Face", 28.4),
        ("Wavy_Hair", 32.0),
    ],
)
def test_as_frequent_as_in_celeba(name: str, percent: float) -> None:
    assert 100 * has(name).mean() == pytest.approx(percent, abs=1.5 + 0.12 * percent)


def test_attributes_that_exclude_each_other() -> None:
    hair_colours = sum(has(name).astype(int) for name in ("Black_Hair", "Blond_Hair", "Brown_Hair", "Gray_Hair"))
    assert hair_colours.max() == 1
    hairless = has("Bald")
    for name in ("Bangs", "Straight_Hair", "Wavy_Hair", "Receding_Hairline", "Wearing_Hat"):
        assert not (hairless & has(name)).any(), name
    assert not (hairless & (hair_colours > 0)).any()
    assert not (has("Straight_Hair") & has("Wavy_Hair")).any()
    assert not (has("Bangs") & (has("Receding_Hairline") | has("Wearing_Hat"))).any()
    assert not (has("Oval_Face") & has("Chubby")).any()


def test_no_beard_means_no_beard_of_any_kind_and_women_have_none() -> None:
    beards = has("5_o_Clock_Shadow") | has("Goatee") | has("Mustache") | has("Sideburns")
    assert np.array_equal(has("No_Beard"), ~beards)
    assert not (beards & ~has("Male")).any()


def test_attributes_go_together_as_in_life() -> None:
    def share(name: str, given: NDArray[np.bool_]) -> float:
        return float(has(name)[given].mean())

    assert share("Gray_Hair", ~has("Young")) > 5 * share("Gray_Hair", has("Young"))
    assert share("Wearing_Lipstick", ~has("Male")) > 0.6 > 0.05 > share("Wearing_Lipstick", has("Male"))
    assert share("Wearing_Necktie", has("Male")) > 0.1
    assert share("Mouth_Slightly_Open", has("Smiling")) > share("Mouth_Slightly_Open", ~has("Smiling"))


# ------------------------------------------------------------------ what the labels say is in the image

# The attribute to switch on, whether on a man's face, and the region that may change: the rest must stay.
SWITCHES: list[tuple[str, bool, Region]] = [
    ("stubble", True, LOWER_FACE),
    ("goatee", True, LOWER_FACE),
    ("mustache", True, MOUTH),
    ("sideburns", True, (0.15, 0.3, 0.85, 0.75)),
    ("arched_eyebrows", False, (0.24, 0.30, 0.76, 0.45)),
    ("bushy_eyebrows", True, (0.24, 0.30, 0.76, 0.45)),
    ("bags_under_eyes", True, (0.24, 0.40, 0.76, 0.62)),
    ("narrow_eyes", False, EYES),
    ("heavy_makeup", False, (0.15, 0.30, 0.85, 0.56)),
    ("wearing_lipstick", False, MOUTH),
    ("big_lips", False, MOUTH),
    ("smiling", False, (0.33, 0.55, 0.67, 0.80)),
    ("mouth_slightly_open", False, MOUTH),
    ("big_nose", True, (0.30, 0.38, 0.70, 0.75)),
    ("pointy_nose", True, (0.30, 0.38, 0.70, 0.75)),
    ("rosy_cheeks", False, (0.15, 0.42, 0.85, 0.80)),
    ("high_cheekbones", False, (0.15, 0.40, 0.85, 0.85)),
    ("chubby", True, (0.0, 0.25, 1.0, 1.0)),
    ("double_chin", True, (0.1, 0.58, 0.9, 1.0)),
    ("bald", True, (0.05, 0.0, 0.95, 0.62)),
    ("bangs", False, SKULL),
    ("receding_hairline", True, SKULL),
    ("wearing_hat", True, SKULL),
    ("eyeglasses", True, (0.15, 0.34, 0.85, 0.58)),
    ("wearing_earrings", False, (0.1, 0.5, 0.9, 0.75)),
    ("wearing_necklace", False, (0.2, 0.83, 0.8, 1.0)),
    ("wearing_necktie", True, (0.0, 0.83, 1.0, 1.0)),
    ("pale_skin", False, (0.0, 0.1, 1.0, 1.0)),
    ("blurry", False, EVERYWHERE),
]


@pytest.mark.parametrize(("switch", "male", "region"), SWITCHES, ids=[switch for switch, _, _ in SWITCHES])
def test_an_attribute_is_drawn_in_its_place_and_nowhere_else(switch: str, male: bool, region: Region) -> None:
    changes: Any = {switch: True}
    without, with_it = (render(p, SIZE) for p in (plain_face(male), replace(plain_face(male), **changes)))
    changed_HW = np.abs(with_it.astype(int) - without).max(2)
    assert (changed_HW > 24).sum() >= 8, "too faint to be seen"
    crop(changed_HW, region)[:] = 0
    assert changed_HW.max() <= 3  # the far tails of soft shading


def mean_colour(p: FaceParameters, region: Region) -> NDArray[np.float64]:
    return crop(render(p, SIZE), region).reshape(-1, 3).mean(0)


def test_hair_has_the_colour_of_its_label() -> None:
    top = (0.40, 0.11, 0.60, 0.17)
    black, brown, blond, gray = (
        mean_colour(replace(plain_face(False), hair_colour=colour), top)  # type: ignore[arg-type]
        for colour in ("black", "brown", "blond", "gray")
    )
    assert black.mean() < brown.mean() - 20 < brown.mean() < blond.mean() - 50
    assert black.max() < 110
    assert blond[0] - blond[2] > 50  # yellow
    assert np.ptp(gray) < 25 < brown[0] - brown[2]


def test_lips_cheeks_and_skin_have_the_colour_of_their_labels() -> None:
    face = plain_face(False)
    cheek = (0.30, 0.55, 0.37, 0.62)
    redness = [mean_colour(replace(face, rosy_cheeks=rosy), cheek) @ (1, -0.5, -0.5) for rosy in (False, True)]
    assert redness[1] > redness[0] + 15
    lips = (0.46, 0.69, 0.54, 0.715)
    redness = [
        mean_colour(replace(face, wearing_lipstick=painted), lips) @ (1, -0.5, -0.5) for painted in (False, True)
    ]
    assert redness[1] > redness[0] + 15
    tanned = replace(face, skin_tone=0.45)
    assert mean_colour(replace(tanned, pale_skin=True), cheek).mean() > mean_colour(tanned, cheek).mean() + 20


def test_an_open_smile_shows_teeth() -> None:
    face = replace(plain_face(False), mouth_slightly_open=True, smiling=True)

    def white(p: FaceParameters) -> int:
        return int((crop(render(p, SIZE), MOUTH).min(2) > 215).sum())

    assert white(face) > 10 > white(replace(face, mouth_slightly_open=False))


def test_age_is_drawn_as_lines() -> None:
    forehead = (0.38, 0.27, 0.62, 0.36)

    def roughness(p: FaceParameters) -> float:
        return float(np.abs(np.diff(crop(render(p, SIZE), forehead).astype(float), axis=0)).mean())

    assert roughness(replace(plain_face(True), age=76.0)) > 2 * roughness(plain_face(True))


def test_wavy_hair_has_a_wavy_edge() -> None:
    def edge(p: FaceParameters) -> NDArray[np.int64]:
        """For each row beside the cheeks, the first column from the left that differs from the background."""
        dark = replace(p, hair_colour="black", background=3, background_light=1.0)
        rows = render(dark, SIZE)[SIZE // 2 : SIZE * 4 // 5].astype(int).mean(2)
        return (rows < 90).argmax(1)

    def turns(columns: NDArray[np.int64]) -> int:
        return int((np.diff(np.sign(np.diff(columns[np.diff(columns, prepend=-1) != 0]))) != 0).sum())

    straight = plain_face(False)
    assert turns(edge(replace(straight, straight_hair=False, wavy_hair=True))) > turns(edge(straight))


def test_blurry_faces_have_no_sharp_edges() -> None:
    def sharpest(p: FaceParameters) -> int:
        return int(np.abs(np.diff(render(p, SIZE).astype(int), axis=1)).max())

    face = plain_face(False)
    assert sharpest(replace(face, blurry=True)) < sharpest(face) / 3


def test_background_and_light_vary() -> None:
    corners = np.array([draw_face(0, index, 16)[0][0, 0] for index in range(64)]).astype(float)
    assert corners.std(0).min() > 25
    face = replace(plain_face(True), light_strength=1.0)
    for light in (-1.0, 1.0):
        left, right = ((x, 0.5, x + 0.06, 0.6) for x in (0.30, 0.64))
        lit = replace(face, light=light)
        assert light * (mean_colour(lit, right).mean() - mean_colour(lit, left).mean()) > 8


def test_eyes_stay_in_their_place() -> None:
    """Pupils are the darkest spots of the eye region; whatever the pose, they are found near the same two places."""
    for index in range(12):
        p = replace(
            sample_parameters(9, index), eyeglasses=False, narrow_eyes=False, blurry=False, bangs=False, age=30.0
        )
        p = replace(p, heavy_makeup=False, iris=0, light=0.0, skin_tone=0.1)
        gray = render(p, SIZE).astype(float).mean(2)
        for x in (0.38, 0.62):
            left, top = round((x - 0.09) * SIZE), round(0.42 * SIZE)
            window = gray[top : round(0.50 * SIZE), left : left + round(0.18 * SIZE)]
            row, column = np.unravel_index(window.argmin(), window.shape)
            assert abs((left + int(column)) / SIZE - x) < 0.055
            assert abs((top + int(row)) / SIZE - 0.455) < 0.035


def test_edges_are_antialiased() -> None:
    """Across the edge of a flat black shape on a light ground there are many levels between the two."""
    face = replace(plain_face(False), hair_colour="black", background=3, background_light=1.0)
    left_half = render(face, SIZE)[:, : SIZE // 2].astype(int).mean(2)
    rows = left_half[SIZE // 4 : SIZE // 2]
    levels = set()
    for row in rows:
        edge = int(np.abs(np.diff(row)).argmax())
        levels |= set(row[edge - 1 : edge + 3].round().astype(int).tolist())
    assert len(levels) > 12
