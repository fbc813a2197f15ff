"""The 40 attributes of CelebA, and finding one by the name a person typed."""

import difflib
import re
from collections.abc import Sequence

from limner.core.errors import UserError, brief

CELEBA_ATTRIBUTES: tuple[str, ...] = (
    "5_o_Clock_Shadow",
    "Arched_Eyebrows",
    "Attractive",
    "Bags_Under_Eyes",
    "Bald",
    "Bangs",
    "Big_Lips",
    "Big_Nose",
    "Black_Hair",
    "Blond_Hair",
    "Blurry",
    "Brown_Hair",
    "Bushy_Eyebrows",
    "Chubby",
    "Double_Chin",
    "Eyeglasses",
    "Goatee",
    "Gray_Hair",
    "Heavy_Makeup",
    "High_Cheekbones",
    "Male",
    "Mouth_Slightly_Open",
    "Mustache",
    "Narrow_Eyes",
    "No_Beard",
    "Oval_Face",
    "Pale_Skin",
    "Pointy_Nose",
    "Receding_Hairline",
    "Rosy_Cheeks",
    "Sideburns",
    "Smiling",
    "Straight_Hair",
    "Wavy_Hair",
    "Wearing_Earrings",
    "Wearing_Hat",
    "Wearing_Lipstick",
    "Wearing_Necklace",
    "Wearing_Necktie",
    "Young",
)


MOST_CHARACTERS = 200  # of a name


def match_attribute(name: str, names: Sequence[str]) -> int:
    """The position in `names` of the attribute that `name` means.

    Case does not matter, and spaces, hyphens, underscores and apostrophes are all one: `black hair`,
    `5-o-clock-shadow` and `No_Beard` are found.

    Raises UserError, naming the nearest spelling, when there is no such attribute.
    """
    if len(name) > MOST_CHARACTERS:  # the nearest to it would be looked for by comparing every letter with every other
        raise UserError(f"no attribute {brief(name)}: a name has at most {MOST_CHARACTERS} characters")
    wanted = _letters(name)
    position_of = {_letters(known): position for position, known in enumerate(names)}
    if wanted in position_of:
        return position_of[wanted]
    if not names:
        raise UserError(f"no attribute {brief(name)}: this data has no attributes; prepare it with labels")
    # A cutoff of 0: some spelling is always the nearest, and naming it costs nothing.
    nearest = names[position_of[difflib.get_close_matches(wanted, position_of, n=1, cutoff=0.0)[0]]]
    raise UserError(
        f"no attribute {brief(name)}; the nearest is {nearest!r} "
        f"(all {len(names)} names: attribute_names in dataset.json)"
    )


def names_of(words: str | Sequence[str]) -> tuple[str, ...]:
    """The attribute names in `words`: a list of them, or one string with commas between them."""
    parts = [words] if isinstance(words, str) else words
    return tuple(name.strip() for part in parts for name in part.split(",") if name.strip())


def _letters(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).casefold()
