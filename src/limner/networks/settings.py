"""What every network's settings share."""

from pydantic import BaseModel, ConfigDict


class NetworkSettings(BaseModel):
    """The settings of one network. Each subclass adds `network`, its name in `limner.networks`."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @property
    def pixel_ranges(self) -> tuple[str, ...]:
        """Of a generator of images: the values of `data.range` that its output fits."""
        return ("signed",)
