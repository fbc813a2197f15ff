"""Attributes in groups that make sense to people, for pages."""

from collections.abc import Sequence
from typing import Any

GROUPS = {
    "Person": ("Male", "Young", "Attractive"),
    "Expression": ("Smiling", "Mouth_Slightly_Open"),
    "Hair": (
        "Black_Hair",
        "Blond_Hair",
        "Brown_Hair",
        "Gray_Hair",
        "Bald",
        "Bangs",
        "Receding_Hairline",
        "Straight_Hair",
        "Wavy_Hair",
    ),
    "Beard": ("No_Beard", "5_o_Clock_Shadow", "Goatee", "Mustache", "Sideburns"),
    "Eyes": ("Arched_Eyebrows", "Bushy_Eyebrows", "Bags_Under_Eyes", "Narrow_Eyes"),
    "Face": (
        "Oval_Face",
        "Chubby",
        "Double_Chin",
        "High_Cheekbones",
        "Big_Lips",
        "Big_Nose",
        "Pointy_Nose",
        "Pale_Skin",
        "Rosy_Cheeks",
    ),
    "Wearing": (
        "Eyeglasses",
        "Heavy_Makeup",
        "Wearing_Earrings",
        "Wearing_Hat",
        "Wearing_Lipstick",
        "Wearing_Necklace",
        "Wearing_Necktie",
    ),
    "Image": ("Blurry",),
}
"""CelebA's 40."""
OTHERS = "Other"


def attribute_groups(names: Sequence[str]) -> list[dict[str, Any]]:
    """Titles and the positions in `names` of each group; attributes that are none of CelebA's come last."""
    titles = {name: title for title, members in GROUPS.items() for name in members}
    positions: dict[str, list[int]] = {title: [] for title in (*GROUPS, OTHERS)}
    for position, name in enumerate(names):
        positions[titles.get(name, OTHERS)].append(position)
    for title, members in GROUPS.items():
        positions[title].sort(key=lambda position: members.index(names[position]))
    return [{"title": title, "positions": found} for title, found in positions.items() if found]
