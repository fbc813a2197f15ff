"""What an evaluation measures with, against what, and what must be said of it, before it generates anything.

Shapes: R real images, M training images, D features, P shrunk pixels.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limner.core.console import console
from limner.core.device import find_device
from limner.core.distributed import ALONE, Engine
from limner.core.errors import UserError
from limner.data.packed import PackedFaces
from limner.evaluation.distances import Moments
from limner.evaluation.extractors import default_extractor, load_extractor
from limner.evaluation.generate import mirrored
from limner.evaluation.measure import Measured, moments
from limner.evaluation.memorisation import heldout_ratio
from limner.evaluation.metrics import metric_of
from limner.evaluation.protocol import Protocol, check_seeds, departures, load_protocol
from limner.evaluation.reference import FEWEST, Reference, choose_rows, load_pixels, load_reference
from limner.evaluation.results import Conditions, Floor, Result
from limner.evaluation.work import Work
from limner.features.extractor import Extractor
from limner.model.sampler import MOST_FACES


@dataclass(frozen=True)
class EvaluationOptions:
    """What the caller of an evaluation chooses, whatever the model; `evaluate` and `compare` say what each means."""

    protocol: str | Path = "quick"
    samples: int | None = None
    extractor: str | Extractor | None = None
    weights: str | Path | None = None
    seeds: int | None = None
    truncation: float = 1.0
    device: str = "cpu"
    quiet: bool = False
    engine: Engine = ALONE
    """The processes that share the work; the main one has the results."""
    stopping: Callable[[], bool] = lambda: False
    """Whether to give up; asked from time to time."""


@dataclass(frozen=True)
class Setup:
    """An evaluation before it generates anything: what it measures with, against what, and what must be said of it."""

    faces: PackedFaces
    protocol: Protocol
    extractor: Extractor
    conditions: Conditions
    seeds: tuple[int, ...]
    warnings: tuple[str, ...]
    work: Work

    @cached_property
    def reference(self) -> Reference:
        """The real images' features and floors; the first time for a data set, this takes as long as they need."""
        return load_reference(self.faces, self.protocol, self.extractor, self.conditions.n_fake, self.work)

    def prepare(self) -> None:
        """Have the reference and the pixels ready, which all processes compute together where they are not kept."""
        _ = self.reference, self.pixels

    @cached_property
    def real(self) -> Moments:
        """Mean and covariance of the real images' features."""
        return moments(self.reference.real_ND)

    @cached_property
    def pixels(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Every training image and every one of the protocol's held-out split, shrunk: uint8 M x P and R x P."""
        return load_pixels(self.faces, "train", self.work), load_pixels(self.faces, self.protocol.heldout, self.work)

    @cached_property
    def ratio_in_features(self) -> float:
        """`heldout_ratio` of the reference."""
        return heldout_ratio(self.reference.train_MD, self.reference.real_ND)

    @cached_property
    def ratio_in_pixels(self) -> float:
        """`heldout_ratio` of `pixels`, mirrored too."""
        return heldout_ratio(*self.pixels, mirrored)


def set_up(data: PackedFaces | str | Path, options: EvaluationOptions = EvaluationOptions()) -> Setup:
    """Settle everything that does not depend on the model, so that several models can be measured alike.

    Raises UserError as `evaluate`.
    """
    samples, extractor, weights, truncation = options.samples, options.extractor, options.weights, options.truncation
    chosen = load_protocol(options.protocol)
    seeds = chosen.seeds if options.seeds is None else options.seeds
    check_seeds(seeds)
    if samples is not None and samples < FEWEST:
        raise UserError(f"--samples is {samples}; at least {FEWEST} generated images are needed, better thousands.")
    if samples is not None and samples > MOST_FACES:
        raise UserError(f"--samples is {samples}; it must be at most {MOST_FACES:,}.")
    if not 0 <= truncation <= 2:
        raise UserError(f"truncation is {truncation}; it must lie between 0 and 2 (1: as trained).")
    faces = data if isinstance(data, PackedFaces) else PackedFaces.open(data, verify=True)
    warnings = []
    if extractor is None:
        extractor = chosen.extractor
        if extractor == "inception" and weights is None and (extractor := default_extractor()) != "inception":
            warnings.append(
                "Inception's weights are not on this machine: --extractor inception fetches them, --weights FILE gives "
                "them."
            )
    if isinstance(extractor, str):
        extractor = load_extractor(
            extractor, None if weights is None else Path(weights), str(find_device(options.device))
        )

    real, floor = (len(rows) for rows in choose_rows(faces, chosen, samples))
    fake = samples or chosen.fake or real
    crop = crop_of(faces)
    warnings += departures(chosen, crop=crop, size=faces.size, real=real, fake=fake, extractor=extractor.name)
    warnings += [
        f"Only {count:,} {kind} images for {extractor.dimension:,} features: the Fréchet distance comes out too "
        "high; compare it only with others at the very same numbers."
        for kind, count in (("real", real), ("generated", fake))
        if count <= extractor.dimension
    ]
    if floor < fake:
        warnings.append(
            f"Only {floor:,} training images for the floors beside {fake:,} generated ones: compare with care."
        )
    warn(warnings, options.quiet or not options.engine.is_main)
    conditions = Conditions(
        protocol=chosen.name,
        n_real=real,
        n_fake=fake,
        split=chosen.split,
        crop=crop,
        resolution=faces.size,
        data_hash=faces.info.content_hash,
        extractor=extractor.name,
        extractor_sha256=extractor.weights_sha256,
        resize=extractor.resize,
        truncation=truncation,
    )
    return Setup(
        faces,
        chosen,
        extractor,
        conditions,
        tuple(range(seeds)),
        tuple(warnings),
        Work(options.engine, options.stopping, options.quiet),
    )


def crop_of(faces: PackedFaces) -> str:
    """Name of the data set's crop preset; `none` where it has none."""
    return faces.info.crop.preset if faces.info.crop else "none"


@dataclass
class Values:
    """One metric while it is being measured: one value for each seed so far."""

    values: list[Measured]
    conditions: Conditions
    floor: Floor | None = None

    def result(self, metric: str, facts: Mapping[str, Any]) -> Result:
        values = [each.value for each in self.values]
        errors = [each.standard_error for each in self.values if each.standard_error is not None]
        return Result(
            metric=metric,
            better=metric_of(metric).better,
            value=float(np.mean(values)),
            spread=float(np.std(values, ddof=1)) if len(values) > 1 else None,
            values=tuple(values),
            standard_error=float(np.mean(errors)) if errors else None,
            floor=self.floor,
            details=dict(self.values[0].details),
            chooses=self.conditions.split != "test",
            **self.conditions.model_dump(),
            **facts,
        )


def warn(warnings: Sequence[str], quiet: bool) -> None:
    """Print each warning on stderr, in one line, unless `quiet`."""
    for warning in [] if quiet else warnings:
        console.print(f"Warning: {warning}", markup=False, highlight=False, soft_wrap=True)
