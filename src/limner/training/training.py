"""One training: what everything around its steps is given."""

from dataclasses import dataclass

from limner.core.distributed import Engine
from limner.recipes.schema import Recipe
from limner.training.init import Init
from limner.training.modality import Modality
from limner.training.state import State


@dataclass(frozen=True)
class Training:
    """What is trained (`state`), how, on what, where, the seed of all that is random, and the model it started from."""

    recipe: Recipe
    state: State
    modality: Modality
    engine: Engine
    seed: int
    init: Init | None = None
