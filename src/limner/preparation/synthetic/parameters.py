"""What decides one face, and the 40 CelebA attributes that can be read off it."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from limner.data.attributes import CELEBA_ATTRIBUTES

ATTRIBUTE_NAMES: tuple[str, ...] = CELEBA_ATTRIBUTES

HairColour = Literal["black", "blond", "brown", "gray", "red"]
HairCut = Literal["short", "medium", "long", "updo", "afro"]


@dataclass(frozen=True)
class FaceParameters:
    """All that decides one image. The flags are the CelebA attributes of the same names, drawn as they say.

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
    part: float  # 0 on the left of the image, 1 on the right
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
    light: float  # where it comes from: -1 left of the image, 1 right
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
