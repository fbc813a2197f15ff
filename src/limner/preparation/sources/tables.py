"""Tables of labels: CelebA's official files and CSVs, kept for the images that are there."""

import csv
import io
import posixpath
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path, PurePosixPath

from limner.core.errors import UserError, brief, one_line
from limner.data.splits import SPLITS
from limner.preparation.crops import Rejected
from limner.preparation.sources.containers import MAX_TABLE_BYTES, ImageFiles, read_file, shown

FLAGS = {
    **dict.fromkeys(("-1", "0", "-1.0", "0.0", "false", "False", "FALSE"), 0),
    **dict.fromkeys(("1", "1.0", "true", "True", "TRUE"), 1),
}
ROLES = "split", "identity"
MOST_DIGITS = 12  # of a number of images
INDEX_COLUMNS = "", "index", "unnamed: 0"
"""Headers of a first column that numbers the rows, as pandas writes it."""


@dataclass
class Labels:
    """What is known of each image besides its pixels, by the image's name."""

    attribute_names: tuple[str, ...] = ()
    attributes: dict[str, bytes] = field(default_factory=dict)
    """One byte, 0 or 1, per attribute name. Empty where there are none; so are the other two."""
    splits: dict[str, str] = field(default_factory=dict)
    identities: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    """Images that a table has no line for, with the reason to reject them."""


Row = tuple[str, int, Callable[[], list[str]]]
"""The image's name as written, the line number, and what gives the values."""


@dataclass(frozen=True)
class Table:
    """A text file with one line per image, kept for the images that are there."""

    file: str
    columns: list[str]
    """The header without the column of file names; empty where the file has no header."""
    rows: dict[str, tuple[int, list[str]]]
    """Image -> line number and values."""

    def add(self, image: str, line: int, values: list[str]) -> None:
        if image in self.rows:
            raise self.error(line, f"{image} has a line already ({self.rows[image][0]}); remove one")
        # Few values, many times: shared, CelebA's eight million need 80 MB instead of 400.
        self.rows[image] = line, [sys.intern(value) for value in values]

    def add_found(self, read_rows: Callable[[], Iterator["Row"]], images: Collection[str]) -> None:
        """Add those of the rows that are about images which are there.

        An image without a row gets that of its name with another suffix, if it is the only one so called: CelebA's
        annotations say .jpg of its PNG copy too.
        """
        self._add_rows(read_rows(), {_plain(name): name for name in images} | {name: name for name in images}, _plain)
        stems = Counter(map(_stem, images))
        rest = {_stem(name): name for name in images if name not in self.rows and stems[_stem(name)] == 1}
        if rest:
            self._add_rows(read_rows(), rest, _stem)

    def _add_rows(self, rows: Iterator["Row"], images: dict[str, str], key: Callable[[str], str]) -> None:
        for name, line, values in rows:
            if image := images.get(name) or images.get(key(name)):
                self.add(image, line, values())

    def error(self, line: int, problem: str) -> UserError:
        return UserError(f"{shown(self.file)}, line {line}: {shown(problem)}")

    def missing(self, images: Collection[str]) -> dict[str, str]:
        """Why images that the table has no line for are rejected."""
        reason = f"no line in {shown(PurePosixPath(self.file).name)}"
        return {image: reason for image in images if image not in self.rows}


def _plain(name: str) -> str:
    """How names are compared: without spaces around them and `./`, with `/` between the parts, in one Unicode form
    (macOS writes letters and their accents apart)."""
    return unicodedata.normalize("NFC", name.strip().replace("\\", "/").removeprefix("./"))


def _stem(name: str) -> str:
    return posixpath.splitext(_plain(name))[0]


def read_table(file: str | Path, wanted: Collection[str], inside: ImageFiles | None = None) -> Table:
    """Read the lines of the images in `wanted` from a file, or from a file `inside` the source.

    Understands CelebA's official files (with a line count and a header, or with neither) and, under any name, tables
    with a header and commas, semicolons or tabs between the columns.

    Raises:
        UserError: naming the file and the line that is wrong.
    """
    file = str(file)
    try:
        data = inside.read(file, MAX_TABLE_BYTES) if inside else read_file(Path(file), MAX_TABLE_BYTES)
    except Rejected as error:
        raise UserError(f"{shown(file)}: {error}") from error
    if data[:512].lstrip().lower().startswith((b"<!doctype", b"<html")):
        raise UserError(f"{shown(file)} is a web page, not a table of labels: the download was refused, fetch it again")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(f"{shown(file)}, line {line}: not UTF-8 text; save the table as UTF-8") from error
    del data  # as large as the text
    if not text.strip():
        raise UserError(f"{shown(file)} is empty: it needs one line per image")
    # CelebA's own files have spaces between their values, and none of these signs in their first line.
    is_csv = file.lower().endswith((".csv", ".tsv")) or any(sign in _first_line(text) for sign in ",;\t")
    return _read_csv(text, file, wanted) if is_csv else _read_official(text, file, wanted)


