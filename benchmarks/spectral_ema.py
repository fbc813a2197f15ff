"""What did it cost to average spectral norm's u and v? Recipes with spectral norm, each with both kinds of EMA.

One training of each, for as many images as docs/recipes.md had. Beside its EMA a second one averages every tensor, as
Limner did until 2026-11-26. Both are measured by protocol `quick`, and after 100 and 1,000 steps the spectral norm of
each convolution is taken by its singular values. Results go to results/spectral_ema.json.
"""

import argparse
import json
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import nn

from limner.evaluation.evaluate import evaluate
from limner.model.model import Model
from limner.runs.run import Run
from limner.training import loop
from limner.training.ema import RAMP, settle_spectral_norms, update_ema
from limner.training.session import train

IMAGES = {"sngan-pixelnorm": 18_048, "cgan": 49_472, "acgan": 41_152}
STEPS = (100, 1000)
METRICS = ("fd_lite0", "kid_lite0", "attribute_control_mean", "attribute_control_rarest")


class BothAverages:
    """Takes the place of `update_ema`, and keeps an average of every tensor beside it."""

    def __init__(self) -> None:
        self.every: nn.Module | None = None
        self.steps = 0
        self.norms: dict[str, dict[str, list[float]]] = {}

    @torch.no_grad()
    def __call__(self, mean: nn.Module, network: nn.Module, images: int, batch: int, halflife_images: float) -> None:
        self.every = self.every or deepcopy(mean)
        update_ema(mean, network, images, batch, halflife_images)
        keep = 0.5 ** (batch / min(halflife_images, RAMP * images))
        for own, new in zip(self.every.state_dict().values(), network.state_dict().values(), strict=True):
            own.lerp_(new, 1 - keep)
        self.steps += 1
        if self.steps in STEPS:
            both = {"settled": settle_spectral_norms(deepcopy(mean)), "every tensor averaged": self.every}
            self.norms[str(self.steps)] = {name: spectral_norms(average) for name, average in both.items()}


def spectral_norms(network: nn.Module) -> list[float]:
    """Of each transposed convolution in its order, the largest singular value of its matrix."""
    layers = [layer for layer in network.modules() if isinstance(layer, nn.ConvTranspose2d)]
    matrices = [layer.weight.transpose(0, 1).flatten(1).cpu() for layer in layers]
    return [round(torch.linalg.matrix_norm(matrix, 2).item(), 4) for matrix in matrices]


def measured(name: str, data: Path, runs: Path, device: str, images: int, protocol: str) -> dict[str, Any]:
    """Train a recipe and measure both averages."""
    runs.mkdir(parents=True, exist_ok=True)
    both = BothAverages()
    loop.update_ema = both
    run: Run = train(
        *(name, data, runs / name),
        images=images,
        overrides=["record.evaluate_images=0"],
        device=device,
        force=True,
        quiet=True,
    )
    model = Model.load(run.path, device)
    assert both.every is not None
    models = {"settled": model, "every tensor averaged": Model(model.config, both.every, model.device, model.known_MA)}
    results = {
        average: {one.metric: one.value for one in evaluate(each, data, protocol=protocol, device=device, quiet=True)}
        for average, each in models.items()
    }
    return {
        "images_seen": images,
        "metrics": {
            average: {metric: round(found[metric], 4) for metric in METRICS if metric in found}
            for average, found in results.items()
        },
        "spectral_norms": both.norms,
        "machine": run.info["machine"],
        "content_hash": run.info["data"]["content_hash"],
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="prepared images, 64 pixels wide, with attributes")
    parser.add_argument("--runs", type=Path, default=Path("runs/spectral_ema"))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--protocol", default="quick")
    parser.add_argument("--images", type=int, help="instead of each recipe's own number")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "spectral_ema.json")
    arguments = parser.parse_args()
    rows = {
        name: measured(
            name, arguments.data, arguments.runs, arguments.device, arguments.images or images, arguments.protocol
        )
        for name, images in IMAGES.items()
    }
    told = {"date": datetime.now(UTC).date().isoformat(), "torch": torch.__version__, "recipes": rows}
    arguments.out.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    for name, row in rows.items():
        print(name, row["metrics"], row["spectral_norms"])
