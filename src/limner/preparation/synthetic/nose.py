"""The nose."""

from limner.preparation.synthetic.canvas import Canvas
from limner.preparation.synthetic.colours import dim, mix
from limner.preparation.synthetic.geometry import SIDES, curve, ellipse
from limner.preparation.synthetic.portrait import Portrait


def nose_tip(portrait: Portrait) -> float:
    return 0.572 + 0.018 * portrait.p.nose_length + 0.006 * portrait.p.pointy_nose


def draw_nose(portrait: Portrait, face: Canvas) -> None:
    p = portrait.p
    x, tip = 0.5 + portrait.nose_lean, nose_tip(portrait)
    wide = 0.040 + 0.020 * p.big_nose - 0.012 * p.pointy_nose
    line = mix(portrait.skin_line, portrait.skin_shadow, 0.3)
    shaded = -1 if p.light > 0 else 1
    bridge = curve([x + shaded * 0.030, x + shaded * 0.018, x + shaded * 0.6 * wide], [0.425, 0.47, tip - 0.01])
    face.stroke(portrait.on_face(bridge), 0.009, portrait.skin_shadow, 0.45 + 0.3 * p.pointy_nose)
    low = 0.022 if p.pointy_nose else 0.013
    dxs = (-0.75, -0.3, 0, 0.3, 0.75)
    under = curve([x + dx * wide for dx in dxs], [tip + dy for dy in (0.012, 0.016, 0.012 + low, 0.016, 0.012)])
    face.stroke(portrait.on_face(under), 0.008, line, 0.7)
    for side in SIDES:
        wing = curve([x + side * dx * wide for dx in (0.78, 1.0, 0.78)], [tip - 0.02, tip + 0.002, tip + 0.018])
        face.stroke(portrait.on_face(wing), 0.010 if p.big_nose else 0.007, line, 0.75)
        hole = ellipse(x + side * 0.48 * wide, tip + 0.014, 0.22 * wide, 0.006 + 0.002 * p.big_nose)
        face.polygon(portrait.on_face(hole), dim(portrait.skin_line, 0.7), 0.85)
