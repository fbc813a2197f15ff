"""`limner evaluate`: one model against the real pictures of a data set, by a named protocol.

Shapes: N generated pictures, R real ones, M training pictures, D features, P shrunk pixels, A attributes.
"""

import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from limner.core.arguments import checked
from limner.core.console import progress_bar
from limner.core.device import machine_facts
from limner.core.errors import UserError
from limner.core.version import __version__
from limner.data.packed import PackedFaces
from limner.evaluation.conditional import conditional_distance, controlled, load_judge_for
from limner.evaluation.generate import SHRUNK_RULE, draw, mirrored
from limner.evaluation.measure import STEPS, Measured, measure
from limner.evaluation.memorisation import Memorisation, memorisation
from limner.evaluation.metrics import metric_name
from limner.evaluation.results import Conditions, Result, append_metrics, write_results
from limner.evaluation.setup import EvaluationOptions, Found, Setup, set_up, warn
from limner.features.extractor import Extractor
from limner.judge.judge import Judge
from limner.model.model import Model
from limner.runs.run import is_run


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
    options = EvaluationOptions(
        protocol=protocol,
        samples=samples,
        extractor=extractor,
        weights=weights,
        seeds=seeds,
        truncation=truncation,
        device=device,
        quiet=quiet,
    )
    setup = set_up(data, options)
    results = evaluate_model(loaded, setup, loaded.config.recipe if loaded is model else str(model))
    if isinstance(model, str | Path) and is_run(Path(model)):
        append_metrics(Path(model), results)
    if out is not None:
        write_results(out, results)
    return results


def evaluate_model(model: Model, setup: Setup, name: str) -> list[Result]:
    """Measure one model, called `name` in the results; warnings also go to stderr unless the setup is quiet.

    Raises UserError where the model draws pictures of another size.
    """
    started = time.monotonic()
    check_size(model.config.size, setup.faces, name)
    judge, doubts = load_judge_for(model, setup.faces)
    doubts = [*_doubts(model, setup), *doubts]
    warn(doubts, setup.quiet)
    found: dict[str, Found] = {}
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


def _measure_seed(model: Model, setup: Setup, judge: Judge | None, seed: int) -> dict[str, Found]:
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
        found = {metric: Found([value], conditions, reference.floors.get(metric)) for metric, value in measured.items()}
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
        found |= controlled(judge, fakes, model, setup)
        if setup.protocol.conditional:
            found |= conditional_distance(fakes, model, setup)
    return found


def _copied(copied: Memorisation, rows: NDArray[np.int64], conditions: Conditions) -> Found:
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
    return Found([Measured(copied.closer_to_train, None, details)], conditions)


def _doubts(model: Model, setup: Setup) -> list[str]:
    """What a reader of the numbers must know of the model's training."""
    data, conditions = model.config.data, setup.conditions
    if (crop := data.get("crop", conditions.crop)) != conditions.crop:
        return [f"The model was trained on the crop {crop}, the real pictures have {conditions.crop}."]
    if data.get("content_hash", conditions.data_hash) != conditions.data_hash:
        return ["The model was trained on another data set, which may hold pictures that count as held out here."]
    return []


def _machine(model: Model) -> str:
    facts = machine_facts(model.device)
    return f"{facts['device_name']}, {facts['cores']} cores, {model.precision}"
