"""Faces moved along directions: `limner explore edit`."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from limner.core.arguments import checked
from limner.core.errors import UserError, brief
from limner.core.files import check_output, write_file
from limner.data.attributes import MOST_CHARACTERS, match_attribute, names_of
from limner.explore.attribute_directions import Directions
from limner.explore.points import face_points, generate, open_model, signed_png
from limner.explore.projection import load_projected
from limner.images.grid import face_grid
from limner.model.model import Model

MOST_STRENGTH = 10.0
CHANGE = re.compile(r"\s*(\w[\w' -]*?)\s*=\s*([+-]?\d+(?:\.\d+)?)\s*")


@checked
def edit(
    model: str | Path | Model,
    directions: str | Path,
    by: str | Sequence[str],
    out: str | Path,
    *,
    face: str | Sequence[str] = (),
    projected: str | Path | None = None,
    device: str = "cpu",
    force: bool = False,
) -> Path:
    """Write a PNG with a row for each face: as it is, and changed `by` so much of each direction (`smiling=2,male=-1`).

    The faces are `face` (SEED:INDEX, several with commas between them) or all of the folder `projected` that `project`
    wrote. `directions` is a folder that `directions` wrote for this model. Strengths lie between -10 and 10.

    Raises:
        UserError: `by` cannot be read or names an attribute without a direction, directions or projected faces belong
            to another model, neither or both kinds of faces are given, or `out` cannot be written.
    """
    out = Path(out)
    check_output(out, force, (".png",))
    if bool(face) == (projected is not None):
        raise UserError("Say which faces to edit: give --face SEED:INDEX or --projected DIR.")
    loaded = open_model(model, device)
    found = Directions.load(directions, loaded)
    strengths = read_strengths(by, found.config.names)
    points = face_points(loaded, face) if projected is None else load_projected(projected, loaded)
    before_NHWC, after_NHWC = generate(loaded, points), generate(loaded, found.move(loaded, points, strengths))
    pairs_NHWC = np.stack([before_NHWC, after_NHWC], axis=1).reshape(-1, *before_NHWC.shape[1:])
    faces = {"face": face} if projected is None else {"projected": str(projected)}
    settings = {"by": strengths, "directions_sha256": found.config.latents_sha256, **faces}
    write_file(out, signed_png(face_grid(pairs_NHWC, columns=2), loaded, "edit", **settings))
    return out


def read_strengths(by: str | Sequence[str], names: Sequence[str]) -> dict[str, float]:
    """The strength of each attribute in `NAME=NUMBER,...`.

    Raises UserError for what is not of this form, an attribute that is not among `names`, and a strength over 10.
    """
    strengths = {}
    for change in names_of(by):
        if len(change) > MOST_CHARACTERS or (found := CHANGE.fullmatch(change)) is None:
            raise UserError(f"{brief(change)} is no change: give ATTRIBUTE=STRENGTH, such as smiling=2 or male=-1.5.")
        if abs(strength := float(found[2])) > MOST_STRENGTH:
            raise UserError(f"{brief(change)} is too strong: strengths lie between -10 and 10.")
        strengths[names[match_attribute(found[1], names)]] = strength
    if not strengths:
        raise UserError("Nothing is to be changed: give --by ATTRIBUTE=STRENGTH, such as smiling=2.")
    return strengths
