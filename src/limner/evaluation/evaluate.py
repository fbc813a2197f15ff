"""`limner evaluate`: one model against the real pictures of a data set, by a named protocol.

Shapes: N generated pictures, R real ones, M training pictures, D features, P shrunk pixels, A attributes.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limner import __version__
from limner.arguments import checked
from limner.data.packed import PackedFaces
from limner.errors import UserError
from limner.evaluation.distances import Moments, frechet_distance
from limner.evaluation.extractors import Extractor, default_extractor, load_extractor
from limner.evaluation.fakes import SHRUNK_RULE, Fakes, draw, mirrored, shrink_rows
from limner.evaluation.judge import Judge, attribute_control, load_judge
from limner.evaluation.measures import STEPS, Measured, better, measure, metric_name, moments
from limner.evaluation.memorisation import Memorisation, memorisation
from limner.evaluation.protocol import Protocol, check_seeds, departures, load_protocol
from limner.evaluation.reference import FEWEST, Reference, choose_rows, load_reference
from limner.evaluation.results import Conditions, Floor, Result, append_metrics, write_results
from limner.model import Model
from limner.progress import console, progress_bar
from limner.run import INFO, RECIPE
from limner.training.engine import find_device, machine_facts

FREQUENT = (0.2, 0.8)
"""An attribute that this share of the real pictures has is common enough for a distance of its own."""


@dataclass(frozen=True)
class Setup:
    """An evaluation before it draws anything: what it measures with, against what, and what must be said of it."""

    faces: PackedFaces
    protocol: Protocol
    extractor: Extractor
    conditions: Conditions
    seeds: tuple[int, ...]
    warnings: tuple[str, ...]
    quiet: bool

    @cached_property
    def reference(self) -> Reference:
        """The real pictures' features and floors; the first time for a data set, this takes as long as they need."""
        return load_reference(self.faces, self.protocol, self.extractor, self.conditions.n_fake, self.quiet)

    @cached_property
    def real(self) -> Moments:
        """Mean and covariance of the real pictures' features."""
        return moments(self.reference.real_ND)

    @cached_property
    def pixels(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Every training picture and every one of the protocol's held-out split, shrunk: uint8 M x P and R x P."""
        train, heldout = self.faces.rows("train"), self.faces.rows(self.protocol.heldout)
        with progress_bar("pixels", len(train) + len(heldout), "pictures", self.quiet) as advance:
            return shrink_rows(self.faces, train, advance), shrink_rows(self.faces, heldout, advance)


@checked
def evaluate(
    model: str | Path | Model,
    data: PackedFaces | str | Path,
    *,
    protocol: str | Path = "quick",
    samples: int | None = None,
    extractor: str | Extractor | None = None,
    weights: str | Path | None = None,
    seeds: int | None = None,
    truncation: float = 1.0,
    out: str | Path | None = None,
    device: str = "cpu",
    force: bool = False,
    quiet: bool = False,
) -> list[Result]:
    """Measure `model` against the pictures of `data`, as `protocol` (a name or a TOML file) says.

    `samples` pictures are generated for each of the seeds 0 ... `seeds` - 1; both follow the protocol by default. The
    features are those of `extractor`, whose weights may be given as a file. Where the model is a run, the results are
    added to its `metrics.jsonl`; `out` takes them as a JSON file.

    Raises:
        UserError: a setting is out of range, the model and the pictures differ in size, there is no such protocol,
            model or extractor, or `out` exists (without `force`).
    """
    out = None if out is None else Path(out)
    if out is not None and out.exists() and not force:
        raise UserError(f"{out} exists: choose another --out, or replace it with --force.")
    if out is not None and not out.parent.is_dir():
        raise UserError(f"There is no folder {out.parent} to write {out.name} into.")
    loaded = Model.load(model, device) if isinstance(model, str | Path) else model
    setup = set_up(
        data,
        protocol=protocol,
        samples=samples,
        extractor=extractor,
        weights=weights,
        seeds=seeds,
        truncation=truncation,
        device=device,
        quiet=quiet,
    )
    results = evaluate_model(loaded, setup, loaded.config.recipe if loaded is model else str(model))
    if isinstance(model, str | Path) and is_run(Path(model)):
        append_metrics(Path(model), results)
    if out is not None:
        write_results(out, results)
    return results


def set_up(
    data: PackedFaces | str | Path,
    *,
    protocol: str | Path = "quick",
    samples: int | None = None,
    extractor: str | Extractor | None = None,
    weights: str | Path | None = None,
    seeds: int | None = None,
    truncation: float = 1.0,
    device: str = "cpu",
    quiet: bool = False,
) -> Setup:
    """Settle everything that does not depend on the model, so that several models can be measured alike.

    Raises UserError as `evaluate`.
    """
    chosen = load_protocol(protocol)
    seeds = chosen.seeds if seeds is None else seeds
    check_seeds(seeds)
    if samples is not None and samples < FEWEST:
        raise UserError(f"--samples is {samples}; at least {FEWEST} generated pictures are needed, better thousands.")
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
        extractor = load_extractor(extractor, None if weights is None else Path(weights), str(find_device(device)))

    real, floor = (len(rows) for rows in choose_rows(faces, chosen, samples))
    fake = samples or chosen.fake or real
    crop = crop_of(faces)
    warnings += departures(chosen, crop=crop, size=faces.size, real=real, fake=fake, extractor=extractor.name)
    warnings += [
        f"Only {count:,} {kind} pictures for {extractor.dimension:,} features: the Fréchet distance comes out too "
        "high; compare it only with others at the very same numbers."
        for kind, count in (("real", real), ("generated", fake))
        if count <= extractor.dimension
    ]
    if floor < fake:
        warnings.append(
            f"Only {floor:,} training pictures for the floors beside {fake:,} generated ones: compare with care."
        )
    _warn(warnings, quiet)
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
    return Setup(faces, chosen, extractor, conditions, tuple(range(seeds)), tuple(warnings), quiet)


def evaluate_model(model: Model, setup: Setup, name: str) -> list[Result]:
    """Measure one model, called `name` in the results; warnings also go to stderr unless the setup is quiet.

    Raises UserError where the model draws pictures of another size.
    """
    started = time.monotonic()
    check_size(model.config.size, setup.faces, name)
    judge, doubts = _judge(model, setup.faces)
    doubts = [*_doubts(model, setup), *doubts]
    _warn(doubts, setup.quiet)
    found: dict[str, _Found] = {}
    for seed in setup.seeds:
        for metric, of_seed in _measure_seed(model, setup, judge, seed).items():
            if metric in found:
                found[metric].values.extend(of_seed.values)
            else:
                found[metric] = of_seed
    facts = {
        "model": name,
        "model_sha256": model.config.weights_sha256,
        "recipe": model.config.recipe,
        "weights": "ema" if model.config.ema_halflife_images > 0 else "raw",
        "images": model.config.images,
        "seeds": setup.seeds,
        "warnings": (*setup.warnings, *doubts),
        "seconds": round(time.monotonic() - started, 3),
        "machine": _machine(model),
        "evaluated": datetime.now(UTC).isoformat(timespec="seconds"),
        "limner": __version__,
    }
    return [one.result(metric, facts) for metric, one in found.items()]


def check_size(size: int, faces: PackedFaces, name: str) -> None:
    """Raise UserError where a model called `name`, which draws pictures of `size` pixels, does not fit the data set."""
    if size != faces.size:
        raise UserError(
            f"{name} draws pictures of {size} pixels, those of {faces.path} have {faces.size}: "
            f"evaluate it with pictures prepared with --size {size}."
        )


def crop_of(faces: PackedFaces) -> str:
    """Name of the data set's crop preset; `none` where it has none."""
    return faces.info.crop.preset if faces.info.crop else "none"


def is_run(path: Path) -> bool:
    """Whether `path` is the folder of a run, where results are kept."""
    return (path / RECIPE).is_file() and (path / INFO).is_file()


@dataclass
class _Found:
    """One metric while it is being measured: one value for each seed so far."""

    values: list[Measured]
    conditions: Conditions
    floor: Floor | None = None

    def result(self, metric: str, facts: Mapping[str, Any]) -> Result:
        values = [each.value for each in self.values]
        errors = [each.standard_error for each in self.values if each.standard_error is not None]
        return Result(
            metric=metric,
            better=better(metric),
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


def _measure_seed(model: Model, setup: Setup, judge: Judge | None, seed: int) -> dict[str, _Found]:
    """Everything that is measured of the pictures of one seed, by metric."""
    reference, extractor, conditions = setup.reference, setup.extractor, setup.conditions
    train_pixels_MP, heldout_pixels_RP = setup.pixels
    which = f", seed {seed + 1} of {len(setup.seeds)}" if len(setup.seeds) > 1 else ""
    with progress_bar(f"generated{which}", conditions.n_fake, "pictures", setup.quiet) as advance:
        fakes = draw(
            model,
            setup.faces,
            setup.protocol.heldout,
            extractor,
            judge,
            count=conditions.n_fake,
            seed=seed,
            truncation=conditions.truncation,
            advance=advance,
        )
    with progress_bar(f"measured{which}", STEPS + 2, "steps", setup.quiet) as advance:
        measured = measure(reference.real_ND, setup.real, fakes.features_ND, extractor.name, advance)
        found = {
            metric: _Found([value], conditions, reference.floors.get(metric)) for metric, value in measured.items()
        }
        if len(reference.train_MD):
            copied = memorisation(fakes.features_ND, reference.train_MD, reference.real_ND)
            found[metric_name("memorisation", extractor.name)] = _copied(copied, reference.train_rows, conditions)
        advance(1)
        copied = memorisation(fakes.pixels_NP, train_pixels_MP, heldout_pixels_RP, mirrored)
        in_pixels = conditions.model_copy(
            update={
                "extractor": "pixels",
                "extractor_sha256": "",
                "resize": SHRUNK_RULE,
                "split": setup.protocol.heldout,
                "n_real": len(heldout_pixels_RP),
            }
        )
        found["memorisation_pixels"] = _copied(copied, setup.faces.rows("train"), in_pixels)
        advance(1)
    if judge is not None:
        found |= _controlled(judge, fakes, model, setup)
        if setup.protocol.conditional:
            found |= _conditional(fakes, model, setup)
    return found


def _copied(copied: Memorisation, rows: NDArray[np.int64], conditions: Conditions) -> _Found:
    """The share of generated pictures that lie closer to training pictures, with the pairs by row of the data set."""
    pairs = [
        {"face": pair.fake, "row": int(rows[pair.train]), "distance": float(f"{pair.distance:.6g}")}
        for pair in copied.closest
    ]
    details = {
        "training": len(rows),
        "median_ratio": copied.median_ratio,
        "heldout_ratio": copied.heldout_ratio,
        "closest": pairs,
    }
    return _Found([Measured(copied.closer_to_train, None, details)], conditions)


def _judge(model: Model, faces: PackedFaces) -> tuple[Judge | None, list[str]]:
    """The judge of a conditional model's attributes, or `None` and why there is nothing that it could judge."""
    names = set(model.config.attribute_names)
    if not names:
        return None, []
    if missing := names - set(faces.attribute_names):
        return None, [f"Attribute control is not measured: the data set does not have {', '.join(sorted(missing))}."]
    judge = load_judge(device=model.device.type)
    if not names & set(judge.attribute_names):
        return None, ["Attribute control is not measured: the judge knows none of the model's attributes."]
    learned, seen = (judge.config.crop, judge.config.size), (crop_of(faces), faces.size)
    if learned != seen:
        words = [f"the crop {crop} at {size} pixels" for crop, size in (learned, seen)]
        return judge, [f"The judge of the attributes learned from {words[0]}, these pictures have {words[1]}."]
    return judge, []


def _controlled(judge: Judge, fakes: Fakes, model: Model, setup: Setup) -> dict[str, _Found]:
    """Whether the generated pictures show the attributes that were asked for, as the judge sees them."""
    assert fakes.asked_NA is not None
    assert fakes.found_NA is not None
    # What the model does not know was never asked for: constant columns, which the means leave out.
    asked_NA = np.zeros_like(fakes.found_NA)
    frequencies_A = np.full(len(judge.attribute_names), np.inf)
    train = setup.faces.attributes_NA[setup.faces.rows("train")]
    for column, name in enumerate(judge.attribute_names):
        if name in model.config.attribute_names:
            asked_NA[:, column] = fakes.asked_NA[:, model.config.attribute_names.index(name)]
            frequencies_A[column] = train[:, setup.faces.attribute_names.index(name)].mean()
    control = attribute_control(asked_NA, fakes.found_NA, judge, frequencies_A)
    table = [
        {
            "name": name,
            "accuracy": _or_none(control.accuracy_A[column]),
            "ceiling": _or_none(control.ceiling_A[column]),
            "ratio": _or_none(control.ratio_A[column]),
            "frequency": float(frequencies_A[column]),
        }
        for column, name in enumerate(control.attribute_names)
        if name in model.config.attribute_names
    ]
    conditions = setup.conditions.model_copy(
        update={
            "n_real": len(setup.faces.rows(setup.protocol.heldout)),
            "split": setup.protocol.heldout,
            "extractor": judge.name,
            "extractor_sha256": judge.weights_sha256,
            "resize": judge.resize,
        }
    )
    means = {"mean": (control.mean_ratio, table), "rarest": (control.mean_ratio_rarest, control.rarest)}
    return {
        f"attribute_control_{which}": _Found([Measured(mean, None, {"attributes": attributes})], conditions)
        for which, (mean, attributes) in means.items()
        if math.isfinite(mean)
    }


def _conditional(fakes: Fakes, model: Model, setup: Setup) -> dict[str, _Found]:
    """The mean, over the frequent attributes, of the distance of pictures asked to have one from real ones that do."""
    assert fakes.asked_NA is not None
    reference, faces = setup.reference, setup.faces
    distances = {}
    for column, name in enumerate(model.config.attribute_names):
        has_R = faces.attributes_NA[reference.real_rows, faces.attribute_names.index(name)] == 1
        asked_N = fakes.asked_NA[:, column] == 1
        if FREQUENT[0] <= has_R.mean() <= FREQUENT[1] and asked_N.sum() >= FEWEST:
            real, fake = moments(reference.real_ND[has_R]), moments(fakes.features_ND[asked_N])
            distances[name] = frechet_distance(real, fake)
    if not distances:
        return {}
    mean = Measured(float(np.mean([*distances.values()])), None, {"by_attribute": distances})
    metric = f"conditional_{metric_name('fd', setup.extractor.name)}"
    return {metric: _Found([mean], setup.conditions)}


def _doubts(model: Model, setup: Setup) -> list[str]:
    """What a reader of the numbers must know of the model's training."""
    data, conditions = model.config.data, setup.conditions
    if (crop := data.get("crop", conditions.crop)) != conditions.crop:
        return [f"The model was trained on the crop {crop}, the real pictures have {conditions.crop}."]
    if data.get("content_hash", conditions.data_hash) != conditions.data_hash:
        return ["The model was trained on another data set, which may hold pictures that count as held out here."]
    return []


def _warn(warnings: Sequence[str], quiet: bool) -> None:
    for warning in [] if quiet else warnings:
        console.print(f"Warning: {warning}", markup=False, highlight=False, soft_wrap=True)


def _or_none(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _machine(model: Model) -> str:
    facts = machine_facts(model.device)
    return f"{facts['device_name']}, {facts['cores']} cores, {model.precision}"
