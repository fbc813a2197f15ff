"""Faces that Limner draws itself: no photo, no download, and the truth of all 40 CelebA attributes.

A face is a `FaceParameters`, sampled from (seed, index) alone; the labels are read off the parameters and the picture
is drawn from them, back to front, in *unit coordinates*: the square picture is [0, 1] x [0, 1], x to the right, y down,
the eyes at y = 0.455. Crisp shapes are polygons on a canvas several times the wanted size, reduced at the end, which
antialiases them. Soft shading (light, blush, shadow) is a sum of Gaussian spots on a coarse grid, resized onto the
shape: as smooth as a blur of the whole canvas and far cheaper.
"""

import colorsys
from bisect import bisect
from cmath import exp as cexp
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate
from math import ceil, cos, pi, radians, sin, sqrt
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from limner.data.attributes import CELEBA_ATTRIBUTES

ATTRIBUTE_NAMES: tuple[str, ...] = CELEBA_ATTRIBUTES

Points = NDArray[np.complex128]
Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]
Colour = tuple[float, float, float]
HairColour = Literal["black", "blond", "brown", "gray", "red"]
HairCut = Literal["short", "medium", "long", "updo", "afro"]

# How often CelebA has each attribute, in percent: of young women, older women, young men, older men.
GROUP_PERCENT = (51, 7, 26, 15)
PERCENT: dict[str, tuple[float, float, float, float]] = {
    "5_o_Clock_Shadow": (0, 0, 33, 15),
    "Arched_Eyebrows": (43, 38, 6, 3),
    "Bags_Under_Eyes": (9, 19, 28, 47),
    "Bald": (0, 0, 2, 11),
    "Bangs": (18, 37, 11, 3),
    "Big_Lips": (31, 26, 18, 11),
    "Big_Nose": (9, 21, 33, 58),
    "Blurry": (4, 9, 5, 7),
    "Bushy_Eyebrows": (8, 2, 32, 12),
    "Chubby": (0.7, 5, 5, 25),
    "Double_Chin": (0, 5, 3, 22),
    "Eyeglasses": (2, 7, 7, 22),
    "Goatee": (0, 0, 14, 16),
    "Heavy_Makeup": (68, 52, 0.4, 0),
    "High_Cheekbones": (54, 72, 28, 35),
    "Mouth_Slightly_Open": (51, 63, 42, 43),
    "Mustache": (0, 0, 8, 14),
    "Narrow_Eyes": (11, 13, 11, 14),
    "Pale_Skin": (6, 5, 3, 2),
    "Pointy_Nose": (37, 32, 17, 15),
    "Receding_Hairline": (5, 5, 5, 24),
    "Rosy_Cheeks": (11, 13, 0.2, 0.5),
    "Sideburns": (0, 0, 13, 14),
    "Smiling": (52, 68, 38, 43),
    "Straight_Hair": (20, 11, 27, 20),
    "Wavy_Hair": (44, 51, 16, 11),
    "Wearing_Earrings": (29, 49, 2, 1.0),
    "Wearing_Hat": (3, 2, 8, 8),
    "Wearing_Lipstick": (82, 74, 0.9, 0),
    "Wearing_Necklace": (18, 33, 2, 1),
    "Wearing_Necktie": (0, 0, 11, 29),
}
# Hair colours in the same four groups. CelebA leaves a third of its faces without any of its four; here only red hair
# and baldness have none, so the four are more frequent than there.
HAIR_PERCENT: dict[HairColour, tuple[float, float, float, float]] = {
    "black": (16, 8, 30, 15),
    "blond": (27, 35, 5, 3),
    "brown": (33, 29, 38, 19),
    "gray": (0.1, 8, 0.4, 24),
    "red": (19, 15, 17, 8),
}
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
IRIS_COLOURS: tuple[Colour, ...] = ((70, 42, 26), (104, 66, 34), (92, 108, 62), (74, 116, 156), (104, 118, 128))
LIP_COLOURS: tuple[Colour, ...] = ((196, 30, 52), (214, 66, 106), (160, 30, 74), (220, 84, 76))
SHADOW_COLOURS: tuple[Colour, ...] = ((112, 70, 120), (70, 86, 140), (120, 74, 56), (60, 52, 60), (70, 120, 116))
METALS: tuple[Colour, ...] = ((240, 196, 84), (214, 218, 226), (246, 238, 226), (70, 190, 190))
FRAMES: tuple[Colour, ...] = ((28, 24, 28), (96, 56, 34), (196, 160, 84), (120, 32, 44), (52, 62, 88))

EYE_Y, MOUTH_Y, CHIN_Y = 0.455, 0.672, 0.80
SHADING_STEP = 3
CLOSENESS = 1.06  # how much larger heads are drawn than the numbers below say
HEAD_RADIUS = 0.30  # of the sphere on which yaw moves eyes, nose and mouth


@dataclass(frozen=True)
class FaceParameters:
    """All that decides one picture. The flags are the CelebA attributes of the same names, drawn as they say.

    `age` is in years, angles in degrees, lengths in unit coordinates; every other float lies in [0, 1].
    """

    male: bool
    age: float

    skin_tone: float  # 0 the lightest
    pale_skin: bool
    rosy_cheeks: bool

    face_width: float  # half of it, at the cheekbones
    jaw_width: float
    chin_length: float
    chubby: bool
    double_chin: bool
    high_cheekbones: bool

    eye_distance: float  # half of it
    eye_size: float
    eye_tilt: float
    iris: int
    narrow_eyes: bool
    bags_under_eyes: bool
    brow_height: float
    arched_eyebrows: bool
    bushy_eyebrows: bool

    nose_length: float
    big_nose: bool
    pointy_nose: bool

    mouth_width: float
    smiling: bool
    mouth_slightly_open: bool
    big_lips: bool

    hair_colour: HairColour
    hair_shade: float
    hair_cut: HairCut
    hair_volume: float
    part: float  # 0 on the left of the picture, 1 on the right
    bald: bool
    bangs: bool
    receding_hairline: bool
    straight_hair: bool
    wavy_hair: bool

    stubble: bool  # 5_o_Clock_Shadow
    goatee: bool
    mustache: bool
    sideburns: bool

    heavy_makeup: bool
    wearing_lipstick: bool
    makeup_colour: int

    eyeglasses: bool
    wearing_hat: bool
    wearing_earrings: bool
    wearing_necklace: bool
    wearing_necktie: bool
    accessory: int  # which hat, frame, metal
    accessory_hue: float
    clothes_hue: float
    clothes_light: float
    clothes_saturation: float

    yaw: float
    roll: float
    shift_x: float
    shift_y: float
    scale: float
    light: float  # where it comes from: -1 left of the picture, 1 right
    light_strength: float
    background: int
    background_hue: float
    background_light: float
    blurry: bool
    detail: int  # seed of strands, stubble and background spots

    @property
    def young(self) -> bool:
        return self.age < 45

    @property
    def no_beard(self) -> bool:
        return not (self.stubble or self.goatee or self.mustache or self.sideburns)

    @property
    def oval_face(self) -> bool:
        """Slender, with a jaw narrower than the cheeks and no extra weight."""
        return self.face_width - 0.02 * self.chin_length + 0.035 * self.jaw_width < 0.234 and not self.chubby

    @property
    def attractive(self) -> bool:
        """CelebA's word. Here a fixed rule over what is drawn, fitted to how CelebA's annotators used it."""
        for_it = 1.2 * self.young + 0.7 * self.heavy_makeup + 0.4 * self.oval_face + 0.3 * self.smiling
        for_it += 0.3 * self.arched_eyebrows + 0.3 * self.high_cheekbones + 0.3 * self.bushy_eyebrows
        against = 0.6 * self.bags_under_eyes + 0.6 * self.big_nose + 1.0 * (self.chubby or self.double_chin)
        against += 0.5 * self.receding_hairline + 0.8 * self.bald + 0.4 * self.eyeglasses + 0.4 * self.blurry
        return for_it - against > 1.55

    @property
    def black_hair(self) -> bool:
        return self.hair_colour == "black" and not self.bald

    @property
    def blond_hair(self) -> bool:
        return self.hair_colour == "blond" and not self.bald

    @property
    def brown_hair(self) -> bool:
        return self.hair_colour == "brown" and not self.bald

    @property
    def gray_hair(self) -> bool:
        return self.hair_colour == "gray" and not self.bald


