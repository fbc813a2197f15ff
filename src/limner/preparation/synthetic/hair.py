"""Hair of the head: behind the neck, around the face, bangs."""

from math import pi

import numpy as np

from limner.preparation.synthetic.geometry import (
    CIRCLE,
    MIDDLE,
    Points,
    curve,
    ellipse,
    mirrored,
    points,
    smooth,
    spline_basis,
    taper,
)
from limner.preparation.synthetic.portrait import Portrait
from limner.preparation.synthetic.shading import Spot


def draw_back_hair(portrait: Portrait) -> None:
    """What of the hair lies behind neck and shoulders."""
    p, w = portrait.p, portrait.half
    if p.hair_cut in ("long", "medium"):
        low = 1.10 if p.hair_cut == "long" else 0.79
        outline = mirrored([0, w, w, 0.9 * w, 0.5 * w, 0], [0.15, 0.3, 0.6, low - 0.03, low, low])
        portrait.canvas.polygon(portrait.on_head(smooth(outline, closed=True)), portrait.hair_dark)
    elif p.hair_cut == "updo" and not p.wearing_hat:
        x = 0.5 + 0.1 * (p.part - 0.5)
        with portrait.canvas.inside(portrait.on_head(ellipse(x, 0.085, 0.09 + 0.03 * p.hair_volume, 0.08))) as bun:
            bun.flood(portrait.hair_dark)
            bun.polygon(portrait.on_head(ellipse(x + 0.03 * p.light, 0.06, 0.08, 0.06)), portrait.hair)
            for bend in (-0.05, 0.0, 0.05):
                curl = curve([x - 0.1, x + bend, x + 0.1], [0.10, 0.04 + bend / 2, 0.09])
                bun.ribbon(portrait.on_head(curl), 0.008, portrait.hair_light, 0.5)


def hair_edges(portrait: Portrait) -> tuple[Points, Points]:
    """The outer and the inner edge of the front hair, from the lower left over the top to the lower right.

    Both have the same number of points; strands run between equal positions on the two.
    """
    p, w = portrait.p, portrait.half
    afro = p.hair_cut == "afro"
    bulk = 0.09 + 0.03 * p.hair_volume if afro else 0.024 + 0.04 * p.hair_volume
    top = 0.03 if afro else 0.118 - bulk
    side, part = w + bulk, 0.18 * (p.part - 0.5)
    if p.hair_cut == "long":
        outer_dxs, outer_ys = [side + 0.045, side + 0.05, side + 0.03, side], [1.12, 0.88, 0.62, 0.40]
        inner_dxs, inner_ys = [0.62 * w, 0.80 * w, 0.95 * w, 0.97 * w], [1.12, 0.86, 0.64, 0.44]
    elif p.hair_cut == "medium":
        outer_dxs, outer_ys = [0.88 * w, side + 0.03, side + 0.025, side], [0.81, 0.72, 0.58, 0.40]
        inner_dxs, inner_ys = [0.80 * w, 0.86 * w, 0.95 * w, 0.97 * w], [0.80, 0.72, 0.58, 0.44]
    else:
        low = 0.50 if p.male or afro else 0.53
        swell = bulk if afro else 0.016 + 0.3 * bulk * p.male
        outer_dxs, outer_ys = [w + 0.010, w + swell], [low, 0.38]
        inner_dxs, inner_ys = [0.95 * w, 0.93 * w], [low - 0.01, 0.41]
    outer_dxs += [0.97 * w + 0.85 * bulk, 0.83 * w + 0.7 * bulk, 0.48 * w + 0.45 * bulk]
    outer_ys += [0.29, 0.19, top + 0.028]
    if p.receding_hairline:
        inner_dxs, inner_ys = [*inner_dxs, 0.9 * w, 0.62 * w, 0.22 * w], [*inner_ys, 0.29, 0.18, 0.192]
        middle = 0.208j
    else:
        inner_dxs, inner_ys = [*inner_dxs, 0.90 * w, 0.72 * w, 0.36 * w], [*inner_ys, 0.335, 0.268, 0.243]
        middle = part + 0.230j
    edges = []
    for dxs, ys, centre in ((outer_dxs, outer_ys, 0.5 * part + 1j * top), (inner_dxs, inner_ys, middle)):
        right = points(dxs, ys)
        path = np.concatenate([-right.conj(), [centre], right[::-1]]) + MIDDLE
        edges.append(smooth(path, samples=10 if p.wavy_hair else 6))
    return edges[0], edges[1]


