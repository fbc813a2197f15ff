"""JSON files that Limner wrote and reads again, from whoever they come: bounded, typed, and checked against a sum."""

import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from limner.core.errors import UserError, one_line
from limner.core.files import check_path, check_place, sha256

MAX_BYTES = 1 << 20
MAX_BITS = 64  # of a whole number: larger ones are no float
Record = TypeVar("Record", bound=BaseModel)


def parse_json(text: str | bytes) -> Any:
    """What a text in JSON says; NaN and infinity are taken as Python writes them.

    Raises ValueError where it is none, is nested too deeply, or has a whole number of more than 64 bits.
    """
    try:
        return json.loads(text, parse_int=_whole_number)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _whole_number(digits: str) -> int:
    number = int(digits)
    if number.bit_length() > MAX_BITS:
        raise ValueError("it has too large a number")
    return number


def read_record(file: Path, kind: type[Record], mend: str) -> Record:
    """The record of this `kind` in a JSON file; `mend` is what a user does about a file that cannot be used.

    Raises UserError, with the first problem, where the file cannot be read, is too large, or is no such record.
    """
    try:
        if file.stat().st_size > MAX_BYTES:
            raise UserError(f"{file} is larger than {MAX_BYTES:,} bytes, which none of ours is: {mend}.")
        return kind.model_validate_json(file.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = one_line(".".join(map(str, first["loc"]))) or "the file"
        raise UserError(f"{file} cannot be used, {where}: {first['msg']}; {mend}.") from None
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror}): {mend}.") from None


def check_folder(out: Path, force: bool, record: str, kind: type[BaseModel], what: str) -> None:
    """Raise UserError where the folder `out` exists, unless `force` may replace it: it has a `record` of this `kind`.

    `what` is what such a folder is called. Also raises OSError where nothing can be written there.
    """
    check_place(out)
    if not out.exists():
        return
    if not force:
        raise UserError(f"{out} exists: choose another --out, or replace it with --force.")
    try:
        read_record(out / record, kind, "")
    except UserError:
        raise UserError(f"{out} is not {what}; --force replaces nothing else: choose another --out.") from None


def check_sum(file: Path, expected: str, mend: str) -> None:
    """Raise UserError where `file` is not there, its path is not UTF-8, or its sha256 is not the `expected` one."""
    check_path(file)
    if not file.is_file() or sha256(file) != expected:
        raise UserError(f"{file} is missing or damaged (its checksum is not the one that was kept): {mend}.")
