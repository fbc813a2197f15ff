"""Eyes and eyebrows."""

import numpy as np

from limner.preparation.synthetic.canvas import Canvas
from limner.preparation.synthetic.colours import WHITE, Colour, dim, mix
from limner.preparation.synthetic.geometry import POINTED, curve
from limner.preparation.synthetic.portrait import EYE_Y, Portrait

IRIS_COLOURS: tuple[Colour, ...] = ((70, 42, 26), (104, 66, 34), (92, 108, 62), (74, 116, 156), (104, 118, 128))

_LID_T = np.linspace(-1, 1, 9)  # from the inner corner of an eye to the outer one
_UPPER_LID = np.sin(3.1415 * (0.5 + 0.5 * _LID_T) ** 0.9) ** 0.75
_LOWER_LID = np.sin(3.1415 * (0.5 + 0.5 * _LID_T)) ** 0.9


def draw_eye(portrait: Portrait, face: Canvas, side: int) -> None:
    p = portrait.p
    x = 0.5 + side * p.eye_distance
    wide = 0.050 + 0.006 * p.eye_size
    tall = (0.0275 + 0.005 * p.eye_size) * (0.40 if p.narrow_eyes else 1.0)
    across = x + side * wide * _LID_T
    level = EYE_Y + 0.006 - (0.010 * p.eye_tilt + 0.003) * _LID_T
    upper = portrait.on_face(across + 1j * (level - tall * _UPPER_LID))
    lower = portrait.on_face(across + 1j * (level + 0.6 * tall * _LOWER_LID))
    centre = complex(portrait.on_face(np.array([complex(x, EYE_Y)]))[0]) + 0.02 * portrait.turn_sin
    ix, iy = centre.real, centre.imag
    iris = IRIS_COLOURS[p.iris]
    with face.inside(np.concatenate([upper, lower[::-1]])) as eye:
        eye.flood(mix((252, 249, 246), portrait.skin_shadow, 0.1))
        eye.ribbon(upper, 0.018, mix((210, 200, 198), portrait.skin_shadow, 0.2))
        eye.ellipse(ix, iy, 0.0265, 0.0275, dim(iris, 0.55))
        eye.ellipse(ix, iy, 0.0225, 0.0235, iris)
        eye.ellipse(ix, iy + 0.009, 0.014, 0.012, mix(iris, (255, 240, 210), 0.35))
        eye.ellipse(ix, iy, 0.0115, 0.0115, (14, 10, 12))
        eye.ellipse(ix + 0.009 * p.light, iy - 0.010, 0.0072, 0.0072, WHITE)
    lid = mix(portrait.skin_line, (26, 18, 20), 0.75 if p.heavy_makeup or not p.male else 0.45)
    thick = 0.008 + 0.003 * (not p.male) + 0.005 * p.heavy_makeup
    face.ribbon(upper, thick * (0.9 + 0.4 * _LID_T), lid)
    face.ribbon(lower, 0.004 + 0.002 * p.heavy_makeup, lid, 0.5)
    face.stroke(upper[1:-1] - (0.010j if p.narrow_eyes else 0.015j), 0.005, portrait.skin_line, 0.5)
    if p.heavy_makeup:
        lashes = upper[-3:, None] + complex(0.8 * side, -0.75) * np.array([(0, 0.020), (0, 0.024), (0, 0.027)])
        face.ribbons(lashes, POINTED, (lid,), 1)


def draw_brow(portrait: Portrait, face: Canvas, side: int) -> None:
    p = portrait.p
    x, y = 0.5 + side * p.eye_distance, EYE_Y - 0.064 - 0.012 * p.brow_height
    arch = 0.024 if p.arched_eyebrows else 0.002
    dxs = (-0.054, -0.02, 0.026, 0.070)
    lift = (0.002, -0.002 - 0.5 * arch, -0.004 - arch, 0.014)
    spine = portrait.on_face(curve([x + side * dx for dx in dxs], [y + dy for dy in lift]))
    thick = (0.031 if p.bushy_eyebrows else 0.0135) + 0.004 * p.male
    colour = mix(portrait.hair_dark, portrait.skin_line, 0.4)
    if p.hair_colour != "gray":
        colour = mix(colour, (40, 28, 24), 0.35)
    shape = np.interp(np.linspace(0, 1, len(spine)), (0, 0.12, 0.5, 1), (0.55, 0.95, 1.0, 0.15))
    face.ribbon(spine, thick * shape, colour)
    if p.bushy_eyebrows:
        tuft = np.array((0.3j * thick, 0.014 * side - 0.72j * thick))
        face.ribbons(spine[1:-3:2, None] + tuft, 1.2 * POINTED, (colour,), 1)
