"""A Recipe: the validated, typed description of one way to train a face generator.

A recipe is a TOML file, shipped with Limner (by name) or the user's own (by path), with `a.b=c` overrides on top. Every
mistake is answered with one line that names the key and, where there is one, the nearest valid spelling.
"""

import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeAlias, Union, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from limner.errors import UserError
from limner.networks import DISCRIMINATORS, ENCODERS, GENERATORS
from limner.networks.settings import NetworkSettings
from limner.recipes import recipe_names, recipe_text

MAX_RECIPE_BYTES = 1 << 20


class Table(BaseModel):
    """One table of a recipe: unknown keys are mistakes, values do not change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DataView(Table):
    """What the recipe learns from, and how its networks see it.

    `pictures` come from `limner prepare`; `crop` is the preset the report used, and other crops train with a warning.
    `curves` are report 002's toy, drawn as the training goes; `size` is then the number of their points. `range` is
    what the pixels 0 to 255 become: `signed` [-1, 1], `unit` [0, 1] or `byte`, as they are. `crop`, `flip` and `range`
    are of pictures alone.
    """

    kind: Literal["pictures", "curves"] = "pictures"
    size: Literal[15, 32, 64, 128] = 64
    crop: str = "report004"
    flip: bool = True
    range: Literal["signed", "unit", "byte"] = "signed"

    @model_validator(mode="after")
    def _check_size(self) -> Self:
        if (self.kind == "curves") != (self.size == 15):
            raise ValueError("pictures are 32, 64 or 128 pixels wide, curves have 15 points")
        useless = self.model_fields_set - {"kind", "size"}
        if self.kind == "curves" and useless:
            raise ValueError(f"{', '.join(sorted(useless))} has no effect with data.kind = curves")
        return self

    @model_serializer(mode="wrap")
    def _leave_out_useless(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return write(self) if self.kind == "pictures" else {"kind": self.kind, "size": self.size}


class Latent(Table):
    """What the generator starts from: `size` numbers of a `distribution` (see `limner.latent.noise`)."""

    size: int = Field(default=100, ge=1, le=3 * 128 * 128)
    distribution: Literal["gaussian", "uniform", "spherical"] = "gaussian"


class Adam(Table):
    """Adam of Kingma and Ba (2015); `lr` is the step per update.

    `equalised`: of the weights of convolutions and linear layers it is the step relative to the size that He et al.
    (2015) give them, so that all layers learn at one pace (Karras et al. 2018).
    """

    name: Literal["adam"]
    lr: float = Field(gt=0)
    equalised: bool = False
    beta1: float = Field(default=0.5, ge=0, lt=1)
    beta2: float = Field(default=0.999, ge=0, lt=1)


class Sgd(Table):
    """Stochastic gradient descent with optional momentum."""

    name: Literal["sgd"]
    lr: float = Field(gt=0)
    momentum: float = Field(default=0.0, ge=0, lt=1)


Optimizer = Annotated[Adam | Sgd, Field(discriminator="name")]


class Optimizers(Table):
    """One optimiser for each network."""

    generator: Optimizer
    discriminator: Optimizer | None = None
    encoder: Optimizer | None = None


class Adversarial(Table):
    """A game of generator and discriminator, by its name in `limner.objectives.adversarial`, and what tames it.

    The discriminator takes `discriminator_steps` steps, a batch each, for one of the generator. The penalties on its
    gradient are weights, 0 for none: `gradient_penalty` is lambda of Gulrajani et al. (2017), `r1` and `r2` gamma of
    Mescheder et al. (2018). They are taken on every `penalty_every`-th batch, so many times as strong.
    """

    name: Literal["minimax", "non-saturating", "hinge", "least-squares", "relativistic"]
    discriminator_steps: int = Field(default=1, ge=1, le=100)
    gradient_penalty: float = Field(default=0.0, ge=0)
    r1: float = Field(default=0.0, ge=0)
    r2: float = Field(default=0.0, ge=0)
    penalty_every: int = Field(default=1, ge=1, le=1000)

    @model_validator(mode="after")
    def _check_penalty(self) -> Self:
        if self.penalty_every > 1 and not (self.gradient_penalty or self.r1 or self.r2):
            raise ValueError("penalty_every has no effect without gradient_penalty, r1 or r2")
        return self


class Wasserstein(Adversarial):
    """The game of Arjovsky et al. (2017); `clip` bounds every weight of the critic as they do, 0: no clipping."""

    name: Literal["wasserstein"]  # type: ignore[assignment]
    clip: float = Field(default=0.0, ge=0)


class Elbo(Table):
    """The evidence lower bound of Kingma and Welling (2014); `beta` weighs its divergence (Higgins et al. 2017).

    `reconstruction` is how the decoded picture is compared: `gaussian` squared error, `bernoulli` cross-entropy (for
    pixels in [0, 1]).
    """

    name: Literal["elbo"]
    beta: float = Field(default=1.0, ge=0)
    reconstruction: Literal["gaussian", "bernoulli"] = "gaussian"


Objective = Annotated[Adversarial | Wasserstein | Elbo, Field(discriminator="name")]


class Concatenation(Table):
    """The discriminator sees the attributes as constant maps beside the picture (Mirza and Osindero 2014)."""

    method: Literal["concatenation"]


class Classifier(Table):
    """The discriminator also names the attributes (Odena et al. 2017); `weight` is that of this loss for both."""

    method: Literal["classifier"]
    weight: float = Field(default=1.0, gt=0)


class Projection(Table):
    """The discriminator's logit gains the product of the attributes and its features (Miyato and Koyama 2018).

    `weight` is that of a loss with which it also learns to name the attributes of real pictures, by the same outputs.
    """

    method: Literal["projection"]
    weight: float = Field(default=0.0, ge=0)


Conditioning = Annotated[Concatenation | Classifier | Projection, Field(discriminator="method")]


class Augment(Table):
    """Random changes of the images that the discriminator sees (see `limner.training.augment`).

    `colour`: their strength, 1 that of Zhao et al. (2020). `zoom`: standard deviation of the scale's logarithm to base
    2. `shift`: the largest, and `cutout`: the size of a grey square, both as a share of the image's side.
    """

    colour: float = Field(default=0.0, ge=0, le=1)
    zoom: float = Field(default=0.0, ge=0, le=1)
    shift: float = Field(default=0.0, ge=0, le=0.5)
    cutout: float = Field(default=0.0, ge=0, le=1)


class Schedule(Table):
    """How long and in what portions, counted in images shown; `images` is the length without --images and the like.

    Over the last `decay` of the run, a share of it, all rates fall in a straight line to zero.
    """

    images: int = Field(ge=1)
    batch: int = Field(default=64, ge=2, le=65536)
    decay: float = Field(default=0.0, ge=0, le=1)

    def rate(self, share: float) -> float:
        """What the rates are multiplied with when `share` of the run, 0 to 1, is behind it."""
        return min(1.0, (1 - share) / self.decay) if self.decay else 1.0


class Ema(Table):
    """The running mean of the generator's weights that samples and models are made from; half-life 0: none."""

    halflife_images: float = Field(default=10_000, ge=0)


