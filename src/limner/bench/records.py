"""What is measured, as records: the JSON of `limner bench --out`."""

from statistics import median
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, computed_field

LOOPS = ("reference", "ours")


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)


class Speed(_Record):
    """Samples of one thing's speed: seconds of one time doing it, each the mean over a block of `repetitions`."""

    images: int
    """Images per time."""
    repetitions: int
    seconds: list[float]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def median_seconds(self) -> float:
        return median(self.seconds)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def least_seconds(self) -> float:
        return min(self.seconds)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def images_per_second(self) -> float:
        return self.images / self.median_seconds


class Ratio(_Record):
    """How many times faster ours is than the reference, per image."""

    of_medians: float
    median_of_pairs: float
    """Of the ratios between samples taken one after the other."""

    @classmethod
    def of(cls, reference: Speed, ours: Speed) -> Self:
        per_image = reference.images / ours.images
        pairs = zip(reference.seconds, ours.seconds, strict=True)
        return cls(
            of_medians=reference.median_seconds / ours.median_seconds / per_image,
            median_of_pairs=median(slow / fast for slow, fast in pairs) / per_image,
        )


class Memory(_Record):
    """Resident memory in MiB of a process of its own that runs one loop (without the DataLoader's workers)."""

    libraries: float
    """Before the networks are built."""
    peak: float
    device_peak: float | None
    """The most that torch had allocated on the accelerator."""


class Profile(_Record):
    """Where the time in torch's operators goes: on CUDA that of the kernels, else that of the operators themselves."""

    seconds_per_step: float
    products: float
    """Share in convolutions and matrix products, with the gathering of windows that ours need."""
    other: dict[str, float]
    """Shares of everything else, largest first."""


class Bench(_Record):
    """All that was measured, and on what."""

    date: str
    limner_version: str
    torch_version: str
    machine: dict[str, Any]
    load_average: dict[str, tuple[float, float, float]]
    """Over 1, 5 and 15 minutes, before and after."""
    recipe: str
    settings: list[str]
    """Changes to the recipe, `key=value`."""
    batch: int
    steps_per_round: int
    """Steps of the discriminator for one of the generator; all of them together are one time."""
    precision: str
    """Of our loop; the reference's is fp32."""
    parameters: dict[str, int]
    jpeg_bytes: int
    """Mean size of the reference's image files."""
    training: dict[str, Speed]
    training_ratio: Ratio
    memory: dict[str, Memory]
    profile: dict[str, Profile]
    losses: dict[str, list[dict[str, float]]]
    """Of each loop's first steps in fp32, on the same images and latents."""
    loss_differences: list[float]
    """The largest difference of any loss, by step; relative where the loss is above 1."""
    sampling: dict[str, Speed]
    sampling_ratio: dict[str, Ratio]
