"""Attribute vectors for generated faces: the requested attributes, the rest as they occur together in the data.

Shapes: N faces, M known vectors, A attributes, each 0 or 1.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from limner.core.errors import UserError
from limner.core.randomness import stream
from limner.data.attributes import match_attribute, names_of
from limner.latent.attribute_chain import AttributeChain, fitted_chain

FEW = 32
"""Where fewer known vectors agree with a request, faces get theirs from a fitted model."""
RARE = 1 / 10_000


def face_labels(
    seed: int, first: int, count: int, known_MA: NDArray[np.uint8], requested: Mapping[int, int]
) -> NDArray[np.uint8]:
    """Attribute vectors of the faces `first` ... `first + count - 1` of `seed`: uint8, `count` x A.

    Each is one of the vectors of `known_MA` that agree with `requested` (position -> 0 or 1). Where fewer than 32
    agree, what is not requested is sampled from an `AttributeChain` fitted to `known_MA`, given what is. So it follows
    the joint distribution of the data, and faces differ even where no known vector has all that was requested. Face k
    of a seed gets the same vector whatever is sampled beside it.
    """
    streams = [stream(seed, "labels", first + k) for k in range(count)]
    agreeing = _agreeing(known_MA, requested)
    if not requested or len(agreeing) >= FEW:
        return known_MA[[agreeing[own.integers(len(agreeing))] for own in streams]]
    chain, values = _chain(known_MA, requested)
    return chain.sample(values, np.stack([own.random(known_MA.shape[1]) for own in streams]))


def rare_request(known_MA: NDArray[np.uint8], requested: Mapping[int, int], names: Sequence[str]) -> str | None:
    """One line where the request is rarer than 1 in 10,000 in the training data, as far as `known_MA` tells."""
    if not requested or len(_agreeing(known_MA, requested)) >= FEW:
        return None
    chain, values = _chain(known_MA, requested)
    if chain.probability(values) >= RARE:
        return None
    words = [names[position] if requested[position] else f"not {names[position]}" for position in sorted(requested)]
    what = f"{', '.join(words[:-1])} and {words[-1]} together are" if len(words) > 1 else f"{words[0]} is"
    return f"{what} rarer than 1 in {1 / RARE:,.0f} in the training data: expect weaker faces."


def read_requested(names: Sequence[str], with_: str | Sequence[str], without: str | Sequence[str]) -> dict[int, int]:
    """The requested attributes, as position in `names` -> 1 or 0.

    Raises UserError for an attribute that is not among `names`, naming the nearest, or one requested both with and
    without.
    """
    requested: dict[int, int] = {}
    for words, value in ((with_, 1), (without, 0)):
        for word in names_of(words):
            position = match_attribute(word, names)
            if requested.get(position, value) != value:
                raise UserError(f"{names[position]} is requested with and without at once: leave one out.")
            requested[position] = value
    return requested


def _agreeing(known_MA: NDArray[np.uint8], requested: Mapping[int, int]) -> NDArray[np.intp]:
    """The rows of `known_MA` that have all that is requested."""
    return np.flatnonzero((known_MA[:, list(requested)] == list(requested.values())).all(axis=1))


def _chain(known_MA: NDArray[np.uint8], requested: Mapping[int, int]) -> tuple[AttributeChain, list[int]]:
    """The chain given the requested attributes, in whatever order they were named, and their values."""
    given = tuple(sorted(requested))
    return fitted_chain(known_MA.tobytes(), known_MA.shape[1], given), [requested[position] for position in given]
