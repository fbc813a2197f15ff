"""The generated images of one seed, and what is kept of them to be measured.

They are generated in batches, as uint8 at the recipe's fixed range, and go to the extractor as they are: no file, no
JPEG, no rescaling by what else is in the batch. Only numbers are kept, so that memory grows by those alone.

Shapes: N generated images, D features, P shrunk pixels, A attributes.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from limner.core.batching import batches_of
from limner.core.distributed import ALONE, Engine
from limner.core.files import release
from limner.core.randomness import stream
from limner.data.packed import PackedFaces
from limner.features.extractor import Extractor
from limner.judge.judge import Judge
from limner.model.model import BATCH as MODEL_BATCH
from limner.model.model import Model

SHRUNK = 16
"""Width and height at which pixels are compared."""
SHRUNK_PIXELS = SHRUNK * SHRUNK * 3
SHRUNK_RULE = f"mean over squares to {SHRUNK} x {SHRUNK}"
BATCH = 1024


class Fakes(NamedTuple):
    """N generated images, as numbers."""

    features_ND: NDArray[np.float32]
    pixels_NP: NDArray[np.uint8]
    requested_NA: NDArray[np.uint8] | None
    """The requested attributes, in the model's order; `None` where none were."""
    predicted_NA: NDArray[np.uint8] | None
    """The attributes that the judge sees, in its own order; `None` without one."""

    def combine(self, engine: Engine) -> None:
        """Fill in what the other processes generated."""
        for array in (self.features_ND, self.pixels_NP, self.predicted_NA):
            if array is not None:
                engine.combine(array)


def generate(
    model: Model,
    faces: PackedFaces,
    split: str,
    extractor: Extractor,
    judge: Judge | None,
    *,
    count: int,
    seed: int,
    truncation: float,
    advance: Callable[[int], None],
    engine: Engine = ALONE,
) -> Fakes:
    """The first `count` images of a seed, each with its features; the attributes are those of `split`.

    Of several processes, each generates its own, and leaves zeros for the others'.
    """
    requested_NA = requested_attributes(model, faces, split, count, seed)
    features_ND = np.zeros((count, extractor.dimension), np.float32)
    pixels_NP = np.zeros((count, SHRUNK_PIXELS), np.uint8)
    predicted_NA = None if judge is None else np.zeros((count, len(judge.attribute_names)), np.uint8)
    own = engine.span(count, MODEL_BATCH)
    labels_NA = None if requested_NA is None else requested_NA[own]
    done, many = own.start, own.stop - own.start
    batches = model.batches(many, seed, truncation=truncation, first=done, labels_NA=labels_NA) if many else ()
    for faces_NHWC in batches:
        some = slice(done, done + len(faces_NHWC))
        features_ND[some] = extractor.features(faces_NHWC)
        pixels_NP[some] = shrink(faces_NHWC)
        if judge is not None and predicted_NA is not None:
            shared = judge.shares_backbone_with(extractor)
            predicted_NA[some] = judge.decide_by(features_ND[some]) if shared else judge.decide(faces_NHWC)
        done += len(faces_NHWC)
        advance(len(faces_NHWC))
    return Fakes(features_ND, pixels_NP, requested_NA, predicted_NA)


def requested_attributes(
    model: Model, faces: PackedFaces, split: str, count: int, seed: int
) -> NDArray[np.uint8] | None:
    """The attribute vectors that the images of a seed are conditioned on, uint8 N x A: real ones of the split.

    Where there are fewer than `count`, they are sampled with replacement. `None` where the model takes no attributes,
    or some that the data set does not have.
    """
    names = model.config.attribute_names
    if not names or not set(names) <= set(faces.attribute_names):
        return None
    rows = faces.rows(split)
    chosen = stream(seed, "asked attributes").choice(rows, count, replace=count > len(rows))
    columns = [faces.attribute_names.index(name) for name in names]
    return np.ascontiguousarray(faces.attributes_NA[chosen][:, columns])


def shrink_rows(
    faces: PackedFaces, rows: NDArray[np.int64], into_NP: NDArray[np.uint8], advance: Callable[[int], None]
) -> None:
    """Write the images in `rows`, shrunk, into `into_NP`."""
    for some in batches_of(len(rows), BATCH):
        into_NP[some] = shrink(faces.read(rows[some]))
        release(faces.images_NHWC)
        release(into_NP)
        advance(some.stop - some.start)


def shrink(images_NHWC: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Images whose resolution is a multiple of 16 as 16 x 16 means over squares, flat: uint8 N x P."""
    x_NCHW = torch.from_numpy(np.ascontiguousarray(images_NHWC)).permute(0, 3, 1, 2).float()
    shrunk_NP: NDArray[np.uint8] = F.adaptive_avg_pool2d(x_NCHW, SHRUNK).round_().to(torch.uint8).flatten(1).numpy()
    return shrunk_NP


def mirrored(shrunk_NP: NDArray[Any]) -> NDArray[Any]:
    """Shrunk images, as their mirror images."""
    return shrunk_NP.reshape(-1, 3, SHRUNK, SHRUNK)[..., ::-1].reshape(shrunk_NP.shape)
