"""Samples of models, of which the last results are kept: what a person sees is downloaded without a second pass.

Faces are a function of model and request alone, so that what one person asked for tells nothing to another.
"""

from collections import OrderedDict
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from limner.studio.requests import FacesRequest

if TYPE_CHECKING:
    from limner.model.model import Model

MOST_KEPT = 32


class Sampler:
    """Samples; the last 32 results are kept."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[object, ...], NDArray[np.uint8]] = OrderedDict()
        self._lock = Lock()

    def sample(self, model: "Model", request: FacesRequest) -> NDArray[np.uint8]:
        """The requested faces, uint8 N x H x W x 3; raises as `Model.sample`."""
        what = (request.seed, request.first, request.count, request.truncation, request.with_, request.without)
        key = (model.config.weights_sha256, *what)
        with self._lock:
            if key not in self._kept:
                self._kept[key] = model.sample(
                    request.count,
                    request.seed,
                    first=request.first,
                    with_=request.with_,
                    without=request.without,
                    truncation=request.truncation,
                )
            self._kept.move_to_end(key)
            while len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
            return self._kept[key]