class Record(Table):
    """How often, in images shown, the run writes; `grid` is the number of faces in a grid of samples.

    Every `evaluate_images` the running mean is measured against the pictures of val; 0: never.
    """

    log_images: int = Field(default=3_200, ge=1)
    sample_images: int = Field(default=16_000, ge=1)
    checkpoint_images: int = Field(default=32_000, ge=1)
    evaluate_images: int = Field(default=100_000, ge=0)
    keep_checkpoints: int = Field(default=2, ge=1)
    grid: int = Field(default=64, ge=4, le=1024)


class Engine(Table):
    """`precision`: `auto` takes bf16 where the device gains by it; the run's own recipe says which it was.

    `graphs`: one process on a CUDA device replays its steps as CUDA graphs, which changes nothing but speed.
    """

    precision: Literal["auto", "bf16", "fp32"] = "auto"
    graphs: bool = True


if TYPE_CHECKING:
    GeneratorSettings: TypeAlias = NetworkSettings
    DiscriminatorSettings: TypeAlias = NetworkSettings
    EncoderSettings: TypeAlias = NetworkSettings
else:  # one of the networks' own settings, chosen by `network`
    GeneratorSettings = Annotated[Union[tuple(GENERATORS)], Field(discriminator="network")]  # noqa: UP007
    DiscriminatorSettings = Annotated[Union[tuple(DISCRIMINATORS)], Field(discriminator="network")]  # noqa: UP007
    EncoderSettings = Annotated[Union[tuple(ENCODERS)], Field(discriminator="network")]  # noqa: UP007


