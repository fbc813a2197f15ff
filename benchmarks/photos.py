"""Photos of faces that are small, tilted and off-centre, made from aligned ones: it is known where their eyes are.

An aligned face is turned by up to 30 degrees, scaled by 0.5 to 2 and put anywhere on a canvas of coloured clouds.
Points are complex numbers x + iy in pixels; a placement (turn, shift) takes z of the face to turn z + shift of the
photo.
"""

import numpy as np
from PIL import Image

CANVAS = 640
DEGREES = 30
SCALES = 0.5, 2.0
EYES = np.array([69.5 + 111.5j, 108.5 + 111.5j])
"""In CelebA's aligned 178 x 218; 0.5 is the middle of the first pixel."""

Placement = tuple[complex, complex]


def make_photo(
    face: Image.Image, random: np.random.Generator, scales: tuple[float, float] = SCALES
) -> tuple[Image.Image, Placement]:
    """A photo with the aligned `face` somewhere in it, and where."""
    scale = np.exp(random.uniform(*np.log(scales)))
    turn = scale * np.exp(1j * np.deg2rad(random.uniform(-DEGREES, DEGREES)))
    half = complex(*face.size) / 2
    corners = turn * np.array([half, half.conjugate()])  # where they are from the middle, but for the sign
    reach = np.array([abs(corners.real).max(), abs(corners.imag).max()])
    shift = complex(*random.uniform(reach, CANVAS - reach)) - turn * half

    clouds = Image.fromarray(random.integers(60, 200, (6, 6, 3), dtype=np.uint8))
    photo = clouds.resize((CANVAS, CANVAS), Image.Resampling.BICUBIC)
    small = face.resize([round(side * min(1, scale)) for side in face.size], Image.Resampling.LANCZOS)
    shrink = small.width / face.width, small.height / face.height
    back, origin = 1 / turn, -shift / turn
    rows = (back.real, -back.imag, origin.real), (back.imag, back.real, origin.imag)
    numbers = [number * factor for row, factor in zip(rows, shrink, strict=True) for number in row]
    image, mask = (
        layer.transform(photo.size, Image.Transform.AFFINE, numbers, Image.Resampling.BICUBIC)
        for layer in (small, Image.new("L", small.size, 255))
    )
    photo.paste(image, mask=mask)
    return photo, (turn, shift)


def eye_error(placement: Placement, turn: complex, shift: complex) -> float:
    """How far from their places a found similarity (photo to aligned) puts the eyes: mean, in distances of the eyes."""
    on_photo = placement[0] * EYES + placement[1]
    return float(abs(turn * on_photo + shift - EYES).mean() / abs(EYES[1] - EYES[0]))
