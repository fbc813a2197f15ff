"""Where Limner keeps what it can make or fetch again: extractor weights and reference statistics."""

import os
from pathlib import Path

import pooch


def cache_folder() -> Path:
    """The environment's `LIMNER_CACHE`, or the folder that this system keeps caches in."""
    return Path(os.environ.get("LIMNER_CACHE") or pooch.os_cache("limner"))
