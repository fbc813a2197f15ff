"""A Recipe: the validated, typed description of one way to train a face generator.

A recipe is a TOML file, shipped with Limner (by name) or the user's own (by path), with `a.b=c` overrides on top. Every
mistake is answered with one line that names the key and, where there is one, the nearest valid spelling.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeAlias, Union

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from limner.networks import DISCRIMINATORS, ENCODERS, GENERATORS
from limner.networks.settings import NetworkSettings
from limner.recipes.tables import Augment, Ema, Engine, Record, Schedule, Table, Transfer
from limner.recipes.toml import flatten, to_toml


class DataView(Table):
    """What the recipe learns from, and how its networks see it.

    `images` come from `limner prepare`; `crop` is the preset the report used, and other crops train with a warning.
    `curves` are report 002's toy, sampled during training; `size` is then the number of their points. `range` is
    what the pixels 0 to 255 become: `signed` [-1, 1], `unit` [0, 1] or `byte`, as they are. `crop`, `flip` and `range`
    are of images alone.
    """

    kind: Literal["images", "curves"] = "images"
    size: Literal[15, 32, 64, 128] = 64
    crop: str = "report004"
    flip: bool = True
    range: Literal["signed", "unit", "byte"] = "signed"

    @model_validator(mode="after")
    def _check_size(self) -> Self:
        if (self.kind == "curves") != (self.size == 15):
            raise ValueError("images are 32, 64 or 128 pixels wide, curves have 15 points")
        useless = self.model_fields_set - {"kind", "size"}
        if self.kind == "curves" and useless:
            raise ValueError(f"{', '.join(sorted(useless))} has no effect with data.kind = curves")
        return self

    @model_serializer(mode="wrap")
    def _leave_out_useless(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return write(self) if self.kind == "images" else {"kind": self.kind, "size": self.size}


class Latent(Table):
    """What the generator starts from: `size` numbers of a `distribution` (see `limner.latent.latents`)."""

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

    @property
    def weight_limit(self) -> float:
        """What every weight of the discriminator is clipped to after its step; 0: no clipping."""
        return 0.0


class Wasserstein(Adversarial):
    """The game of Arjovsky et al. (2017); `clip` bounds every weight of the critic as they do, 0: no clipping."""

    name: Literal["wasserstein"]  # type: ignore[assignment]
    clip: float = Field(default=0.0, ge=0)

    @property
    def weight_limit(self) -> float:
        return self.clip


class Elbo(Table):
    """The evidence lower bound of Kingma and Welling (2014); `beta` weighs its divergence (Higgins et al. 2017).

    `reconstruction` is how the decoded image is compared: `gaussian` squared error, `bernoulli` cross-entropy (for
    pixels in [0, 1]).
    """

    name: Literal["elbo"]
    beta: float = Field(default=1.0, ge=0)
    reconstruction: Literal["gaussian", "bernoulli"] = "gaussian"


Objective = Annotated[Adversarial | Wasserstein | Elbo, Field(discriminator="name")]


class Concatenation(Table):
    """The discriminator sees the attributes as constant maps beside the image (Mirza and Osindero 2014)."""

    method: Literal["concatenation"]


class Classifier(Table):
    """The discriminator also names the attributes (Odena et al. 2017); `weight` is that of this loss for both."""

    method: Literal["classifier"]
    weight: float = Field(default=1.0, gt=0)


class Projection(Table):
    """The discriminator's logit gains the product of the attributes and its features (Miyato and Koyama 2018).

    `weight` is that of a loss with which it also learns to name the attributes of real images, by the same outputs.
    """

    method: Literal["projection"]
    weight: float = Field(default=0.0, ge=0)


Conditioning = Annotated[Concatenation | Classifier | Projection, Field(discriminator="method")]


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
    `conditioning` it is given the attributes of the images beside the latent.
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
    transfer: Transfer = Transfer()
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
        for key, value in self.transfer:
            yield variational and value > 0, f"transfer.{key} has no effect with {useless}"
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
        return to_toml(self.model_dump(exclude_none=True))

    def differences(self, other: "Recipe") -> dict[str, tuple[Any, Any]]:
        """The settings in which the two differ, as dotted key -> (own value, the other's); absent: `None`."""
        own, others = (dict(flatten(recipe.model_dump(exclude_none=True))) for recipe in (self, other))
        keys = [*own, *(key for key in others if key not in own)]
        return {key: (own.get(key), others.get(key)) for key in keys if own.get(key) != others.get(key)}
