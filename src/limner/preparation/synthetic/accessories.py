"""What a person wears besides clothes: necktie, necklace, hat, glasses, earrings."""

import numpy as np

from limner.preparation.synthetic.colours import WHITE, Colour, dim, hsv, mix
from limner.preparation.synthetic.geometry import CIRCLE, SIDES, Points, curve, ellipse, mirrored, points, smooth
from limner.preparation.synthetic.portrait import EYE_Y, Portrait
from limner.preparation.synthetic.shading import Spot

METALS: tuple[Colour, ...] = ((240, 196, 84), (214, 218, 226), (246, 238, 226), (70, 190, 190))
FRAMES: tuple[Colour, ...] = ((28, 24, 28), (96, 56, 34), (196, 160, 84), (120, 32, 44), (52, 62, 88))


def _rim(height: float, corner: float) -> Points:
    """One lens of half width 1: a superellipse, the rounder the nearer `corner` is to 1."""
    turn = np.append(CIRCLE, 1)
    x, y = (np.sign(side) * np.abs(side) ** corner for side in (turn.real, turn.imag))
    return points(x, height * y)


_RIMS = (_rim(0.9, 1.0), _rim(0.6, 0.55), _rim(0.72, 0.75))


def draw_necktie(portrait: Portrait, to_body: complex, neck: float) -> None:
    p = portrait.p
    tie = hsv(p.accessory_hue, 0.75, 0.45 + 0.4 * p.clothes_light)
    shirt: Colour = (244, 245, 248)
    front = mirrored([0, neck + 0.02, 0.13, 0.1, 0], [0.86, 0.86, 0.98, 1.1, 1.1]) + to_body
    portrait.canvas.polygon(front, dim(shirt, 0.92))
    knot_and_blade = mirrored([0, 0.05, 0.036, 0.08, 0], [0.895, 0.895, 0.945, 1.1, 1.1]) + to_body
    with portrait.canvas.inside(knot_and_blade) as silk:
        silk.flood(tie)
        for y in (0.95, 1.0, 1.05) if p.accessory % 2 else ():
            silk.ribbon(points([0.4, 0.6], [y + 0.06, y - 0.06]) + to_body, 0.016, mix(tie, shirt, 0.7))
        silk.ribbon(points([0.4, 0.6], [0.948, 0.948]) + to_body, 0.007, dim(tie, 0.55))
    for side in SIDES:
        dxs = (neck + 0.025, 0.03, 0.095, neck + 0.045)
        flap = points([0.5 + side * dx for dx in dxs], [0.845, 0.912, 0.968, 0.9]) + to_body
        portrait.canvas.polygon(flap, shirt)
        portrait.canvas.ribbon(flap[1:3], 0.006, dim(shirt, 0.7))


def draw_necklace(portrait: Portrait, to_body: complex, neck: float) -> None:
    metal = METALS[portrait.p.accessory % 4]
    dxs = np.array((-neck + 0.005, -0.6 * neck, 0, 0.6 * neck, neck - 0.005))
    chain = smooth(0.5 + dxs + 1j * np.array((0.855, 0.908, 0.928, 0.908, 0.855)) + to_body)
    portrait.canvas.ribbon(chain, 0.012, dim(metal, 0.7))
    for bead in chain[2:-1:3].tolist():
        portrait.canvas.ellipse(bead.real, bead.imag, 0.011, 0.011, metal)
    pendant = 0.5 + 0.945j + to_body
    portrait.canvas.ellipse(pendant.real, pendant.imag, 0.019, 0.021, metal)
    portrait.canvas.ellipse(pendant.real - 0.005, pendant.imag - 0.005, 0.007, 0.007, WHITE)


