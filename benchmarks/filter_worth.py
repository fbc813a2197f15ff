"""What is the filter of `undo_copies.py` worth, for real images and for generators?

The filter is learnt, as there, from training images and their lossy copies; here the copies are WebP made in memory.
Measured are training images, their copies and the filtered copies, and each generator as it is and with the filter
behind it: a gain of a generator that was trained on the images themselves is no undoing of copies, but sharpening.
Each distance is measured by `lite0`, which chose models, and by `lite1`, which chose nothing.
Results: results/filter_worth.json, to which every call adds.
"""

import argparse
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from undo_copies import apply_filter, best_filter, learning_rows

from limner.core.device import machine_facts
from limner.core.pixels import from_pixels, to_pixels
from limner.core.randomness import stream
from limner.data.packed import PackedFaces
from limner.evaluation.distances import frechet_distance
from limner.evaluation.evaluate import evaluate
from limner.evaluation.extractors import load_extractor
from limner.evaluation.measure import moments
from limner.model.model import Model

RESULTS = Path(__file__).parent / "results" / "filter_worth.json"
QUALITY = 95
SEEDS = 3
EXTRACTORS = ("lite0", "lite1")
WITHOUT_COPIES = Path(__file__).parent / "without_copies.toml"


class Filtered(nn.Module):
    """A generator with the filter behind it."""

    def __init__(self, generator: nn.Module, weights: Tensor, biases: Tensor) -> None:
        super().__init__()
        self.generator = generator
        self.register_buffer("weights", weights)
        self.register_buffer("biases", biases)

    def forward(self, z_BZ: Tensor) -> Tensor:
        x_BCHW = self.generator(z_BZ).float()
        with torch.autocast(x_BCHW.device.type, enabled=False):
            return apply_filter(x_BCHW, self.weights, self.biases)  # type: ignore[arg-type]


def filtered(model: Model, kernel: tuple[Tensor, Tensor]) -> Model:
    """A model with the filter behind its generator."""
    return Model(model.config, Filtered(model.generator, *kernel), model.device, model.known_MA)


def copied(images_NHWC: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The images after they were written as WebP and read again."""
    found = []
    for image in images_NHWC:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "WEBP", quality=QUALITY)
        found.append(np.asarray(Image.open(file).convert("RGB")))
    return np.stack(found)


def learn(faces: PackedFaces) -> tuple[Tensor, Tensor]:
    images_NHWC = faces.images_NHWC[learning_rows(faces)]
    return best_filter(copied(images_NHWC), images_NHWC)


def real_images(faces: PackedFaces, extractors: list[str], weights: Tensor, biases: Tensor) -> dict[str, Any]:
    """Distances of as many training images as there are held-out ones: as they are, copied, copied and filtered."""
    heldout_NHWC = faces.images_NHWC[faces.rows("test")]
    rows = stream(0, "distortions").permutation(faces.rows("train"))[: len(heldout_NHWC)]
    train_NHWC = faces.images_NHWC[np.sort(rows)]
    copies_NHWC = copied(train_NHWC)
    filtered_NCHW = apply_filter(from_pixels(torch.from_numpy(copies_NHWC), "signed"), weights, biases)
    sets = {"untouched": train_NHWC, "copies": copies_NHWC, "filtered copies": to_pixels(filtered_NCHW, "signed")}
    found: dict[str, Any] = {"images": len(train_NHWC)}
    for name in extractors:
        extractor = load_extractor(name)
        real = moments(extractor.features(heldout_NHWC))
        found[f"fd_{name}"] = {
            kind: frechet_distance(real, moments(extractor.features(images))) for kind, images in sets.items()
        }
    return found


def distances(model: Model, faces: PackedFaces, extractors: list[str], seeds: int) -> dict[str, Any]:
    """A generator's distance in the features of each network."""
    metrics = {
        f"fd_{name}": evaluate(model, faces, protocol=WITHOUT_COPIES, seeds=seeds, extractor=name)
        for name in extractors
    }
    kept = ("value", "spread", "seeds", "n_fake", "n_real", "split", "protocol")
    return {
        metric: {key: getattr(one, key) for key in kept}
        for metric, results in metrics.items()
        for one in results
        if one.metric == metric
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL", help="generators without the filter")
    parser.add_argument("--data", type=Path, required=True, help="prepared images, 64 pixels wide")
    parser.add_argument("--extractor", action="append", choices=EXTRACTORS, help="may be repeated; default: both")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    arguments = parser.parse_args()

    faces, extractors = PackedFaces.open(arguments.data), arguments.extractor or [*EXTRACTORS]
    kernel = learn(faces)
    told = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {"real images": {}, "models": {}}
    told |= {
        "content_hash": faces.info.content_hash,
        "copies": f"WebP, quality {QUALITY}",
        "machine": machine_facts(torch.device("cpu")),
    }
    told["real images"] |= real_images(faces, extractors, *kernel)
    print(told["real images"], flush=True)
    for path in arguments.models:
        model = Model.load(path)
        row = told["models"].setdefault(model.config.weights_sha256, {"as it is": {}, "filtered": {}})
        row |= {"recipe": model.config.recipe, "images_seen": model.config.images_seen}
        for kind, one in (("as it is", model), ("filtered", filtered(model, kernel))):
            row[kind] |= distances(one, faces, extractors, arguments.seeds)
        print(row, flush=True)
    RESULTS.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
