"""Head and skin: outline of the face, its light and shadow, lines, ears."""

from collections.abc import Iterator

import numpy as np

from limner.preparation.synthetic.canvas import Canvas
from limner.preparation.synthetic.colours import WHITE, Colour, mix, times
from limner.preparation.synthetic.geometry import SIDES, Points, curve, ellipse, mirrored, points, smooth
from limner.preparation.synthetic.nose import nose_tip
from limner.preparation.synthetic.portrait import EYE_Y, MOUTH_Y, Portrait
from limner.preparation.synthetic.shading import Light, Spot

SHADOW_COLOURS: tuple[Colour, ...] = ((112, 70, 120), (70, 86, 140), (120, 74, 56), (60, 52, 60), (70, 120, 116))


def draw_ears(portrait: Portrait) -> None:
    for side in SIDES:
        x = 0.5 + side * (portrait.half + 0.010)
        ear = mix(portrait.skin, portrait.skin_shadow, 0.4 - 0.2 * side * portrait.p.light)
        portrait.canvas.polygon(portrait.on_head(ellipse(x, 0.495, 0.034, 0.066)), ear)
        portrait.canvas.polygon(
            portrait.on_head(ellipse(x + side * 0.004, 0.488, 0.018, 0.042)), portrait.skin_shadow, 0.6
        )


def face_outline(portrait: Portrait) -> Points:
    p, w, chin = portrait.p, portrait.half, portrait.chin
    cheek = 0.985 + 0.03 * p.high_cheekbones + 0.06 * p.chubby
    jaw = 0.69 + 0.20 * p.jaw_width + 0.19 * p.chubby
    chin_width = 0.32 + 0.20 * p.jaw_width + 0.22 * p.chubby
    dxs = [0, 0.52 * w, 0.88 * w, w, cheek * w, jaw * w, chin_width * w, 0]
    return smooth(mirrored(dxs, [0.13, 0.158, 0.255, 0.42, 0.54, 0.68, chin - 0.026, chin]), closed=True)


def skin_light_and_shadow(portrait: Portrait) -> Light:
    p, skin = portrait.p, portrait.skin
    middle = complex(portrait.on_head(np.array([0.5 + 0.47j]))[0])
    shadow = times(skin, -0.32, -0.44, -0.47)  # to skin_shadow
    shine = (portrait.skin_light[0] - skin[0], portrait.skin_light[1] - skin[1], portrait.skin_light[2] - skin[2])
    return Light(middle.real, middle.imag, 0.345, 0.46, p.light, 1.1 + 0.8 * p.light_strength, shadow, shine)


