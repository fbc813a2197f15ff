"""Starting from the weights of another training: `limner train --init`.

The generator starts from the weights of a model, which are an EMA. A run also has a discriminator (or an encoder), in
its newest checkpoint. A model folder may have a discriminator beside its generator, as the shipped model `faces` has.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from limner.core.errors import UserError
from limner.core.records import parse_json
from limner.data.attributes import CELEBA_ATTRIBUTES
from limner.model.model import MEND, Model, ModelConfig, find_model
from limner.recipes import recipe_names
from limner.recipes.load import load_recipe
from limner.recipes.schema import Recipe
from limner.recipes.tables import Transfer
from limner.recipes.toml import flatten
from limner.runs.run import CHECKPOINTS, RECIPE, is_run
from limner.training.state import State, checkpoints, read_newest, under

DISCRIMINATOR = "discriminator.safetensors"
SETTINGS = "settings"  # among the metadata of that file


@dataclass(frozen=True)
class Init:
    """What a training started from, as run.json keeps it."""

    model: str
    """As it was given: a run, a model folder or the name of a shipped model."""
    weights_sha256: str
    images_seen: int
    """By that model, before this training."""
    licence: str
    networks: tuple[str, ...]
    """Those that started from its weights; the others started from random ones."""

    def __str__(self) -> str:
        return f"{Path(self.model).name}, weights {self.weights_sha256[:16]}, {self.images_seen:,} images seen"


def check_init(recipe: Recipe, init: str | Path | None) -> None:
    """Raise UserError where the recipe is made for a start from a model, and there is none."""
    if init is None and recipe.transfer != Transfer():
        raise UserError(
            f"The recipe {recipe.name} (its table transfer) fine-tunes a model: add --init faces, or --init with the "
            "folder of a run or of a model."
        )


def initialise(state: State, init: str | Path, recipe: Recipe, attribute_names: Sequence[str]) -> Init:
    """Copy the weights of the model `init` into the fresh `state` of a training of `recipe`.

    `attribute_names` are those that the recipe gives its generator. The optimisers start anew. Raises UserError where
    there is no such model, or it does not fit: the message says what differs and how to mend it.
    """
    model = Model.load(init)
    _check_attributes(init, model.config, recipe, tuple(attribute_names))
    _check_generator(init, model.config, recipe)
    weights = {"generator": model.generator.state_dict(), "ema_generator": model.generator.state_dict()}
    run = Path(init)
    if is_run(run) and checkpoints(run / CHECKPOINTS):
        weights |= _opponent(run, recipe)
    else:
        weights |= _shipped_discriminator(find_model(run) / DISCRIMINATOR, recipe)
    for name, tensors in weights.items():
        try:
            state.networks[name].load_state_dict(tensors)
        except RuntimeError:
            raise UserError(f"{init} does not hold the {name} that its settings describe: {MEND}.") from None
    networks = tuple(name for name in state.optimizers if name in weights)
    return Init(str(init), model.config.weights_sha256, model.config.images_seen, model.config.licence, networks)


def _check_attributes(init: str | Path, config: ModelConfig, recipe: Recipe, given: tuple[str, ...]) -> None:
    wanted = config.attribute_names
    if wanted == given:
        return
    if not given:
        raise UserError(
            f"{init} is conditioned on {len(wanted)} attributes, and the recipe {recipe.name} on none: use a recipe "
            "that is, such as finetune."
        )
    if not wanted:
        own = Path(init) / RECIPE
        raise UserError(
            f"{init} has no attributes, and the recipe {recipe.name} is conditioned on those of the data: use the "
            f"recipe that {init} was trained with ({own if own.is_file() else config.recipe})."
        )
    other = sorted({*wanted} ^ {*given})
    differs = f"{len(other)} differ, such as {other[0]}" if other else "their order differs"
    mend = "prepare the data with --labels, a CSV that has exactly these columns in their order"
    if wanted == CELEBA_ATTRIBUTES:
        mend = "limner label DATA --out DATA2 --replace labels the images with those of CelebA"
    raise UserError(f"{init} has other attributes than the data ({differs}): {mend}.")


def _check_generator(init: str | Path, config: ModelConfig, recipe: Recipe) -> None:
    of_model = config.generator.model_dump()
    network, of_recipe = of_model["network"], recipe.generator.model_dump()["network"]
    if network != of_recipe:
        names = [name for name in recipe_names() if load_recipe(name).generator.model_dump()["network"] == network]
        raise UserError(
            f"{init} has generator.network = {network}, and the recipe {recipe.name} has {of_recipe}: choose a recipe "
            f"with that network ({', '.join(names)})."
        )
    if config.size != recipe.data.size:
        raise UserError(
            f"{init} makes images of {config.size} pixels, and data.size is {recipe.data.size}: prepare the images "
            f"with --size {config.size}, and train with --size {config.size}."
        )
    latent = {"size": config.latent_size, "distribution": config.latent_distribution}
    settings = {"data": {"range": config.pixel_range}, "latent": latent, "generator": of_model}
    _refuse_differences(init, settings, recipe)


def _opponent(run: Path, recipe: Recipe) -> dict[str, dict[str, Tensor]]:
    """The weights of the discriminator or encoder in the newest checkpoint of `run`, by the network's name."""
    record, tensors, _ = read_newest(run / CHECKPOINTS)
    try:
        trained = Recipe.model_validate(record["recipe"])
    except ValidationError:
        raise UserError(f"{run} was written by another version of Limner: give {run / 'model'} instead.") from None
    name = "encoder" if recipe.discriminator is None else "discriminator"
    own = trained.model_dump(include={name, "conditioning"}, exclude_none=True)
    if name not in own:  # a VAE has no discriminator, a GAN no encoder
        return {}
    own.get("conditioning", {}).pop("weight", None)  # that of a loss: the network is the same
    _refuse_differences(run, own, recipe, f", or give {run / 'model'} and start with a new {name}")
    return {name: under(tensors, f"{name}.")}


def _shipped_discriminator(file: Path, recipe: Recipe) -> dict[str, dict[str, Tensor]]:
    """The weights in `file`, which lies beside a model, where there is one and the recipe has just such a network."""
    if not file.is_file():
        return {}
    try:
        with safe_open(file, "pt") as opened:
            settings = dict(parse_json(opened.metadata()[SETTINGS]))
        tensors = load_file(file)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError):
        raise UserError(f"{file} is damaged: {MEND}.") from None
    return {} if _differences(settings, recipe) else {"discriminator": tensors}


def _differences(of_model: Mapping[str, Any], recipe: Recipe) -> dict[str, tuple[Any, Any]]:
    """The settings of the model that are not those of the recipe: dotted key -> (the model's, the recipe's)."""
    of_recipe = dict(flatten(recipe.model_dump()))
    return {key: (value, of_recipe.get(key)) for key, value in flatten(of_model) if of_recipe.get(key) != value}


def _refuse_differences(init: str | Path, of_model: Mapping[str, Any], recipe: Recipe, otherwise: str = "") -> None:
    """Raise UserError where settings of the model are not those of the recipe."""
    other = _differences(of_model, recipe)
    if other:
        differs = "; ".join(f"{key} is {model}, here {own}" for key, (model, own) in other.items())
        mend = " ".join(f"--set {key}={model}" for key, (model, _) in other.items())
        raise UserError(f"{init} does not fit the recipe {recipe.name} ({differs}): add {mend}{otherwise}.")
