"""The canvas on which shapes, strokes and soft shading are drawn."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from limner.preparation.synthetic.colours import Colour
from limner.preparation.synthetic.geometry import Floats, Points, tangents, taper
from limner.preparation.synthetic.shading import Light, Spot

SHADING_STEP = 3


class Canvas:
    """A piece of the image, `pixels` to the unit, whose upper left pixel is (left, top)."""

    def __init__(self, image: Image.Image, pixels: int, left: int = 0, top: int = 0) -> None:
        self.image, self.pixels, self.left, self.top = image, pixels, left, top

    @cached_property
    def opaque_pen(self) -> ImageDraw.ImageDraw:
        return ImageDraw.Draw(self.image)

    @cached_property
    def glazing_pen(self) -> ImageDraw.ImageDraw:
        return ImageDraw.Draw(self.image, "RGBA")

    def _flat(self, points_P: Points) -> Any:
        return (points_P * self.pixels - complex(self.left, self.top)).view(np.float64).tolist()

    def polygon(self, points_P: Points, colour: Colour, opacity: float = 1.0) -> None:
        self._fill(self._flat(points_P), colour, opacity)

    def ellipse(self, x: float, y: float, rx: float, ry: float, colour: Colour) -> None:
        x, y, rx, ry = x * self.pixels - self.left, y * self.pixels - self.top, rx * self.pixels, ry * self.pixels
        r, g, b = colour
        self.opaque_pen.ellipse((x - rx, y - ry, x + rx, y + ry), fill=(int(r), int(g), int(b)))

    def flood(self, colour: Colour) -> None:
        r, g, b = colour
        self.image.paste((int(r), int(g), int(b)), (0, 0, *self.image.size))

    def _fill(self, flat: list[float], colour: Colour, opacity: float) -> None:
        r, g, b = colour
        if opacity >= 1:
            self.opaque_pen.polygon(flat, fill=(int(r), int(g), int(b)))
        else:
            self.glazing_pen.polygon(flat, fill=(int(r), int(g), int(b), round(255 * opacity)))

    def ribbon(self, points_P: Points, width: float | Floats, colour: Colour, opacity: float = 1.0) -> None:
        """A stroke along the points; `width` is one number or one for each point."""
        self.ribbons(points_P[None], width, (colour,), opacity)

    def ribbons(self, points_NP: Points, width: float | Floats, colours: Sequence[Colour], opacity: float) -> None:
        """Many ribbons with equally many points; the colours take turns."""
        along = points_NP @ tangents(points_NP.shape[1])
        half = along * (0.5j * width / np.abs(along))
        outlines = np.concatenate([points_NP + half, (points_NP - half)[:, ::-1]], 1)
        for k, flat in enumerate(self._flat(outlines)):
            self._fill(flat, colours[k % len(colours)], opacity)

    def stroke(self, points_P: Points, width: float, colour: Colour, opacity: float = 1.0) -> None:
        """A ribbon that starts and ends thin."""
        self.ribbon(points_P, width * taper(len(points_P)), colour, opacity)

    def dots(self, points_P: Points, colour: Colour, opacity: float) -> None:
        r, g, b = (int(channel) for channel in colour)
        self.glazing_pen.point(self._flat(points_P), fill=(r, g, b, round(255 * opacity)))

    def shade(self, base: Colour, spots: Iterable[Spot], light: Light | None = None) -> None:
        """Fill with the colour `base`, what the spots change in it, and the light on a bump.

        All the spots are one matrix product, at the resolution to which the image is reduced later.
        """
        width, height = self.image.width // SHADING_STEP + 1, self.image.height // SHADING_STEP + 1
        xs = (self.left + SHADING_STEP * (0.5 + np.arange(width, dtype=np.float32))) / np.float32(self.pixels)
        ys = (self.top + SHADING_STEP * (0.5 + np.arange(height, dtype=np.float32))) / np.float32(self.pixels)
        table = np.array([(s.x, s.y, s.rx, s.ry, s.opacity, *s.colour) for s in spots], np.float32).T[:, :, None]
        x, y, rx, ry, opacity = table[:5]
        across_KW = np.exp(-0.5 * ((xs - x) / rx) ** 2)
        down_KH = np.exp(-0.5 * ((ys - y) / ry) ** 2) * opacity
        change_CKW = (table[5:] - np.array(base, np.float32)[:, None, None]) * across_KW
        texture_CHW = down_KH.T @ change_CKW + np.array(base, np.float32)[:, None, None]
        if light is not None:
            texture_CHW += light.on(xs, ys)
        np.clip(texture_CHW, 0, 255, out=texture_CHW)
        pixels_HWC = texture_CHW.astype(np.uint8).transpose(1, 2, 0)
        shaded = Image.frombytes("RGB", (width, height), pixels_HWC.tobytes())
        shaded = shaded.resize((SHADING_STEP * width, SHADING_STEP * height), Image.Resampling.NEAREST)
        self.image.paste(shaded, (0, 0))

    @contextmanager
    def inside(self, outline_P: Points) -> Iterator["Canvas"]:
        """A canvas on which only what lies inside the outline will show."""
        x, y = outline_P.real * self.pixels, outline_P.imag * self.pixels
        left, top = max(int(x.min()), self.left), max(int(y.min()), self.top)
        right = max(left + 1, min(int(x.max()) + 2, self.left + self.image.width))
        bottom = max(top + 1, min(int(y.max()) + 2, self.top + self.image.height))
        at = (left - self.left, top - self.top)
        inner = Canvas(self.image.crop((*at, right - self.left, bottom - self.top)), self.pixels, left, top)
        yield inner
        mask = Image.new("1", inner.image.size)
        ImageDraw.Draw(mask).polygon(inner._flat(outline_P), fill=1)
        self.image.paste(inner.image, at, mask)
