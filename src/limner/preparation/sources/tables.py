"""Tables of labels: CelebA's official files and CSVs, kept for the images that are there."""

import csv
import io
import sys
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from limner.core.errors import UserError
from limner.data.splits import SPLITS
from limner.preparation.crops import Rejected
from limner.preparation.sources.containers import MAX_TABLE_BYTES, ImageFiles, read_file, shown

FLAGS = {"-1": 0, "0": 0, "1": 1}


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

    def error(self, line: int, problem: str) -> UserError:
        return UserError(f"{shown(self.file)}, line {line}: {shown(problem)}")

    def missing(self, images: Collection[str]) -> dict[str, str]:
        """Why images that the table has no line for are rejected."""
        reason = f"no line in {shown(PurePosixPath(self.file).name)}"
        return {image: reason for image in images if image not in self.rows}


def read_table(file: str | Path, wanted: Collection[str], inside: ImageFiles | None = None) -> Table:
    """Read the lines of the images in `wanted` from a file, or from a file `inside` the source.

    Understands CelebA's official files (with a line count and a header, or with neither) and CSVs with a header.

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
    if not text.strip():
        raise UserError(f"{shown(file)} is empty: it needs one line per image")
    return _read_csv(text, file, wanted) if file.lower().endswith(".csv") else _read_official(text, file, wanted)


def _read_official(text: str, file: str, wanted: Collection[str]) -> Table:
    lines = text.rstrip().split("\n")
    counted = lines[0].strip().isdecimal()
    first = 2 if counted else 0
    table = Table(file, lines[1].split() if counted and len(lines) > 1 else [], {})
    if counted and int(lines[0]) != len(lines) - first:
        raise table.error(1, f"promises {lines[0].strip()} images, {len(lines) - first} lines follow; is it cut short?")
    for number, line in enumerate(lines[first:], first + 1):
        name, _, values = line.partition(" ")
        if name in wanted:
            table.add(name, number, values.split())
    return table


def _read_csv(text: str, file: str, wanted: Collection[str]) -> Table:
    header = text[: text.find("\n")]
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=header.count))
    try:
        table = Table(file, [column.strip() for column in next(lines)[1:]], {})
        for line in lines:
            if line and line[0] in wanted:
                table.add(line[0], lines.line_num, [value.strip() for value in line[1:]])
    except csv.Error as error:
        raise UserError(f"{shown(file)}, line {lines.line_num}: {error}") from error
    return table


def labels_of(table: Table) -> Labels:
    """Columns `split` and `identity` mean what they say, every other column is an attribute: 1, or 0 or -1."""
    names = tuple(column for column in table.columns if column not in ("split", "identity"))
    if doubtful := [name for name in table.columns if name in ("", *FLAGS) or table.columns.count(name) > 1]:
        raise table.error(1, f"the header must name each column once, not {doubtful[0]!r}")
    places = [table.columns.index(name) for name in names]
    labels = Labels(names)
    for image, (line, values) in table.rows.items():
        if len(values) != len(table.columns):
            raise table.error(line, f"{len(values)} values where the header names {len(table.columns)} columns")
        try:
            labels.attributes[image] = bytes([FLAGS[values[place]] for place in places])
        except KeyError as error:
            raise table.error(line, f"the label {error.args[0]!r} is none of -1, 0 and 1") from error
        if "split" in table.columns:
            labels.splits[image] = values[table.columns.index("split")]
        if "identity" in table.columns:
            labels.identities[image] = values[table.columns.index("identity")]
    for image, split in labels.splits.items():
        if split not in SPLITS:
            raise table.error(table.rows[image][0], f"{split!r} is no split: {', '.join(SPLITS)}")
    return labels
