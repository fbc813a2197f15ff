"""One face being drawn: what all its parts share."""

from cmath import exp as cexp
from math import cos, radians, sin, sqrt

import numpy as np
from PIL import Image

from limner.preparation.synthetic.canvas import Canvas
from limner.preparation.synthetic.colours import Colour, mix, times
from limner.preparation.synthetic.geometry import Points
from limner.preparation.synthetic.parameters import FaceParameters, HairColour
from limner.preparation.synthetic.shading import Spot

HAIR_RANGE: dict[HairColour, tuple[tuple[int, int, int], tuple[int, int, int]]] = {
    "black": ((24, 20, 24), (44, 35, 36)),
    "blond": ((200, 158, 88), (240, 212, 150)),
    "brown": ((78, 47, 30), (118, 77, 48)),
    "gray": ((140, 140, 146), (206, 206, 210)),
    "red": ((124, 40, 24), (186, 82, 40)),
}
SKIN_TONES: tuple[Colour, ...] = (
    (255, 222, 198),
    (246, 204, 172),
    (234, 184, 146),
    (212, 156, 114),
    (178, 120, 80),
    (134, 86, 58),
    (96, 60, 44),
)

EYE_Y, MOUTH_Y, CHIN_Y = 0.455, 0.672, 0.80
CLOSENESS = 1.06  # how much larger heads are drawn than the coordinates say
HEAD_RADIUS = 0.30  # of the sphere on which yaw moves eyes, nose and mouth


class Portrait:
    """One face being drawn: its parameters, canvas, pose, colours and random details."""

    def __init__(self, p: FaceParameters, pixels: int) -> None:
        self.p = p
        self.canvas = Canvas(Image.new("RGB", (pixels, pixels)), pixels)
        self.half = p.face_width
        self.chin = CHIN_Y - 0.012 + 0.024 * p.chin_length
        self.wrinkle = max(0.0, (p.age - 42) / 36)

        # The pose: eyes stay where they are, so that a turned head moves away under its features.
        self.turn_sin, self.turn_cos = sin(radians(p.yaw)), cos(radians(p.yaw))
        self.roll = CLOSENESS * p.scale * cexp(1j * radians(p.roll))
        self.shift = complex(0.5 + p.shift_x, EYE_Y + p.shift_y) - self.roll * complex(0.5, EYE_Y)
        self.head_shift = self.shift - self.roll * (0.8 * HEAD_RADIUS * self.turn_sin)
        self.nose_lean = 0.055 * self.turn_sin  # it stands out from the head and so moves further when that turns

        place = p.skin_tone * (len(SKIN_TONES) - 1)
        low = min(int(place), len(SKIN_TONES) - 2)
        self.skin = mix(SKIN_TONES[low], SKIN_TONES[low + 1], place - low)
        if p.pale_skin:
            self.skin = mix(self.skin, (255, 243, 240), 0.72)
        self.skin_shadow = times(self.skin, 0.68, 0.56, 0.53)
        self.skin_light = mix(self.skin, (255, 246, 232), 0.52 - 0.25 * p.skin_tone)
        self.skin_line = times(self.skin, 0.50, 0.36, 0.33)

        self.hair = mix(*HAIR_RANGE[p.hair_colour], p.hair_shade)
        self.hair_dark = times(self.hair, 0.60, 0.56, 0.56)
        self.hair_light = mix(self.hair, (250, 250, 255) if p.hair_colour == "gray" else (255, 232, 196), 0.34)
        self.beard = mix(self.hair_dark, self.hair, 0.45)

        # Random details, a row for each topic, so that no feature disturbs another's.
        rng = np.random.Generator(np.random.Philox(p.detail))
        self.background_random, self.beard_random, self.hair_random, self.bangs_random = rng.random((4, 120))

    def on_head(self, points_P: Points) -> Points:
        """Pose what belongs to the outline: hair, ears, hat."""
        return points_P * self.roll + self.head_shift

    def on_face(self, points_P: Points) -> Points:
        """Pose features: they move over the front of a sphere."""
        x = (points_P.real - 0.5) / HEAD_RADIUS
        turned = x * self.turn_cos + (np.sqrt(np.maximum(1 - x * x, 0)) - 1) * self.turn_sin
        return (0.5 + HEAD_RADIUS * turned + 1j * points_P.imag) * self.roll + self.shift

    def spot(self, x: float, y: float, rx: float, ry: float, colour: Colour, opacity: float) -> Spot:
        """A spot on the face, by its place before the pose."""
        u = (x - 0.5) / HEAD_RADIUS
        turned = u * self.turn_cos + (sqrt(1 - u * u) - 1) * self.turn_sin
        at = complex(0.5 + HEAD_RADIUS * turned, y) * self.roll + self.shift
        return Spot(at.real, at.imag, rx * CLOSENESS, ry * CLOSENESS, colour, opacity)
