"""Faces moved along directions of attributes, and photos brought into a model: the tab Edit.

A photo is decoded, cut to the face and projected; nothing of it is kept. Its point goes back to the person who sent it,
and comes with the next request like any other face.
"""

from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from limner.explore.attribute_directions import Directions, DirectionsConfig, fit_directions, judged_inputs
from limner.explore.inversion import invert
from limner.explore.points import Points, generate, open_model
from limner.explore.targets import read_target
from limner.images.png import generated_png, plain_png
from limner.judge.judge import load_judge
from limner.model.model import Model
from limner.preparation.align import Align
from limner.preparation.crops import CROPS, Crop
from limner.studio.faces import data_url, made_by, point_of
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
    settings = made_by(model, "edit", face=request.face.model_dump(exclude_defaults=True), by=request.by)
    png = generated_png(Image.fromarray(image_HWC), settings, model.new_mark())
    return {"png": data_url(png), "face": Face(point=_numbers(moved)).model_dump()}


def project(model: Model, photo: bytes) -> JSON:
    """The face of the model that comes nearest to a photo.

    Raises UserError where the photo cannot be read, or has no face or a small one.
    """
    open_model(model)
    crop = CROPS.get(str(model.config.data.get("crop")), Crop(None))
    upload = Upload(photo)
    target_HWC = read_target(upload.names[0], Align(upload, crop, model.config.size, every=False))
    found = invert(model, target_HWC[None], steps=STEPS, samples=STARTS, seed=0)
    settings = made_by(model, "project", steps=STEPS, samples=STARTS)
    png = generated_png(Image.fromarray(found.images_NHWC[0]), settings, model.new_mark())
    return {
        "face": Face(point=_numbers(found.points)).model_dump(),
        "png": data_url(png),
        "photo": data_url(plain_png(Image.fromarray(target_HWC))),
        "pixels": float(found.pixels_N[0]),
    }


@dataclass
class Upload:
    """A photo in memory in the place of image files."""

    content: bytes
    names: list[str] = field(default_factory=lambda: ["The photo"])
    rejects: dict[str, str] = field(default_factory=dict)

    def read(self, name: str, limit: int = 0) -> bytes:
        """Its bytes; the guard has limited them."""
        return self.content


def _numbers(point: Points) -> LatentPoint:
    return LatentPoint(latents=point.z_NZ[0].tolist(), attributes=point.y_NA[0].tolist())
