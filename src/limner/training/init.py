"""Starting from the weights of another training: `limner train --init`.

The generator starts from those of a model, which are an EMA. A run also has a discriminator (or an encoder), in its
newest checkpoint; a model folder and a shipped model have none.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError
from torch import Tensor

from limner.core.errors import UserError
from limner.data.attributes import CELEBA_ATTRIBUTES
from limner.model.model import Model, ModelConfig
from limner.objectives.conditioning import Conditioning
from limner.recipes import recipe_names
from limner.recipes.load import load_recipe
from limner.recipes.schema import Recipe, Transfer
from limner.recipes.toml import flatten
from limner.runs.run import CHECKPOINTS, RECIPE, is_run
from limner.training.state import State, checkpoints, read_newest, under


@dataclass(frozen=True)
class Init:
    """What a training started from, as run.json keeps it."""

    model: str
    """As it was given: a run, a model folder or the name of a shipped model."""
    weights_sha256: str
    images_seen: int
    """Images that it had seen."""
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
    _check_attributes(init, model.config, recipe, attribute_names)
    _check_generator(init, model.config, recipe)
    weights = {"generator": model.generator.state_dict(), "ema_generator": model.generator.state_dict()}
    if is_run(Path(init)) and checkpoints(Path(init) / CHECKPOINTS):
        weights |= _opponent(Path(init), recipe)
    for name, tensors in weights.items():
        state.networks[name].load_state_dict(tensors)
    networks = tuple(name for name in state.optimizers if name in weights)
    return Init(str(init), model.config.weights_sha256, model.config.images_seen, model.config.licence, networks)


def _check_attributes(init: str | Path, config: ModelConfig, recipe: Recipe, attribute_names: Sequence[str]) -> None:
    wanted, given = config.attribute_names, tuple(attribute_names)
    if wanted == given:
        return
    if not given:
        raise UserError(
            f"{init} is conditioned on {len(wanted)} attributes, and the recipe {recipe.name} on none: use a recipe "
            "that is, such as finetune."
        )
    if not wanted:
        raise UserError(
            f"{init} has no attributes, and the recipe {recipe.name} is conditioned on those of the data: use the "
            f"recipe that {init} was trained with ({_own_recipe(init, config)})."
        )
    other = sorted({*wanted} ^ {*given})
    differs = f"{len(other)} differ, such as {other[0]}" if other else "their order differs"
    mend = (
        "limner label DATA --out DATA2 names those of CelebA"
        if wanted == CELEBA_ATTRIBUTES
        else "prepare the data with --labels, a CSV with exactly these columns in this order"
    )
    raise UserError(f"{init} has other attributes than the data ({differs}): {mend}.")


def _check_generator(init: str | Path, config: ModelConfig, recipe: Recipe) -> None:
    if config.generator.network != recipe.generator.network:  # type: ignore[attr-defined]
        network = config.generator.network  # type: ignore[attr-defined]
        fitting = [name for name in recipe_names() if load_recipe(name).generator.network == network]  # type: ignore[attr-defined]
        raise UserError(
            f"{init} has generator.network = {network}, and the recipe {recipe.name} {recipe.generator.network}: "  # type: ignore[attr-defined]
            f"choose a recipe with that network ({', '.join(fitting)})."
        )
    if config.size != recipe.data.size:
        raise UserError(
            f"{init} makes images of {config.size} pixels, and data.size is {recipe.data.size}: prepare the images "
            f"with --size {config.size}, and train with --size {config.size}."
        )
    of_model = {
        "data.range": config.pixel_range,
        "latent.size": config.latent_size,
        "latent.distribution": config.latent_distribution,
        **dict(flatten({"generator": config.generator.model_dump()})),
    }
    _refuse_differences(init, of_model, recipe)


def _opponent(run: Path, recipe: Recipe) -> dict[str, dict[str, Tensor]]:
    """The weights of the discriminator or encoder in the newest checkpoint of `run`, by network."""
    record, tensors, _ = read_newest(run / CHECKPOINTS)
    try:
        trained = Recipe.model_validate(record["recipe"])
    except ValidationError:
        raise UserError(f"{run} was written by another version of Limner: give {run / 'model'} instead.") from None
    name = "encoder" if recipe.discriminator is None else "discriminator"
    settings = getattr(trained, name)
    if settings is None:  # a game starts from a VAE's generator, or the other way round
        return {}
    conditioning = (trained.conditioning, recipe.conditioning)
    if conditioning[0] != conditioning[1] and Conditioning.of(conditioning[0]).shape(1) != Conditioning.of(conditioning[1]).shape(1):
        return {}
    _refuse_differences(run, dict(flatten({name: settings.model_dump()})), recipe)
    return {name: under(tensors, f"{name}.")}


def _refuse_differences(init: str | Path, of_model: dict[str, object], recipe: Recipe) -> None:
    """Raise UserError where settings of the model are not those of the recipe."""
    own = dict(flatten(recipe.model_dump()))
    other = {key: value for key, value in of_model.items() if own.get(key) != value}
    if other:
        differs = "; ".join(f"{key} is {value} in the model and {own.get(key)} in the recipe" for key, value in other.items())
        words = " ".join(f"--set {key}={value}" for key, value in other.items())
        raise UserError(f"{init} does not fit the recipe {recipe.name}: {differs}. Add {words}")


def _own_recipe(init: str | Path, config: ModelConfig) -> str:
    own = Path(init) / RECIPE
    return str(own) if own.is_file() else config.recipe
