"""The mouth."""

import numpy as np

from limner.preparation.synthetic.canvas import Canvas
from limner.preparation.synthetic.colours import WHITE, Colour, dim, mix
from limner.preparation.synthetic.geometry import curve
from limner.preparation.synthetic.portrait import MOUTH_Y, Portrait

LIP_COLOURS: tuple[Colour, ...] = ((196, 30, 52), (214, 66, 106), (160, 30, 74), (220, 84, 76))

_MOUTH_U = np.linspace(-1, 1, 17)  # from one corner of the mouth to the other
_CUPIDS_BOW = (1 - np.abs(_MOUTH_U) ** 1.7) * (1 - 0.28 * np.exp(-((_MOUTH_U / 0.16) ** 2)))


def draw_mouth(portrait: Portrait, face: Canvas) -> None:
    p = portrait.p
    wide = 0.062 + 0.012 * p.mouth_width + 0.022 * p.smiling
    bulge = 1 - _MOUTH_U**2
    middle = MOUTH_Y + (0.034 * bulge - 0.022 if p.smiling else 0.001 + 0.002 * bulge)
    gape = bulge**0.65 * (0.042 if p.smiling else 0.032) * p.mouth_slightly_open
    full = 1.75 if p.big_lips else 1.0
    across = 0.5 + wide * _MOUTH_U
    upper_y, lower_y = middle - 0.4 * gape, middle + 0.6 * gape
    ys = (upper_y - 0.0165 * full * _CUPIDS_BOW, upper_y, lower_y, lower_y + 0.022 * full * bulge**0.8)
    top, above, below, bottom = (portrait.on_face(across + 1j * y) for y in ys)
    lip = LIP_COLOURS[p.makeup_colour % 4] if p.wearing_lipstick else mix(portrait.skin, (188, 74, 76), 0.45)
    face.polygon(np.concatenate([top, above[::-1]]), dim(lip, 0.86))
    face.polygon(np.concatenate([below, bottom[::-1]]), lip)
    shine = 0.35 * below[5:12] + 0.65 * bottom[5:12]
    face.stroke(shine, 0.008 * full, mix(lip, WHITE, 0.55), 0.75 if p.wearing_lipstick else 0.4)
    if p.mouth_slightly_open:
        with face.inside(np.concatenate([above, below[::-1]])) as mouth:
            throat = complex(above[8])
            mouth.flood((74, 18, 26))
            mouth.ellipse(throat.real, throat.imag + 0.048, 0.05, 0.022, (190, 84, 88))
            bite = above * 0.42 + below * 0.58 if p.smiling else above * 0.65 + below * 0.35
            mouth.polygon(np.concatenate([above - 0.01j, bite[::-1]]), (250, 247, 240))
    else:
        face.stroke(above, 0.0085, mix(lip, (50, 14, 18), 0.72))
    for end, side in ((0, -1), (-1, 1)) if p.smiling else ():
        dimple = complex(above[end]) + curve([side * 0.004, side * 0.012, side * 0.010], [-0.012, -0.002, 0.012])
        face.stroke(dimple, 0.006, portrait.skin_line, 0.5)
