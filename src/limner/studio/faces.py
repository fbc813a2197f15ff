"""Faces for the studio: samples, the faces around one, walks; each image with its provenance.

Shapes: N faces or frames, H and W their height and width.
"""

import base64
import io
import math
import zipfile
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from limner.core.errors import UserError
from limner.core.version import __version__
from limner.data.attributes import names_of
from limner.explore.interpolation import points_between
from limner.explore.points import Points, generate, open_model, provenance, sampled_points
from limner.explore.video import moving
from limner.images.png import generated_png
from limner.latent.labels import rare_request, read_requested
from limner.latent.latents import face_latents, to_support
from limner.model.model import Model
from limner.model.sample import Settings, sampled_png
from limner.studio.lines import command_line, python_lines, walk_line
from limner.studio.requests import LARGEST, Face, FacesRequest, MorphRequest, Variation, VariationsRequest

JSON = dict[str, Any]


def faces_json(model: Model, faces_NHWC: NDArray[np.uint8], request: FacesRequest) -> JSON:
    """The faces one by one, with the lines that make them again."""
    config = model.config
    requested = read_requested(config.attribute_names, request.with_, request.without)
    faces = [
        {"index": request.first + place, "png": data_url(sampled_png(face_HWC[None], settings, model.new_mark()))}
        for place, face_HWC in enumerate(faces_NHWC)
        for settings in [settings_of(model, request, first=request.first + place, count=1, columns=1)]
    ]
    return {
        "seed": request.seed,
        "faces": faces,
        "note": rare_request(model.known_MA, requested, config.attribute_names),
        "command": command_line(request),
        "python": python_lines(request),
    }


def faces_png(model: Model, faces_NHWC: NDArray[np.uint8], request: FacesRequest) -> bytes:
    """The grid that `limner sample` writes."""
    columns = request.columns or math.ceil(math.sqrt(request.count))
    return sampled_png(faces_NHWC, settings_of(model, request, columns=columns), model.new_mark())


def faces_zip(model: Model, faces_NHWC: NDArray[np.uint8], request: FacesRequest) -> bytes:
    """A PNG for each face, as `limner sample --single` writes them."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for place, face_HWC in enumerate(faces_NHWC):
            index = request.first + place
            settings = settings_of(model, request, first=index, count=1, columns=1)
            archive.writestr(f"{index:06d}.png", sampled_png(face_HWC[None], settings, model.new_mark()))
    return content.getvalue()


def variations(model: Model, request: VariationsRequest) -> JSON:
    """Faces around a face; each is named so that a further request can start from it."""
    around = [
        request.face.model_copy(update={"variation": Variation(amount=request.amount, seed=request.seed, index=place)})
        for place in range(request.count)
    ]
    images_NHWC = generate(model, Points.join([point_of(model, face) for face in around]))
    return {
        "faces": [
            {"face": face.model_dump(), "png": data_url(face_png(model, image_HWC, face))}
            for face, image_HWC in zip(around, images_NHWC, strict=True)
        ]
    }


def morph(model: Model, request: MorphRequest) -> bytes | JSON:
    """The walk through the faces: its frames one by one, or as a file."""
    open_model(model)
    if request.frames < len(request.faces):
        raise UserError(f"frames is {request.frames}; for {len(request.faces)} faces it must be at least as many.")
    through = Points.join([point_of(model, face) for face in request.faces])
    stretches = len(through) - (not request.loop)
    t_N = np.linspace(0, stretches, request.frames, endpoint=not request.loop)
    spherical = model.config.latent_distribution != "uniform"
    images_NHWC = generate(model, points_between(through, t_N, spherical))
    faces = [face.model_dump(exclude_defaults=True) for face in request.faces]
    settings = made_by(model, "morph", faces=faces, frames=request.frames, loop=request.loop)
    if request.format == "json":
        frames = [
            data_url(generated_png(Image.fromarray(image_HWC), {**settings, "frame": place}, model.new_mark()))
            for place, image_HWC in enumerate(images_NHWC)
        ]
        return {"frames": frames, "command": walk_line(request)}
    columns = math.ceil(request.frames / stretches)
    return moving(images_NHWC, f".{request.format}", request.fps, columns, settings)


def point_of(model: Model, face: Face) -> Points:
    """The one point of a face. One around it lies `amount` of the way to a random latent, on the arc to it."""
    config = model.config
    point = _start_of(model, face)
    z_1Z = point.z_NZ
    if (near := face.variation) is not None:
        # Beyond all faces that can be asked for, so that no face is its own variation.
        first = LARGEST + 1 + near.index
        noise_1Z = face_latents(near.seed, first, 1, config.latent_size, config.latent_distribution)
        angle = near.amount * math.pi / 2
        z_1Z = to_support(math.cos(angle) * z_1Z + math.sin(angle) * noise_1Z, config.latent_distribution)
    return Points(z_1Z * face.truncation, point.y_NA)


def _start_of(model: Model, face: Face) -> Points:
    """The sampled face, or the point that is given by its numbers."""
    if face.point is None:
        asked = {"with_": names_of(face.with_), "without": names_of(face.without)}
        return sampled_points(model, 1, face.seed, face.index, **asked)
    z_1Z, y_1A = torch.tensor([face.point.latents]), torch.tensor([face.point.attributes])
    sizes = model.config.latent_size, len(model.config.attribute_names)
    if (z_1Z.shape[1], y_1A.shape[1]) != sizes:
        raise UserError(f"The point has other sizes than this model's {sizes[0]} latents and {sizes[1]} attributes.")
    return Points(z_1Z, y_1A)


def face_png(model: Model, image_HWC: NDArray[np.uint8], face: Face) -> bytes:
    """One face as a PNG that names it."""
    settings = made_by(model, "face", face=face.model_dump())
    return generated_png(Image.fromarray(image_HWC), settings, model.new_mark())


def made_by(model: Model, command: str, **settings: Any) -> JSON:
    """What a file records of how it was made, where no `limner sample` makes it."""
    return {**provenance(model, command, **settings), "command": f"studio {command}"}


def settings_of(model: Model, request: FacesRequest, **changes: Any) -> Settings:
    """What `limner sample --recreate` reads."""
    fields: JSON = {
        "model": request.model,
        "weights_sha256": model.config.weights_sha256,
        "seed": request.seed,
        "first": request.first,
        "count": request.count,
        "truncation": request.truncation,
        "with_": names_of(request.with_),
        "without": names_of(request.without),
        "precision": model.precision,
        "limner": __version__,
    }
    return Settings(**fields | changes)


def data_url(png: bytes) -> str:
    """A PNG for a page to show, and for a person to save as it is."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
