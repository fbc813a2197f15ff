"""Cheap stand-ins for a trained model, and for what an evaluation needs."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from limner.evaluation.results import Floor, Result
from limner.recipes.load import load_recipe
from limner.recipes.schema import Recipe

if TYPE_CHECKING:
    from limner.model.model import ModelConfig


class SquareMeans:
    """In the place of a network: the features of an image are the means of its `squares` x `squares` squares.

    Remembers the images that it was given.
    """

    weights_sha256 = "0" * 64

    def __init__(self, name: str = "lite0", squares: int = 4) -> None:
        self.name, self.squares = name, squares
        self.dimension = 3 * squares**2
        self.resize = f"mean over squares to {squares} x {squares}"
        self.seen: list[NDArray[np.uint8]] = []

    def features(self, images_NHWC: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.seen.append(np.array(images_NHWC))
        N, H, W, _ = images_NHWC.shape
        S = self.squares
        means = images_NHWC.reshape(N, S, H // S, S, W // S, 3).mean((2, 4), dtype=np.float32)
        return means.reshape(N, self.dimension) / np.float32(255)


def untrained_config(recipe: Recipe, latent: int, attribute_names: tuple[str, ...]) -> "ModelConfig":
    """The config of a model of `recipe` that was never trained."""
    from limner.model.model import ModelConfig

    return ModelConfig(
        recipe=recipe.name,
        kind=recipe.data.kind,
        size=recipe.data.size,
        latent_size=latent,
        latent_distribution=recipe.latent.distribution,
        pixel_range=recipe.data.range,
        generator=recipe.generator,
        attribute_names=attribute_names,
        images_seen=0,
        ema_halflife_images=0.0,
        data={"name": "none"},
        licence="Apache-2.0",
    )


def write_untrained(folder: Path, latent: int | None = None, attribute_names: tuple[str, ...] = ()) -> Path:
    """The folder of a real model of 32 x 32 that was never trained: its faces differ from each other."""
    import torch

    from limner.model.model import NOTHING, save_model
    from limner.networks import build_generator

    recipe = load_recipe("dcgan32", ["generator.width=64", "generator.init_std=0.1"])
    torch.manual_seed(1)
    config = untrained_config(recipe, latent or recipe.latent.size, attribute_names)
    generator = build_generator(recipe.generator, 32, config.latent_size + len(attribute_names))
    known_MA = np.eye(len(attribute_names), dtype=np.uint8) if attribute_names else NOTHING
    save_model(folder, generator, config, known_MA)
    return folder


def make_result(metric: str, values: Sequence[float], floor: float | None = None, **facts: object) -> Result:
    """A result of `values`, one a seed, with everything that it must record."""
    mean = sum(values) / len(values)
    spread = (sum((value - mean) ** 2 for value in values) / (len(values) - 1)) ** 0.5 if len(values) > 1 else None
    record: dict[str, object] = {
        "better": "lower",
        "value": mean,
        "spread": spread,
        "values": tuple(values),
        "seeds": tuple(range(len(values))),
        "standard_error": None,
        "floor": None if floor is None else Floor(value=floor, n_real=2000, n_other=5000),
        "chooses": False,
        "model": "m",
        "model_sha256": "",
        "recipe": "r",
        "weights": "ema",
        "images_seen": 1,
        "warnings": (),
        "seconds": 1.0,
        "machine": "m",
        "evaluated": "2026-01-01T00:00:00+00:00",
        "limner": "0",
        "protocol": "quick",
        "n_real": 2000,
        "n_fake": 5000,
        "split": "test",
        "crop": "none",
        "resolution": 32,
        "data_hash": "h",
        "extractor": "lite0",
        "extractor_sha256": "s",
        "resize": "r",
        "truncation": 1.0,
    }
    return Result.model_validate({**record, **facts, "metric": metric})


def write_run(run: Path, recipe: str, losses: Sequence[tuple[int, float]], samples: Sequence[int] = ()) -> None:
    """The folder of a run: a log line for each pair of images seen and loss, and grids after some numbers of them."""
    (run / "samples").mkdir(parents=True)
    (run / "recipe.toml").write_text(load_recipe(recipe).to_toml())
    (run / "run.json").write_text(json.dumps({"recipe": recipe}))
    rows = [
        {
            "event": "log",
            "images_seen": n,
            "seconds": n / 10,
            "loss/generator": loss,
            "diversity": 0.9,
            "verdict": "learning",
        }
        for n, loss in losses
    ]
    (run / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for seen in samples:
        Image.new("RGB", (64, 64), (seen % 256, 90, 120)).save(run / "samples" / f"{seen:09d}.png")
