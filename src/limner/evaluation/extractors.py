"""Networks that turn images into features, by name."""

from difflib import get_close_matches
from pathlib import Path

from limner.core.errors import UserError
from limner.features.extractor import Extractor
from limner.features.inception import Inception, find_weights
from limner.features.lite0 import Lite0
from limner.judge.judge import load_judge

EXTRACTORS = ("inception", "lite0", "judge")


def load_extractor(name: str, weights: Path | None = None, device: str = "cpu") -> Extractor:
    """The extractor `inception`, `lite0` or `judge`, with its usual weights or those in `weights` (a judge: a folder).

    Raises UserError where there is none of that name, or its weights are missing or not the ones they should be.
    """
    if name == "inception":
        return Inception(weights, device)
    if name == "lite0":
        return Lite0(weights, device)
    if name == "judge":
        return load_judge(weights, device)
    near = get_close_matches(name.lower(), EXTRACTORS, 1, 0.4)
    hint = f"did you mean {near[0]}? " if near else ""
    raise UserError(f"no extractor is called {name!r}; {hint}the extractors are {', '.join(EXTRACTORS)}")


def default_extractor() -> str:
    """`inception` where its verified weights are already on this machine, else `lite0`. Uses no network."""
    return "inception" if find_weights() else "lite0"
