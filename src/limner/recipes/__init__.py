"""The recipes that ship with Limner: one TOML file each, its header saying what to expect. Free of torch."""

import tomllib
from importlib.resources import files
from typing import NamedTuple

FOLDER = files(__name__)


class RecipeHeader(NamedTuple):
    """What `limner recipes` lists."""

    name: str
    follows: str
    summary: str


def recipe_names() -> list[str]:
    """The names of the recipes that ship with Limner, sorted."""
    return sorted(entry.name.removesuffix(".toml") for entry in FOLDER.iterdir() if entry.name.endswith(".toml"))


def recipe_text(name: str) -> str:
    """The TOML file of one shipped recipe, comments and all."""
    return FOLDER.joinpath(f"{name}.toml").read_text(encoding="utf-8")


def recipe_headers() -> list[RecipeHeader]:
    """Name, report and one-line summary of every shipped recipe."""
    tables = [tomllib.loads(recipe_text(name)) for name in recipe_names()]
    return [RecipeHeader(table["name"], table["follows"], table["summary"]) for table in tables]
