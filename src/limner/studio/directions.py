"""The directions of the models that were edited last."""

from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from limner.explore.attribute_directions import Directions
    from limner.model.model import Model

MOST_KEPT = 4


class DirectionsShelf:
    """The directions of the models that were asked for last; they are found once for each."""

    def __init__(self) -> None:
        self._found: dict[str, Directions] = {}
        self._lock = Lock()

    def of(self, model: "Model") -> "Directions":
        """A direction for each attribute that the judge knows; raises UserError for a model of curves."""
        from limner.studio.editing import find_directions

        key = model.config.weights_sha256
        with self._lock:
            if key not in self._found:
                self._found[key] = find_directions(model)
                for old in list(self._found)[:-MOST_KEPT]:
                    del self._found[old]
            return self._found[key]
