"""Faces moved along directions of attributes, and photos brought into a model: the tab Edit.

A photo is decoded, cut to the face and projected; nothing of it is kept. Its point goes back to the person who sent it,
and comes with the next request like any other face.
"""

from typing import Any

import numpy as np
from PIL import Image

from limner.core.errors import UserError
from limner.explore.attribute_directions import Directions, DirectionsConfig, fit_directions, judged_inputs
from limner.explore.inversion import invert
from limner.explore.points import Points, generate, open_model, provenance
from limner.images.png import generated_png, plain_png
from limner.judge.judge import load_judge
from limner.model.model import Model
from limner.preparation.crops import ALIGNED_SIZE, CROPS, Crop, Rejected, decode, read_upright
from limner.studio.faces import data_url, point_of
from limner.studio.requests import EditRequest, Face, LatentPoint
from limner.studio.shelf import grouped

JSON = dict[str, Any]
SAMPLES = 1024  # half of what the command takes: a person waits
STEPS, STARTS = 150, 256  # of a projection: a person waits for it


def find_directions(model: Model) -> Directions:
    """What `limner explore directions` finds for all attributes, without a folder.

    Raises UserError for a model of curves.
    """
    open_model(model)
    judge = load_judge(None)
    x_NI, log_odds_NJ = judged_inputs(model, judge, SAMPLES, 0, lambda _: None)
    steps_DI, unit_D = fit_directions(x_NI, log_odds_NJ, range(len(judge.attribute_names)))
    Z = model.config.latent_size
    config = DirectionsConfig(
        recipe=model.config.recipe,
        model_sha256=model.config.weights_sha256,
        names=judge.attribute_names,
        seed=0,
        licence=model.config.licence,
        latents_sha256="",
        log_odds=tuple(unit_D.tolist()),
        samples=SAMPLES,
        judge_sha256=judge.config.weights_sha256,
    )
    return Directions(config, Points(steps_DI[:, :Z].float(), steps_DI[:, Z:].float()))


def describe(directions: Directions) -> JSON:
    """The names of the directions, in groups."""
    return {"directions": grouped(directions.config.names)}


def edit(model: Model, directions: Directions, request: EditRequest) -> JSON:
    """The face, moved; raises UserError for an attribute without a direction."""
    moved = directions.move(model, point_of(model, request.face), request.by)
    image_HWC = generate(model, moved)[0]
    settings = provenance(model, "studio edit", face=request.face.model_dump(exclude_defaults=True), by=request.by)
    png = generated_png(Image.fromarray(image_HWC), settings, model.new_mark())
    return {"png": data_url(png), "face": Face(point=_numbers(moved)).model_dump()}


def project(model: Model, photo: bytes) -> JSON:
    """The face of the model that comes nearest to a photo.

    Raises UserError where the photo cannot be read or is too small.
    """
    open_model(model)
    try:
        target_HWC, aligned = cut_face(photo, model)
    except Rejected as reason:
        raise UserError(f"The photo cannot be used: {reason}.") from None
    found = invert(model, target_HWC[None], steps=STEPS, samples=STARTS, seed=0)
    settings = provenance(model, "studio project", steps=STEPS, samples=STARTS)
    png = generated_png(Image.fromarray(found.images_NHWC[0]), settings, model.new_mark())
    return {
        "face": Face(point=_numbers(found.points)).model_dump(),
        "png": data_url(png),
        "photo": data_url(plain_png(Image.fromarray(target_HWC))),
        "aligned": aligned,
        "pixels": float(found.pixels_N[0]),
    }


def cut_face(photo: bytes, model: Model) -> tuple[np.ndarray[Any, np.dtype[np.uint8]], bool]:
    """The face in a photo as the model's training images are cut, uint8 H x W x 3, and whether one was found.

    Where none is found, or the extra `align` is missing, it is the central square. `Rejected` says what is wrong.
    """
    size, crop = model.config.size, CROPS.get(str(model.config.data.get("crop")), Crop(None))
    whole = read_upright(photo)
    if whole.size == ALIGNED_SIZE:
        return decode(photo, crop, size).copy(), True
    try:
        from limner.preparation.align import FaceFinder, upright

        found = FaceFinder()(whole)
    except (ImportError, UserError):
        found = []
    if not found:
        return decode(photo, Crop(None), size).copy(), False
    left, top, right, _ = crop.box(*ALIGNED_SIZE)
    return np.array(upright(whole, found[0], left, top, right - left, size)), True


def _numbers(point: Points) -> LatentPoint:
    return LatentPoint(latents=point.z_NZ[0].tolist(), attributes=point.y_NA[0].tolist())
