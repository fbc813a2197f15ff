"""The tables of a recipe that do not depend on its networks, its objective or its data."""

from pydantic import BaseModel, ConfigDict, Field

from limner.core.precision import Precision


class Table(BaseModel):
    """One table of a recipe: unknown keys are mistakes, values do not change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Augment(Table):
    """Random changes of the discriminator's inputs (see `limner.training.augment`).

    `colour`: their strength, 1 that of Zhao et al. (2020). `zoom`: standard deviation of the scale's logarithm to base
    2. `shift`: the largest, and `cutout`: the size of a grey square, both as a fraction of the resolution.
    """

    colour: float = Field(default=0.0, ge=0, le=1)
    zoom: float = Field(default=0.0, ge=0, le=1)
    shift: float = Field(default=0.0, ge=0, le=0.5)
    cutout: float = Field(default=0.0, ge=0, le=1)


class Transfer(Table):
    """What is special about a training that starts from a model (`limner train --init`), with few images.

    `freeze`: so many layers of the discriminator, from the image on, keep their weights (FreezeD, Mo et al. 2020).
    `warm_up_images`: the discriminator learns alone until so many images were seen.
    """

    freeze: int = Field(default=0, ge=0)
    warm_up_images: int = Field(default=0, ge=0)


class Schedule(Table):
    """How long, and in batches of what size; counted in images seen; `images` is the length without --images and the
    like.

    Over the last `decay` of the run, from 0 to 1, all learning rates fall linearly to zero.
    """

    images: int = Field(ge=1)
    batch: int = Field(default=64, ge=2, le=65536)
    decay: float = Field(default=0.0, ge=0, le=1)

    def lr_factor(self, progress: float) -> float:
        """The factor of all learning rates at `progress` of the run, 0 to 1."""
        return min(1.0, (1 - progress) / self.decay) if self.decay else 1.0


class Ema(Table):
    """The EMA of the generator's weights that samples and models are made from; half-life 0: none."""

    halflife_images: float = Field(default=10_000, ge=0)


class Record(Table):
    """How often, in images seen, the run writes; `grid` is the number of faces in a grid of samples.

    Every `evaluate_images` the EMA is measured against the images of val; 0: never.
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

    precision: Precision = "auto"
    graphs: bool = True
