"""Beard, mustache, sideburns and stubble."""

import numpy as np

from limner.preparation.synthetic.canvas import Canvas
from limner.preparation.synthetic.colours import dim
from limner.preparation.synthetic.geometry import MIDDLE, POINTED, SIDES, Points, mirrored, points, smooth
from limner.preparation.synthetic.portrait import Portrait

_STUBBLE_X, _STUBBLE_Y = np.random.Generator(np.random.Philox(0)).normal(
    ((0.5,), (0.735,)), ((0.11,), (0.05,)), (2, 400)
)
_STUBBLE = (_STUBBLE_X + 1j * _STUBBLE_Y)[_STUBBLE_Y > 0.625]


def draw_beard(portrait: Portrait, face: Canvas) -> None:
    p, w = portrait.p, portrait.half
    outlines: list[Points] = []
    if p.goatee and p.sideburns:  # together they make a full beard
        jaw = points(
            [w + 0.03, 0.86 * w, 0.80 * w, 0.10, 0.088, 0.045, 0], [0.45, 0.5, 0.60, 0.645, 0.70, 0.722, 0.722]
        )
        below_chin = points([-0.4, 0.4], [0.95, 0.95])
        whole = np.concatenate([jaw, -jaw[-2::-1].conj(), below_chin]) + MIDDLE
        outlines.append(portrait.on_face(smooth(whole, closed=True)))
    elif p.goatee:
        chin = mirrored([0, 0.025, 0.05, 0.066, 0.056, 0.03, 0], [0.722, 0.726, 0.716, 0.738, 0.778, 0.80, 0.806])
        outlines.append(portrait.on_face(smooth(chin, closed=True)))
    elif p.sideburns:
        for side in SIDES:
            dxs = (w + 0.04, 0.84 * w, 0.80 * w, 0.74 * w, w + 0.04)
            outlines.append(portrait.on_head(points([0.5 + side * dx for dx in dxs], [0.36, 0.38, 0.56, 0.62, 0.64])))
    if p.mustache:
        lip = mirrored([0, 0.03, 0.07, 0.098, 0.085, 0.05, 0], [0.617, 0.612, 0.628, 0.668, 0.665, 0.652, 0.646])
        outlines.append(portrait.on_face(smooth(lip, closed=True)))
        for side in SIDES if p.goatee else ():  # joined to the beard around the mouth
            ends = [0.5 + side * dx for dx in (0.07, 0.098, 0.10, 0.07, 0.078)]
            outlines.append(portrait.on_face(points(ends, [0.64, 0.65, 0.72, 0.77, 0.7])))
    for outline in outlines:
        with face.inside(outline) as beard:
            beard.flood(portrait.beard)
            left, right, top = outline.real.min(), outline.real.max(), outline.imag.min()
            bottom = min(float(outline.imag.max()), 0.85)
            across, down = portrait.beard_random[:27], portrait.beard_random[27:54]
            roots = left + (right - left) * across + 1j * (top + (bottom - top) * down)
            tips = roots + 0.1 * (roots.real - 0.5) + 0.035j
            shades = (dim(portrait.hair_dark, 0.7), portrait.hair, portrait.hair_light)
            beard.ribbons(np.stack([roots, tips], 1), POINTED, shades, 0.45)
    if p.stubble:
        face.dots(portrait.on_face(_STUBBLE), portrait.hair_dark, 0.25)
