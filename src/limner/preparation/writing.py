"""Images are appended to images.npy as they come; what was rejected is dropped."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO

import numpy as np

from limner.data.packed import ContentHash
from limner.preparation.workers import Chunk


@dataclass(frozen=True, slots=True)
class Row:
    """One image of a data set."""

    file: str
    """Its name: that of its file, with `#2` for the second face of a photo with several."""
    source: str
    """Its file."""
    is_one_of_many: bool
    attributes: bytes | None
    """Where they came with the image."""
    corners: tuple[complex, ...]
    """Where it was aligned: those of the crop in the photo."""


def write_images(
    path: Path,
    size: int,
    chosen: Sequence[str],
    chunks: Iterator[Chunk],
    unlabelled: Mapping[str, str],
    content: ContentHash,
    rejects: dict[str, str],
    advance: Callable[[int], None],
) -> list[Row]:
    """Append the images to the .npy file `path` as they come, add them to `content` and the others to `rejects`.

    `chosen` are the files, and `chunks` what each of them gave.
    """
    rows: list[Row] = []
    first_with: dict[bytes, str] = {}
    files = iter(chosen)
    with path.open("wb") as out:
        _write_header(out, (0, size, size, 3))
        for chunk in chunks:
            for file, loaded in zip(islice(files, len(chunk)), chunk, strict=True):
                for face, result in enumerate(loaded):
                    name = f"{file}#{face + 1}" if len(loaded) > 1 else file
                    if file in unlabelled:
                        rejects[file] = unlabelled[file]
                    elif isinstance(result, str):
                        rejects[name] = result
                    elif result.digest and (same := first_with.setdefault(result.digest, file)) is not file:
                        rejects[file] = f"duplicate of {same}"
                    else:
                        out.write(result.pixels)
                        content.add_images(result.pixels)
                        rows.append(Row(name, file, len(loaded) > 1, result.attributes, result.corners))
            advance(len(chunk))
        _write_header(out, (len(rows), size, size, 3))
    return rows


def _write_header(out: IO[bytes], shape: tuple[int, ...]) -> None:
    """Numpy pads the header to the same length for any number of images, so it can be filled in last."""
    out.seek(0)
    np.lib.format.write_array_header_1_0(out, {"descr": "|u1", "fortran_order": False, "shape": shape})
