"""Small models for the studio, and a client of it."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from studios import studio_client

from limner.data.attributes import CELEBA_ATTRIBUTES
from limner.model.model import load, save_model
from limner.networks import build_generator
from limner.recipes.load import load_recipe

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

pytest.importorskip("fastapi", reason="FastAPI is not installed (pip install 'limner[studio]')")


@pytest.fixture(scope="session")
def conditional(model_folder: Path) -> str:
    """An untrained model of CelebA's 40 attributes."""
    recipe = load_recipe("dcgan32", ["generator.width=64", "generator.init_std=0.1"])
    torch.manual_seed(1)
    generator = build_generator(recipe.generator, 32, recipe.latent.size + 40)
    config = load(model_folder).config.model_copy(update={"attribute_names": CELEBA_ATTRIBUTES})
    known_MA = np.random.default_rng(0).integers(0, 2, (512, 40)).astype(np.uint8)
    folder = model_folder.with_name("of attributes")
    save_model(folder, generator, config, known_MA)
    return str(folder)


@pytest.fixture(scope="module")
def client(conditional: str, model_folder: Path) -> Iterator["TestClient"]:
    """A client of a studio with two models."""
    with studio_client(conditional, str(model_folder)) as client:
        yield client
