"""The models that come with Limner, by name. Free of torch."""

from pathlib import Path

FOLDER = Path(__file__).parents[1] / "assets" / "models"


def shipped_models() -> list[str]:
    """The names of the models that come with Limner, sorted."""
    return sorted(path.parent.name for path in FOLDER.glob("*/config.json"))
