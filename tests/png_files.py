"""PNG files taken apart into their chunks and put together again."""

import struct
import zlib
from collections.abc import Iterable

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk with its length and the checksum that its data have."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(chunks: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The PNG of chunks, each a kind and its data."""
    return SIGNATURE + b"".join(png_chunk(kind, data) for kind, data in chunks)


def png_chunks(png: bytes) -> list[tuple[bytes, bytes]]:
    """Kind and data of every chunk of a whole PNG."""
    chunks, place = [], len(SIGNATURE)
    while place < len(png):
        (length,) = struct.unpack_from(">I", png, place)
        chunks.append((png[place + 4 : place + 8], png[place + 8 : place + 8 + length]))
        place += 12 + length
    return chunks
