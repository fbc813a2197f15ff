"""Colours, as red, green and blue in 0..255, and what is computed with them."""

import colorsys

Colour = tuple[float, float, float]

WHITE: Colour = (255, 255, 255)


def mix(a: Colour, b: Colour, t: float) -> Colour:
    return a[0] + (b[0] - a[0]) * t, a[1] + (b[1] - a[1]) * t, a[2] + (b[2] - a[2]) * t


def times(colour: Colour, r: float, g: float, b: float) -> Colour:
    return colour[0] * r, colour[1] * g, colour[2] * b


def dim(colour: Colour, factor: float) -> Colour:
    return times(colour, factor, factor, factor)


def hsv(hue: float, saturation: float, value: float) -> Colour:
    r, g, b = colorsys.hsv_to_rgb(hue % 1, saturation, value)
    return r * 255, g * 255, b * 255
