"""The verdict on a run's health, from measured quantities, with the remedy in words.

Measured at every log line: `overlap`, how often the discriminator takes a generated image for more real than a real
one (0.5: it cannot tell them apart, 0: it never errs); `diversity`, how far the fixed-latent samples lie from each
other, relative to real images (1: as varied); `nearest_training`, the share of samples that lie closer to a training
than to a held-out image (0.5: no memorisation); `contrast`, the standard deviation of the pixels within a sample,
relative to real images (0: one flat colour, 1: as real ones); `roughness`, how much less neighbouring pixels correlate
than in real images (0: as much, 1: not at all, which is noise). Distances are Euclidean between images shrunk to 16 x
16, or between the heights of curves; curves have no `nearest_training`, since none is shown twice, and no pixels.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from limner.core.batching import batches_of
from limner.core.errors import UserError
from limner.core.randomness import stream
from limner.data.packed import PackedFaces

RECENT = 5  # log lines that must agree
GRACE = 20_000  # images before which every generator looks sick
NO_OVERLAP = 0.002
LITTLE_OVERLAP = 0.1
MUCH_OVERLAP = 0.42
LOW_DIVERSITY = 0.5
MEMORISING = 0.85
# On CelebA (tests/training/recorded_runs.json): flat images have a contrast of 0.06 at the most, from the borders
# that padding leaves; runs that work are above 0.1 after 50 steps. Noise that stays has a roughness above 0.8; runs
# that work are below 0.3 after 125 steps.
NO_CONTRAST = 0.1
NOISE = 0.5
FADING = 0.8  # times the roughness of the oldest of the lines: noise below that is going away
BLANK_AFTER, NOISE_AFTER = 50, 250  # steps before which every generator may look so
RESOLUTION = 16
REFERENCES = 2048
SPREAD_OF = 256
BATCH = 256  # images that are fp32 at a time

REMEDIES = {
    "learning": "",
    "discriminator winning": "The discriminator separates real from generated perfectly, so the generator has little "
    "to learn from: lower optimizer.discriminator.lr (or raise the generator's), or use objective.name=non-saturating.",
    "generator winning": "The discriminator hardly tells real from generated, so the generator learns little that is "
    "true. If the samples are not perfect: lower both learning rates, or let them fall earlier (schedule.decay=1), or "
    "lower objective.r1.",
    "collapsing": "Different latents give nearly the same image: lower the learning rates, use larger batches, or go "
    "back to an earlier checkpoint.",
    "blank": "Every sample is one flat colour: train longer; if that does not help, raise optimizer.generator.lr.",
    "noise": "Every sample is noise, and it does not become smoother: train longer; if that does not help, raise the "
    "learning rates, the discriminator's first.",
    "memorising": "Samples lie closer to training images than to held-out ones: stop earlier, or train on more images.",
    "diverged": "Losses or gradients are no longer finite: lower the learning rates.",
}


class Health:
    """Compares samples with images of the data set."""

    def __init__(self, faces: PackedFaces) -> None:
        train = faces.rows("train")
        try:
            heldout = faces.rows("heldout")
        except UserError:
            heldout = train[:0]
        # As many of each, or the larger set would be nearer by its number alone.
        count = min(REFERENCES, len(train), len(heldout) or len(train))
        self.train_ND = _shrink(faces.images_NHWC[_choose(train, count)])
        self.heldout_ND = _shrink(faces.images_NHWC[_choose(heldout, count)]) if len(heldout) else None
        real_NHWC = faces.images_NHWC[_choose(train, SPREAD_OF)]
        self.spread = mean_distance(_shrink(real_NHWC))
        self.contrast, self.correlation = _texture(real_NHWC)

    def measure(self, samples_NHWC: NDArray[np.uint8]) -> dict[str, float]:
        """`diversity`, `contrast`, `roughness` and, where there are held-out images, `nearest_training` of samples.

        `samples_NHWC` are uint8, N x H x W x 3.
        """
        samples_ND = _shrink(samples_NHWC)
        contrast, correlation = _texture(samples_NHWC)
        measured = {
            "diversity": mean_distance(samples_ND) / max(self.spread, 1e-9),
            "contrast": contrast / max(self.contrast, 1e-9),
            "roughness": self.correlation - correlation,
        }
        if self.heldout_ND is not None:
            to_train, to_heldout = (_nearest(samples_ND, other) for other in (self.train_ND, self.heldout_ND))
            measured["nearest_training"] = (to_train < to_heldout).float().mean().item()
        return measured


def overlap(real_B: Tensor, fake_B: Tensor) -> Tensor:
    """The share of all pairs in which the generated image's logit is above the real one's, ties counting half."""
    above = (fake_B[:, None] > real_B[None]).float() + 0.5 * (fake_B[:, None] == real_B[None]).float()
    return above.mean()


def verdict(lines: Sequence[Mapping[str, Any]], seen_before: int = 0) -> str:
    """The verdict on a run from its log lines, oldest first: a key of `REMEDIES`.

    `seen_before`: images that the model had seen that the run started from.
    """
    recent = lines[-RECENT:]
    measured = [value for key, value in lines[-1].items() if key.startswith(("loss/", "gradient/"))] if lines else []
    if not all(map(math.isfinite, measured)):
        return "diverged"
    if len(recent) < RECENT:
        return "learning"
    # Blank and noisy images are recognised before the rest can be measured; later on, a discriminator that wins is
    # their cause.
    established = seen_before + recent[-1]["images_seen"] >= GRACE
    # A generator that gives the same image for every latent has either found one that passes, or is stuck because
    # none of its images does: the overlap tells which.
    poor = all(line.get("diversity", 1.0) < LOW_DIVERSITY for line in recent)
    if established and all(line.get("overlap", 0.5) < (LITTLE_OVERLAP if poor else NO_OVERLAP) for line in recent):
        return "discriminator winning"
    steps = recent[-1].get("step", 0)
    if steps >= BLANK_AFTER and all(line.get("contrast", 1.0) < NO_CONTRAST for line in recent):
        return "blank"
    roughness = [line.get("roughness", 0.0) for line in recent]
    if steps >= NOISE_AFTER and min(roughness) > NOISE and roughness[-1] > FADING * roughness[0]:
        return "noise"
    if not established:
        return "learning"
    if poor:
        return "collapsing"
    if all(line.get("nearest_training", 0.5) > MEMORISING for line in recent):
        return "memorising"
    # Not of curves, which have no `nearest_training`: they can be matched perfectly, and nobody tells them apart then.
    if all(line.get("overlap", 0.0) > MUCH_OVERLAP and "nearest_training" in line for line in recent):
        return "generator winning"
    return "learning"


def _choose(rows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    return np.sort(stream(0, "health").permutation(rows)[:count])


def _shrink(images_NHWC: NDArray[np.uint8]) -> Tensor:
    x_NCHW = torch.from_numpy(images_NHWC).permute(0, 3, 1, 2)
    batches = [x_NCHW[some].float() / 255 for some in batches_of(len(x_NCHW), BATCH)]
    return torch.cat([F.adaptive_avg_pool2d(x_BCHW, RESOLUTION) for x_BCHW in batches]).flatten(1)


def _texture(images_NHWC: NDArray[np.uint8]) -> tuple[float, float]:
    """The mean standard deviation within an image, and the correlation of neighbouring pixels (flat ones: 1)."""
    x_NCHW = torch.from_numpy(images_NHWC).permute(0, 3, 1, 2).float() / 255
    variance_NC = x_NCHW.var(dim=(2, 3), unbiased=False)
    # Half the mean square of the differences between neighbours is the variance where they are independent.
    differences = sum(x_NCHW.diff(dim=dim).square().mean().item() for dim in (2, 3)) / 4
    return variance_NC.mean(1).sqrt().mean().item(), 1 - differences / max(variance_NC.mean().item(), 1e-9)


def mean_distance(x_ND: Tensor) -> float:
    """The mean Euclidean distance between two of N vectors."""
    return torch.pdist(x_ND).mean().item() if len(x_ND) > 1 else 0.0


def _nearest(x_ND: Tensor, others_MD: Tensor) -> Tensor:
    return torch.cdist(x_ND, others_MD).amin(dim=1)
