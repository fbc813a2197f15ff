"""Neck, shoulders and clothes."""

import numpy as np

from limner.preparation.synthetic.accessories import draw_necklace, draw_necktie
from limner.preparation.synthetic.colours import WHITE, dim, hsv, mix
from limner.preparation.synthetic.geometry import MIDDLE, mirrored, points, smooth
from limner.preparation.synthetic.portrait import HEAD_RADIUS, Portrait
from limner.preparation.synthetic.shading import Spot


def draw_body(portrait: Portrait) -> None:
    p = portrait.p
    x = 0.5 - 0.4 * HEAD_RADIUS * portrait.turn_sin + p.shift_x
    to_body = x - MIDDLE + 0.02j
    neck = 0.118 + 0.028 * p.male + 0.022 * p.chubby + 0.012 * p.double_chin
    broad = 0.02 * p.male

    skin_dxs = [0, neck, neck - 0.004, neck + 0.03, 0.30, 0.5, 0.56, 0]
    skin_ys = [0.6, 0.62, 0.8, 0.885, 0.945 - broad, 1.0 - broad, 1.2, 1.2]
    with portrait.canvas.inside(smooth(mirrored(skin_dxs, skin_ys), closed=True) + to_body) as body:
        body.shade(
            mix(portrait.skin, portrait.skin_shadow, 0.25),
            [
                Spot(x - 0.05 * p.light, portrait.chin + 0.035, 0.17, 0.055, portrait.skin_shadow, 0.75),
                Spot(x - 0.14 * p.light, 0.87, 0.07, 0.2, portrait.skin_shadow, 0.5 * abs(p.light)),
                Spot(x + 0.12 * p.light, 0.95, 0.09, 0.06, portrait.skin_light, 0.35),
            ],
        )

    cloth = hsv(p.clothes_hue, 0.15 + 0.45 * p.clothes_saturation, 0.2 + 0.7 * p.clothes_light)
    if p.wearing_necktie:
        cloth = hsv(p.clothes_hue, 0.3, 0.16 + 0.22 * p.clothes_light)  # a dark suit
    depth = 0.94 if p.male else 0.955 + 0.05 * p.clothes_light
    wide = neck + (0.028 if p.male else 0.04 + 0.06 * p.clothes_light)
    hem_dxs, hem_ys = [0, 0.6 * wide, wide], [depth, depth - 0.018, 0.885]
    sewn = mirrored(
        [*hem_dxs, wide + 0.03, 0.31, 0.52, 0.58, 0], [*hem_ys, 0.888, 0.932 - broad, 0.99 - broad, 1.2, 1.2]
    )
    with portrait.canvas.inside(smooth(sewn, closed=True) + to_body) as clothes:
        clothes.shade(
            cloth,
            [
                Spot(x + 0.25 * p.light, 0.97, 0.12, 0.05, mix(cloth, WHITE, 0.6), 0.35),
                Spot(x - 0.3 * p.light, 1.02, 0.2, 0.08, dim(cloth, 0.4), 0.6),
            ],
        )
    if p.wearing_necktie:
        draw_necktie(portrait, to_body, neck)
    else:
        hem = np.concatenate([-points(hem_dxs, hem_ys)[:0:-1].conj(), points(hem_dxs, hem_ys)]) + MIDDLE
        portrait.canvas.ribbon(smooth(hem) + to_body, 0.012, dim(cloth, 0.72))
    if p.wearing_necklace:
        draw_necklace(portrait, to_body, neck)
