"""Does the share of memorised images find copies? Real training images in the place of generated ones, and spoilt.

Plain copies, mirrored ones and noisy ones must be flagged, and held-out images of other people must not: half of the
people of the held-out split against the other half. Copies among held-out images must show by their number.
"""

import argparse
import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from distortions import noisy

from limner.core.device import machine_facts
from limner.core.randomness import stream
from limner.data.packed import PackedFaces
from limner.evaluation.generate import mirrored, shrink
from limner.evaluation.memorisation import memorisation
from limner.evaluation.setup import set_up

COPIES = 1000
NOISE = (4, 16)  # standard deviation, of 255
SHARES = (0.1, 0.3)


def measure(faces: PackedFaces) -> list[dict[str, Any]]:
    """The share for each set of images, in features and in shrunk pixels."""
    setup = set_up(faces)
    look = setup.extractor.features
    train, heldout = faces.rows("train"), faces.rows("test")
    pixels_MP, pixels_RP = setup.pixels
    with (faces.path / "index.csv").open(encoding="utf-8") as file:
        people = np.array([line["identity"] for line in csv.DictReader(file)])[heldout]
    half = np.isin(people, stream(0, "people").permutation(np.unique(people))[::2])
    copied = np.sort(stream(0, "copies").permutation(len(train))[:COPIES])
    originals_NHWC = faces.images_NHWC[train[copied]]
    mirrored_NHWC = originals_NHWC[:, :, ::-1]
    mirrored_ND = look(np.ascontiguousarray(mirrored_NHWC))
    found: list[dict[str, Any]] = []

    def say(what: str, space: str, fakes: Any, train_MD: Any, heldout_RD: Any) -> None:
        of = memorisation(fakes, train_MD, heldout_RD, mirrored if space == "pixels" else None)
        found.append(
            {
                "images": what,
                "space": space,
                "share": of.closer_to_train,
                "median_ratio": of.median_ratio,
                "heldout_ratio": of.heldout_ratio,
            }
        )
        print(f"{what:48s} {space:7s} share {of.closer_to_train:.3f}, ratio {of.median_ratio:.3f}", flush=True)

    for space, train_MD, heldout_RD in (
        (setup.extractor.name, setup.reference.train_MD, setup.reference.real_ND),
        ("pixels", pixels_MP, pixels_RP),
    ):
        one, other = heldout_RD[half], heldout_RD[~half]
        seen = look if space != "pixels" else shrink
        originals, turned = train_MD[copied], mirrored_ND if space != "pixels" else shrink(mirrored_NHWC)
        either = np.where(stream(0, "mirrored").random((COPIES, 1)) < 0.5, turned, originals)
        say("held-out people", space, one, train_MD, other)
        say("the other held-out people", space, other, train_MD, one)
        say("copies", space, originals, train_MD, heldout_RD)
        say("mirrored copies", space, turned, train_MD, heldout_RD)
        say("copies, a random half mirrored", space, either, train_MD, heldout_RD)
        for strength in NOISE:
            say(
                f"copies with noise of {strength}/255",
                space,
                seen(noisy(originals_NHWC, strength)),
                train_MD,
                heldout_RD,
            )
        for share in SHARES:
            mixed = one.copy()
            mixed[: int(share * len(one))] = turned[: int(share * len(one))]
            say(f"{share:.0%} mirrored copies among held-out people", space, mixed, train_MD, other)
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="prepared CelebA with held-out images")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "copies.json")
    arguments = parser.parse_args()

    images = PackedFaces.open(arguments.data)
    result = {
        "training": len(images.rows("train")),
        "test": len(images.rows("test")),
        "content_hash": images.info.content_hash,
        "machine": machine_facts(torch.device("cpu")),
        "results": measure(images),
    }
    arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
