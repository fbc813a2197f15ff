"""Networks that turn images into features, by name."""

from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path

from limner.core.errors import UserError
from limner.features.efficientnet_lite import Lite0, Lite1
from limner.features.extractor import Extractor
from limner.features.inception import Inception, find_weights
from limner.judge.judge import load_judge

EXTRACTORS: dict[str, Callable[[Path | None, str], Extractor]] = {
    "inception": Inception,
    "lite0": Lite0,
    "lite1": Lite1,
    "judge": load_judge,
}


def load_extractor(name: str, weights: Path | None = None, device: str = "cpu") -> Extractor:
    """One of `EXTRACTORS`, with its usual weights or those in `weights` (a judge: a folder).

    Raises UserError where there is none of that name, or its weights are missing or not the ones they should be.
    """
    if name in EXTRACTORS:
        return EXTRACTORS[name](weights, device)
    near = sorted(get_close_matches(name.lower(), EXTRACTORS, 2, 0.4))
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    raise UserError(f"no extractor is called {name!r}; {hint}the extractors are {', '.join(EXTRACTORS)}")


def default_extractor() -> str:
    """`inception` where its verified weights are already on this machine, else `lite0`. Uses no network."""
    return "inception" if find_weights() else "lite0"
