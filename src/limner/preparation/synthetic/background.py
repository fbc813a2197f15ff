"""What is behind the person."""

from math import cos, pi, sin

from limner.preparation.synthetic.colours import hsv
from limner.preparation.synthetic.portrait import Portrait
from limner.preparation.synthetic.shading import Spot


def draw_background(portrait: Portrait) -> None:
    p, u = portrait.p, iter(portrait.background_random.tolist())
    value = 0.22 + 0.66 * p.background_light
    near = hsv(p.background_hue, 0.05 + 0.4 * next(u) ** 1.5, value)
    far = hsv(p.background_hue + 0.16 * next(u) - 0.08, 0.08 + 0.4 * next(u) ** 1.5, value * (0.4 + 0.4 * next(u)))
    angle = 2 * pi * next(u)
    spots = [
        Spot(0.5 + 0.7 * cos(angle), 0.5 + 0.7 * sin(angle), 0.45, 0.45, far, 0.95),
        Spot(0.5 + 0.25 * p.light, 0.35, 0.3, 0.3, (255, 250, 240), 0.3 if p.background == 0 else 0.12),
    ]
    if p.background == 1:  # lights or leaves, out of focus
        for _ in range(9):
            radius, colour = 0.03 + 0.05 * next(u), hsv(p.background_hue + 0.2 * next(u) - 0.1, 0.4, next(u))
            spots.append(Spot(next(u), 0.9 * next(u), radius, radius, colour, 0.5))
    elif p.background == 2:  # a window or a door, out of focus
        colour = hsv(p.background_hue + 0.4 * next(u), 0.3, 0.2 + 0.8 * next(u))
        x, wide = next(u), 0.05 + 0.1 * next(u)
        spots += [Spot(x + k * wide, 0.4, wide, 1.0, colour, 0.5) for k in (-1, 0, 1)]
    portrait.canvas.shade(near, spots)