def draw_hat(portrait: Portrait) -> None:
    p = portrait.p
    colour = hsv(p.accessory_hue, 0.2 + 0.4 * p.clothes_saturation, 0.3 + 0.55 * p.clothes_light)
    dark, light = dim(colour, 0.6), mix(colour, WHITE, 0.4)
    beanie, cap = p.accessory % 3 == 0, p.accessory % 3 == 1
    side = portrait.half + (0.05 if beanie else 0.04)
    crown = mirrored([0, 0.62 * side, 0.97 * side, side, 0.5 * side, 0], [0.03, 0.055, 0.17, 0.31, 0.29, 0.28])
    with portrait.canvas.inside(portrait.on_head(smooth(crown, closed=True))) as felt:
        felt.shade(
            colour,
            [
                Spot(0.5 + 0.15 * p.light, 0.1, 0.1, 0.07, light, 0.7),
                Spot(0.5 - 0.25 * p.light, 0.2, 0.1, 0.15, dark, 0.8),
            ],
        )
        for x in np.linspace(-1, 1, 11).tolist() if beanie else (-0.55, 0.0, 0.55) if cap else ():
            seam = curve([0.5 + 0.3 * side * x, 0.5 + 0.85 * side * x, 0.5 + side * x], [0.0, 0.12, 0.3])
            felt.ribbon(portrait.on_head(seam), 0.007, dark, 0.6)
        if not (beanie or cap):
            band = curve([0.5 - side, 0.5, 0.5 + side], [0.262, 0.235, 0.262])
            felt.ribbon(portrait.on_head(band), 0.06, dim(dark, 0.6))
    if beanie:
        fold = [0, 0.7 * side, side + 0.008, side + 0.01, 0.6 * side, 0], [0.225, 0.235, 0.25, 0.335, 0.322, 0.315]
    elif cap:
        fold = [0, 0.7 * side, 0.98 * side, 0.6 * side, 0], [0.25, 0.268, 0.315, 0.335, 0.36]
    else:
        fold = [0, 0.22, 0.38, 0.42, 0.3, 0], [0.262, 0.27, 0.255, 0.272, 0.32, 0.34]
    outline = portrait.on_head(smooth(mirrored(*fold), closed=True))
    with portrait.canvas.inside(outline) as brim:
        brim.flood(mix(colour, light, 0.35) if beanie else mix(colour, dark, 0.6))
        shine = curve([0.5 - side, 0.5 + 0.1 * p.light, 0.5 + side], [0.29, 0.28, 0.29])
        brim.ribbon(portrait.on_head(shine), 0.02, light, 0.35)


def draw_glasses(portrait: Portrait) -> None:
    p = portrait.p
    frame = FRAMES[p.accessory % 5]
    radius, height = 0.080, EYE_Y + 0.008
    for side in SIDES:
        x = 0.5 + side * (p.eye_distance + 0.004)
        rim = portrait.on_face(complex(x, height) + radius * _RIMS[p.accessory % 3])
        if p.accessory % 4 == 0:
            portrait.canvas.polygon(rim, (36, 26, 30), 0.55)
        else:
            portrait.canvas.polygon(rim, (225, 238, 250), 0.14)
        glare = points([x - 0.045, x - 0.005], [EYE_Y + 0.03, EYE_Y - 0.03])
        portrait.canvas.ribbon(portrait.on_face(glare), 0.010, WHITE, 0.35)
        portrait.canvas.ribbon(rim, 0.014, frame)
        hinge = complex(rim[0 if side > 0 else 10])
        ear = complex(portrait.on_head(np.array([complex(0.5 + side * (portrait.half + 0.015), EYE_Y - 0.005)]))[0])
        portrait.canvas.ribbon(np.array([hinge, ear]), 0.013, frame)
    reach = p.eye_distance - radius + 0.008
    bridge = curve(
        [0.5 - reach, 0.5 + portrait.nose_lean, 0.5 + reach], [height - 0.008, height - 0.022, height - 0.008]
    )
    portrait.canvas.ribbon(portrait.on_face(bridge), 0.013, frame)


def draw_earrings(portrait: Portrait) -> None:
    p = portrait.p
    metal, kind = METALS[p.accessory % 4], p.accessory // 4 % 3
    glint = mix(metal, WHITE, 0.65)
    for side in SIDES:
        lobe = complex(portrait.on_head(np.array([complex(0.5 + side * (portrait.half + 0.018), 0.562)]))[0])
        if kind == 0:
            hoop = ellipse(lobe.real, lobe.imag + 0.04, 0.028, 0.04)
            portrait.canvas.ribbon(np.append(hoop, hoop[0]), 0.012, dim(metal, 0.8))
            portrait.canvas.ribbon(hoop[2:9], 0.008, glint)
        else:
            drop = lobe + (0.02j if kind == 1 else 0.055j)
            portrait.canvas.ribbon(np.array([lobe, drop]), 0.009, dim(metal, 0.8))
            portrait.canvas.ellipse(drop.real, drop.imag, 0.022, 0.020 + 0.006 * kind, dim(metal, 0.85))
            portrait.canvas.ellipse(drop.real - 0.004, drop.imag - 0.006, 0.010, 0.011, glint)
