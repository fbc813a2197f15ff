"""Generated faces for a comparison: the same seeds of each model, and the training images nearest to its faces."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from limner.evaluation.generate import requested_attributes
from limner.evaluation.memorisation import Pair, nearest_sheet
from limner.evaluation.metrics import metric_of
from limner.evaluation.results import Result
from limner.evaluation.setup import Setup
from limner.images.grid import face_grid
from limner.model.model import Model
from limner.reports.page import Row
from limner.runs.run import Run, is_run

GRID = 64  # faces of each model, all of seed 0


@dataclass(frozen=True)
class Entry:
    """One model of a comparison."""

    name: str
    """Short, and unlike every other."""
    path: Path
    model: Model
    results: list[Result]

    @property
    def run(self) -> Run | None:
        """The run that the model comes from, where that is known."""
        return Run(self.path) if is_run(self.path) else None


def model_grid(entry: Entry, setup: Setup) -> Image.Image:
    """The first faces of seed 0; conditional models are all conditioned on the same attributes."""
    labels_NA = requested_attributes(entry.model, setup.faces, setup.protocol.heldout, GRID, 0)
    return face_grid(np.concatenate([*entry.model.batches(GRID, 0, labels_NA=labels_NA)]))


def nearest_sheets(entry: Entry, setup: Setup) -> list[Row]:
    """Generated faces beside their nearest training images, in each kind of features that was measured."""
    sheets = []
    for result in entry.results:
        if metric_of(result.metric).name != "memorisation":
            continue
        pairs = result.details["closest"]
        labels_NA = requested_attributes(entry.model, setup.faces, result.split, result.n_fake, result.seeds[0])
        generated = [_face(entry.model, result, pair["face"], labels_NA) for pair in pairs]
        real_NHWC = setup.faces.images_NHWC[[pair["row"] for pair in pairs]]
        tiles = [Pair(position, position, pair["distance"]) for position, pair in enumerate(pairs)]
        sheet = nearest_sheet(np.stack(generated), real_NHWC, tiles)
        about = {"by": result.extractor, "among": result.details["training"], "share": result.value}
        sheets.append({**about, "src": data_uri(sheet)})
    return sheets


def _face(model: Model, result: Result, index: int, labels_NA: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    """Generated image number `index` of an evaluation, H x W x 3, generated once more."""
    (face_NHWC,) = model.batches(
        1,
        result.seeds[0],
        first=index,
        truncation=result.truncation,
        labels_NA=None if labels_NA is None else labels_NA[index : index + 1],
    )
    face_HWC: NDArray[np.uint8] = face_NHWC[0]
    return face_HWC


def data_uri(image: Image.Image, lossless: bool = True) -> str:
    """An image as a data URI (WebP)."""
    content = io.BytesIO()
    image.save(content, "WEBP", lossless=lossless, quality=85)
    return f"data:image/webp;base64,{base64.b64encode(content.getvalue()).decode('ascii')}"
