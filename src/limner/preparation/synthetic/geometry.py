"""Curves and outlines in unit coordinates.

Points are complex numbers x + iy: a turn is one product, a normal is a product with i.
"""

from collections.abc import Sequence
from functools import lru_cache
from math import pi

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.complex128]
Floats = NDArray[np.float64]

MIDDLE = 0.5 + 0j
SIDES = (-1, 1)  # left and right of the middle, in the image
POINTED = np.array((0.008, 0.002))  # the widths of one hair, from root to tip


@lru_cache(maxsize=128)
def spline_basis(points: int, closed: bool, samples: int) -> Points:
    """The matrix that takes control points to `samples` points a piece on the Catmull-Rom spline through them."""
    t = np.arange(samples) / samples
    weights = 0.5 * np.stack([-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2], 1)
    pieces = points if closed else points - 1
    basis = np.zeros((pieces * samples + (not closed), points), np.complex128)
    for piece in range(pieces):
        for k in range(4):
            at = (piece + k - 1) % points if closed else min(max(piece + k - 1, 0), points - 1)
            basis[piece * samples : (piece + 1) * samples, at] += weights[:, k]
    if not closed:
        basis[-1, -1] = 1
    return basis


def points(xs: Sequence[float] | Floats, ys: Sequence[float] | Floats) -> Points:
    return np.array(xs) + 1j * np.array(ys)


def smooth(control_P: Points, samples: int = 4, closed: bool = False) -> Points:
    return spline_basis(len(control_P), closed, samples) @ control_P


def curve(xs: Sequence[float], ys: Sequence[float], samples: int = 4) -> Points:
    return smooth(points(xs, ys), samples)


def mirrored(dxs: Sequence[float], ys: Sequence[float]) -> Points:
    """A closed control outline about the middle line, from its right half, listed from that line and back to it."""
    right = points(dxs, ys)
    return np.concatenate([right, -right[-2:0:-1].conj()]) + MIDDLE


CIRCLE: Points = np.exp(2j * pi * np.arange(20) / 20)


def ellipse(x: float, y: float, rx: float, ry: float) -> Points:
    return CIRCLE.real * rx + CIRCLE.imag * (1j * ry) + complex(x, y)


@lru_cache(maxsize=64)
def taper(count: int) -> Floats:
    """Relative widths of a stroke that starts and ends thin."""
    widths: Floats = np.sin(np.linspace(0.15, pi - 0.15, count)) ** 0.6
    return widths


@lru_cache(maxsize=64)
def tangents(count: int) -> Points:
    """The matrix that takes a row of points to the directions of the path at them."""
    each = np.eye(count, dtype=np.complex128)
    return np.stack([np.gradient(row) for row in each])
