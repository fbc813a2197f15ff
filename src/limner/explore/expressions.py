"""What `limner explore arithmetic` is given: a sum of terms, each the words of attributes or one face.

smiling female - female + male
0:3 + 1.5 eyeglasses - 1.5 no eyeglasses
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from limner.core.errors import UserError, brief
from limner.data.attributes import match_attribute
from limner.explore.points import FACE

TERM = re.compile(r"\s*([+-]?)\s*(?:(\d+(?:\.\d+)?)(?:\s*\*\s*|\s+))?([^+\s-][^+-]*?)\s*(?=[+-]|$)")
MOST_CHARACTERS = 1000  # TERM takes a time that grows as the square of the spaces in a row
MOST_COEFFICIENT = 100.0
ALIASES = {"man": ("male", 1), "woman": ("male", 0), "female": ("male", 0), "old": ("young", 0)}
NEGATIONS = ("no", "not", "without")


@dataclass(frozen=True)
class Term:
    """`coefficient` times a face, or times the mean of faces with the `requested` attributes."""

    coefficient: float
    text: str
    face: str | None = None
    """SEED:INDEX."""
    requested: dict[int, int] = field(default_factory=dict)
    """Position of an attribute -> 1 or 0."""


def parse(expression: str, names: Sequence[str]) -> list[Term]:
    """The terms of an expression whose words are attributes among `names`, or short for them (`female`, `no ...`).

    Raises UserError for what is no such sum, an attribute that is not among `names`, and one both with and without.
    """
    expression = expression.strip()
    if not expression:
        raise UserError("The expression is empty: give a sum such as 'smiling female - female + male'.")
    if len(expression) > MOST_CHARACTERS:
        raise UserError(f"The expression has {len(expression):,} characters; the most is {MOST_CHARACTERS:,}.")
    terms: list[Term] = []
    end = 0
    while end < len(expression):
        found = TERM.match(expression, end)
        if found is None or (terms and not found[1]):
            raise UserError(
                f"{brief(expression)} cannot be read from {brief(expression[end:])} on: give a sum of attributes and "
                "faces, such as 'smiling female - female + male' or '0:3 + smiling - no smiling'."
            )
        sign, number, text = found.groups()
        coefficient = float(number or 1) * (-1 if sign == "-" else 1)
        if abs(coefficient) > MOST_COEFFICIENT:
            raise UserError(f"{brief(found[0])} has too large a coefficient: they lie between -100 and 100.")
        if FACE.fullmatch(text):
            terms.append(Term(coefficient, text, face=text))
        else:
            terms.append(Term(coefficient, text, requested=_read_words(text, names)))
        end = found.end()
    return terms


def _read_words(text: str, names: Sequence[str]) -> dict[int, int]:
    requested: dict[int, int] = {}
    wanted = 1
    for word in text.split():
        if word.lower() in NEGATIONS:
            wanted = 0
            continue
        name, value = ALIASES.get(word.lower(), (word, 1))
        value = value if wanted else 1 - value
        position = match_attribute(name, names)
        if requested.get(position, value) != value:
            raise UserError(f"{brief(text)} has {names[position]} with and without at once: leave one out.")
        requested[position], wanted = value, 1
    if not requested or not wanted:
        raise UserError(f"{brief(text)} names no attribute after its last word: give one, such as 'no eyeglasses'.")
    return requested