def _first_line(text: str) -> str:
    return text.lstrip().partition("\n")[0]


def _read_official(text: str, file: str, wanted: Collection[str]) -> Table:
    first_line, second_line = (*islice(_lines(text), 2), "")[:2]
    promised = first_line.strip()
    counted = promised.isdecimal()
    first = 2 if counted else 0
    table = Table(file, second_line.split() if counted else [], {})
    following = sum(1 for _ in _lines(text)) - first
    if counted and (len(promised) > MOST_DIGITS or int(promised) != following):
        raise table.error(1, f"promises {one_line(promised)} images, {following} lines follow; is it cut short?")

    def read_rows() -> Iterator[Row]:
        for number, line in islice(enumerate(_lines(text), 1), first, None):
            name, _, values = line.partition(" ")
            yield name, number, values.split

    table.add_found(read_rows, wanted)
    return table


def _lines(text: str) -> Iterator[str]:
    """The lines of a text without the blank ones at its end, one at a time: all at once, they take more than it."""
    start, end = 0, len(text.rstrip())
    while start < end:
        stop = text.find("\n", start, end)
        stop = end if stop < 0 else stop
        yield text[start:stop]
        start = stop + 1


def _read_csv(text: str, file: str, wanted: Collection[str]) -> Table:
    delimiter = max(",;\t", key=_first_line(text).count)

    def read_lines() -> Iterator[tuple[int, list[str]]]:
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        try:
            for line in lines:
                if line:  # blank ones may come before the header too
                    yield lines.line_num, line
        except csv.Error as error:
            raise UserError(f"{shown(file)}, line {lines.line_num}: {error}") from error

    first, header = next(read_lines())
    header = [column.strip() for column in header]
    named, dropped = _columns(header, read_lines(), wanted)
    table = Table(file, _without(dropped, header), {})
    if _plain(header[named]) in map(_plain, wanted):
        raise table.error(first, f"the header is missing, this line is about {header[named]}")

    def read_rows() -> Iterator[Row]:
        for number, line in islice(read_lines(), 1, None):
            if len(line) > named:
                yield line[named], number, partial(_without, dropped, line)

    table.add_found(read_rows, wanted)
    return table


def _columns(
    header: list[str], lines: Iterable[tuple[int, list[str]]], wanted: Collection[str]
) -> tuple[int, set[int]]:
    """The column of file names, which is the one in which an image's name is found; and all that hold no labels."""
    names = set(map(_plain, wanted))
    numbered = len(header) > 1 and header[0].lower() in INDEX_COLUMNS
    found = (column for _, line in lines for column, cell in enumerate(line[: len(header)]) if _plain(cell) in names)
    named = next(found, int(numbered))
    return named, {named, 0} if numbered else {named}


def _without(dropped: set[int], row: list[str]) -> list[str]:
    return [cell.strip() for column, cell in enumerate(row) if column not in dropped]


def labels_of(table: Table) -> Labels:
    """Columns `split` and `identity` mean what they say, every other column is an attribute: 1 or true, or 0, -1 or
    false. The case of `split`, `identity` and the splits does not matter."""
    columns = [column.lower() if column.lower() in ROLES else column for column in table.columns]
    if doubtful := [name for name in columns if name in ("", *FLAGS) or columns.count(name) > 1]:
        raise table.error(1, f"the header must name each column once, not {brief(doubtful[0])}")
    places = {name: place for place, name in enumerate(columns) if name not in ROLES}
    labels = Labels(tuple(places))
    for image, (line, values) in table.rows.items():
        if len(values) != len(columns):
            raise table.error(line, f"{len(values)} values where the header names {len(columns)} columns")
        try:
            labels.attributes[image] = bytes([FLAGS[values[place]] for place in places.values()])
        except KeyError:
            raise table.error(line, _no_label(dict(zip(columns, values, strict=True)))) from None
        if "split" in columns:
            labels.splits[image] = values[columns.index("split")].lower()
        if "identity" in columns:
            labels.identities[image] = values[columns.index("identity")]
    for image, split in labels.splits.items():
        if split not in SPLITS:
            raise table.error(table.rows[image][0], f"{brief(split)} is no split: {', '.join(SPLITS)}")
    return labels


def _no_label(values: dict[str, str]) -> str:
    name, value = next((n, v) for n, v in values.items() if n not in ROLES and v not in FLAGS)
    return (
        f"the label {brief(value)} of {brief(name)} is none of -1, 0, 1, true and false; give a column of 0 and 1 for "
        "each value that counts, or remove the column"
    )
