"""Does a distance mean what it should? Real training images, spoilt more and more, against held-out ones.

Noise and blur must raise the distance with their strength; undistorted training images give the floor.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from limner.core.console import progress_bar
from limner.core.device import machine_facts
from limner.core.randomness import stream
from limner.data.packed import PackedFaces
from limner.evaluation.distances import frechet_distance
from limner.evaluation.extractors import load_extractor
from limner.evaluation.measure import moments
from limner.evaluation.metrics import metric_name
from limner.features.extractor import Extractor

NOISE = (4, 8, 16, 32)  # standard deviation, of 255
BLUR = (0.5, 1.0, 2.0)  # standard deviation in pixels


def noisy(images_NHWC: NDArray[np.uint8], strength: float) -> NDArray[np.uint8]:
    noise = stream(0, "noise").normal(0, strength, images_NHWC.shape)
    return np.rint(images_NHWC + noise).clip(0, 255).astype(np.uint8)


def blurred(images_NHWC: NDArray[np.uint8], strength: float) -> NDArray[np.uint8]:
    blur = ImageFilter.GaussianBlur(strength)
    return np.stack([np.asarray(Image.fromarray(image).filter(blur)) for image in images_NHWC])


def measure(faces: PackedFaces, extractor: Extractor) -> list[dict[str, str | float]]:
    """Distances of as many training images as there are held-out ones, by what was done to them."""
    heldout_NHWC = faces.images_NHWC[faces.rows("test")]
    rows = stream(0, "distortions").permutation(faces.rows("train"))[: len(heldout_NHWC)]
    train_NHWC = faces.images_NHWC[np.sort(rows)]
    kinds = [
        ("none", 0.0, train_NHWC),
        *(("noise", float(strength), noisy(train_NHWC, strength)) for strength in NOISE),
        *(("blur", strength, blurred(train_NHWC, strength)) for strength in BLUR),
    ]
    found: list[dict[str, str | float]] = []
    with progress_bar("distances", len(kinds), "sets") as advance:
        real_ND = extractor.features(heldout_NHWC)
        for kind, strength, images_NHWC in kinds:
            features_ND = extractor.features(images_NHWC)
            distance = frechet_distance(moments(real_ND), moments(features_ND))
            found.append({"kind": kind, "strength": strength, metric_name("fd", extractor.name): distance})
            print(found[-1], flush=True)
            advance(1)
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="prepared images with held-out ones")
    parser.add_argument("--extractor", default="lite0")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "distortions.json")
    arguments = parser.parse_args()

    images, network = PackedFaces.open(arguments.data), load_extractor(arguments.extractor)
    result = {
        "images": len(images.rows("test")),
        "content_hash": images.info.content_hash,
        "extractor_sha256": network.weights_sha256,
        "machine": machine_facts(torch.device("cpu")),
        "results": measure(images, network),
    }
    arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
