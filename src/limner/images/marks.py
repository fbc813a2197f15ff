"""The mark of a generated file: who made it, with which model, when, and an identifier of its own.

In PNG and WebP it is an XMP packet with the properties of IPTC (2025.1) for images made by a trained model; in GIF and
video, whose programs keep no XMP, a comment in JSON.
"""

import json
import xml.etree.ElementTree as ElementTree
from datetime import UTC, datetime
from typing import Any, Self
from uuid import UUID, uuid4
from xml.sax.saxutils import quoteattr

from pydantic import BaseModel, ConfigDict, ValidationError

from limner.core.arguments import checked
from limner.core.records import parse_json
from limner.core.version import __version__

# IPTC's word for an image made by a trained model.
SYNTHETIC = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
MAX_BYTES = 1 << 18

IPTC, XMP, XMP_MM = (
    "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "http://ns.adobe.com/xap/1.0/",
    "http://ns.adobe.com/xap/1.0/mm/",
)
LIMNER = "urn:limner:provenance"
PACKET = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="" xmlns:Iptc4xmpExt="{iptc}"
   xmlns:xmp="{xmp}" xmlns:xmpMM="{mm}" xmlns:limner="{limner}"
   Iptc4xmpExt:DigitalSourceType="{synthetic}"{properties}/>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="r"?>"""


class Mark(BaseModel):
    """What a generated file says of its origin."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    provider: str = "Limner"
    provider_version: str = __version__
    model: str
    """The recipe that the model was trained with."""
    model_version: str
    """sha256 of the model's weights."""
    time: datetime
    """When the file was generated, in UTC."""
    id: UUID
    """Of this file alone."""

    @classmethod
    @checked
    def now(cls, model: str, weights_sha256: str) -> Self:
        """The mark of a file that is being generated, with an identifier that no other has."""
        return cls(model=model, model_version=weights_sha256, time=datetime.now(UTC).replace(microsecond=0), id=uuid4())


def xmp_packet(mark: Mark | None = None, settings: dict[str, Any] | None = None) -> str:
    """An XMP packet that says the image is synthetic, with its mark, and the settings where the format has no other
    place for them."""
    properties = {"xmp:CreatorTool": "Limner"}
    if mark is not None:
        properties = {
            "xmp:CreatorTool": f"{mark.provider} {mark.provider_version}",
            "xmp:CreateDate": mark.time.isoformat(),
            "xmpMM:InstanceID": f"urn:uuid:{mark.id}",
            "Iptc4xmpExt:AISystemUsed": mark.model,
            "Iptc4xmpExt:AISystemVersionUsed": mark.model_version,
        }
    if settings is not None:
        properties["limner:Settings"] = json.dumps(settings, sort_keys=True)
    written = "".join(f"\n   {name}={quoteattr(value)}" for name, value in properties.items())
    return PACKET.format(iptc=IPTC, xmp=XMP, mm=XMP_MM, limner=LIMNER, synthetic=SYNTHETIC, properties=written)


def read_xmp(packet: str) -> tuple[Mark | None, dict[str, Any] | None]:
    """The mark and the settings in an XMP packet; `None` for each that is not there or cannot be read."""
    if len(packet) > MAX_BYTES or "<!" in packet:  # ours has no declaration, and those of others may be bombs
        return None, None
    try:
        root = ElementTree.fromstring(packet)
    except ElementTree.ParseError:
        return None, None
    properties = {key: value for element in root.iter() for key, value in element.attrib.items()}
    provider, _, version = properties.get(f"{{{XMP}}}CreatorTool", "").rpartition(" ")
    fields = {
        "provider": provider,
        "provider_version": version,
        "model": properties.get(f"{{{IPTC}}}AISystemUsed"),
        "model_version": properties.get(f"{{{IPTC}}}AISystemVersionUsed"),
        "time": properties.get(f"{{{XMP}}}CreateDate"),
        "id": properties.get(f"{{{XMP_MM}}}InstanceID", "").removeprefix("urn:uuid:"),
    }
    return read_mark(fields), read_json(properties.get(f"{{{LIMNER}}}Settings"))


def comment(mark: Mark | None, settings: dict[str, Any]) -> str:
    """What a GIF or a video says of itself."""
    said: dict[str, Any] = {"digital_source_type": SYNTHETIC, "limner": settings}
    if mark is not None:
        said["mark"] = mark.model_dump(mode="json")
    return json.dumps(said, sort_keys=True)


def read_comment(text: str) -> tuple[Mark | None, dict[str, Any] | None]:
    """The mark and the settings in the comment of a GIF or a video; `None` for each that is not there."""
    said = read_json(text) or {}
    settings = said.get("limner")
    return read_mark(said.get("mark")), settings if isinstance(settings, dict) else None


def read_mark(fields: object) -> Mark | None:
    """The mark with these fields; `None` where they are not those of a mark."""
    try:
        return Mark.model_validate(fields)
    except ValidationError:
        return None


def read_json(text: object) -> dict[str, Any] | None:
    """The JSON object in a text of bounded length; `None` where there is none."""
    try:
        if not isinstance(text, str) or len(text) > MAX_BYTES:
            return None
        value = parse_json(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