def draw_hair(portrait: Portrait) -> None:
    p = portrait.p
    outer, inner = hair_edges(portrait)
    outwards = outer - inner
    swing = np.zeros_like(outer)
    if p.wavy_hair or p.hair_cut == "afro":
        walked = np.cumsum(np.abs(np.diff(outer, prepend=outer[0])))
        height, pitch = (0.020, 0.18) if p.wavy_hair else (0.014, 0.055)
        # Waves hang below the crown; on top of the head hair lies flatter.
        loose = np.clip((outer.imag - 0.1) / 0.25, 0.4, 1) if p.wavy_hair else 1.0
        swing = height * loose * np.sin(2 * pi / pitch * walked) * outwards / np.maximum(np.abs(outwards), 1e-6)

    def strand(depth: float) -> Points:
        """The way of one strand: depth 0 along the face, 1 along the outer edge."""
        return portrait.on_head(inner + outwards * depth + swing * (0.3 + 0.7 * depth))

    with portrait.canvas.inside(np.concatenate([strand(1.0), strand(0.0)[::-1]])) as hair:
        hair.shade(
            portrait.hair,
            [
                Spot(0.5 + 0.16 * p.light, 0.13, 0.13, 0.045, portrait.hair_light, 0.65),
                Spot(0.5 - 0.3 * p.light, 0.4, 0.1, 0.3, portrait.hair_dark, 0.6),
                Spot(0.5, 0.85, 0.5, 0.16, portrait.hair_dark, 0.5),
                Spot(0.5 + 0.29 * p.light, 0.5, 0.04, 0.12, portrait.hair_light, 0.4),
            ],
        )
        hair.ribbon(strand(0.03), 0.035, portrait.hair_dark, 0.5)
        shades = (portrait.hair_light, portrait.hair_dark)
        u, v, w = portrait.hair_random.reshape(3, 40)
        if p.hair_cut == "afro":
            curls = (0.15 + 0.7 * u + 0.5j * v**1.5)[:, None] + 0.02 * CIRCLE[:12:2]
            hair.ribbons(portrait.on_head(curls), 0.007, shades, 0.5)
        elif p.hair_cut == "short" and not (p.straight_hair or p.wavy_hair):
            # Cropped: short strokes from the scalp outwards.
            at = ((0.1 + 0.8 * u[:24]) * len(outer)).astype(int)
            reach = np.stack([0.5 * v[:24], 0.6 + 0.4 * w[:24]], 1)
            hair.ribbons(portrait.on_head(inner[at, None] + outwards[at, None] * reach), 0.007, shades, 0.35)
        else:
            length, step = int(0.4 * len(outer)), 2 if p.wavy_hair else 4
            at = (u[:14, None] * (len(outer) - length)).astype(int) + np.arange(0, length, step)
            depth = 0.06 + 0.9 * v[:14, None]
            strands = inner[at] + outwards[at] * depth + swing[at] * (0.3 + 0.7 * depth)
            hair.ribbons(portrait.on_head(strands), 0.010 * taper(at.shape[1]), shades, 0.5)


def draw_bangs(portrait: Portrait) -> None:
    p, w = portrait.p, portrait.half
    sweep = 0.08 * (p.part - 0.5)
    across = np.linspace(0.9, -0.9, 13)
    low = 0.372 + 0.04 * across**2 + 0.016 * (-1.0) ** np.arange(13) + 0.012 * portrait.bangs_random[:13]
    crown = points(
        [-0.97 * w, -0.93 * w, -0.5 * w, 0, 0.5 * w, 0.93 * w, 0.97 * w], [0.41, 0.27, 0.17, 0.15, 0.17, 0.27, 0.41]
    )
    outline = portrait.on_head(smooth(np.concatenate([crown, w * across + 1j * low]) + MIDDLE, closed=True))
    with portrait.canvas.inside(outline) as bangs:
        shine = portrait.on_head(np.array([complex(0.5 + 0.1 * p.light, 0.25)]))[0]
        bangs.shade(portrait.hair, [Spot(shine.real, shine.imag, 0.15, 0.035, portrait.hair_light, 0.5)])
        roots = w * np.linspace(-0.9, 0.9, 12)[:, None]
        locks = 0.5 + roots * (0.55, 0.85, 0.95) + sweep * np.array((-1, 0, 1)) + 1j * np.array((0.14, 0.27, 0.41))
        locks = locks @ spline_basis(3, False, 4).T
        bangs.ribbons(
            portrait.on_head(locks), 0.010 * taper(locks.shape[1]), (portrait.hair_light, portrait.hair_dark), 0.45
        )
