"""Directions of `faces`, and a stand-in for the judge."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import limner
from limner.model.model import Model, load


class BrightnessJudge:
    """Sees `Bright` in images that are brighter on average than `line`; its log odds are how much."""

    attribute_names = ("Bright",)

    def __init__(self, line: float) -> None:
        self.line = line

    def log_odds(self, images_NHWC: NDArray[np.uint8]) -> NDArray[np.float32]:
        return (images_NHWC.mean(axis=(1, 2, 3), dtype=np.float32) - np.float32(self.line))[:, None]

    def decide(self, images_NHWC: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return (self.log_odds(images_NHWC) > 0).astype(np.uint8)


@pytest.fixture(scope="session")
def untrained(model_folder: Path) -> Model:
    return load(model_folder)


@pytest.fixture(scope="session")
def brightness(untrained: Model) -> Any:
    """A judge that sees its attribute in about half of the untrained model's images."""
    return BrightnessJudge(float(np.median(untrained.sample(64).mean(axis=(1, 2, 3)))))


@pytest.fixture(scope="session")
def directions_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two directions of `faces`, learned from few samples."""
    folder = tmp_path_factory.mktemp("explore") / "directions"
    limner.explore.directions("faces", folder, attributes="eyeglasses,smiling", samples=256, quiet=True)
    return folder
