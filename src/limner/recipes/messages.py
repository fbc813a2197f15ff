"""A mistake in a recipe in one line, which names the key and, where there is one, the nearest valid spelling."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel

from limner.core.errors import brief, one_line
from limner.networks import DISCRIMINATORS, ENCODERS, GENERATORS
from limner.recipes.schema import (
    Adam,
    Adversarial,
    Classifier,
    Concatenation,
    Elbo,
    Projection,
    Recipe,
    Sgd,
    Wasserstein,
)
from limner.recipes.toml import flatten

KINDS: dict[str, tuple[type[BaseModel], ...]] = {
    "objective.name": (Adversarial, Wasserstein, Elbo),
    "conditioning.method": (Concatenation, Classifier, Projection),
    "optimizer.generator.name": (Adam, Sgd),
    "optimizer.discriminator.name": (Adam, Sgd),
    "optimizer.encoder.name": (Adam, Sgd),
    "generator.network": tuple(GENERATORS),
    "discriminator.network": tuple(DISCRIMINATORS),
    "encoder.network": tuple(ENCODERS),
}


def tags(kind: type[BaseModel], field: str) -> tuple[str, ...]:
    """The names by which `field` chooses `kind`."""
    return get_args(kind.model_fields[field].annotation)


def explain(problem: Any, tree: dict[str, Any]) -> str:
    """One pydantic problem as one sentence that names the key as the user writes it."""
    path: list[str] = []
    table: Any = tree
    for part in map(str, problem["loc"]):  # the location also names the chosen kind of a union: not part of the key
        is_kind = isinstance(table, Mapping) and part not in table and part in table.values()
        if not is_kind and (not path or isinstance(table, Mapping)):
            path.append(part)
            table = table.get(part) if isinstance(table, Mapping) else None
    key = one_line(".".join(path))
    if problem["type"] == "extra_forbidden":
        known = _known_keys(path[:-1], tree)
        near = [".".join([*path[:-1], name]) for name in get_close_matches(path[-1], known, n=1)]
        if len(path) == 1:  # perhaps only the tables before it are missing
            near += [full for full, _ in flatten(tree) if full.rpartition(".")[2] == key and full != key]
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}."
        return f"there is no setting {key}, or it has no effect here; {hint}"
    if problem["type"] == "missing":
        return f"{key} is missing; give it a value."
    if problem["type"].startswith("union_tag"):
        tag = problem["ctx"]["discriminator"].strip("'")
        known = [name for kind in KINDS[f"{key}.{tag}"] for name in tags(kind, tag)]
        given = problem["input"].get(tag)
        near = get_close_matches(str(given), known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(known)}."
        what = "is missing" if given is None else f"= {brief(given)} is not known"
        return f"{key}.{tag} {what}; {hint}"
    if problem["type"] == "value_error":
        message = str(problem["ctx"]["error"])
        message += "" if message.endswith("?") else "."
        return f"{key}: {message}" if key else message
    message = problem["msg"][0].lower() + problem["msg"][1:]
    return f"{key} = {brief(problem['input'])} cannot be: {message}."


def _known_keys(path: list[str], tree: dict[str, Any]) -> list[str]:
    """The settings of the table at `path`, given the kinds that `tree` chooses."""
    key = ".".join(path)
    for tag, kinds in KINDS.items():
        prefix, _, name = tag.rpartition(".")
        if prefix == key:
            table = tree
            for part in path:
                table = table[part]
            return [field for kind in kinds if table.get(name) in tags(kind, name) for field in kind.model_fields]
    model: Any = Recipe
    for part in path:
        model = model.model_fields[part].annotation
    return list(model.model_fields)
