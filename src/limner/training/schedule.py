"""How long a training lasts: a number of images seen, or minutes of training."""

from dataclasses import dataclass

from limner.core.errors import UserError
from limner.training.state import State
from limner.training.terminal import duration


@dataclass(frozen=True)
class Budget:
    """Ends a training at `images` shown or after `seconds` of training; exactly one of them is given."""

    images: int | None = None
    seconds: float | None = None

    @classmethod
    def choose(
        cls, default: int, epoch: int | None, images: int | None, epochs: float | None, minutes: float | None
    ) -> "Budget":
        """The budget of --images, --epochs (of `epoch` images each) or --minutes, else of `default` images.

        Raises UserError where more than one is given, one is not above zero, or there is no epoch (`None`) to count.
        """
        given = {"--images": images, "--epochs": epochs, "--minutes": minutes}
        named = [name for name, value in given.items() if value is not None]
        if len(named) > 1:
            raise UserError(f"{' and '.join(named)} both say how long to train: give one of them.")
        for name in named:
            value = given[name]
            if value is not None and not 0 < value < 1e15:
                raise UserError(f"{name} is {value}; it must be above 0.")
        if epochs is not None and epoch is None:
            raise UserError(
                "--epochs counts passes over images, and this recipe reads none: say --images or --minutes."
            )
        if minutes is not None:
            return cls(seconds=minutes * 60)
        return cls(images=images or (max(1, round(epochs * epoch)) if epochs and epoch else default))

    def progress(self, state: State) -> float:
        """The part of the budget that is spent, 0 to 1."""
        if self.images is not None:
            return min(1.0, state.images_seen / self.images)
        return min(1.0, state.seconds / (self.seconds or 1.0))

    def finished(self, state: State) -> bool:
        """Whether the budget is spent."""
        return self.progress(state) >= 1.0

    def seconds_left(self, state: State, rate: float | None) -> float | None:
        """Seconds until the end at `rate` images/s; None where that is not known yet."""
        if self.seconds is not None:
            return max(0.0, self.seconds - state.seconds)
        return None if not rate else max(0.0, (self.images or 0) - state.images_seen) / rate

    def __str__(self) -> str:
        return f"{self.images:,} images" if self.images is not None else f"{duration(self.seconds or 0)} of training"
