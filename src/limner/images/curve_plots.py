"""Drawing curves: many in one painting, one each in small images, paintings in an animation, a plot of characters.

Shapes: N curves, P points of a curve (`limner.data.curves`), H and W the image's height and width.
"""

import io
from collections.abc import Sequence
from functools import cache
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw, ImageFont
from rich.text import Text

from limner.data.curves import LOWER_P, UPPER_P, X_P
from limner.images.png import synthetic_mark

RESOLUTION = 64  # of a small image
WIDE = 1.1  # x goes from -WIDE to WIDE,
LOW, HIGH = -0.5, 3.5  # and y from LOW to HIGH
PAPER, BAND, FRAME, BOUND, CURVE, INK = "#ffffff", "#e4ecf5", "#d8d4cc", "#2b5f9e", "#c1561a", "#24211d"
SMOOTH = 3  # drawn so many times too large, and reduced
FRAME_MS, LAST_FRAME_MS = 250, 3000
BRAILLE = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])  # the bit of each dot, by row and column
IN_TEXT = 24  # curves; more would fill the characters


def small_images(curves_NP: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Each curve over its bounds in an image of its own: heights N x P -> uint8 N x 64 x 64 x 3."""
    return np.stack([np.asarray(_plot(curve_P[None], RESOLUTION, RESOLUTION, thickness=2)) for curve_P in curves_NP])


def painting(curves_NP: NDArray[np.float32], title: str, words: str) -> Image.Image:
    """All curves, N x P, in one plot over the band between their bounds, under a title and a line of words."""
    image = Image.new("RGB", (560, 420), PAPER)
    left, top, width, height = 28, 58, 464, 334
    image.paste(_plot(curves_NP, width, height, thickness=1.3), (left, top))
    draw = ImageDraw.Draw(image)

    def at(x: float, y: float) -> tuple[float, float]:
        return left + (x + WIDE) / 2 / WIDE * width, top + (HIGH - y) / (HIGH - LOW) * height

    draw.rectangle((left - 1, top - 1, left + width, top + height), outline=FRAME)
    for y in range(4):
        draw.text((left - 8, at(0, y)[1]), str(y), INK, _font(13), anchor="rm")
    for x in (-1, 0, 1):
        draw.text((at(x, 0)[0], top + height + 7), str(x), INK, _font(13), anchor="mt")
    for bound_P, name in ((UPPER_P, "2x^2 + 1"), (LOWER_P, "x^2")):  # the font has no raised 2
        draw.text((left + width + 6, at(1, bound_P[-1])[1]), name, BOUND, _font(13), anchor="lm")
    draw.text((left, 10), title, INK, _font(18), anchor="lt")
    draw.text((left, 35), words, INK, _font(13), anchor="lt")
    return image.quantize(palette=_palette(), dither=Image.Dither.NONE)


def animation(paintings: Sequence[Path]) -> bytes:
    """The paintings in these files as one animated PNG, played again and again with a rest on the last.

    It is marked as synthetic.
    """
    first, *others = [Image.open(path) for path in paintings]
    durations = [FRAME_MS] * len(others) + [LAST_FRAME_MS]
    content = io.BytesIO()
    first.save(
        content, "PNG", save_all=True, append_images=others, duration=durations, loop=0, pnginfo=synthetic_mark()
    )
    return content.getvalue()


def text_plot(curves_NP: NDArray[np.float32], columns: int = 60, rows: int = 14) -> Text:
    """The first curves over their bounds in characters: braille dots, two across and four down in each."""
    curves = _dots(curves_NP[:IN_TEXT], columns, rows)
    bounds = _dots(np.stack([LOWER_P, UPPER_P]), columns, rows)
    text = Text(no_wrap=True, overflow="crop")
    for line, on_bounds in zip(curves | bounds, bounds > 0, strict=True):
        for on_bound, cells in groupby(zip(line, on_bounds, strict=True), lambda cell: bool(cell[1])):
            text.append("".join(chr(0x2800 + dots) for dots, _ in cells), "blue" if on_bound else "dark_orange3")
        text.append("\n")
    return text


def _plot(curves_NP: NDArray[np.float32], width: int, height: int, thickness: float) -> Image.Image:
    """Bounds and curves, without axes."""
    image = Image.new("RGB", (width * SMOOTH, height * SMOOTH), PAPER)
    draw = ImageDraw.Draw(image)
    x_P = (X_P + WIDE) / 2 / WIDE * image.width

    def points(heights_P: NDArray[np.floating]) -> list[tuple[float, float]]:
        y_P = (HIGH - heights_P.astype(float)) / (HIGH - LOW) * image.height
        return list(zip(x_P.tolist(), y_P.tolist(), strict=True))

    draw.polygon([*points(LOWER_P), *points(UPPER_P)[::-1]], BAND)
    for curve_P in curves_NP.clip(LOW - 1, HIGH + 1):
        draw.line(points(curve_P), CURVE, round(thickness * SMOOTH), joint="curve")
    for bound_P in (LOWER_P, UPPER_P):
        draw.line(points(bound_P), BOUND, 2 * SMOOTH, joint="curve")
    return image.reduce(SMOOTH)


def _dots(curves_NP: NDArray[np.floating], columns: int, rows: int) -> NDArray[np.int64]:
    """Of every character the bits of its dots, rows x columns."""
    cells = np.zeros((rows, columns), np.int64)
    across_D = np.arange(2 * columns)
    x_D = np.linspace(-WIDE, WIDE, 2 * columns)
    for curve_P in curves_NP:
        heights_D = np.interp(x_D, X_P, curve_P, left=np.nan, right=np.nan)
        down_D = np.floor((HIGH - heights_D) / (HIGH - LOW) * 4 * rows)
        seen_D = (down_D >= 0) & (down_D < 4 * rows)
        across, down = across_D[seen_D], down_D[seen_D].astype(int)
        np.bitwise_or.at(cells, (down // 4, across // 2), BRAILLE[down % 4, across % 2])
    return cells


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


@cache
def _palette() -> Image.Image:
    """The colours of all paintings, which keeps forty of them below a megabyte: every blend of two in eighths."""
    grounds, inks = ([ImageColor.getrgb(name) for name in names] for names in ((PAPER, BAND), (BOUND, CURVE, INK)))
    blends = [
        tuple(round(g + (i - g) * eighths / 8) for g, i in zip(ground, ink, strict=True))
        for ground in grounds
        for ink in inks
        for eighths in range(9)
    ]
    palette = Image.new("P", (1, 1))
    palette.putpalette([part for colour in [*dict.fromkeys(blends), ImageColor.getrgb(FRAME)] for part in colour])
    return palette
