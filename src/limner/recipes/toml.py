"""A recipe's tree of tables as TOML, and flat: dotted keys and their values."""

import json
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any


def flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values of a tree of tables with their dotted keys."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def to_toml(tree: Mapping[str, Any], path: str = "") -> str:
    """Nested tables of plain values as TOML (JSON's strings, numbers and booleans are TOML's too)."""
    values = "".join(f"{key} = {json.dumps(value)}\n" for key, value in tree.items() if not isinstance(value, Mapping))
    tables = [to_toml(value, f"{path}{key}.") for key, value in tree.items() if isinstance(value, Mapping)]
    header = f"[{path.rstrip('.')}]\n" if path and values else ""
    return "\n".join(part for part in [header + values, *tables] if part)


def toml_value(text: str) -> Any:
    """The value that `text` is in TOML, or `text` itself: words need no quotes."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
