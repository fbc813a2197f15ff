"""Figures with words: a sum of faces beside its terms, and rows of faces edited more and more.

Shapes: N images, H and W their height and width.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from limner.explore.expressions import Term
from limner.images.grid import face_grid

INK, PAPER = "black", "white"
GAP, LINE = 6, 15  # pixels: between parts of a figure, and of a line of text
LARGER = 2  # times, so that a figure's words are small beside its faces


def sum_figure(
    columns: Sequence[tuple[Term, NDArray[np.uint8], NDArray[np.uint8]]], sums_NHWC: NDArray[np.uint8]
) -> Image.Image:
    """Terms, each with examples N x H x W x 3 over their mean H x W x 3, and behind "=" the sums N x H x W x 3."""
    parts: list[Image.Image] = []
    for place, (term, examples_NHWC, mean_HWC) in enumerate(columns):
        sign = "-" if term.coefficient < 0 else "+" if place else ""
        factor = "" if abs(term.coefficient) == 1 else f"{abs(term.coefficient):g} x"
        if words := f"{sign} {factor}".strip():
            parts.append(_words(words))
        parts.append(_stack([_enlarged(face_grid(examples_NHWC, 1)), _enlarged(face_grid(mean_HWC[None]))], term.text))
    parts.append(_words("="))
    parts.append(
        _stack([_enlarged(face_grid(sums_NHWC, math.ceil(math.sqrt(len(sums_NHWC)))))], "the sum, and around it")
    )
    return _side_by_side(parts)


def labelled_rows(rows: Sequence[tuple[str, NDArray[np.uint8]]], header: Sequence[str]) -> Image.Image:
    """Rows of as many images, N x H x W x 3 each, with words before each row, and over the images of all rows."""
    size = rows[0][1].shape[1]
    left = max(_width(words) for words, _ in rows) + 2 * GAP
    sheet = Image.new("RGB", (left + len(header) * (size + 2), LINE + len(rows) * (size + 2)), PAPER)
    draw = ImageDraw.Draw(sheet)
    for column, words in enumerate(header):
        draw.text((left + column * (size + 2) + size // 2, 0), words, INK, _font(), anchor="ma")
    for row, (words, images_NHWC) in enumerate(rows):
        top = LINE + row * (size + 2)
        draw.text((GAP, top + size // 2), words, INK, _font(), anchor="lm")
        sheet.paste(face_grid(images_NHWC, len(images_NHWC)), (left, top))
    return sheet


def _stack(parts: Sequence[Image.Image], words: str) -> Image.Image:
    """Words over images one below the other, the last two with a gap between."""
    width = max(_width(words), *(part.width for part in parts))
    stack = Image.new("RGB", (width, LINE + sum(part.height + GAP for part in parts)), PAPER)
    ImageDraw.Draw(stack).text((width // 2, 0), words, INK, _font(), anchor="ma")
    top = LINE
    for part in parts:
        stack.paste(part, ((width - part.width) // 2, top))
        top += part.height + GAP
    return stack


def _words(words: str) -> Image.Image:
    box = Image.new("RGB", (_width(words) + 2 * GAP, LINE), PAPER)
    ImageDraw.Draw(box).text((box.width // 2, 0), words, INK, _font(), anchor="ma")
    return box


def _side_by_side(parts: Sequence[Image.Image]) -> Image.Image:
    """Images in a row, each at half the height of the highest."""
    height = max(part.height for part in parts)
    row = Image.new("RGB", (sum(part.width + GAP for part in parts), height), PAPER)
    left = 0
    for part in parts:
        row.paste(part, (left, (height - part.height) // 2))
        left += part.width + GAP
    return row


def _enlarged(image: Image.Image) -> Image.Image:
    return image.resize((image.width * LARGER, image.height * LARGER), Image.Resampling.BICUBIC)


def _width(words: str) -> int:
    return math.ceil(_font().getlength(words))


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(12)
