"""`limner evaluate`: one model against the real images of a data set, by a named protocol.

Shapes: N generated images, R real ones, M training images, D features, P shrunk pixels, A attributes.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from limner.core.arguments import checked
from limner.core.device import machine_facts
from limner.core.distributed import ALONE, start_engine
from limner.core.errors import UserError
from limner.core.faults import fault_line
from limner.core.files import check_output
from limner.core.process import process_count
from limner.core.version import __version__
from limner.data.packed import PackedFaces
from limner.evaluation.conditional import conditional_distance, controlled, load_judge_for
from limner.evaluation.generate import SHRUNK_RULE, Fakes, generate, mirrored
from limner.evaluation.measure import STEPS, Measured, measure
from limner.evaluation.memorisation import Memorisation, memorisation
from limner.evaluation.metrics import metric_name
from limner.evaluation.results import Conditions, Result, append_metrics, write_results
from limner.evaluation.setup import EvaluationOptions, Setup, Values, set_up, warn
from limner.evaluation.truncation import measure_curve, write_curve
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
    truncation_curve: str | Path | None = None,
    out: str | Path | None = None,
    device: str = "cpu",
    force: bool = False,
    quiet: bool = False,
) -> list[Result]:
    """Measure `model` against the images of `data`, as `protocol` (a name or a TOML file) says.

    `samples` images are generated for each of the seeds 0 ... `seeds` - 1; both follow the protocol by default. The
    features are those of `extractor`, whose weights may be given as a file. Where the model is a run, the results are
    added to its `metrics.jsonl`; `out` takes them as a JSON file. The PNG `truncation_curve` shows distance, precision
    and recall against truncation, each measured at eight truncations with the first seed. Several processes (torchrun)
    share the work; the main one returns the results, the others none.

    Raises:
        UserError: a setting is out of range, the model and the images differ in size, there is no such protocol,
            model or extractor, or an output exists (without `force`).
    """
    out, curve = (None if path is None else Path(path) for path in (out, truncation_curve))
    if out is not None:
        check_output(out, force)
    if curve is not None:
        check_output(curve, force, (".png",))
    engine = start_engine(device, "auto") if process_count() > 1 else ALONE
    device = device if engine.world == 1 else str(engine.device)
    quiet = quiet or not engine.is_main
    loaded = Model.load(model, device) if isinstance(model, str | Path) else model
    name = loaded.config.recipe if loaded is model else str(model)
    options = EvaluationOptions(
        protocol=protocol,
        samples=samples,
        extractor=extractor,
        weights=weights,
        seeds=seeds,
        truncation=truncation,
        device=device,
        quiet=quiet,
        engine=engine,
    )
    with engine.watched(lambda why: f"The evaluation of {name} stopped: {why}. Start it again."):
        setup = set_up(data, options)
        results = evaluate_model(loaded, setup, name)
    if not engine.is_main:
        return []
    if isinstance(model, str | Path) and is_run(Path(model)):
        try:
            append_metrics(Path(model), results)
        except OSError as error:  # what took minutes to compute is shown all the same
            warn([f"These results are not kept in the run: {fault_line(error)}. --out FILE keeps them."], quiet=False)
    if out is not None:
        write_results(out, results)
    if curve is not None:
        write_curve(curve, measure_curve(loaded, setup), f"{name}, {setup.conditions.n_fake:,} images for each point")
    return results


def evaluate_model(model: Model, setup: Setup, name: str) -> list[Result]:
    """Measure one model, called `name` in the results; warnings also go to stderr unless the setup is quiet.

    Raises UserError where the model's resolution is another.
    """
    started = time.monotonic()
    check_size(model.config.size, setup.faces, name)
    judge, caveats = load_judge_for(model, setup.faces)
    caveats = [*_caveats(model, setup), *caveats]
    warn(caveats, setup.work.quiet)
    values: dict[str, Values] = {}
    setup.prepare()
    for seed in setup.seeds:
        for metric, of_seed in _measure_seed(model, setup, judge, seed).items():
            if metric in values:
                values[metric].values.extend(of_seed.values)
            else:
                values[metric] = of_seed
    facts = {
        "model": name,
        "model_sha256": model.config.weights_sha256,
        "recipe": model.config.recipe,
        "weights": "ema" if model.config.ema_halflife_images > 0 else "raw",
        "images_seen": model.config.images_seen,
        "seeds": setup.seeds,
        "warnings": (*setup.warnings, *caveats),
        "seconds": round(time.monotonic() - started, 3),
        "machine": _machine(model),
        "evaluated": datetime.now(UTC).isoformat(timespec="seconds"),
        "limner": __version__,
    }
    return [one.result(metric, facts) for metric, one in values.items()]


def check_size(size: int, faces: PackedFaces, name: str) -> None:
    """Raise UserError where a model called `name`, of resolution `size`, does not fit the data set."""
    if size != faces.size:
        raise UserError(
            f"{name} generates images of {size} x {size} pixels, those of {faces.path} have {faces.size}: "
            f"evaluate it with images prepared with --size {size}."
        )


def _measure_seed(model: Model, setup: Setup, judge: Judge | None, seed: int) -> dict[str, Values]:
    """Everything that is measured of the images of one seed, by metric; in processes that are not the main one, {}."""
    conditions = setup.conditions
    which = f", seed {seed + 1} of {len(setup.seeds)}" if len(setup.seeds) > 1 else ""
    with setup.work.progress(f"generated{which}", conditions.n_fake, "images") as advance:
        fakes = generate(
            model,
            setup.faces,
            setup.protocol.heldout,
            setup.extractor,
            judge,
            count=conditions.n_fake,
            seed=seed,
            truncation=conditions.truncation,
            advance=advance,
            engine=setup.work.engine,
        )
    fakes.combine(setup.work.engine)
    with setup.work.progress(f"measured{which}", STEPS + 2, "steps") as advance:
        return _values(model, setup, judge, fakes, advance) if setup.work.engine.is_main else {}


def _values(
    model: Model, setup: Setup, judge: Judge | None, fakes: Fakes, advance: Callable[[int], None]
) -> dict[str, Values]:
    """Everything that is measured of generated images, by metric."""
    reference, extractor, conditions = setup.reference, setup.extractor, setup.conditions
    train_pixels_MP, heldout_pixels_RP = setup.pixels
    measured = measure(reference.real_ND, setup.real, fakes.features_ND, extractor.name, advance)
    values = {metric: Values([value], conditions, reference.floors.get(metric)) for metric, value in measured.items()}
    if len(reference.train_MD):
        memorised = memorisation(
            fakes.features_ND, reference.train_MD, reference.real_ND, known_ratio=setup.ratio_in_features
        )
        values[metric_name("memorisation", extractor.name)] = _memorised(memorised, reference.train_rows, conditions)
    advance(1)
    memorised = memorisation(fakes.pixels_NP, train_pixels_MP, heldout_pixels_RP, mirrored, setup.ratio_in_pixels)
    in_pixels = conditions.model_copy(
        update={
            "extractor": "pixels",
            "extractor_sha256": "",
            "resize": SHRUNK_RULE,
            "split": setup.protocol.heldout,
            "n_real": len(heldout_pixels_RP),
        }
    )
    values["memorisation_pixels"] = _memorised(memorised, setup.faces.rows("train"), in_pixels)
    advance(1)
    if judge is not None:
        values |= controlled(judge, fakes, model, setup)
        if setup.protocol.conditional:
            values |= conditional_distance(fakes, model, setup)
    return values


def _memorised(memorised: Memorisation, rows: NDArray[np.int64], conditions: Conditions) -> Values:
    """The share of generated images that lie closer to training images, with the pairs by row of the data set."""
    pairs = [
        {"face": pair.fake, "row": int(rows[pair.train]), "distance": float(f"{pair.distance:.6g}")}
        for pair in memorised.closest
    ]
    details = {
        "training": len(rows),
        "median_ratio": memorised.median_ratio,
        "heldout_ratio": memorised.heldout_ratio,
        "closest": pairs,
    }
    return Values([Measured(memorised.closer_to_train, None, details)], conditions)


def _caveats(model: Model, setup: Setup) -> list[str]:
    """What a reader of the numbers must know of the model's training."""
    data, conditions = model.config.data, setup.conditions
    if (crop := data.get("crop", conditions.crop)) != conditions.crop:
        return [f"The model was trained on the crop {crop}, the real images have {conditions.crop}."]
    if data.get("content_hash", conditions.data_hash) != conditions.data_hash:
        return ["The model was trained on another data set, which may hold images that count as held out here."]
    return []


def _machine(model: Model) -> str:
    facts = machine_facts(model.device)
    return f"{facts['device_name']}, {facts['cores']} cores, {model.precision}"
