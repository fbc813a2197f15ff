"""A model as repositories of the Hugging Face Hub: the model with its card, and its page as a static Space."""

import json
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from limner.core.errors import UserError
from limner.core.records import parse_json
from limner.core.version import __version__
from limner.evaluation.results import Result, evaluations, read_metrics
from limner.exporting.card import model_card, space_card
from limner.exporting.page import MODEL
from limner.images.grid import face_grid
from limner.images.marks import Mark
from limner.images.png import generated_png
from limner.model.model import CARD, CONFIG, WEIGHTS, Model, find_model
from limner.model.sample import Settings
from limner.runs.run import is_run

SPACE = "space"
SAMPLES, METRICS, LICENCE = "samples.png", "metrics.json", "LICENSE"
GRID, COLUMNS = 64, 8
CELEBA_TEXT = "licenses/LICENSES/LicenseRef-CelebA-NonCommercial.txt"


def hub_files(model: Model, path: Path, repo: str, onnx: bytes | None, page: dict[str, bytes]) -> dict[str, bytes]:
    """The files of a model's folder for the Hub, by name; those of its Space begin with `space/`.

    `path` is what the model was loaded from, `repo` what the Hub calls it, `onnx` its file of a model of images.
    """
    folder, config = find_model(path), model.config
    results = _results(path, folder, config.weights_sha256)
    card = model_card(config, (folder / CARD).read_text(encoding="utf-8"), results, repo, onnx is not None)
    told = json.dumps([result.model_dump(mode="json") for result in results], indent=1) + "\n"
    files = {
        WEIGHTS: (folder / WEIGHTS).read_bytes(),
        CONFIG: (folder / CONFIG).read_bytes(),
        CARD: card.encode(),
        SAMPLES: _samples(model, repo),
        MODEL: onnx,
        METRICS: told.encode() if results else None,
        LICENCE: _licence_text(config.licence),
        f"{SPACE}/{CARD}": space_card(config, repo).encode(),
        **{f"{SPACE}/{name}": content for name, content in page.items()},
    }
    return {name: content for name, content in files.items() if content is not None}


def push(folder: Path, repo: str) -> list[str]:
    """Create the model's repository and that of its page where there are none, and upload them; their addresses.

    Raises UserError where the Hub refuses or cannot be reached; the folder stays.
    """
    from huggingface_hub import HfApi, errors

    api = HfApi()
    try:
        model = api.create_repo(repo, exist_ok=True)
        api.upload_folder(repo_id=repo, folder_path=folder, ignore_patterns=[f"{SPACE}/*"])
        page = api.create_repo(f"{repo}-page", repo_type="space", space_sdk="static", exist_ok=True)
        api.upload_folder(repo_id=f"{repo}-page", repo_type="space", folder_path=folder / SPACE)
        return [str(model), str(page)]
    except errors.HfHubHTTPError as error:
        reason = f"the Hub answered {error.response.status_code}: {' '.join(str(error.server_message or '').split())}"
    except (errors.HFValidationError, ValueError) as error:
        reason = str(error).splitlines()[0]
    except (errors.HTTPError, OSError):  # type: ignore[attr-defined]  # of the library that huggingface_hub asks with
        reason = "no connection, or it broke off"
    raise UserError(
        f"{folder} is complete, but could not be pushed to {repo} ({reason.rstrip(' .:')}): log in with hf auth login, "
        "and push it again."
    )


def _results(path: Path, folder: Path, weights_sha256: str) -> Sequence[Result]:
    """The newest evaluation of exactly these weights that the run, or the folder of a shipped model, has kept."""
    if is_run(path):
        results = read_metrics(path)
    elif (folder / METRICS).is_file():
        try:
            kept = parse_json((folder / METRICS).read_bytes())
            results = [Result.model_validate(one) for one in (kept["results"] if isinstance(kept, dict) else kept)]
        except (ValueError, KeyError, TypeError):
            raise UserError(f"{folder / METRICS} is damaged: restore it, or delete it to export without it.") from None
    else:
        results = []
    own = [one for one in results if one.model_sha256 == weights_sha256 and not one.chooses]
    return evaluations(own)[-1] if own else []


def _samples(model: Model, repo: str) -> bytes:
    config = model.config
    settings = Settings(
        model=f"{repo}@main",
        weights_sha256=config.weights_sha256,
        seed=0,
        first=0,
        count=GRID,
        columns=COLUMNS,
        truncation=1.0,
        precision=model.precision,
        limner=__version__,
    )
    grid = face_grid(model.sample(GRID, 0), COLUMNS)
    return generated_png(grid, settings.model_dump(), Mark.now(config.recipe, config.weights_sha256))


def _licence_text(licence: str) -> bytes | None:
    """The text that has to go with what is derived from CelebA."""
    if not licence.startswith("CelebA"):
        return None
    try:
        text = distribution("limner").read_text(CELEBA_TEXT)
    except PackageNotFoundError:
        return None
    return None if text is None else text.encode()