def skin_spots(portrait: Portrait) -> Iterator[Spot]:
    p, spot = portrait.p, portrait.spot
    shadow, light = portrait.skin_shadow, portrait.skin_light
    flush = mix(portrait.skin, (226, 84, 76), 0.5)
    stubble = mix(portrait.skin, mix(portrait.hair_dark, (70, 74, 84), 0.5), 0.62)
    nose, tip = 0.5 + portrait.nose_lean, nose_tip(portrait)
    wide = 0.034 + 0.014 * p.big_nose - 0.006 * p.pointy_nose
    yield spot(0.5, 0.30, 0.10, 0.05, light, 0.25)
    if p.bald:
        yield spot(0.5 + 0.09 * p.light, 0.19, 0.055, 0.022, WHITE, 0.5)
        for side in SIDES:
            yield spot(0.5 + side * (portrait.half - 0.01), 0.40, 0.018, 0.055, stubble, 0.7)
    yield spot(nose, 0.5, 0.010, 0.06, light, 0.6)
    yield spot(nose, tip - 0.012, 0.6 * wide, 0.016, light, 0.6 + 0.1 * p.big_nose)
    yield spot(nose, tip + 0.028, wide, 0.012, shadow, 0.5)
    for side in SIDES:
        shade = (0.28 - 0.2 * side * p.light) * (1 + 0.5 * p.pointy_nose)
        eye = 0.5 + side * p.eye_distance
        yield spot(nose + side * 0.026, 0.515, 0.011, 0.05, shadow, shade)
        yield spot(0.5 + side * 0.052, 0.43, 0.022, 0.028, shadow, 0.32)
        yield spot(eye, 0.432, 0.05, 0.026, shadow, 0.26)
        yield spot(0.5 + side * 0.13, 0.575, 0.05, 0.035, flush, 0.22)
        if p.rosy_cheeks:
            yield spot(0.5 + side * 0.145, 0.585, 0.046, 0.036, mix(portrait.skin, (240, 70, 84), 0.7), 0.52)
        if p.high_cheekbones:
            yield spot(0.5 + side * 0.14, 0.548, 0.04, 0.017, mix(light, WHITE, 0.3 - 0.3 * p.skin_tone), 0.85)
            yield spot(0.5 + side * 0.17, 0.635, 0.024, 0.038, shadow, 0.38)
        if p.chubby:
            yield spot(0.5 + side * 0.15, 0.63, 0.045, 0.05, light, 0.45)
            yield spot(0.5 + side * 0.105, 0.69, 0.016, 0.035, shadow, 0.35)
        if p.bags_under_eyes:
            yield spot(eye - side * 0.006, EYE_Y + 0.046, 0.036, 0.012, mix(shadow, (96, 70, 110), 0.45), 0.7)
        if p.heavy_makeup:
            colour = mix(portrait.skin, SHADOW_COLOURS[p.makeup_colour % 5], 0.8)
            yield spot(eye + side * 0.008, EYE_Y - 0.032, 0.042, 0.014, colour, 0.8)
        if p.stubble:
            yield spot(0.5 + side * 0.125, 0.70, 0.06, 0.055, stubble, 0.6)
    if p.stubble:
        yield spot(0.5, 0.77, 0.09, 0.032, stubble, 0.6)
        yield spot(0.5, 0.63, 0.055, 0.014, stubble, 0.6)
    if p.double_chin:
        yield spot(0.5, portrait.chin - 0.006, 0.11, 0.013, shadow, 0.6)
    yield spot(0.5, portrait.chin - 0.04, 0.035, 0.02, light, 0.35)
    yield spot(0.5, MOUTH_Y + 0.05, 0.04, 0.010, shadow, 0.4)
    if not (p.bald or p.receding_hairline):  # the shade of the hair
        yield spot(0.5, 0.24, 0.2, 0.025, shadow, 0.5)
    if p.wearing_hat:
        yield spot(0.5, 0.33, 0.25, 0.035, shadow, 0.9)


def draw_lines(portrait: Portrait, face: Canvas) -> None:
    """Double chin, the folds of a smile, bags, the lines of age."""
    p, line = portrait.p, portrait.skin_line
    if p.double_chin:
        y = portrait.chin - 0.034
        fold = curve([0.385, 0.44, 0.5, 0.56, 0.615], [y - 0.04, y - 0.004, y + 0.006, y - 0.004, y - 0.04])
        face.stroke(portrait.on_face(fold), 0.013, line, 0.6)
    depth = min(1.0, 0.25 * p.smiling + 0.7 * portrait.wrinkle + 0.2 * p.chubby)
    for side in SIDES:
        eye, fold_out = 0.5 + side * p.eye_distance, 0.012 * p.smiling
        if depth > 0.05:
            dxs = (0.05, 0.084 + fold_out, 0.096 + fold_out)
            fold = curve([0.5 + side * dx for dx in dxs], [0.592, 0.632, 0.682])
            face.stroke(portrait.on_face(fold), 0.011, line, 0.5 * depth)
        if p.bags_under_eyes:
            bag = curve([eye - side * 0.045, eye, eye + side * 0.042], [EYE_Y + 0.03, EYE_Y + 0.058, EYE_Y + 0.038])
            face.stroke(portrait.on_face(bag), 0.010, line, 0.6)
        for lift in (-0.016, 0.0, 0.016) if portrait.wrinkle else ():
            foot = points([eye + side * 0.066, eye + side * 0.09], [EYE_Y + 0.5 * lift, EYE_Y + 1.6 * lift])
            face.ribbon(portrait.on_face(foot), 0.006, line, 0.5 * portrait.wrinkle)
    for y in (0.285, 0.32, 0.352) if portrait.wrinkle else ():
        furrow = curve([0.40, 0.45, 0.5, 0.55, 0.6], [y + 0.006, y, y + 0.004, y, y + 0.006])
        face.stroke(portrait.on_face(furrow), 0.008, line, 0.5 * portrait.wrinkle)
