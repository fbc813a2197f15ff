"""Sampling latents. Shapes: B batch, Z latent.

Distributions: `gaussian` N(0, 1); `uniform` on [-1, 1]; `spherical` uniform on the sphere of radius sqrt(Z), where
Gaussian latents nearly all lie (White 2016).
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from limner.latent.numbers import face_numbers


def training_latents(count: int, latent: int, distribution: str, generator: torch.Generator) -> Tensor:
    """`count` x `latent` float32 latents for one training step, on `generator`'s device."""
    shape, device = (count, latent), generator.device
    if distribution == "uniform":
        return torch.rand(shape, generator=generator, device=device) * 2 - 1
    z_BZ = torch.randn(shape, generator=generator, device=device)
    return _to_sphere(z_BZ) if distribution == "spherical" else z_BZ


def face_latents(seed: int, first: int, count: int, latent: int, distribution: str) -> Tensor:
    """Latents of the faces `first` ... `first + count - 1` of `seed`: `count` x `latent`, float32, on the CPU.

    Each face has a random stream of its own, so face k of a seed has the same latent whatever is sampled beside it and
    whatever device the generator runs on.
    """
    z_BZ = torch.from_numpy(face_numbers(seed, first, count, latent, distribution))
    return _to_sphere(z_BZ) if distribution == "spherical" else z_BZ


def to_support(z_BZ: Tensor, distribution: str) -> Tensor:
    """Latents B x Z brought back to where the distribution has any: into the cube, onto the sphere, or as they are."""
    if distribution == "uniform":
        return z_BZ.clamp(-1, 1)
    return _to_sphere(z_BZ) if distribution == "spherical" else z_BZ


def _to_sphere(z_BZ: Tensor) -> Tensor:
    unit_BZ: Tensor = F.normalize(z_BZ, dim=1)
    return unit_BZ * math.sqrt(z_BZ.shape[1])
