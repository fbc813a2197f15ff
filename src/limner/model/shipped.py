"""Where models are: those that come with Limner, by name, those in folders, and those of the Hub. Free of torch."""

from pathlib import Path

from limner.core.errors import UserError
from limner.model.hub import fetch_model, is_hub_id

FOLDER = Path(__file__).parents[1] / "assets" / "models"
WEIGHTS, CONFIG = "model.safetensors", "config.json"


def shipped_models() -> list[str]:
    """The names of the models that come with Limner, sorted."""
    return sorted(path.parent.name for path in FOLDER.glob("*/config.json"))


def find_model(path: Path) -> Path:
    """The model folder that `path` (a run, a model folder, the name of a shipped model or a Hub id) stands for.

    A Hub id is USER/NAME@REVISION, see `limner.model.hub`. A folder of the user's that holds a model goes before a
    shipped model of the same name. Raises UserError where there is none.
    """
    for folder in (path, path / "model"):
        if (folder / CONFIG).is_file():
            return folder
    if str(path) in (names := shipped_models()):
        return FOLDER / path
    if is_hub_id(path.as_posix()):
        return fetch_model(path.as_posix(), (CONFIG, WEIGHTS))
    what = "has no model in it yet" if path.is_dir() else "is no run and no model folder"
    raise UserError(
        f"{path} {what}: give the folder of a run, one that holds {CONFIG} and {WEIGHTS}, the name of a model that "
        f"comes with Limner ({', '.join(names)}), or USER/NAME@REVISION of the Hub."
    )
