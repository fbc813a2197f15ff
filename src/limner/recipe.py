"""A Recipe: the validated, typed description of one way to train a face generator.

A recipe is a TOML file, shipped with Limner (by name) or the user's own (by path), with `a.b=c` overrides on top. Every
mistake is answered with one line that names the key and, where there is one, the nearest valid spelling.
"""

import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, Union

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from limner.errors import UserError
from limner.networks import DISCRIMINATORS, GENERATORS
from limner.networks.settings import NetworkSettings
from limner.recipes import recipe_names, recipe_text

MAX_RECIPE_BYTES = 1 << 20


class Table(BaseModel):
    """One table of a recipe: unknown keys are mistakes, values do not change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DataView(Table):
    """Which pictures the recipe is made for. `crop` is the preset the report used; other crops train with a warning."""

    size: Literal[32, 64, 128] = 64
    crop: str = "report004"
    flip: bool = True


class Latent(Table):
    """What the generator starts from: `size` numbers of a `distribution` (see `limner.latent.noise`)."""

    size: int = Field(default=100, ge=1, le=4096)
    distribution: Literal["gaussian", "uniform", "spherical"] = "gaussian"


class Adam(Table):
    """Adam of Kingma and Ba (2015); `lr` is the step per update."""

    name: Literal["adam"]
    lr: float = Field(gt=0)
    beta1: float = Field(default=0.5, ge=0, lt=1)
    beta2: float = Field(default=0.999, ge=0, lt=1)


class Sgd(Table):
    """Stochastic gradient descent with optional momentum."""

    name: Literal["sgd"]
    lr: float = Field(gt=0)
    momentum: float = Field(default=0.0, ge=0, lt=1)


Optimizer = Annotated[Adam | Sgd, Field(discriminator="name")]


class Optimizers(Table):
    """One optimiser for each player."""

    generator: Optimizer
    discriminator: Optimizer


class Objective(Table):
    """The loss, by its name in `limner.objectives`."""

    name: Literal["minimax", "non-saturating"]


class Schedule(Table):
    """How long and in what portions, counted in images shown; `images` is the length without --images and the like."""

    images: int = Field(ge=1)
    batch: int = Field(default=64, ge=2, le=65536)


class Ema(Table):
    """The running mean of the generator's weights that samples and models are made from; half-life 0: none."""

    halflife_images: float = Field(default=10_000, ge=0)


class Record(Table):
    """How often, in images shown, the run writes; `grid` is the number of faces in a grid of samples."""

    log_images: int = Field(default=3_200, ge=1)
    sample_images: int = Field(default=16_000, ge=1)
    checkpoint_images: int = Field(default=32_000, ge=1)
    keep_checkpoints: int = Field(default=2, ge=1)
    grid: int = Field(default=64, ge=4, le=1024)


class Engine(Table):
    """`precision`: `auto` takes bf16 where the device gains by it; the run's own recipe says which it was."""

    precision: Literal["auto", "bf16", "fp32"] = "auto"


if TYPE_CHECKING:
    GeneratorSettings: TypeAlias = NetworkSettings
    DiscriminatorSettings: TypeAlias = NetworkSettings
else:  # one of the networks' own settings, chosen by `network`
    GeneratorSettings = Annotated[Union[tuple(GENERATORS)], Field(discriminator="network")]  # noqa: UP007
    DiscriminatorSettings = Annotated[Union[tuple(DISCRIMINATORS)], Field(discriminator="network")]  # noqa: UP007


class Recipe(Table):
    """A whole recipe. `name`, `follows` and `summary` are for people; everything else is what the engine does."""

    name: str
    follows: str
    summary: str
    data: DataView = DataView()
    latent: Latent = Latent()
    generator: GeneratorSettings
    discriminator: DiscriminatorSettings
    objective: Objective
    optimizer: Optimizers
    schedule: Schedule
    ema: Ema = Ema()
    record: Record = Record()
    engine: Engine = Engine()

    def to_toml(self) -> str:
        """The recipe as TOML, every setting written out; reading it again gives an equal recipe."""
        return _to_toml(self.model_dump())

    def differences(self, other: "Recipe") -> dict[str, tuple[Any, Any]]:
        """The settings in which the two differ, as dotted key -> (own value, the other's); absent: `None`."""
        own, others = dict(_flatten(self.model_dump())), dict(_flatten(other.model_dump()))
        keys = [*own, *(key for key in others if key not in own)]
        return {key: (own.get(key), others.get(key)) for key in keys if own.get(key) != others.get(key)}


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
        raise UserError(f"There is no recipe called {name!r}; {hint}")
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
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{where} is not valid TOML: {error}.") from None


