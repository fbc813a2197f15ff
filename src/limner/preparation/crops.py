"""From the bytes of an image file to a square of pixels: decode within bounds, crop by a named preset, resize.

Every image goes the same way: upright by its EXIF orientation, to RGB (transparency over white, deep grey scaled to 8
bits), the preset's box, one antialiased resize. What cannot go this way is `Rejected` with a reason.
"""

import io
import re
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np
from numpy.typing import NDArray

# Importing a plug-in registers it; left to Pillow, each first image of a rarer kind would load all that there are.
from PIL import (  # noqa: F401
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageOps,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from limner.core.errors import UserError

Box = tuple[int, int, int, int]
"""Left, top, right and bottom in pixels, right and bottom excluded, as Pillow has it."""

# Pillow reads more formats, but some start other programs (EPS) and none of the others holds photographs of faces.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000")
SUFFIXES = (*(suffix for suffix, form in Image.EXTENSION.items() if form in FORMATS), ".heic", ".heif")
HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"mif1")
MAX_PIXELS = 64_000_000
GREY_BITS = (8, 10, 12, 16)
# Two antialiased steps in one call of Pillow: the mean over squares of a whole number of pixels, as large as the scale
# allows, then a triangle filter as wide as the rest of the scale. A 128-pixel crop becomes 64 by exact 2 x 2 means. It
# is sharper than the triangle alone, cannot ring as Lanczos does, and is several times faster than either.
RESIZE_FILTER = "whole-number mean, then antialiased bilinear (Pillow BILINEAR, reducing_gap=1)"
ALIGNED_SIZE = (178, 218)
"""Width and height of CelebA's aligned images."""


MAGIC = rb"\xff\xd8\xff|\x89png|gif8|bm|ii\*\0|mm\0\*|\0\0\0\x0cjp|.{8}webp|.{4}ftyp(avi[fs]|hei|mif1)"
"""How the formats begin, in lower case."""


class Rejected(Exception):
    """This image cannot be used; the message is its reason in rejects.csv (what before a colon is the kind)."""


