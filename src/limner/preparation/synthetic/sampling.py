"""Parameters of a face from (seed, index), with attributes as frequent as in CelebA."""

from bisect import bisect
from collections.abc import Iterator, Sequence
from itertools import accumulate

import numpy as np

from limner.preparation.synthetic.parameters import FaceParameters, HairColour, HairCut

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


def sample_parameters(seed: int, index: int) -> FaceParameters:
    """The parameters of face `index` of `seed`; attributes as frequent as in CelebA, and never in contradiction."""
    rng = np.random.Generator(np.random.Philox(key=np.array([seed, index], np.uint64)))
    group = _pick(rng.random(), GROUP_PERCENT)
    male, young = group >= 2, group % 2 == 0
    uniform: dict[str, float] = dict(zip(PERCENT, rng.random(len(PERCENT)).tolist(), strict=True))

    def has(name: str, times: float = 1.0) -> bool:
        return uniform[name] * 100 < PERCENT[name][group] * times

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


def _pick(uniform: float, weights: Sequence[float]) -> int:
    """A position, as often as its weight says; `uniform` lies in [0, 1)."""
    return bisect(list(accumulate(weights)), uniform * sum(weights))
