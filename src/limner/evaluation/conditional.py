"""What is measured of a conditional model: attribute control, and the distance given each frequent attribute."""

import math

import numpy as np

from limner.data.packed import PackedFaces
from limner.evaluation.distances import frechet_distance
from limner.evaluation.generate import Fakes
from limner.evaluation.measure import Measured, moments
from limner.evaluation.metrics import metric_name
from limner.evaluation.reference import FEWEST
from limner.evaluation.setup import Setup, Values, crop_of
from limner.judge.control import attribute_control
from limner.judge.judge import Judge, load_judge, shipped_judge
from limner.model.model import Model

FREQUENT = (0.2, 0.8)
"""An attribute that this share of the real images has is common enough for a distance of its own."""


def load_judge_for(model: Model, faces: PackedFaces) -> tuple[Judge | None, list[str]]:
    """The judge of a conditional model's attributes, or `None` and why there is nothing that it could predict."""
    names = set(model.config.attribute_names)
    if not names:
        return None, []
    if missing := names - set(faces.attribute_names):
        return None, [f"Attribute control is not measured: the data set does not have {', '.join(sorted(missing))}."]
    judge = load_judge(shipped_judge(faces.size), model.device.type)
    if not names & set(judge.attribute_names):
        return None, ["Attribute control is not measured: the judge knows none of the model's attributes."]
    learned, seen = (judge.config.crop, judge.config.size), (crop_of(faces), faces.size)
    if learned != seen:
        words = [f"the crop {crop} at {size} pixels" for crop, size in (learned, seen)]
        return judge, [f"The judge of the attributes learned from {words[0]}, these images have {words[1]}."]
    return judge, []


def controlled(judge: Judge, fakes: Fakes, model: Model, setup: Setup) -> dict[str, Values]:
    """Whether the generated images show the requested attributes, by the judge's predictions."""
    assert fakes.requested_NA is not None
    assert fakes.predicted_NA is not None
    # What the model does not know was never requested: constant columns, which the means leave out.
    requested_NA = np.zeros_like(fakes.predicted_NA)
    frequencies_A = np.full(len(judge.attribute_names), np.inf)
    train = setup.faces.attributes_NA[setup.faces.rows("train")]
    for column, name in enumerate(judge.attribute_names):
        if name in model.config.attribute_names:
            requested_NA[:, column] = fakes.requested_NA[:, model.config.attribute_names.index(name)]
            frequencies_A[column] = train[:, setup.faces.attribute_names.index(name)].mean()
    ceiling = {name: judge.balanced_accuracy[name] for name in judge.attribute_names}
    control = attribute_control(requested_NA, fakes.predicted_NA, ceiling, frequencies_A)
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
        f"attribute_control_{which}": Values([Measured(mean, None, {"attributes": attributes})], conditions)
        for which, (mean, attributes) in means.items()
        if math.isfinite(mean)
    }


def conditional_distance(fakes: Fakes, model: Model, setup: Setup) -> dict[str, Values]:
    """The mean, over the frequent attributes, of the distance of images conditioned on one from real ones that do."""
    assert fakes.requested_NA is not None
    reference, faces = setup.reference, setup.faces
    distances = {}
    for column, name in enumerate(model.config.attribute_names):
        has_R = faces.attributes_NA[reference.real_rows, faces.attribute_names.index(name)] == 1
        asked_N = fakes.requested_NA[:, column] == 1
        if FREQUENT[0] <= has_R.mean() <= FREQUENT[1] and asked_N.sum() >= FEWEST:
            real, fake = moments(reference.real_ND[has_R]), moments(fakes.features_ND[asked_N])
            distances[name] = frechet_distance(real, fake)
    if not distances:
        return {}
    mean = Measured(float(np.mean([*distances.values()])), None, {"by_attribute": distances})
    metric = f"conditional_{metric_name('fd', setup.extractor.name)}"
    return {metric: Values([mean], setup.conditions)}


def _or_none(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