@dataclass(frozen=True)
class Crop:
    """A square part of an image: `size` pixels wide (`None`: as large as the image allows), central, or with its
    left top `corner` fixed, which has a meaning only in CelebA's aligned 178 x 218."""

    side: int | None
    corner: tuple[int, int] | None = None

    def box(self, width: int, height: int) -> Box:
        """The part of an image of this width and height; `Rejected` where the image does not have it."""
        if self.corner and (width, height) != ALIGNED_SIZE:
            kind = "too small" if width < ALIGNED_SIZE[0] or height < ALIGNED_SIZE[1] else "not an aligned image"
            raise Rejected(f"{kind}: {width} x {height}, this crop needs CelebA's 178 x 218")
        side = self.side or min(width, height)
        if side > min(width, height):
            raise Rejected(f"too small: {width} x {height}, the crop needs {side} x {side}")
        left, top = self.corner or ((width - side) // 2, (height - side) // 2)
        return left, top, left + side, top + side


CROPS = {
    "report000": Crop(140),
    "report004": Crop(128, corner=(25, 45)),
    "centre178": Crop(178),
    "ddim128": Crop(128, corner=(25, 57)),
    "square": Crop(None),
}


def find_crop(name: str, size: int | None) -> Crop:
    """The preset `name` for images of `size` pixels; `UserError` if there is none or it would have to be enlarged.

    With `None` it is not checked against a size: a crop of an aligned photo has as many pixels as the photo has there.
    """
    if name not in CROPS:
        nearest = get_close_matches(name, CROPS, 1, 0.5)
        hint = f"did you mean {nearest[0]}? " if nearest else ""
        raise UserError(f"no crop is called {name!r}; {hint}the crops are {', '.join(CROPS)}")
    side = CROPS[name].side
    if side and size and side < size:
        raise UserError(f"crop {name} is {side} pixels wide and would be enlarged to {size}: use --size {side} or less")
    return CROPS[name]


def decode(data: bytes, crop: Crop, size: int) -> NDArray[np.uint8]:
    """The image file `data`, cropped and resized: uint8 `size` x `size` x 3.

    Raises:
        Rejected: the data is no image, is broken, has too many pixels, or is smaller than the crop or `size`.
    """
    image = _open(data)
    _load(image)
    box = crop.box(*image.size)
    if box[2] - box[0] < size:
        raise Rejected(f"too small: {image.width} x {image.height} would be enlarged to {size} x {size}")
    # Not resize(box=...): its filter reads beyond the box, so the crop's edge would depend on what was cut away.
    cropped = _to_rgb(image.crop(box))
    return np.asarray(cropped.resize((size, size), Image.Resampling.BILINEAR, reducing_gap=1.0))


def read_upright(data: bytes) -> Image.Image:
    """The whole image file `data` as RGB, upright; `Rejected` where it is none."""
    image = _open(data)
    _load(image)
    return _to_rgb(image)


def _open(data: bytes) -> Image.Image:
    """The image with its header read and its pixels not yet decoded."""
    if not data:
        raise Rejected("empty file")
    formats: tuple[str, ...] = FORMATS
    if _is_heic(data):
        _register_heif()
        formats = ("HEIF",)
    try:
        image = Image.open(io.BytesIO(data), formats=formats)
    except Image.DecompressionBombError:
        raise Rejected(f"too many pixels: the most is {MAX_PIXELS:,}") from None
    except Exception as error:  # Pillow's parsers raise anything on hostile bytes
        raise Rejected(_why_not_opened(data)) from error
    if image.width * image.height > MAX_PIXELS:
        raise Rejected(f"too many pixels: {image.width} x {image.height}, the most is {MAX_PIXELS:,}")
    return image


def _is_heic(data: bytes) -> bool:
    """What iPhones write. (AVIF is the same container with another codec, and Pillow reads it.)"""
    header = data[:64]
    return header[4:8] == b"ftyp" and b"avif" not in header and any(brand in header for brand in HEIC_BRANDS)


def _register_heif() -> None:
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        raise Rejected("HEIC needs an extra: pip install 'limner[heic]'") from None
    register_heif_opener(thumbnails=False)


def _why_not_opened(data: bytes) -> str:
    start = data[:512].lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "not an image: a web page"
    if re.match(MAGIC, start, re.DOTALL):
        return "broken: its header cannot be read"
    return "not an image"


def _load(image: Image.Image) -> None:
    """Decode the pixels (of an animation: the first frame) and turn the image upright, in place."""
    try:
        image.load()
    except Exception as error:  # as above
        message = re.sub(r"\s+", " ", str(error))
        kind = "truncated" if isinstance(error, EOFError) or "truncated" in message else "broken"
        raise Rejected(f"{kind}: {message[:120] or 'the data ends early'}") from error
    if image.mode.startswith("P") and image.palette is None:
        raise Rejected("broken: its palette is missing")
    with suppress(Exception):  # a broken EXIF block says nothing about the pixels
        ImageOps.exif_transpose(image, in_place=True)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        return _scale_deep_grey(image).convert("RGB")
    if image.mode in ("F", "LAB"):
        raise Rejected(f"unsupported pixels: Pillow's mode {image.mode}")
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
    white = Image.new("RGBA", image.size, "white")
    white.alpha_composite(image.convert("RGBA"))
    return white.convert("RGB")


def _scale_deep_grey(image: Image.Image) -> Image.Image:
    """Grey of more than 8 bits to 8. (Pillow's own conversion clips everything above 255 to white.)

    Files rarely say how many of their bits are used: white is the largest value of 8, 10, 12 or 16 bits, whichever
    first holds the image; of an image that none holds, it is the brightest pixel.
    """
    values_HW = np.asarray(image).astype(np.int64)
    if values_HW.min() < 0:
        raise Rejected("unsupported pixels: negative integers")
    brightest = int(values_HW.max())
    white = next((2**bits - 1 for bits in GREY_BITS if brightest < 2**bits), brightest)
    return Image.fromarray(((values_HW * 255 + white // 2) // white).astype(np.uint8))
