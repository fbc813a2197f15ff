"""`limner verify`: does a file say that Limner generated it, and with which model and settings?"""

import json
import os
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

from PIL import Image

from limner.core.arguments import checked
from limner.core.errors import UserError, one_line
from limner.images.credentials import CHUNK, Credentials, read_credentials
from limner.images.marks import MAX_BYTES, SYNTHETIC, Mark, read_comment, read_json, read_xmp
from limner.images.png import SETTINGS_KEY, UNREADABLE, XMP_KEY, head_of

Kind = Literal["PNG", "GIF", "WebP", "MP4", "WebM"]
PILLOW: dict[str, Kind] = {"PNG": "PNG", "GIF": "GIF"}
STARTS: tuple[tuple[int, bytes, Kind], ...] = ((8, b"WEBP", "WebP"), (4, b"ftyp", "MP4"), (0, b"\x1aE\xdf\xa3", "WebM"))
MOST_CHUNKS = 10_000  # of a WebP: a walk has at most 5,000 images
MOST_OF_VIDEO = 1 << 26  # bytes that are read of one


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
            *((name.replace("_", " "), one_line(str(value), 200)) for name, value in said),
            ("settings", json.dumps(self.settings, sort_keys=True)),
            *([] if self.credentials is None else [("signature", self.credentials.words())]),
        ]


@checked
def verify(file: str | Path) -> Provenance:
    """Read the mark that Limner leaves in every PNG, GIF, WebP, MP4 and WebM that it generates.

    The mark is a statement and no proof: whoever changes the file can change or remove it, and programs that save an
    image anew mostly drop it. A file without it may be generated all the same. A signature (`--c2pa`) is checked. The
    memory that this takes does not grow with the file.

    Raises:
        UserError: the file is not there, is none of these kinds, or does not say that Limner generated it.
    """
    path = Path(file)
    try:
        with path.open("rb") as opened:
            kind, mark, settings, credentials = _read(opened, path)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from None
    if settings is None:
        raise UserError(
            f"{path} has no mark of Limner. That proves nothing: programs that save an image anew mostly drop its mark."
        )
    return Provenance(kind, mark, settings, credentials)


def _read(file: BinaryIO, path: Path) -> tuple[Kind, Mark | None, dict[str, Any] | None, Credentials | None]:
    head = head_of(file)
    start = head.getbuffer()[:12].tobytes()
    kind = next((kind for place, sign, kind in STARTS if start[place:].startswith(sign)), None)
    if kind == "WebP":
        return kind, *read_xmp(_webp_packet(file)), None
    if kind is not None:
        return kind, *_read_video(file, path), None
    try:
        with Image.open(head, formats=list(PILLOW)) as image:
            kind, info = PILLOW[str(image.format)], image.info
    except UNREADABLE:
        raise UserError(f"{path} is no PNG, GIF, WebP, MP4 or WebM that can be read.") from None
    if kind == "GIF":
        return kind, *read_comment(bytes(info.get("comment", b"")).decode(errors="replace")), None
    credentials = read_credentials(file) if CHUNK in head.getbuffer().tobytes() else None
    return kind, read_xmp(str(info.get(XMP_KEY, "")))[0], read_json(info.get(SETTINGS_KEY)), credentials


def _webp_packet(file: BinaryIO) -> str:
    """The XMP packet of a WebP, behind its images; Pillow would read all of these, however many."""
    file.seek(12)
    for _ in range(MOST_CHUNKS):
        if not (name := file.read(4)):
            break
        length = int.from_bytes(file.read(4), "little")
        if name == b"XMP ":
            return file.read(min(length, 2 * MAX_BYTES)).decode(errors="replace")
        file.seek(length + length % 2, os.SEEK_CUR)
    return ""


def _read_video(file: BinaryIO, path: Path) -> tuple[Mark | None, dict[str, Any] | None]:
    try:
        import av
    except ImportError:
        raise UserError(f"{path} is a video, which needs PyAV: pip install 'limner[video]'.") from None
    try:
        with av.open(_Bounded(file)) as video:
            said = {key.lower(): value for key, value in video.metadata.items()}
    except (av.FFmpegError, ValueError):
        raise UserError(f"{path} is a video that cannot be read.") from None
    return read_comment(said.get("comment", ""))


class _Bounded:
    """A file of which so much can be read and no more; FFmpeg passes over what it does not need."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._left = file, MOST_OF_VIDEO

    def read(self, size: int = -1) -> bytes:
        content = self._file.read(min(size, self._left) if size >= 0 else self._left)
        self._left -= len(content)
        return content

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()