def labels(p: FaceParameters) -> NDArray[np.uint8]:
    """The 40 attributes of the face, 0 or 1, in the order of ATTRIBUTE_NAMES."""
    fields = ("stubble" if name == "5_o_Clock_Shadow" else name.lower() for name in ATTRIBUTE_NAMES)
    return np.array([getattr(p, field) for field in fields], np.uint8)


def draw_face(seed: int, index: int, size: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Face `index` of `seed` (both >= 0): the picture (size, size, 3) in 0..255, and its 40 attributes, 0 or 1.

    A pure function of its arguments. `size` changes the resolution, never the face.
    """
    p = sample_parameters(seed, index)
    return render(p, size), labels(p)


def sample_parameters(seed: int, index: int) -> FaceParameters:
    """The parameters of face `index` of `seed`; attributes as frequent as in CelebA, and never in contradiction."""
    rng = np.random.Generator(np.random.Philox(key=np.array([seed, index], np.uint64)))
    group = _pick(rng.random(), GROUP_PERCENT)
    male, young = group >= 2, group % 2 == 0
    chance: dict[str, float] = dict(zip(PERCENT, rng.random(len(PERCENT)).tolist(), strict=True))

    def has(name: str, times: float = 1.0) -> bool:
        return chance[name] * 100 < PERCENT[name][group] * times

    u: Iterator[float] = iter(rng.random(40).tolist())

    def between(low: float, high: float) -> float:
        return low + (high - low) * next(u)

    skin_tone = float(rng.beta(1.3, 2.4))
    # Dark skin seldom comes with light hair.
    likely = (3.5, 0.1, 0.6, 1.0, 0.1) if skin_tone > 0.55 else (1.0,) * 5
    weights = [percent[group] * times for percent, times in zip(HAIR_PERCENT.values(), likely, strict=True)]
    hair_colour = tuple(HAIR_PERCENT)[_pick(next(u), weights)]

    hat = has("Wearing_Hat")
    bald = has("Bald") and not hat
    receding = has("Receding_Hairline", 1.1) and not (hat or bald)
    straight = has("Straight_Hair", 1.05) and not bald
    wavy = has("Wavy_Hair", 1.3) and not (bald or straight)
    cut: HairCut
    if male:
        cut = "medium" if next(u) < (0.14 if straight or wavy else 0.0) else "short"
    else:
        cuts: tuple[HairCut, ...] = ("long", "long", "long", "medium", "medium", "short")
        cut = cuts[int(next(u) * 6)] if straight or wavy else "updo" if next(u) < 0.75 else "medium"
    if cut in ("short", "updo") and not (straight or wavy or receding or hat) and next(u) < 0.1 + 0.5 * skin_tone:
        cut = "afro"
    if hat:  # what the hat hides has no label
        straight, wavy = straight and cut != "short", wavy and cut != "short"

    smiling = has("Smiling")
    goatee = has("Goatee")
    sideburns = has("Sideburns", 3.5 if goatee else 0.45)
    mustache = has("Mustache", 3.8 if goatee and sideburns else 1.4 if goatee else 0.5)
    double_chin = has("Double_Chin")
    lipstick = has("Wearing_Lipstick")
    pointy = has("Pointy_Nose")
    return FaceParameters(
        male=male,
        age=between(18, 40) if young else between(50, 78),
        skin_tone=skin_tone,
        pale_skin=has("Pale_Skin", 1.6) and skin_tone < 0.5,
        rosy_cheeks=has("Rosy_Cheeks"),
        face_width=between(0.218, 0.25) + 0.006 * male,
        jaw_width=between(0.0, 0.65) + 0.35 * male,
        chin_length=next(u),
        chubby=has("Chubby", 8.0 if double_chin else 0.5),
        double_chin=double_chin,
        high_cheekbones=has("High_Cheekbones", 1.45 if smiling else 0.5),
        eye_distance=between(0.108, 0.12),
        eye_size=next(u),
        eye_tilt=next(u),
        iris=min(int(rng.integers(5)), 1) if skin_tone > 0.5 else int(rng.integers(5)),
        narrow_eyes=has("Narrow_Eyes"),
        bags_under_eyes=has("Bags_Under_Eyes"),
        brow_height=next(u),
        arched_eyebrows=has("Arched_Eyebrows"),
        bushy_eyebrows=has("Bushy_Eyebrows"),
        nose_length=next(u),
        big_nose=has("Big_Nose", 0.5 if pointy else 1.2),
        pointy_nose=pointy,
        mouth_width=next(u),
        smiling=smiling,
        mouth_slightly_open=has("Mouth_Slightly_Open", 1.45 if smiling else 0.45),
        big_lips=has("Big_Lips"),
        hair_colour=hair_colour,
        hair_shade=next(u),
        hair_cut=cut,
        hair_volume=next(u),
        part=next(u),
        bald=bald,
        bangs=has("Bangs", 1.15) and not (hat or bald or receding),
        receding_hairline=receding,
        straight_hair=straight,
        wavy_hair=wavy,
        stubble=has("5_o_Clock_Shadow"),
        goatee=goatee,
        mustache=mustache,
        sideburns=sideburns,
        heavy_makeup=has("Heavy_Makeup", 1.19 if lipstick else 0.15),
        wearing_lipstick=lipstick,
        makeup_colour=int(rng.integers(20)),
        eyeglasses=has("Eyeglasses"),
        wearing_hat=hat,
        wearing_earrings=has("Wearing_Earrings"),
        wearing_necklace=has("Wearing_Necklace"),
        wearing_necktie=has("Wearing_Necktie"),
        accessory=int(rng.integers(60)),
        accessory_hue=next(u),
        clothes_hue=next(u),
        clothes_light=next(u),
        clothes_saturation=next(u),
        yaw=min(max(float(rng.normal(0, 6)), -14), 14),
        roll=min(max(float(rng.normal(0, 2.5)), -7), 7),
        shift_x=between(-0.008, 0.008),
        shift_y=between(-0.008, 0.008),
        scale=between(0.97, 1.03),
        light=between(-1, 1),
        light_strength=next(u),
        background=int(rng.integers(4)),
        background_hue=next(u),
        background_light=next(u),
        blurry=has("Blurry"),
        detail=int(rng.integers(2**32)),
    )


def _pick(chance: float, weights: Sequence[float]) -> int:
    """A position, as often as its weight says; `chance` is uniform in [0, 1)."""
    return bisect(list(accumulate(weights)), chance * sum(weights))


def render(p: FaceParameters, size: int) -> NDArray[np.uint8]:
    """The picture of `p`: (size, size, 3) in 0..255."""
    factor = max(3, ceil(192 / size))
    picture = _Portrait(p, size * factor).draw().reduce(factor)
    if p.blurry:
        picture = picture.filter(ImageFilter.GaussianBlur(0.024 * size))
    return np.asarray(picture)


# ---------------------------------------------------------------------------------------------------- drawing tools
# Points are complex numbers x + iy: a turn is one product, a normal is a product with i.

MIDDLE = 0.5 + 0j


@lru_cache(maxsize=128)
def _spline_basis(points: int, closed: bool, samples: int) -> Points:
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


def _points(xs: Sequence[float] | Floats, ys: Sequence[float] | Floats) -> Points:
    return np.array(xs) + 1j * np.array(ys)


def _smooth(control_P: Points, samples: int = 4, closed: bool = False) -> Points:
    return _spline_basis(len(control_P), closed, samples) @ control_P


def _curve(xs: Sequence[float], ys: Sequence[float], samples: int = 4) -> Points:
    return _smooth(_points(xs, ys), samples)


def _mirrored(dxs: Sequence[float], ys: Sequence[float]) -> Points:
    """A closed control outline about the middle line, from its right half, listed from that line and back to it."""
    right = _points(dxs, ys)
    return np.concatenate([right, -right[-2:0:-1].conj()]) + MIDDLE


_CIRCLE: Points = np.exp(2j * pi * np.arange(20) / 20)


def _ellipse(x: float, y: float, rx: float, ry: float) -> Points:
    return _CIRCLE.real * rx + _CIRCLE.imag * (1j * ry) + complex(x, y)


@lru_cache(maxsize=64)
def _taper(count: int) -> Floats:
    """Relative widths of a stroke that starts and ends thin."""
    widths: Floats = np.sin(np.linspace(0.15, pi - 0.15, count)) ** 0.6
    return widths


@lru_cache(maxsize=64)
def _tangents(count: int) -> Points:
    """The matrix that takes a row of points to the directions of the path at them."""
    each = np.eye(count, dtype=np.complex128)
    return np.stack([np.gradient(row) for row in each])


def _mix(a: Colour, b: Colour, t: float) -> Colour:
    return a[0] + (b[0] - a[0]) * t, a[1] + (b[1] - a[1]) * t, a[2] + (b[2] - a[2]) * t


def _times(colour: Colour, r: float, g: float, b: float) -> Colour:
    return colour[0] * r, colour[1] * g, colour[2] * b


def _dim(colour: Colour, factor: float) -> Colour:
    return _times(colour, factor, factor, factor)


def _hsv(hue: float, saturation: float, value: float) -> Colour:
    r, g, b = colorsys.hsv_to_rgb(hue % 1, saturation, value)
    return r * 255, g * 255, b * 255


@dataclass
class _Spot:
    """A Gaussian spot of colour; rx and ry are its standard deviations."""

    x: float
    y: float
    rx: float
    ry: float
    colour: Colour
    opacity: float


class _Canvas:
    """A piece of the picture, `pixels` to the unit, whose upper left pixel is (left, top)."""

    def __init__(self, image: Image.Image, pixels: int, left: int = 0, top: int = 0) -> None:
        self.image, self.pixels, self.left, self.top = image, pixels, left, top

    @cached_property
    def opaque_pen(self) -> ImageDraw.ImageDraw:
        return ImageDraw.Draw(self.image)

    @cached_property
    def glazing_pen(self) -> ImageDraw.ImageDraw:
        return ImageDraw.Draw(self.image, "RGBA")

    def _flat(self, points_P: Points) -> Any:
        return (points_P * self.pixels - complex(self.left, self.top)).view(np.float64).tolist()

    def polygon(self, points_P: Points, colour: Colour, opacity: float = 1.0) -> None:
        self._fill(self._flat(points_P), colour, opacity)

    def ellipse(self, x: float, y: float, rx: float, ry: float, colour: Colour) -> None:
        x, y, rx, ry = x * self.pixels - self.left, y * self.pixels - self.top, rx * self.pixels, ry * self.pixels
        r, g, b = colour
        self.opaque_pen.ellipse((x - rx, y - ry, x + rx, y + ry), fill=(int(r), int(g), int(b)))

    def flood(self, colour: Colour) -> None:
        r, g, b = colour
        self.image.paste((int(r), int(g), int(b)), (0, 0, *self.image.size))

    def _fill(self, flat: list[float], colour: Colour, opacity: float) -> None:
        r, g, b = colour
        if opacity >= 1:
            self.opaque_pen.polygon(flat, fill=(int(r), int(g), int(b)))
        else:
            self.glazing_pen.polygon(flat, fill=(int(r), int(g), int(b), round(255 * opacity)))

    def ribbon(self, points_P: Points, width: float | Floats, colour: Colour, opacity: float = 1.0) -> None:
        """A stroke along the points; `width` is one number or one for each point."""
        self.ribbons(points_P[None], width, (colour,), opacity)

    def ribbons(self, points_NP: Points, width: float | Floats, colours: Sequence[Colour], opacity: float) -> None:
        """Many ribbons with equally many points; the colours take turns."""
        along = points_NP @ _tangents(points_NP.shape[1])
        half = along * (0.5j * width / np.abs(along))
        outlines = np.concatenate([points_NP + half, (points_NP - half)[:, ::-1]], 1)
        for k, flat in enumerate(self._flat(outlines)):
            self._fill(flat, colours[k % len(colours)], opacity)

    def stroke(self, points_P: Points, width: float, colour: Colour, opacity: float = 1.0) -> None:
        """A ribbon that starts and ends thin."""
        self.ribbon(points_P, width * _taper(len(points_P)), colour, opacity)

    def dots(self, points_P: Points, colour: Colour, opacity: float) -> None:
        r, g, b = (int(channel) for channel in colour)
        self.glazing_pen.point(self._flat(points_P), fill=(r, g, b, round(255 * opacity)))

    def shade(self, base: Colour, spots: Iterable[_Spot], light: "_Light | None" = None) -> None:
        """Fill with the colour `base`, what the spots change in it, and the light on a bump.

        All the spots are one matrix product, at the resolution to which the picture is reduced later.
        """
        width, height = self.image.width // SHADING_STEP + 1, self.image.height // SHADING_STEP + 1
        xs = (self.left + SHADING_STEP * (0.5 + np.arange(width, dtype=np.float32))) / np.float32(self.pixels)
        ys = (self.top + SHADING_STEP * (0.5 + np.arange(height, dtype=np.float32))) / np.float32(self.pixels)
        table = np.array([(s.x, s.y, s.rx, s.ry, s.opacity, *s.colour) for s in spots], np.float32).T[:, :, None]
        x, y, rx, ry, opacity = table[:5]
        across_KW = np.exp(-0.5 * ((xs - x) / rx) ** 2)
        down_KH = np.exp(-0.5 * ((ys - y) / ry) ** 2) * opacity
        change_CKW = (table[5:] - np.array(base, np.float32)[:, None, None]) * across_KW
        texture_CHW = down_KH.T @ change_CKW + np.array(base, np.float32)[:, None, None]
        if light is not None:
            texture_CHW += light.on(xs, ys)
        np.clip(texture_CHW, 0, 255, out=texture_CHW)
        pixels_HWC = texture_CHW.astype(np.uint8).transpose(1, 2, 0)
        shaded = Image.frombytes("RGB", (width, height), pixels_HWC.tobytes())
        shaded = shaded.resize((SHADING_STEP * width, SHADING_STEP * height), Image.Resampling.NEAREST)
        self.image.paste(shaded, (0, 0))

    @contextmanager
    def inside(self, outline_P: Points) -> Iterator["_Canvas"]:
        """A canvas on which only what lies inside the outline will show."""
        x, y = outline_P.real * self.pixels, outline_P.imag * self.pixels
        left, top = max(int(x.min()), self.left), max(int(y.min()), self.top)
        right = max(left + 1, min(int(x.max()) + 2, self.left + self.image.width))
        bottom = max(top + 1, min(int(y.max()) + 2, self.top + self.image.height))
        at = (left - self.left, top - self.top)
        inner = _Canvas(self.image.crop((*at, right - self.left, bottom - self.top)), self.pixels, left, top)
        yield inner
        mask = Image.new("1", inner.image.size)
        ImageDraw.Draw(mask).polygon(inner._flat(outline_P), fill=1)
        self.image.paste(inner.image, at, mask)


@dataclass
class _Light:
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


# ------------------------------------------------------------------------------------------------------ the portrait

SIDES = (-1, 1)
WHITE: Colour = (255, 255, 255)


_LID_T = np.linspace(-1, 1, 9)  # from the inner corner of an eye to the outer one
_UPPER_LID = np.sin(3.1415 * (0.5 + 0.5 * _LID_T) ** 0.9) ** 0.75
_LOWER_LID = np.sin(3.1415 * (0.5 + 0.5 * _LID_T)) ** 0.9
_MOUTH_U = np.linspace(-1, 1, 17)  # from one corner of the mouth to the other
_CUPIDS_BOW = (1 - np.abs(_MOUTH_U) ** 1.7) * (1 - 0.28 * np.exp(-((_MOUTH_U / 0.16) ** 2)))
_STUBBLE_X, _STUBBLE_Y = np.random.Generator(np.random.Philox(0)).normal(
    ((0.5,), (0.735,)), ((0.11,), (0.05,)), (2, 400)
)
_STUBBLE = (_STUBBLE_X + 1j * _STUBBLE_Y)[_STUBBLE_Y > 0.625]
_POINTED = np.array((0.008, 0.002))  # the widths of one hair


def _rim(height: float, corner: float) -> Points:
    """One lens of half width 1: a superellipse, the rounder the nearer `corner` is to 1."""
    turn = np.append(_CIRCLE, 1)
    x, y = (np.sign(side) * np.abs(side) ** corner for side in (turn.real, turn.imag))
    return _points(x, height * y)


_RIMS = (_rim(0.9, 1.0), _rim(0.6, 0.55), _rim(0.72, 0.75))


class _Portrait:
    """One face being drawn, back to front. `draw` is the table of contents."""

    def __init__(self, p: FaceParameters, pixels: int) -> None:
        self.p = p
        self.canvas = _Canvas(Image.new("RGB", (pixels, pixels)), pixels)
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
        self.skin = _mix(SKIN_TONES[low], SKIN_TONES[low + 1], place - low)
        if p.pale_skin:
            self.skin = _mix(self.skin, (255, 243, 240), 0.72)
        self.skin_shadow = _times(self.skin, 0.68, 0.56, 0.53)
        self.skin_light = _mix(self.skin, (255, 246, 232), 0.52 - 0.25 * p.skin_tone)
        self.skin_line = _times(self.skin, 0.50, 0.36, 0.33)

        self.hair = _mix(*HAIR_RANGE[p.hair_colour], p.hair_shade)
        self.hair_dark = _times(self.hair, 0.60, 0.56, 0.56)
        self.hair_light = _mix(self.hair, (250, 250, 255) if p.hair_colour == "gray" else (255, 232, 196), 0.34)
        self.beard = _mix(self.hair_dark, self.hair, 0.45)

        # Random details, a row for each topic, so that no feature disturbs another's.
        rng = np.random.Generator(np.random.Philox(p.detail))
        self.background_chance, self.beard_chance, self.hair_chance, self.bangs_chance = rng.random((4, 120))

    def draw(self) -> Image.Image:
        p = self.p
        self.draw_background()
        if not p.bald:
            self.draw_back_hair()
        self.draw_body()
        self.draw_ears()
        with self.canvas.inside(self.on_head(self.face_outline())) as face:
            face.shade(self.skin, self.skin_spots(), self.skin_light_and_shadow())
            self.draw_beard(face)
            self.draw_lines(face)
            self.draw_nose(face)
            self.draw_mouth(face)
            for side in SIDES:
                self.draw_eye(face, side)
                self.draw_brow(face, side)
        if p.eyeglasses:
            self.draw_glasses()
        if not p.bald:
            self.draw_hair()
        if p.bangs:
            self.draw_bangs()
        if p.wearing_hat:
            self.draw_hat()
        if p.wearing_earrings:
            self.draw_earrings()
        return self.canvas.image

    # ------------------------------------------------------------------ pose

    def on_head(self, points_P: Points) -> Points:
        """Pose what belongs to the outline: hair, ears, hat."""
        return points_P * self.roll + self.head_shift

    def on_face(self, points_P: Points) -> Points:
        """Pose features: they move over the front of a sphere."""
        x = (points_P.real - 0.5) / HEAD_RADIUS
        turned = x * self.turn_cos + (np.sqrt(np.maximum(1 - x * x, 0)) - 1) * self.turn_sin
        return (0.5 + HEAD_RADIUS * turned + 1j * points_P.imag) * self.roll + self.shift

    def spot(self, x: float, y: float, rx: float, ry: float, colour: Colour, opacity: float) -> _Spot:
        """A spot on the face, by its place before the pose."""
        u = (x - 0.5) / HEAD_RADIUS
        turned = u * self.turn_cos + (sqrt(1 - u * u) - 1) * self.turn_sin
        at = complex(0.5 + HEAD_RADIUS * turned, y) * self.roll + self.shift
        return _Spot(at.real, at.imag, rx * CLOSENESS, ry * CLOSENESS, colour, opacity)

    # ------------------------------------------------------------------ behind the face

    def draw_background(self) -> None:
        p, u = self.p, iter(self.background_chance.tolist())
        value = 0.22 + 0.66 * p.background_light
        near = _hsv(p.background_hue, 0.05 + 0.4 * next(u) ** 1.5, value)
        far = _hsv(p.background_hue + 0.16 * next(u) - 0.08, 0.08 + 0.4 * next(u) ** 1.5, value * (0.4 + 0.4 * next(u)))
        angle = 2 * pi * next(u)
        spots = [
            _Spot(0.5 + 0.7 * cos(angle), 0.5 + 0.7 * sin(angle), 0.45, 0.45, far, 0.95),
            _Spot(0.5 + 0.25 * p.light, 0.35, 0.3, 0.3, (255, 250, 240), 0.3 if p.background == 0 else 0.12),
        ]
        if p.background == 1:  # lights or leaves, out of focus
            for _ in range(9):
                radius, colour = 0.03 + 0.05 * next(u), _hsv(p.background_hue + 0.2 * next(u) - 0.1, 0.4, next(u))
                spots.append(_Spot(next(u), 0.9 * next(u), radius, radius, colour, 0.5))
        elif p.background == 2:  # a window or a door, out of focus
            colour = _hsv(p.background_hue + 0.4 * next(u), 0.3, 0.2 + 0.8 * next(u))
            x, wide = next(u), 0.05 + 0.1 * next(u)
            spots += [_Spot(x + k * wide, 0.4, wide, 1.0, colour, 0.5) for k in (-1, 0, 1)]
        self.canvas.shade(near, spots)

    def draw_back_hair(self) -> None:
        """What of the hair lies behind neck and shoulders."""
        p, w = self.p, self.half
        if p.hair_cut in ("long", "medium"):
            low = 1.10 if p.hair_cut == "long" else 0.79
            outline = _mirrored([0, w, w, 0.9 * w, 0.5 * w, 0], [0.15, 0.3, 0.6, low - 0.03, low, low])
            self.canvas.polygon(self.on_head(_smooth(outline, closed=True)), self.hair_dark)
        elif p.hair_cut == "updo" and not p.wearing_hat:
            x = 0.5 + 0.1 * (p.part - 0.5)
            with self.canvas.inside(self.on_head(_ellipse(x, 0.085, 0.09 + 0.03 * p.hair_volume, 0.08))) as bun:
                bun.flood(self.hair_dark)
                bun.polygon(self.on_head(_ellipse(x + 0.03 * p.light, 0.06, 0.08, 0.06)), self.hair)
                for bend in (-0.05, 0.0, 0.05):
                    curl = _curve([x - 0.1, x + bend, x + 0.1], [0.10, 0.04 + bend / 2, 0.09])
                    bun.ribbon(self.on_head(curl), 0.008, self.hair_light, 0.5)

    def draw_body(self) -> None:
        p = self.p
        x = 0.5 - 0.4 * HEAD_RADIUS * self.turn_sin + p.shift_x
        to_body = x - MIDDLE + 0.02j
        neck = 0.118 + 0.028 * p.male + 0.022 * p.chubby + 0.012 * p.double_chin
        broad = 0.02 * p.male

        skin_dxs = [0, neck, neck - 0.004, neck + 0.03, 0.30, 0.5, 0.56, 0]
        skin_ys = [0.6, 0.62, 0.8, 0.885, 0.945 - broad, 1.0 - broad, 1.2, 1.2]
        with self.canvas.inside(_smooth(_mirrored(skin_dxs, skin_ys), closed=True) + to_body) as body:
            body.shade(
                _mix(self.skin, self.skin_shadow, 0.25),
                [
                    _Spot(x - 0.05 * p.light, self.chin + 0.035, 0.17, 0.055, self.skin_shadow, 0.75),
                    _Spot(x - 0.14 * p.light, 0.87, 0.07, 0.2, self.skin_shadow, 0.5 * abs(p.light)),
                    _Spot(x + 0.12 * p.light, 0.95, 0.09, 0.06, self.skin_light, 0.35),
                ],
            )

        cloth = _hsv(p.clothes_hue, 0.15 + 0.45 * p.clothes_saturation, 0.2 + 0.7 * p.clothes_light)
        if p.wearing_necktie:
            cloth = _hsv(p.clothes_hue, 0.3, 0.16 + 0.22 * p.clothes_light)  # a dark suit
        depth = 0.94 if p.male else 0.955 + 0.05 * p.clothes_light
        wide = neck + (0.028 if p.male else 0.04 + 0.06 * p.clothes_light)
        hem_dxs, hem_ys = [0, 0.6 * wide, wide], [depth, depth - 0.018, 0.885]
        sewn = _mirrored(
            [*hem_dxs, wide + 0.03, 0.31, 0.52, 0.58, 0], [*hem_ys, 0.888, 0.932 - broad, 0.99 - broad, 1.2, 1.2]
        )
        with self.canvas.inside(_smooth(sewn, closed=True) + to_body) as clothes:
            clothes.shade(
                cloth,
                [
                    _Spot(x + 0.25 * p.light, 0.97, 0.12, 0.05, _mix(cloth, WHITE, 0.6), 0.35),
                    _Spot(x - 0.3 * p.light, 1.02, 0.2, 0.08, _dim(cloth, 0.4), 0.6),
                ],
            )
        if p.wearing_necktie:
            self.draw_necktie(to_body, neck)
        else:
            hem = np.concatenate([-_points(hem_dxs, hem_ys)[:0:-1].conj(), _points(hem_dxs, hem_ys)]) + MIDDLE
            self.canvas.ribbon(_smooth(hem) + to_body, 0.012, _dim(cloth, 0.72))
        if p.wearing_necklace:
            self.draw_necklace(to_body, neck)

    def draw_necktie(self, to_body: complex, neck: float) -> None:
        p = self.p
        tie = _hsv(p.accessory_hue, 0.75, 0.45 + 0.4 * p.clothes_light)
        shirt: Colour = (244, 245, 248)
        front = _mirrored([0, neck + 0.02, 0.13, 0.1, 0], [0.86, 0.86, 0.98, 1.1, 1.1]) + to_body
        self.canvas.polygon(front, _dim(shirt, 0.92))
        knot_and_blade = _mirrored([0, 0.05, 0.036, 0.08, 0], [0.895, 0.895, 0.945, 1.1, 1.1]) + to_body
        with self.canvas.inside(knot_and_blade) as silk:
            silk.flood(tie)
            for y in (0.95, 1.0, 1.05) if p.accessory % 2 else ():
                silk.ribbon(_points([0.4, 0.6], [y + 0.06, y - 0.06]) + to_body, 0.016, _mix(tie, shirt, 0.7))
            silk.ribbon(_points([0.4, 0.6], [0.948, 0.948]) + to_body, 0.007, _dim(tie, 0.55))
        for side in SIDES:
            dxs = (neck + 0.025, 0.03, 0.095, neck + 0.045)
            flap = _points([0.5 + side * dx for dx in dxs], [0.845, 0.912, 0.968, 0.9]) + to_body
            self.canvas.polygon(flap, shirt)
            self.canvas.ribbon(flap[1:3], 0.006, _dim(shirt, 0.7))

    def draw_necklace(self, to_body: complex, neck: float) -> None:
        metal = METALS[self.p.accessory % 4]
        dxs = np.array((-neck + 0.005, -0.6 * neck, 0, 0.6 * neck, neck - 0.005))
        chain = _smooth(0.5 + dxs + 1j * np.array((0.855, 0.908, 0.928, 0.908, 0.855)) + to_body)
        self.canvas.ribbon(chain, 0.012, _dim(metal, 0.7))
        for bead in chain[2:-1:3].tolist():
            self.canvas.ellipse(bead.real, bead.imag, 0.011, 0.011, metal)
        pendant = 0.5 + 0.945j + to_body
        self.canvas.ellipse(pendant.real, pendant.imag, 0.019, 0.021, metal)
        self.canvas.ellipse(pendant.real - 0.005, pendant.imag - 0.005, 0.007, 0.007, WHITE)

    def draw_ears(self) -> None:
        for side in SIDES:
            x = 0.5 + side * (self.half + 0.010)
            ear = _mix(self.skin, self.skin_shadow, 0.4 - 0.2 * side * self.p.light)
            self.canvas.polygon(self.on_head(_ellipse(x, 0.495, 0.034, 0.066)), ear)
            self.canvas.polygon(self.on_head(_ellipse(x + side * 0.004, 0.488, 0.018, 0.042)), self.skin_shadow, 0.6)

    # ------------------------------------------------------------------ the face

    def face_outline(self) -> Points:
        p, w, chin = self.p, self.half, self.chin
        cheek = 0.985 + 0.03 * p.high_cheekbones + 0.06 * p.chubby
        jaw = 0.69 + 0.20 * p.jaw_width + 0.19 * p.chubby
        chin_width = 0.32 + 0.20 * p.jaw_width + 0.22 * p.chubby
        dxs = [0, 0.52 * w, 0.88 * w, w, cheek * w, jaw * w, chin_width * w, 0]
        return _smooth(_mirrored(dxs, [0.13, 0.158, 0.255, 0.42, 0.54, 0.68, chin - 0.026, chin]), closed=True)

    def skin_light_and_shadow(self) -> _Light:
        p, skin = self.p, self.skin
        middle = complex(self.on_head(np.array([0.5 + 0.47j]))[0])
        shadow = _times(skin, -0.32, -0.44, -0.47)  # to skin_shadow
        shine = (self.skin_light[0] - skin[0], self.skin_light[1] - skin[1], self.skin_light[2] - skin[2])
        return _Light(middle.real, middle.imag, 0.345, 0.46, p.light, 1.1 + 0.8 * p.light_strength, shadow, shine)

    def skin_spots(self) -> Iterator[_Spot]:
        p, spot = self.p, self.spot
        shadow, light = self.skin_shadow, self.skin_light
        flush = _mix(self.skin, (226, 84, 76), 0.5)
        stubble = _mix(self.skin, _mix(self.hair_dark, (70, 74, 84), 0.5), 0.62)
        nose, tip = 0.5 + self.nose_lean, self.nose_tip()
        wide = 0.034 + 0.014 * p.big_nose - 0.006 * p.pointy_nose
        yield spot(0.5, 0.30, 0.10, 0.05, light, 0.25)
        if p.bald:
            yield spot(0.5 + 0.09 * p.light, 0.19, 0.055, 0.022, WHITE, 0.5)
            for side in SIDES:
                yield spot(0.5 + side * (self.half - 0.01), 0.40, 0.018, 0.055, stubble, 0.7)
        yield spot(nose, 0.5, 0.010, 0.06, light, 0.6)
        yield spot(nose, tip - 0.012, 0.6 * wide, 0.016, light, 0.6 + 0.1 * p.big_nose)
        yield spot(nose, tip + 0.028, wide, 0.012, shadow, 0.5)
        for side in SIDES:
            shade = (0.28 - 0.2 * side * p.light) * (1 + 0.5 * p.pointy_nose)
            eye = 0.5 + side * p.eye_distance
            yield spot(nose + side * 0.026, 0.515, 0.011, 0.05, shadow, shade)
            yield spot(0.5 + side * 0.052, 0.43, 0.022, 0.028, shadow, 0.32)
            yield spot(eye, 0.432, 0.05, 0.026, shadow, 0.26)
            yield spot(0.5 + side * 0.13, 0.575, 0.05, 0.035, flush, 0.22)
            if p.rosy_cheeks:
                yield spot(0.5 + side * 0.145, 0.585, 0.046, 0.036, _mix(self.skin, (240, 70, 84), 0.7), 0.52)
            if p.high_cheekbones:
                yield spot(0.5 + side * 0.14, 0.548, 0.04, 0.017, _mix(light, WHITE, 0.3 - 0.3 * p.skin_tone), 0.85)
                yield spot(0.5 + side * 0.17, 0.635, 0.024, 0.038, shadow, 0.38)
            if p.chubby:
                yield spot(0.5 + side * 0.15, 0.63, 0.045, 0.05, light, 0.45)
                yield spot(0.5 + side * 0.105, 0.69, 0.016, 0.035, shadow, 0.35)
            if p.bags_under_eyes:
                yield spot(eye - side * 0.006, EYE_Y + 0.046, 0.036, 0.012, _mix(shadow, (96, 70, 110), 0.45), 0.7)
            if p.heavy_makeup:
                colour = _mix(self.skin, SHADOW_COLOURS[p.makeup_colour % 5], 0.8)
                yield spot(eye + side * 0.008, EYE_Y - 0.032, 0.042, 0.014, colour, 0.8)
            if p.stubble:
                yield spot(0.5 + side * 0.125, 0.70, 0.06, 0.055, stubble, 0.6)
        if p.stubble:
            yield spot(0.5, 0.77, 0.09, 0.032, stubble, 0.6)
            yield spot(0.5, 0.63, 0.055, 0.014, stubble, 0.6)
        if p.double_chin:
            yield spot(0.5, self.chin - 0.006, 0.11, 0.013, shadow, 0.6)
        yield spot(0.5, self.chin - 0.04, 0.035, 0.02, light, 0.35)
        yield spot(0.5, MOUTH_Y + 0.05, 0.04, 0.010, shadow, 0.4)
        if not (p.bald or p.receding_hairline):  # the shade of the hair
            yield spot(0.5, 0.24, 0.2, 0.025, shadow, 0.5)
        if p.wearing_hat:
            yield spot(0.5, 0.33, 0.25, 0.035, shadow, 0.9)

    def draw_lines(self, face: _Canvas) -> None:
        """Double chin, the folds of a smile, bags, the lines of age."""
        p, line = self.p, self.skin_line
        if p.double_chin:
            y = self.chin - 0.034
            fold = _curve([0.385, 0.44, 0.5, 0.56, 0.615], [y - 0.04, y - 0.004, y + 0.006, y - 0.004, y - 0.04])
            face.stroke(self.on_face(fold), 0.013, line, 0.6)
        depth = min(1.0, 0.25 * p.smiling + 0.7 * self.wrinkle + 0.2 * p.chubby)
        for side in SIDES:
            eye, fold_out = 0.5 + side * p.eye_distance, 0.012 * p.smiling
            if depth > 0.05:
                dxs = (0.05, 0.084 + fold_out, 0.096 + fold_out)
                fold = _curve([0.5 + side * dx for dx in dxs], [0.592, 0.632, 0.682])
                face.stroke(self.on_face(fold), 0.011, line, 0.5 * depth)
            if p.bags_under_eyes:
                bag = _curve(
                    [eye - side * 0.045, eye, eye + side * 0.042], [EYE_Y + 0.03, EYE_Y + 0.058, EYE_Y + 0.038]
                )
                face.stroke(self.on_face(bag), 0.010, line, 0.6)
            for lift in (-0.016, 0.0, 0.016) if self.wrinkle else ():
                foot = _points([eye + side * 0.066, eye + side * 0.09], [EYE_Y + 0.5 * lift, EYE_Y + 1.6 * lift])
                face.ribbon(self.on_face(foot), 0.006, line, 0.5 * self.wrinkle)
        for y in (0.285, 0.32, 0.352) if self.wrinkle else ():
            furrow = _curve([0.40, 0.45, 0.5, 0.55, 0.6], [y + 0.006, y, y + 0.004, y, y + 0.006])
            face.stroke(self.on_face(furrow), 0.008, line, 0.5 * self.wrinkle)

    def draw_eye(self, face: _Canvas, side: int) -> None:
        p = self.p
        x = 0.5 + side * p.eye_distance
        wide = 0.050 + 0.006 * p.eye_size
        tall = (0.0275 + 0.005 * p.eye_size) * (0.40 if p.narrow_eyes else 1.0)
        across = x + side * wide * _LID_T
        level = EYE_Y + 0.006 - (0.010 * p.eye_tilt + 0.003) * _LID_T
        upper = self.on_face(across + 1j * (level - tall * _UPPER_LID))
        lower = self.on_face(across + 1j * (level + 0.6 * tall * _LOWER_LID))
        centre = complex(self.on_face(np.array([complex(x, EYE_Y)]))[0]) + 0.02 * self.turn_sin
        ix, iy = centre.real, centre.imag
        iris = IRIS_COLOURS[p.iris]
        with face.inside(np.concatenate([upper, lower[::-1]])) as eye:
            eye.flood(_mix((252, 249, 246), self.skin_shadow, 0.1))
            eye.ribbon(upper, 0.018, _mix((210, 200, 198), self.skin_shadow, 0.2))
            eye.ellipse(ix, iy, 0.0265, 0.0275, _dim(iris, 0.55))
            eye.ellipse(ix, iy, 0.0225, 0.0235, iris)
            eye.ellipse(ix, iy + 0.009, 0.014, 0.012, _mix(iris, (255, 240, 210), 0.35))
            eye.ellipse(ix, iy, 0.0115, 0.0115, (14, 10, 12))
            eye.ellipse(ix + 0.009 * p.light, iy - 0.010, 0.0072, 0.0072, WHITE)
        lid = _mix(self.skin_line, (26, 18, 20), 0.75 if p.heavy_makeup or not p.male else 0.45)
        thick = 0.008 + 0.003 * (not p.male) + 0.005 * p.heavy_makeup
        face.ribbon(upper, thick * (0.9 + 0.4 * _LID_T), lid)
        face.ribbon(lower, 0.004 + 0.002 * p.heavy_makeup, lid, 0.5)
        face.stroke(upper[1:-1] - (0.010j if p.narrow_eyes else 0.015j), 0.005, self.skin_line, 0.5)
        if p.heavy_makeup:
            lashes = upper[-3:, None] + complex(0.8 * side, -0.75) * np.array([(0, 0.020), (0, 0.024), (0, 0.027)])
            face.ribbons(lashes, _POINTED, (lid,), 1)

    def draw_brow(self, face: _Canvas, side: int) -> None:
        p = self.p
        x, y = 0.5 + side * p.eye_distance, EYE_Y - 0.064 - 0.012 * p.brow_height
        arch = 0.024 if p.arched_eyebrows else 0.002
        dxs = (-0.054, -0.02, 0.026, 0.070)
        lift = (0.002, -0.002 - 0.5 * arch, -0.004 - arch, 0.014)
        spine = self.on_face(_curve([x + side * dx for dx in dxs], [y + dy for dy in lift]))
        thick = (0.031 if p.bushy_eyebrows else 0.0135) + 0.004 * p.male
        colour = _mix(self.hair_dark, self.skin_line, 0.4)
        if p.hair_colour != "gray":
            colour = _mix(colour, (40, 28, 24), 0.35)
        shape = np.interp(np.linspace(0, 1, len(spine)), (0, 0.12, 0.5, 1), (0.55, 0.95, 1.0, 0.15))
        face.ribbon(spine, thick * shape, colour)
        if p.bushy_eyebrows:
            tuft = np.array((0.3j * thick, 0.014 * side - 0.72j * thick))
            face.ribbons(spine[1:-3:2, None] + tuft, 1.2 * _POINTED, (colour,), 1)

    def nose_tip(self) -> float:
        return 0.572 + 0.018 * self.p.nose_length + 0.006 * self.p.pointy_nose

    def draw_nose(self, face: _Canvas) -> None:
        p = self.p
        x, tip = 0.5 + self.nose_lean, self.nose_tip()
        wide = 0.040 + 0.020 * p.big_nose - 0.012 * p.pointy_nose
        line = _mix(self.skin_line, self.skin_shadow, 0.3)
        shaded = -1 if p.light > 0 else 1
        bridge = _curve([x + shaded * 0.030, x + shaded * 0.018, x + shaded * 0.6 * wide], [0.425, 0.47, tip - 0.01])
        face.stroke(self.on_face(bridge), 0.009, self.skin_shadow, 0.45 + 0.3 * p.pointy_nose)
        low = 0.022 if p.pointy_nose else 0.013
        dxs = (-0.75, -0.3, 0, 0.3, 0.75)
        under = _curve([x + dx * wide for dx in dxs], [tip + dy for dy in (0.012, 0.016, 0.012 + low, 0.016, 0.012)])
        face.stroke(self.on_face(under), 0.008, line, 0.7)
        for side in SIDES:
            wing = _curve([x + side * dx * wide for dx in (0.78, 1.0, 0.78)], [tip - 0.02, tip + 0.002, tip + 0.018])
            face.stroke(self.on_face(wing), 0.010 if p.big_nose else 0.007, line, 0.75)
            hole = _ellipse(x + side * 0.48 * wide, tip + 0.014, 0.22 * wide, 0.006 + 0.002 * p.big_nose)
            face.polygon(self.on_face(hole), _dim(self.skin_line, 0.7), 0.85)

    def draw_mouth(self, face: _Canvas) -> None:
        p = self.p
        wide = 0.062 + 0.012 * p.mouth_width + 0.022 * p.smiling
        bulge = 1 - _MOUTH_U**2
        middle = MOUTH_Y + (0.034 * bulge - 0.022 if p.smiling else 0.001 + 0.002 * bulge)
        gape = bulge**0.65 * (0.042 if p.smiling else 0.032) * p.mouth_slightly_open
        full = 1.75 if p.big_lips else 1.0
        across = 0.5 + wide * _MOUTH_U
        upper_y, lower_y = middle - 0.4 * gape, middle + 0.6 * gape
        ys = (upper_y - 0.0165 * full * _CUPIDS_BOW, upper_y, lower_y, lower_y + 0.022 * full * bulge**0.8)
        top, above, below, bottom = (self.on_face(across + 1j * y) for y in ys)
        lip = LIP_COLOURS[p.makeup_colour % 4] if p.wearing_lipstick else _mix(self.skin, (188, 74, 76), 0.45)
        face.polygon(np.concatenate([top, above[::-1]]), _dim(lip, 0.86))
        face.polygon(np.concatenate([below, bottom[::-1]]), lip)
        shine = 0.35 * below[5:12] + 0.65 * bottom[5:12]
        face.stroke(shine, 0.008 * full, _mix(lip, WHITE, 0.55), 0.75 if p.wearing_lipstick else 0.4)
        if p.mouth_slightly_open:
            with face.inside(np.concatenate([above, below[::-1]])) as mouth:
                throat = complex(above[8])
                mouth.flood((74, 18, 26))
                mouth.ellipse(throat.real, throat.imag + 0.048, 0.05, 0.022, (190, 84, 88))
                bite = above * 0.42 + below * 0.58 if p.smiling else above * 0.65 + below * 0.35
                mouth.polygon(np.concatenate([above - 0.01j, bite[::-1]]), (250, 247, 240))
        else:
            face.stroke(above, 0.0085, _mix(lip, (50, 14, 18), 0.72))
        for end, side in ((0, -1), (-1, 1)) if p.smiling else ():
            dimple = complex(above[end]) + _curve([side * 0.004, side * 0.012, side * 0.010], [-0.012, -0.002, 0.012])
            face.stroke(dimple, 0.006, self.skin_line, 0.5)

    def draw_beard(self, face: _Canvas) -> None:
        p, w = self.p, self.half
        outlines: list[Points] = []
        if p.goatee and p.sideburns:  # together they make a full beard
            jaw = _points(
                [w + 0.03, 0.86 * w, 0.80 * w, 0.10, 0.088, 0.045, 0], [0.45, 0.5, 0.60, 0.645, 0.70, 0.722, 0.722]
            )
            below_chin = _points([-0.4, 0.4], [0.95, 0.95])
            whole = np.concatenate([jaw, -jaw[-2::-1].conj(), below_chin]) + MIDDLE
            outlines.append(self.on_face(_smooth(whole, closed=True)))
        elif p.goatee:
            chin = _mirrored([0, 0.025, 0.05, 0.066, 0.056, 0.03, 0], [0.722, 0.726, 0.716, 0.738, 0.778, 0.80, 0.806])
            outlines.append(self.on_face(_smooth(chin, closed=True)))
        elif p.sideburns:
            for side in SIDES:
                dxs = (w + 0.04, 0.84 * w, 0.80 * w, 0.74 * w, w + 0.04)
                outlines.append(self.on_head(_points([0.5 + side * dx for dx in dxs], [0.36, 0.38, 0.56, 0.62, 0.64])))
        if p.mustache:
            lip = _mirrored([0, 0.03, 0.07, 0.098, 0.085, 0.05, 0], [0.617, 0.612, 0.628, 0.668, 0.665, 0.652, 0.646])
            outlines.append(self.on_face(_smooth(lip, closed=True)))
            for side in SIDES if p.goatee else ():  # joined to the beard around the mouth
                ends = [0.5 + side * dx for dx in (0.07, 0.098, 0.10, 0.07, 0.078)]
                outlines.append(self.on_face(_points(ends, [0.64, 0.65, 0.72, 0.77, 0.7])))
        for outline in outlines:
            with face.inside(outline) as beard:
                beard.flood(self.beard)
                left, right, top = outline.real.min(), outline.real.max(), outline.imag.min()
                bottom = min(float(outline.imag.max()), 0.85)
                across, down = self.beard_chance[:27], self.beard_chance[27:54]
                roots = left + (right - left) * across + 1j * (top + (bottom - top) * down)
                tips = roots + 0.1 * (roots.real - 0.5) + 0.035j
                shades = (_dim(self.hair_dark, 0.7), self.hair, self.hair_light)
                beard.ribbons(np.stack([roots, tips], 1), _POINTED, shades, 0.45)
        if p.stubble:
            face.dots(self.on_face(_STUBBLE), self.hair_dark, 0.25)

    # ------------------------------------------------------------------ hair and what is worn

    def hair_edges(self) -> tuple[Points, Points]:
        """The outer and the inner edge of the front hair, from the lower left over the top to the lower right.

        Both have the same number of points; strands run between equal positions on the two.
        """
        p, w = self.p, self.half
        afro = p.hair_cut == "afro"
        bulk = 0.09 + 0.03 * p.hair_volume if afro else 0.024 + 0.04 * p.hair_volume
        top = 0.03 if afro else 0.118 - bulk
        side, part = w + bulk, 0.18 * (p.part - 0.5)
        if p.hair_cut == "long":
            outer_dxs, outer_ys = [side + 0.045, side + 0.05, side + 0.03, side], [1.12, 0.88, 0.62, 0.40]
            inner_dxs, inner_ys = [0.62 * w, 0.80 * w, 0.95 * w, 0.97 * w], [1.12, 0.86, 0.64, 0.44]
        elif p.hair_cut == "medium":
            outer_dxs, outer_ys = [0.88 * w, side + 0.03, side + 0.025, side], [0.81, 0.72, 0.58, 0.40]
            inner_dxs, inner_ys = [0.80 * w, 0.86 * w, 0.95 * w, 0.97 * w], [0.80, 0.72, 0.58, 0.44]
        else:
            low = 0.50 if p.male or afro else 0.53
            swell = bulk if afro else 0.016 + 0.3 * bulk * p.male
            outer_dxs, outer_ys = [w + 0.010, w + swell], [low, 0.38]
            inner_dxs, inner_ys = [0.95 * w, 0.93 * w], [low - 0.01, 0.41]
        outer_dxs += [0.97 * w + 0.85 * bulk, 0.83 * w + 0.7 * bulk, 0.48 * w + 0.45 * bulk]
        outer_ys += [0.29, 0.19, top + 0.028]
        if p.receding_hairline:
            inner_dxs, inner_ys = [*inner_dxs, 0.9 * w, 0.62 * w, 0.22 * w], [*inner_ys, 0.29, 0.18, 0.192]
            middle = 0.208j
        else:
            inner_dxs, inner_ys = [*inner_dxs, 0.90 * w, 0.72 * w, 0.36 * w], [*inner_ys, 0.335, 0.268, 0.243]
            middle = part + 0.230j
        edges = []
        for dxs, ys, centre in ((outer_dxs, outer_ys, 0.5 * part + 1j * top), (inner_dxs, inner_ys, middle)):
            right = _points(dxs, ys)
            path = np.concatenate([-right.conj(), [centre], right[::-1]]) + MIDDLE
            edges.append(_smooth(path, samples=10 if p.wavy_hair else 6))
        return edges[0], edges[1]

    def draw_hair(self) -> None:
        p = self.p
        outer, inner = self.hair_edges()
        outwards = outer - inner
        swing = np.zeros_like(outer)
        if p.wavy_hair or p.hair_cut == "afro":
            walked = np.cumsum(np.abs(np.diff(outer, prepend=outer[0])))
            height, pitch = (0.020, 0.18) if p.wavy_hair else (0.014, 0.055)
            # Waves hang below the crown; on top of the head hair lies flatter.
            loose = np.clip((outer.imag - 0.1) / 0.25, 0.4, 1) if p.wavy_hair else 1.0
            swing = height * loose * np.sin(2 * pi / pitch * walked) * outwards / np.maximum(np.abs(outwards), 1e-6)

        def strand(depth: float) -> Points:
            """The way of one strand: depth 0 along the face, 1 along the outer edge."""
            return self.on_head(inner + outwards * depth + swing * (0.3 + 0.7 * depth))

        with self.canvas.inside(np.concatenate([strand(1.0), strand(0.0)[::-1]])) as hair:
            hair.shade(
                self.hair,
                [
                    _Spot(0.5 + 0.16 * p.light, 0.13, 0.13, 0.045, self.hair_light, 0.65),
                    _Spot(0.5 - 0.3 * p.light, 0.4, 0.1, 0.3, self.hair_dark, 0.6),
                    _Spot(0.5, 0.85, 0.5, 0.16, self.hair_dark, 0.5),
                    _Spot(0.5 + 0.29 * p.light, 0.5, 0.04, 0.12, self.hair_light, 0.4),
                ],
            )
            hair.ribbon(strand(0.03), 0.035, self.hair_dark, 0.5)
            shades = (self.hair_light, self.hair_dark)
            u, v, w = self.hair_chance.reshape(3, 40)
            if p.hair_cut == "afro":
                curls = (0.15 + 0.7 * u + 0.5j * v**1.5)[:, None] + 0.02 * _CIRCLE[:12:2]
                hair.ribbons(self.on_head(curls), 0.007, shades, 0.5)
            elif p.hair_cut == "short" and not (p.straight_hair or p.wavy_hair):
                # Cropped: short strokes from the scalp outwards.
                at = ((0.1 + 0.8 * u[:24]) * len(outer)).astype(int)
                reach = np.stack([0.5 * v[:24], 0.6 + 0.4 * w[:24]], 1)
                hair.ribbons(self.on_head(inner[at, None] + outwards[at, None] * reach), 0.007, shades, 0.35)
            else:
                length, step = int(0.4 * len(outer)), 2 if p.wavy_hair else 4
                at = (u[:14, None] * (len(outer) - length)).astype(int) + np.arange(0, length, step)
                depth = 0.06 + 0.9 * v[:14, None]
                strands = inner[at] + outwards[at] * depth + swing[at] * (0.3 + 0.7 * depth)
                hair.ribbons(self.on_head(strands), 0.010 * _taper(at.shape[1]), shades, 0.5)

    def draw_bangs(self) -> None:
        p, w = self.p, self.half
        sweep = 0.08 * (p.part - 0.5)
        across = np.linspace(0.9, -0.9, 13)
        low = 0.372 + 0.04 * across**2 + 0.016 * (-1.0) ** np.arange(13) + 0.012 * self.bangs_chance[:13]
        crown = _points(
            [-0.97 * w, -0.93 * w, -0.5 * w, 0, 0.5 * w, 0.93 * w, 0.97 * w], [0.41, 0.27, 0.17, 0.15, 0.17, 0.27, 0.41]
        )
        outline = self.on_head(_smooth(np.concatenate([crown, w * across + 1j * low]) + MIDDLE, closed=True))
        with self.canvas.inside(outline) as bangs:
            shine = self.on_head(np.array([complex(0.5 + 0.1 * p.light, 0.25)]))[0]
            bangs.shade(self.hair, [_Spot(shine.real, shine.imag, 0.15, 0.035, self.hair_light, 0.5)])
            roots = w * np.linspace(-0.9, 0.9, 12)[:, None]
            locks = 0.5 + roots * (0.55, 0.85, 0.95) + sweep * np.array((-1, 0, 1)) + 1j * np.array((0.14, 0.27, 0.41))
            locks = locks @ _spline_basis(3, False, 4).T
            bangs.ribbons(self.on_head(locks), 0.010 * _taper(locks.shape[1]), (self.hair_light, self.hair_dark), 0.45)

    def draw_hat(self) -> None:
        p = self.p
        colour = _hsv(p.accessory_hue, 0.2 + 0.4 * p.clothes_saturation, 0.3 + 0.55 * p.clothes_light)
        dark, light = _dim(colour, 0.6), _mix(colour, WHITE, 0.4)
        beanie, cap = p.accessory % 3 == 0, p.accessory % 3 == 1
        side = self.half + (0.05 if beanie else 0.04)
        crown = _mirrored([0, 0.62 * side, 0.97 * side, side, 0.5 * side, 0], [0.03, 0.055, 0.17, 0.31, 0.29, 0.28])
        with self.canvas.inside(self.on_head(_smooth(crown, closed=True))) as felt:
            felt.shade(
                colour,
                [
                    _Spot(0.5 + 0.15 * p.light, 0.1, 0.1, 0.07, light, 0.7),
                    _Spot(0.5 - 0.25 * p.light, 0.2, 0.1, 0.15, dark, 0.8),
                ],
            )
            for x in np.linspace(-1, 1, 11).tolist() if beanie else (-0.55, 0.0, 0.55) if cap else ():
                seam = _curve([0.5 + 0.3 * side * x, 0.5 + 0.85 * side * x, 0.5 + side * x], [0.0, 0.12, 0.3])
                felt.ribbon(self.on_head(seam), 0.007, dark, 0.6)
            if not (beanie or cap):
                band = _curve([0.5 - side, 0.5, 0.5 + side], [0.262, 0.235, 0.262])
                felt.ribbon(self.on_head(band), 0.06, _dim(dark, 0.6))
        if beanie:
            fold = [0, 0.7 * side, side + 0.008, side + 0.01, 0.6 * side, 0], [0.225, 0.235, 0.25, 0.335, 0.322, 0.315]
        elif cap:
            fold = [0, 0.7 * side, 0.98 * side, 0.6 * side, 0], [0.25, 0.268, 0.315, 0.335, 0.36]
        else:
            fold = [0, 0.22, 0.38, 0.42, 0.3, 0], [0.262, 0.27, 0.255, 0.272, 0.32, 0.34]
        outline = self.on_head(_smooth(_mirrored(*fold), closed=True))
        with self.canvas.inside(outline) as brim:
            brim.flood(_mix(colour, light, 0.35) if beanie else _mix(colour, dark, 0.6))
            shine = _curve([0.5 - side, 0.5 + 0.1 * p.light, 0.5 + side], [0.29, 0.28, 0.29])
            brim.ribbon(self.on_head(shine), 0.02, light, 0.35)

    def draw_glasses(self) -> None:
        p = self.p
        frame = FRAMES[p.accessory % 5]
        radius, height = 0.080, EYE_Y + 0.008
        for side in SIDES:
            x = 0.5 + side * (p.eye_distance + 0.004)
            rim = self.on_face(complex(x, height) + radius * _RIMS[p.accessory % 3])
            if p.accessory % 4 == 0:
                self.canvas.polygon(rim, (36, 26, 30), 0.55)
            else:
                self.canvas.polygon(rim, (225, 238, 250), 0.14)
            glare = _points([x - 0.045, x - 0.005], [EYE_Y + 0.03, EYE_Y - 0.03])
            self.canvas.ribbon(self.on_face(glare), 0.010, WHITE, 0.35)
            self.canvas.ribbon(rim, 0.014, frame)
            hinge = complex(rim[0 if side > 0 else 10])
            ear = complex(self.on_head(np.array([complex(0.5 + side * (self.half + 0.015), EYE_Y - 0.005)]))[0])
            self.canvas.ribbon(np.array([hinge, ear]), 0.013, frame)
        reach = p.eye_distance - radius + 0.008
        bridge = _curve(
            [0.5 - reach, 0.5 + self.nose_lean, 0.5 + reach], [height - 0.008, height - 0.022, height - 0.008]
        )
        self.canvas.ribbon(self.on_face(bridge), 0.013, frame)

    def draw_earrings(self) -> None:
        p = self.p
        metal, kind = METALS[p.accessory % 4], p.accessory // 4 % 3
        glint = _mix(metal, WHITE, 0.65)
        for side in SIDES:
            lobe = complex(self.on_head(np.array([complex(0.5 + side * (self.half + 0.018), 0.562)]))[0])
            if kind == 0:
                hoop = _ellipse(lobe.real, lobe.imag + 0.04, 0.028, 0.04)
                self.canvas.ribbon(np.append(hoop, hoop[0]), 0.012, _dim(metal, 0.8))
                self.canvas.ribbon(hoop[2:9], 0.008, glint)
            else:
                drop = lobe + (0.02j if kind == 1 else 0.055j)
                self.canvas.ribbon(np.array([lobe, drop]), 0.009, _dim(metal, 0.8))
                self.canvas.ellipse(drop.real, drop.imag, 0.022, 0.020 + 0.006 * kind, _dim(metal, 0.85))
                self.canvas.ellipse(drop.real - 0.004, drop.imag - 0.006, 0.010, 0.011, glint)
