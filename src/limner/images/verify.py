"""`limner verify`: does a file say that Limner generated it, and with which model and settings?"""

import json
from pathlib import Path
from typing import Any, Literal, NamedTuple

from PIL import Image

from limner.core.arguments import checked
from limner.core.errors import UserError
from limner.images.credentials import Credentials, read_credentials
from limner.images.marks import SYNTHETIC, Mark, read_comment, read_json, read_xmp
from limner.images.png import SETTINGS_KEY, XMP_KEY

Kind = Literal["PNG", "GIF", "WebP", "MP4", "WebM"]
PILLOW: dict[str, Kind] = {"PNG": "PNG", "GIF": "GIF", "WEBP": "WebP"}
STARTS: tuple[tuple[int, bytes, Kind], ...] = ((4, b"ftyp", "MP4"), (0, b"\x1aE\xdf\xa3", "WebM"))


class Provenance(NamedTuple):
    """What a generated file says of itself."""

    kind: Kind
    mark: Mark | None
    """`None` in files of versions of Limner that wrote none, and in the samples of a training."""
    settings: dict[str, Any]
    """What makes the file again."""
    credentials: Credentials | None = None
    """Of PNGs that were signed."""

    def rows(self) -> list[tuple[str, str]]:
        """Names and values, for a person to read."""
        said = [] if self.mark is None else self.mark.model_dump(mode="json").items()
        return [
            ("file", self.kind),
            ("source", SYNTHETIC.rpartition("/")[2]),
            *((name.replace("_", " "), str(value)) for name, value in said),
            ("settings", json.dumps(self.settings, sort_keys=True)),
            *([] if self.credentials is None else [("signature", self.credentials.words())]),
        ]


@checked
def verify(file: str | Path) -> Provenance:
    """Read the mark that Limner leaves in every PNG, GIF, WebP, MP4 and WebM that it generates.

    The mark is a statement and no proof: whoever changes the file can change or remove it, and programs that save an
    image anew mostly drop it. A file without it may be generated all the same. A signature (`--c2pa`) is checked.

    Raises:
        UserError: the file is not there, is none of these kinds, or does not say that Limner generated it.
    """
    path = Path(file)
    try:
        with path.open("rb") as opened:
            start = opened.read(64)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from None
    kind = next((kind for place, sign, kind in STARTS if start[place:].startswith(sign)), None)
    kind, mark, settings = _read_image(path) if kind is None else (kind, *_read_video(path))
    if settings is None:
        raise UserError(
            f"{path} has no mark of Limner. That proves nothing: programs that save an image anew mostly drop its mark."
        )
    return Provenance(kind, mark, settings, read_credentials(path.read_bytes()) if kind == "PNG" else None)


def _read_image(path: Path) -> tuple[Kind, Mark | None, dict[str, Any] | None]:
    try:
        with Image.open(path, formats=list(PILLOW)) as image:
            kind, info = PILLOW[str(image.format)], image.info
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        raise UserError(f"{path} is no PNG, GIF, WebP, MP4 or WebM that can be read.") from None
    if kind == "GIF":
        return kind, *read_comment(bytes(info.get("comment", b"")).decode(errors="replace"))
    if kind == "WebP":
        return kind, *read_xmp(bytes(info.get("xmp", b"")).decode(errors="replace"))
    return kind, read_xmp(str(info.get(XMP_KEY, "")))[0], read_json(info.get(SETTINGS_KEY))


def _read_video(path: Path) -> tuple[Mark | None, dict[str, Any] | None]:
    try:
        import av
    except ImportError:
        raise UserError(f"{path} is a video, which needs PyAV: pip install limner[video].") from None
    try:
        with av.open(str(path)) as video:
            said = {key.lower(): value for key, value in video.metadata.items()}
    except (av.FFmpegError, ValueError):
        raise UserError(f"{path} is a video that cannot be read.") from None
    return read_comment(said.get("comment", ""))