def _override(tree: dict[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    given: set[str] = set()
    for override in overrides:
        key, equals, text = (part.strip() for part in override.partition("="))
        if not equals or not key:
            raise UserError(f"--set {override!r} is not of the form key=value, such as optimizer.generator.lr=1e-4.")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text  # words need no quotes
        *tables, last = key.split(".")
        table = tree
        for part in tables:
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                raise UserError(f"--set {override!r}: {part} is a setting, not a table.")
        table[last] = value
        given.add(key)
    # Another optimiser or network has other settings: those of the one it replaces go with it.
    for tag, kinds in _KINDS.items():
        if tag in given:
            table = tree
            *path, tag_name = tag.split(".")
            for part in path:
                table = table[part]
            fields = next((kind.model_fields for kind in kinds if _tag(kind, tag_name) == table[tag_name]), None)
            for key in [k for k in table if fields is not None and k not in fields]:
                if ".".join([*path, key]) not in given:
                    del table[key]
    return tree


_KINDS: dict[str, tuple[type[BaseModel], ...]] = {
    "optimizer.generator.name": (Adam, Sgd),
    "optimizer.discriminator.name": (Adam, Sgd),
    "generator.network": tuple(GENERATORS),
    "discriminator.network": tuple(DISCRIMINATORS),
}


def _tag(kind: type[BaseModel], field: str) -> str:
    return str(kind.model_fields[field].annotation.__args__[0])  # type: ignore[union-attr]


def _validate(tree: dict[str, Any], where: str) -> Recipe:
    try:
        return Recipe.model_validate(tree)
    except ValidationError as error:
        raise UserError(f"In {where}: {_explain(error.errors()[0], tree)}") from None


def _explain(problem: Any, tree: dict[str, Any]) -> str:
    """One pydantic problem as one sentence that names the key as the user writes it."""
    path: list[str] = []
    table: Any = tree
    for part in map(str, problem["loc"]):  # the location also names the chosen kind of a union: not part of the key
        if not path or (isinstance(table, Mapping) and (part in table or problem["type"] == "missing")):
            path.append(part)
            table = table.get(part) if isinstance(table, Mapping) else None
    key = ".".join(path)
    if problem["type"] == "extra_forbidden":
        known = _known_keys(path[:-1], tree)
        near = [".".join([*path[:-1], name]) for name in get_close_matches(path[-1], known, n=1)]
        if len(path) == 1:  # perhaps only the tables before it are missing
            near += [full for full, _ in _flatten(tree) if full.rpartition(".")[2] == key and full != key]
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}."
        return f"there is no setting {key}, or it has no effect here; {hint}"
    if problem["type"] == "missing":
        return f"{key} is missing; give it a value."
    if problem["type"].startswith("union_tag"):
        tag = problem["ctx"]["discriminator"].strip("'")
        expected = problem["ctx"].get("expected_tags") or ", ".join(_tag(kind, tag) for kind in _KINDS[f"{key}.{tag}"])
        return f"{key}.{tag} = {problem['input'].get(tag)!r} is not known; choose from {expected}."
    message = problem["msg"][0].lower() + problem["msg"][1:]
    return f"{key} = {problem['input']!r} cannot be: {message}."


def _known_keys(path: list[str], tree: dict[str, Any]) -> list[str]:
    """The settings of the table at `path`, given the kinds that `tree` chooses."""
    key = ".".join(path)
    for tag, kinds in _KINDS.items():
        prefix, _, name = tag.rpartition(".")
        if prefix == key:
            table = tree
            for part in path:
                table = table[part]
            return [field for kind in kinds if _tag(kind, name) == table.get(name) for field in kind.model_fields]
    model: Any = Recipe
    for part in path:
        model = model.model_fields[part].annotation
    return list(model.model_fields)


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _to_toml(tree: Mapping[str, Any], path: str = "") -> str:
    """Nested tables of plain values as TOML (JSON's strings, numbers and booleans are TOML's too)."""
    values = "".join(f"{key} = {json.dumps(value)}\n" for key, value in tree.items() if not isinstance(value, Mapping))
    tables = [_to_toml(value, f"{path}{key}.") for key, value in tree.items() if isinstance(value, Mapping)]
    header = f"[{path.rstrip('.')}]\n" if path and values else ""
    return "\n".join(part for part in [header + values, *tables] if part)
