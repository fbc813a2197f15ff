"""PNG files that say what they are: every generated image names its model, its seed and that it is synthetic."""

import io
import json
from pathlib import Path
from typing import Any

from PIL import Image, PngImagePlugin

from limner.core.errors import UserError

SETTINGS_KEY = "limner"
MAX_SETTINGS_BYTES = 1 << 16

# IPTC's word for an image made by a trained model, where programs look for it (an XMP packet).
SYNTHETIC = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
XMP = f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
   xmlns:xmp="http://ns.adobe.com/xap/1.0/" Iptc4xmpExt:DigitalSourceType="{SYNTHETIC}" xmp:CreatorTool="Limner"/>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="r"?>"""


def generated_png(image: Image.Image, settings: dict[str, Any]) -> bytes:
    """`image` as a PNG that is marked as synthetic and carries the `settings` that make it again."""
    chunks = synthetic_mark()
    chunks.add_text(SETTINGS_KEY, json.dumps(settings, sort_keys=True))
    return plain_png(image, chunks)


def synthetic_mark() -> PngImagePlugin.PngInfo:
    """The chunks of a PNG that mark it as synthetic."""
    chunks = PngImagePlugin.PngInfo()
    chunks.add_itxt("XML:com.adobe.xmp", XMP)
    return chunks


def plain_png(image: Image.Image, chunks: PngImagePlugin.PngInfo | None = None) -> bytes:
    """`image` as a PNG, the same bytes for the same pixels."""
    content = io.BytesIO()
    image.save(content, "PNG", pnginfo=chunks)
    return content.getvalue()


def read_settings(path: Path) -> dict[str, Any]:
    """The settings in a PNG that Limner generated; raises UserError where it is none."""
    try:
        with Image.open(path, formats=["PNG"]) as image:
            text = image.info.get(SETTINGS_KEY)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        raise UserError(f"{path} is not a PNG that can be read.") from None
    try:
        if not isinstance(text, str) or len(text) > MAX_SETTINGS_BYTES:
            raise ValueError
        settings = json.loads(text)
        if not isinstance(settings, dict):
            raise ValueError
    except ValueError:
        raise UserError(f"{path} does not say how it was made: it is not an image that limner sample wrote.") from None
    return settings
