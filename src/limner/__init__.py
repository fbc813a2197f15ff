"""Limner prepares face images, trains face generators on them, evaluates them, and samples new faces.

    data  = limner.prepare("celeba", "data/celeba64")
    run   = limner.train("dcgan-ttur", data, out="runs/a", images=500_000)
    faces = limner.load("runs/a").sample(16, seed=0)
    table = limner.evaluate("runs/a", data, protocol="quick")

The functions, and those of `limner.explore`, are those that the `limner` command calls. Importing this package imports
neither torch nor numpy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__all__ = ["compare", "evaluate", "export", "label", "load", "prepare", "resume", "sweep", "train", "verify"]

if TYPE_CHECKING:
    from limner.evaluation.evaluate import evaluate
    from limner.exporting.export import export
    from limner.images.verify import verify
    from limner.judge.label import label
    from limner.model.model import load
    from limner.preparation.prepare import prepare
    from limner.reports.compare import compare
    from limner.sweeping.sweep import sweep
    from limner.training.session import resume, train

    __version__: str

_HOME = {
    "prepare": "limner.preparation.prepare",
    "train": "limner.training.session",
    "resume": "limner.training.session",
    "label": "limner.judge.label",
    "load": "limner.model.model",
    "evaluate": "limner.evaluation.evaluate",
    "compare": "limner.reports.compare",
    "export": "limner.exporting.export",
    "verify": "limner.images.verify",
    "sweep": "limner.sweeping.sweep",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from limner.core.version import __version__

        return __version__
    if name == "explore":
        return import_module("limner.explore")
    if name not in _HOME:
        raise AttributeError(f"module 'limner' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