class Recipe(Table):
    """A whole recipe. `name`, `follows` and `summary` are for people; everything else is what the engine does.

    The generator learns against a discriminator, or as the decoder of an encoder (objective `elbo`). With
    `conditioning` it is given the attributes of the pictures beside the latent.
    """

    name: str
    follows: str
    summary: str
    data: DataView = DataView()
    latent: Latent = Latent()
    generator: GeneratorSettings
    discriminator: DiscriminatorSettings | None = None
    encoder: EncoderSettings | None = None
    objective: Objective
    conditioning: Conditioning | None = None
    augment: Augment = Augment()
    optimizer: Optimizers
    schedule: Schedule
    ema: Ema = Ema()
    record: Record = Record()
    engine: Engine = Engine()

    @model_validator(mode="before")
    @classmethod
    def _check_players(cls, tree: Any) -> Any:
        """Refuse tables that the objective has no use for, and ask for those it needs."""
        if not isinstance(tree, dict) or not isinstance(tree.get("objective"), dict):
            return tree
        name = tree["objective"].get("name")
        variational = name == "elbo"
        wanted, useless = ("encoder", "discriminator") if variational else ("discriminator", "encoder")
        optimizer = tree["optimizer"] if isinstance(tree.get("optimizer"), dict) else {}
        for prefix, tables in (("", tree), ("optimizer.", optimizer)):
            if tables.get(useless) is not None:
                raise ValueError(
                    f"{prefix}{useless} has no effect with objective.name = {name}; did you mean {prefix}{wanted}?"
                )
            if tables and tables.get(wanted) is None:
                raise ValueError(f"{prefix}{wanted} is missing, and objective.name = {name} needs it")
        if variational and tree.get("conditioning") is not None:
            raise ValueError("conditioning has no effect with objective.name = elbo")
        return tree

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        for player in ("generator", "discriminator", "encoder"):
            network = getattr(getattr(self, player), "network", None)
            if network is not None and (network == "painter") != (self.data.kind == "curves"):
                raise ValueError(f"{player}.network = {network} is not made for data.kind = {self.data.kind}")
        return self

    @model_validator(mode="after")
    def _check_effects(self) -> Self:
        for wrong, problem in self._misfits():
            if wrong:
                raise ValueError(problem)
        return self

    def _misfits(self) -> Iterator[tuple[bool, str]]:
        """Settings that have no effect beside others, or a wrong one: whether it is so here, and the problem."""
        objective, augment, size = self.objective, self.augment, self.data.size
        variational, curves = isinstance(objective, Elbo), self.data.kind == "curves"
        useless = "objective.name = elbo" if variational else "data.kind = curves"
        for key, value in augment:
            yield (variational or curves) and value > 0, f"augment.{key} has no effect with {useless}"
        for key, share in (("shift", augment.shift), ("cutout", augment.cutout)):
            yield 0 < share * size < 0.5, f"augment.{key} = {share} has no effect: it is less than half a pixel"
        yield curves and self.conditioning is not None, "conditioning has no effect with data.kind = curves"
        yield (
            curves and self.record.evaluate_images > 0,
            "record.evaluate_images has no effect with data.kind = curves: set it to 0",
        )
        yield (
            variational and self.latent.distribution != "gaussian",
            f"latent.distribution = {self.latent.distribution} does not fit objective.name = elbo, whose prior is "
            "gaussian",
        )
        ranges = self.generator.pixel_ranges
        yield (
            not curves and self.data.range not in ranges,
            f"data.range = {self.data.range} does not fit the generator's output: it needs {' or '.join(ranges)}",
        )
        yield (
            isinstance(objective, Elbo) and objective.reconstruction == "bernoulli" and ranges != ("unit",),
            "objective.reconstruction = bernoulli needs an output in [0, 1]: generator.output = sigmoid",
        )
        for player in ("generator", "discriminator", "encoder"):
            network, optimizer = getattr(self, player), getattr(self.optimizer, player)
            yield (
                getattr(optimizer, "equalised", False) and network.network == "sngan-pixelnorm",
                f"optimizer.{player}.equalised has no effect with {player}.network = sngan-pixelnorm: spectral norm "
                "takes the size out of its weights",
            )
        group = getattr(self.discriminator, "stddev_group", 0)
        yield (
            bool(group) and self.schedule.batch % group > 0,
            f"discriminator.stddev_group = {group} does not divide schedule.batch = {self.schedule.batch}",
        )

    def to_toml(self) -> str:
        """The recipe as TOML, every setting written out; reading it again gives an equal recipe."""
        return _to_toml(self.model_dump(exclude_none=True))

    def differences(self, other: "Recipe") -> dict[str, tuple[Any, Any]]:
        """The settings in which the two differ, as dotted key -> (own value, the other's); absent: `None`."""
        own, others = (dict(_flatten(recipe.model_dump(exclude_none=True))) for recipe in (self, other))
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
            fields = next((kind.model_fields for kind in kinds if table[tag_name] in _tags(kind, tag_name)), None)
            for key in [k for k in table if fields is not None and k not in fields]:
                if ".".join([*path, key]) not in given:
                    del table[key]
    return tree


_KINDS: dict[str, tuple[type[BaseModel], ...]] = {
    "objective.name": (Adversarial, Wasserstein, Elbo),
    "conditioning.method": (Concatenation, Classifier, Projection),
    "optimizer.generator.name": (Adam, Sgd),
    "optimizer.discriminator.name": (Adam, Sgd),
    "optimizer.encoder.name": (Adam, Sgd),
    "generator.network": tuple(GENERATORS),
    "discriminator.network": tuple(DISCRIMINATORS),
    "encoder.network": tuple(ENCODERS),
}


def _tags(kind: type[BaseModel], field: str) -> tuple[str, ...]:
    """The names by which `field` chooses `kind`."""
    return get_args(kind.model_fields[field].annotation)


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
        is_kind = isinstance(table, Mapping) and part not in table and part in table.values()
        if not is_kind and (not path or isinstance(table, Mapping)):
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
        known = [name for kind in _KINDS[f"{key}.{tag}"] for name in _tags(kind, tag)]
        given = problem["input"].get(tag)
        near = get_close_matches(str(given), known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(known)}."
        return f"{key}.{tag} is missing; {hint}" if given is None else f"{key}.{tag} = {given!r} is not known; {hint}"
    if problem["type"] == "value_error":
        message = str(problem["ctx"]["error"])
        message += "" if message.endswith("?") else "."
        return f"{key}: {message}" if key else message
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
            return [field for kind in kinds if table.get(name) in _tags(kind, name) for field in kind.model_fields]
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
