"""A recipe by the name it ships under or from a file, with `--set` overrides on top."""

import tomllib
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from limner.core.errors import UserError, brief, one_line
from limner.recipes import recipe_names, recipe_text
from limner.recipes.messages import KINDS, explain, tags
from limner.recipes.schema import Recipe
from limner.recipes.toml import DEEPEST, read_toml, toml_value

MAX_RECIPE_BYTES = 1 << 20


def load_recipe(name_or_path: str | Path, overrides: Iterable[str] = ()) -> Recipe:
    """Read a recipe by the name it ships under or from a TOML file, and apply `key=value` overrides in order.

    Raises UserError, in one line, for a name that is not there, a file that cannot be read, a key that does not exist
    or has no effect in this recipe, and a value out of its range.
    """
    where, text = _find(str(name_or_path))
    tree = _parse(text, where)
    return _validate(_override(tree, overrides), where)


def _find(name: str) -> tuple[str, str]:
    if name in recipe_names():
        return f"recipe {name}", recipe_text(name)
    path = Path(name)
    if path.suffix != ".toml":
        near = get_close_matches(name, recipe_names(), n=1)
        hint = f"did you mean {near[0]}?" if near else "`limner recipes` lists them."
        raise UserError(f"There is no recipe called {brief(name)}; {hint}")
    try:
        if path.stat().st_size > MAX_RECIPE_BYTES:
            raise UserError(f"{path} is larger than {MAX_RECIPE_BYTES:,} bytes: that is no recipe.")
        return name, path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"The recipe {path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise UserError(f"The recipe {path} is not a text file in UTF-8.") from None


def _parse(text: str, where: str) -> dict[str, Any]:
    try:
        return read_toml(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{where} is not valid TOML: {error}.") from None


def _override(tree: dict[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    given: set[str] = set()
    for override in overrides:
        key, equals, text = (part.strip() for part in override.partition("="))
        if not equals or not key:
            raise UserError(f"--set {brief(override)} is not of the form key=value, such as generator.width=128.")
        *tables, last = key.split(".")
        if len(tables) > DEEPEST:
            raise UserError(f"--set {brief(override)}: there is no such setting; `limner recipes NAME` shows them all.")
        table = tree
        for part in tables:
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                raise UserError(f"--set {brief(override)}: {one_line(part)} is a setting, not a table.")
        table[last] = toml_value(text)
        given.add(key)
    # Another optimiser or network has other settings: those of the one it replaces go with it.
    for tag, kinds in KINDS.items():
        if tag in given:
            *path, tag_name = tag.split(".")
            table = _table_at(tree, path)
            if tag_name not in table:  # a later override replaced the table, by something that is none
                continue
            fields = next((kind.model_fields for kind in kinds if table[tag_name] in tags(kind, tag_name)), None)
            for key in [k for k in table if fields is not None and k not in fields]:
                if ".".join([*path, key]) not in given:
                    del table[key]
    return tree


def _table_at(tree: dict[str, Any], path: Iterable[str]) -> dict[str, Any]:
    """The table at a path; empty where there is none."""
    for part in path:
        inner = tree.get(part)
        tree = inner if isinstance(inner, dict) else {}
    return tree


def _validate(tree: dict[str, Any], where: str) -> Recipe:
    try:
        return Recipe.model_validate(tree)
    except ValidationError as error:
        raise UserError(f"In {where}: {explain(error.errors()[0], tree)}") from None
