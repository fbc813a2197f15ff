"""The training image nearest to a face: has the model copied it?"""

import math
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from limner.core.errors import UserError
from limner.data.packed import PackedFaces
from limner.evaluation.memorisation import nearest
from limner.explore.points import generate
from limner.images.png import plain_png
from limner.model.model import Model
from limner.runs.run import Run, is_run
from limner.studio.faces import data_url, point_of
from limner.studio.requests import Face


def nearest_training(model: Model, name: str, face: Face) -> dict[str, Any]:
    """The training image nearest to a face, by pixels and mirrored too, where `name` is a run whose data are here.

    Raises UserError where they are not.
    """
    if not is_run(Path(name)):
        raise UserError("The nearest training image is known only of runs: this model came without its data.")
    folder = Run.open(name).info.get("data", {}).get("path")
    if not folder or not Path(folder).is_dir():
        raise UserError("The training images of this run are no longer where they were.")
    data = PackedFaces.open(folder)
    (rows,) = np.nonzero(data.splits == "train")
    train_NHWC = data.images_NHWC[rows]
    image_HWC = generate(model, point_of(model, face))[0]
    if train_NHWC.shape[1:] != image_HWC.shape:
        raise UserError("The training images of this run have another resolution than its faces.")
    views_NHWC = np.stack([image_HWC, image_HWC[:, ::-1]])
    row_N, distance_N = nearest(views_NHWC.reshape(2, -1), train_NHWC.reshape(len(train_NHWC), -1))
    row = row_N[distance_N.argmin()]
    return {
        "png": data_url(plain_png(Image.fromarray(train_NHWC[row]))),
        "rms": float(distance_N.min() / math.sqrt(image_HWC.size)),
        "count": len(train_NHWC),
    }
