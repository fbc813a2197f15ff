"""Exploring a model's latent space: walks, sums, directions, editing, projection.

    limner.explore.interpolate("faces", "0:3,0:7,0:12", "walk.gif", even=True)
    limner.explore.arithmetic("faces", "smiling female - female + male", "sum.png")

The functions are those that `limner explore` calls. Importing this package does not import torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__all__ = ["arithmetic", "directions", "edit", "interpolate", "project"]

if TYPE_CHECKING:
    from limner.explore.attribute_directions import directions
    from limner.explore.editing import edit
    from limner.explore.interpolation import interpolate
    from limner.explore.projection import project
    from limner.explore.sums import arithmetic

_HOME = {
    "arithmetic": "limner.explore.sums",
    "directions": "limner.explore.attribute_directions",
    "edit": "limner.explore.editing",
    "interpolate": "limner.explore.interpolation",
    "project": "limner.explore.projection",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'limner.explore' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
