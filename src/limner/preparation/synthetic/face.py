"""A whole face: all its parts, drawn back to front, and the image reduced to the wanted size."""

from math import ceil

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from limner.preparation.synthetic.accessories import draw_earrings, draw_glasses, draw_hat
from limner.preparation.synthetic.background import draw_background
from limner.preparation.synthetic.beard import draw_beard
from limner.preparation.synthetic.clothes import draw_body
from limner.preparation.synthetic.eyes import draw_brow, draw_eye
from limner.preparation.synthetic.geometry import SIDES
from limner.preparation.synthetic.hair import draw_back_hair, draw_bangs, draw_hair
from limner.preparation.synthetic.mouth import draw_mouth
from limner.preparation.synthetic.nose import draw_nose
from limner.preparation.synthetic.parameters import FaceParameters, labels
from limner.preparation.synthetic.portrait import Portrait
from limner.preparation.synthetic.sampling import sample_parameters
from limner.preparation.synthetic.skin import draw_ears, draw_lines, face_outline, skin_light_and_shadow, skin_spots


def draw_face(seed: int, index: int, size: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Face `index` of `seed` (both >= 0): the image (size, size, 3) in 0..255, and its 40 attributes, 0 or 1.

    A pure function of its arguments. `size` changes the resolution, never the face.
    """
    p = sample_parameters(seed, index)
    return render(p, size), labels(p)


def render(p: FaceParameters, size: int) -> NDArray[np.uint8]:
    """The image of `p`: (size, size, 3) in 0..255."""
    factor = max(3, ceil(192 / size))
    image = _draw(Portrait(p, size * factor)).reduce(factor)
    if p.blurry:
        image = image.filter(ImageFilter.GaussianBlur(0.024 * size))
    return np.asarray(image)


def _draw(portrait: Portrait) -> Image.Image:
    """Draw all parts, back to front."""
    p = portrait.p
    draw_background(portrait)
    if not p.bald:
        draw_back_hair(portrait)
    draw_body(portrait)
    draw_ears(portrait)
    with portrait.canvas.inside(portrait.on_head(face_outline(portrait))) as face:
        face.shade(portrait.skin, skin_spots(portrait), skin_light_and_shadow(portrait))
        draw_beard(portrait, face)
        draw_lines(portrait, face)
        draw_nose(portrait, face)
        draw_mouth(portrait, face)
        for side in SIDES:
            draw_eye(portrait, face, side)
            draw_brow(portrait, face, side)
    if p.eyeglasses:
        draw_glasses(portrait)
    if not p.bald:
        draw_hair(portrait)
    if p.bangs:
        draw_bangs(portrait)
    if p.wearing_hat:
        draw_hat(portrait)
    if p.wearing_earrings:
        draw_earrings(portrait)
    return portrait.canvas.image
