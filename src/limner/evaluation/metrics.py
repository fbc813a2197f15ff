"""The table of metrics: what each is called, which values are good, and where reports show it."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """All that is known of a metric, whatever features it is measured in."""

    name: str
    """The metric's name in a result begins with it; the features follow."""
    better: Literal["lower", "higher"] | None
    """`None`: neither; a memorisation share should be one half."""
    note: str
    """What it measures, in a sentence or two."""
    chart: str | None = None
    """Title of the chart that it shares with other metrics where there is one model; `None`: it has its own."""
    compared: bool = False
    """Whether a comparison of models plots it along their trainings; its table has every metric."""
    ranks: bool = False
    """Whether a comparison of models ranks them by it."""
    inception: str | None = None
    """Its name where the features are those of Inception (2015); `None`: its usual name."""


MANIFOLD_CHART = "Precision, recall, density, coverage"
METRIC_TABLE = (
    Metric(
        "fid",
        "lower",
        "Fréchet distance of the generated images, as a whole, from the real ones. Lower is better.",
        compared=True,
        ranks=True,
    ),
    Metric(
        "fd",
        "lower",
        "Fréchet distance of the generated images, as a whole, from the real ones, in other features than FID's. "
        "Lower is better.",
        compared=True,
        ranks=True,
        inception="fid",
    ),
    Metric(
        "kid",
        "lower",
        "Kernel distance: like the Fréchet distance, but the number of images does not shift it. Lower is better.",
        compared=True,
        inception="kid",
    ),
    Metric(
        "conditional",
        "lower",
        "Mean over the frequent attributes: Fréchet distance of the images conditioned on one from the real ones that "
        "have it. Lower is better.",
    ),
    Metric(
        "precision",
        "higher",
        "Share of the generated images that lie among real ones: quality. Higher is better.",
        chart=MANIFOLD_CHART,
        compared=True,
    ),
    Metric(
        "recall",
        "higher",
        "Share of the real images that lie among generated ones: variety. Higher is better.",
        chart=MANIFOLD_CHART,
        compared=True,
    ),
    Metric(
        "density",
        "higher",
        "Quality, as precision, but an odd real image cannot feign it. Higher is better.",
        chart=MANIFOLD_CHART,
    ),
    Metric(
        "coverage",
        "higher",
        "Share of the real images that have a generated one nearby: variety. Higher is better.",
        chart=MANIFOLD_CHART,
    ),
    Metric(
        "memorisation",
        None,
        "Share of the generated images that lie closer to a training than to a held-out image, as if there were as "
        "many of each. One half is right; near 1 they are copies. Where precision is near 0 it says nothing.",
        chart="Memorisation",
    ),
    Metric(
        "attribute_control",
        "higher",
        "How reliably a classifier finds the requested attributes, relative to how reliably it finds them in "
        "real images. Higher is better.",
        chart="Attribute control",
        compared=True,
    ),
)
PARTS = {"pixels": " By pixels.", "mean": " Mean over all attributes.", "rarest": " Mean over the ten rarest."}


def metric_of(name: str) -> Metric:
    """The metric that a name in a result means; one of that name without direction and note where none is known."""
    return next((metric for metric in METRIC_TABLE if name.startswith(metric.name)), Metric(name, None, ""))


def metric_name(kind: str, extractor: str) -> str:
    """`fid` and `kid` belong to the features of 2015's Inception alone; everything else names its features."""
    short = metric_of(kind).inception if extractor == "inception" else None
    return short or f"{kind}_{extractor}"


def note(name: str) -> str:
    """What the number of this name in a result measures, in a sentence or two."""
    return metric_of(name).note + PARTS.get(name.rpartition("_")[2], "")
