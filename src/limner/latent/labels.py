"""Attribute vectors for faces to draw: what was asked for, the rest as it goes together in the data.

Shapes: N faces, M known vectors, A attributes, each 0 or 1.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from limner.data.attributes import match_attribute
from limner.errors import UserError
from limner.randomness import stream


def face_labels(
    seed: int, first: int, count: int, known_MA: NDArray[np.uint8], asked: Mapping[int, int]
) -> NDArray[np.uint8]:
    """Attribute vectors of the faces `first` ... `first + count - 1` of `seed`: uint8, `count` x A.

    Each is a vector of `known_MA`, drawn from those that agree with `asked` (position -> 0 or 1); where none agrees in
    all of it, from those that agree in the most, and then set to what was asked. So what is not asked for follows the
    joint distribution of the data given what is. Face k of a seed gets the same vector whatever is drawn beside it.
    """
    positions = np.array(list(asked), dtype=np.intp)
    wanted = np.array(list(asked.values()), dtype=np.uint8)
    agreeing_M = (known_MA[:, positions] == wanted).sum(axis=1)
    nearest = np.flatnonzero(agreeing_M == agreeing_M.max())
    chosen = [nearest[stream(seed, "labels", first + k).integers(len(nearest))] for k in range(count)]
    labels_NA = known_MA[chosen]
    labels_NA[:, positions] = wanted
    return labels_NA


def read_asked(names: Sequence[str], with_: Sequence[str], without: Sequence[str]) -> dict[int, int]:
    """The attributes asked for and against, as position in `names` -> 1 or 0.

    Raises UserError for an attribute that is not among `names`, naming the nearest, or one asked both for and against.
    """
    asked: dict[int, int] = {}
    for words, value in ((with_, 1), (without, 0)):
        for word in words:
            position = match_attribute(word, names)
            if asked.get(position, value) != value:
                raise UserError(f"{names[position]} is asked for with and without at once: leave one out.")
            asked[position] = value
    return asked
