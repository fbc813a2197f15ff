"""PNG files that say what they are: every generated image names its model, its seed and that it is synthetic."""

import io
import json
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image, PngImagePlugin

from limner.core.errors import UserError
from limner.images.credentials import signed
from limner.images.marks import Mark, read_json, read_xmp, xmp_packet

SETTINGS_KEY = "limner"
XMP_KEY = "XML:com.adobe.xmp"
HEAD = 1 << 22  # bytes at the beginning of a PNG or GIF in which its texts stand: the rest may be as large as it likes


UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


def head_of(file: BinaryIO) -> io.BytesIO:
    """The beginning of a file, which Pillow may read all of."""
    head = io.BytesIO(file.read(HEAD))
    file.seek(0)
    return head


def generated_png(image: Image.Image, settings: dict[str, Any], mark: Mark | None = None) -> bytes:
    """`image` as a PNG that is marked as synthetic and carries the `settings` that make it again.

    Without a `mark` the same image and settings give the same bytes, as the samples of a run have to. With one it is
    signed where there is a signer (`limner.images.credentials.signing`).
    """
    chunks = synthetic_mark(mark)
    chunks.add_text(SETTINGS_KEY, json.dumps(settings, sort_keys=True))
    png = plain_png(image, chunks)
    return png if mark is None else signed(png)


def synthetic_mark(mark: Mark | None = None) -> PngImagePlugin.PngInfo:
    """The chunks of a PNG that mark it as synthetic."""
    chunks = PngImagePlugin.PngInfo()
    chunks.add_itxt(XMP_KEY, xmp_packet(mark))
    return chunks


def plain_png(image: Image.Image, chunks: PngImagePlugin.PngInfo | None = None) -> bytes:
    """`image` as a PNG, the same bytes for the same pixels."""
    content = io.BytesIO()
    image.save(content, "PNG", pnginfo=chunks)
    return content.getvalue()


def read_settings(path: Path) -> dict[str, Any]:
    """The settings in a PNG that Limner generated; raises UserError where it is none."""
    return read_signed(path)[0]


def read_signed(path: Path) -> tuple[dict[str, Any], Mark | None]:
    """The settings in a PNG that Limner generated, and its mark where it has one; raises UserError where it is none."""
    try:
        with path.open("rb") as file, Image.open(head_of(file), formats=["PNG"]) as image:
            info = image.info
    except UNREADABLE:
        raise UserError(f"{path} is not a PNG that can be read.") from None
    settings = read_json(info.get(SETTINGS_KEY))
    if settings is None:
        raise UserError(f"{path} does not say how it was made: it is not an image that limner sample wrote.")
    return settings, read_xmp(str(info.get(XMP_KEY, "")))[0]
