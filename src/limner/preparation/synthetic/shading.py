"""Soft shading: Gaussian spots of colour, and light on a bump."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from limner.preparation.synthetic.colours import Colour

Floats32 = NDArray[np.float32]


@dataclass
class Spot:
    """A Gaussian spot of colour; rx and ry are its standard deviations."""

    x: float
    y: float
    rx: float
    ry: float
    colour: Colour
    opacity: float


@dataclass
class Light:
    """Light from one direction on an ellipsoid bump, seen from the front."""

    x: float  # the middle of the bump
    y: float
    rx: float
    ry: float
    direction: float  # -1 from the left, 1 from the right
    strength: float
    shadow: Colour  # what full shadow and full light add to a colour
    shine: Colour

    def on(self, xs_W: Floats32, ys_H: Floats32) -> Floats32:
        """The change of colour at each place, (3, H, W)."""
        x, y = (xs_W - self.x) / self.rx, ((ys_H - self.y) / self.ry)[:, None]
        z = np.sqrt(np.maximum(1 - x * x - y * y, 0.02))
        lamp = np.array((0.75 * self.direction, -0.42, 0.8))
        lamp_x, lamp_y, lamp_z = (lamp / np.linalg.norm(lamp)).astype(np.float32)
        lit_HW = (x * lamp_x + y * lamp_y + z * lamp_z - np.float32(0.7)) * np.float32(self.strength)
        shadow, shine = np.array((self.shadow, self.shine), np.float32)[:, :, None, None]
        change_CHW: Floats32 = np.clip(-lit_HW, 0, 1) * shadow + np.clip(lit_HW, 0, 0.5) * shine
        return change_CHW
