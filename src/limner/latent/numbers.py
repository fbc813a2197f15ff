"""The random numbers of faces' latents, free of torch. Shapes: B faces, Z latent."""

import numpy as np
from numpy.typing import NDArray

from limner.core.randomness import stream


def face_numbers(seed: int, first: int, count: int, latent: int, distribution: str) -> NDArray[np.float32]:
    """Of the faces `first` ... `first + count - 1` of `seed`: `count` x `latent`, float32.

    They are uniform on [-1, 1] where the distribution is, and else normal: the latents of a `gaussian` model, and the
    directions of those of a `spherical` one. Each face has a random stream of its own.
    """
    return np.stack([_one_face(seed, first + k, latent, distribution) for k in range(count)])


def _one_face(seed: int, index: int, latent: int, distribution: str) -> NDArray[np.float32]:
    own = stream(seed, "face", index)
    if distribution == "uniform":
        return own.random(latent, dtype=np.float32) * 2 - 1
    return own.standard_normal(latent, dtype=np.float32)
