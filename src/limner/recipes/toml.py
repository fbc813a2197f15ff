"""A recipe's tree of tables as TOML, and flat: dotted keys and their values."""

import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from limner.core.errors import UserError, brief

DEEPEST = 20  # tables or lists in each other
LARGEST = 1 << 63


class RefusedError(tomllib.TOMLDecodeError):
    """A text is none that we read: nested too deep, with a number that is too large, or not in UTF-8."""


NESTED, TOO_LARGE = f"more than {DEEPEST} tables or lists in each other", "a whole number of more than 64 bits"
NO_UTF8 = "bytes that are not UTF-8"  # Python has them as halves of surrogates, on the command line for instance


def flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values of a tree of tables with their dotted keys."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def read_toml(text: str) -> dict[str, Any]:
    """The tables in a text of TOML.

    Raises TOMLDecodeError where it is none; of that, RefusedError where it is not in UTF-8, is nested more than 20
    deep, or has a whole number of more than 64 bits, which most readers of TOML refuse too.
    """
    try:
        text.encode()
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except UnicodeEncodeError:
        raise RefusedError(NO_UTF8) from None
    except (RecursionError, ValueError) as error:  # a ValueError: a number of more than 4,300 digits
        raise RefusedError(NESTED if isinstance(error, RecursionError) else TOO_LARGE) from None
    level: list[Any] = [tree]
    for _ in range(DEEPEST):
        if any(isinstance(value, int) and not -LARGEST <= value < LARGEST for value in level):
            raise RefusedError(TOO_LARGE)
        level = [inner for value in level if isinstance(value, dict | list) for inner in _inside(value)]
    if level:
        raise RefusedError(NESTED)
    return tree


def _inside(value: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value


def to_toml(tree: Mapping[str, Any], path: str = "") -> str:
    """Nested tables of plain values as TOML (JSON's strings, numbers and booleans are TOML's too)."""
    values = "".join(f"{key} = {json.dumps(value)}\n" for key, value in tree.items() if not isinstance(value, Mapping))
    tables = [to_toml(value, f"{path}{key}.") for key, value in tree.items() if isinstance(value, Mapping)]
    header = f"[{path.rstrip('.')}]\n" if path and values else ""
    return "\n".join(part for part in [header + values, *tables] if part)


def toml_value(text: str) -> Any:
    """The value that `text` is in TOML, or `text` itself: words need no quotes. Raises UserError as `read_toml`."""
    try:
        return read_toml(f"value = {text}")["value"]
    except RefusedError as error:
        raise UserError(f"{brief(text)} cannot be a value: it has {error}.") from None
    except tomllib.TOMLDecodeError:
        return text
