"""Teach a generator that learnt from lossy copies of the images to draw as if it had seen the images themselves.

Small copies (WebP at quality 95, say) carry a data set to a machine that cannot hold it otherwise; a generator trained
on them also learns to draw what the format takes away, colours at half the sides above all. Here both data sets are at
hand: the linear filter of 5 x 5 pixels that best turns copies into images (least squares over training images, one
filter for each place in the format's squares of 2 x 2) is applied to what the generator draws, and the generator's last
two doublings are fitted to draw that by themselves. No image is shown to a discriminator, none held out is looked at.

Shapes: N images, C channels, H and W sides, P pixels, K values of a window.
"""

import argparse
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from limner.core.pixels import from_pixels
from limner.data.packed import PackedFaces
from limner.latent.latents import training_latents
from limner.model.model import Model, save_model
from limner.networks.modern import through

REACH = 2  # pixels on each side
SIDE = 2 * REACH + 1
IMAGES = 1500  # from which the filter is learnt
BATCH, RATE = 32, 2e-4


def learning_rows(images: PackedFaces) -> NDArray[np.int64]:
    """The training images from which the filter is learnt."""
    return np.random.default_rng(0).permutation(images.rows("train"))[:IMAGES]


def best_filter(copies_NHWC: NDArray[np.uint8], images_NHWC: NDArray[np.uint8]) -> tuple[Tensor, Tensor]:
    """The filter as a convolution of stride 2 before a pixel shuffle: weights 12 x 3 x 6 x 6, biases 12."""
    x_NCHW, y_NCHW = (from_pixels(torch.from_numpy(one), "signed") for one in (copies_NHWC, images_NHWC))
    windows_NKP = F.unfold(pad(x_NCHW), SIDE + 1, stride=2)
    targets_NCP = F.pixel_unshuffle(y_NCHW, 2).flatten(2)  # channel c of place (i, j) at 4 c + 2 i + j
    weights, biases = torch.zeros(12, 3, SIDE + 1, SIDE + 1), torch.zeros(12)
    for i in (0, 1):
        for j in (0, 1):
            of_place = torch.zeros(3, SIDE + 1, SIDE + 1, dtype=torch.bool)
            of_place[:, i : i + SIDE, j : j + SIDE] = True
            windows_PK = windows_NKP[:, of_place.flatten()].transpose(1, 2).flatten(0, 1).double()
            windows_PK = torch.cat([windows_PK, torch.ones(len(windows_PK), 1, dtype=torch.double)], 1)
            places = torch.arange(3) * 4 + 2 * i + j
            targets_PC = targets_NCP[:, places].transpose(1, 2).flatten(0, 1).double()
            solution_KC = torch.linalg.solve(windows_PK.T @ windows_PK, windows_PK.T @ targets_PC)
            for channel, place in enumerate(places.tolist()):
                weights[place][of_place] = solution_KC[:-1, channel].float()
                biases[place] = solution_KC[-1, channel].float()
    return weights, biases


def apply_filter(x_NCHW: Tensor, weights: Tensor, biases: Tensor) -> Tensor:
    return F.pixel_shuffle(F.conv2d(pad(x_NCHW), weights, biases, stride=2), 2).clamp(-1, 1)


def pad(x_NCHW: Tensor) -> Tensor:
    return F.pad(x_NCHW, (REACH,) * 4, mode="replicate")


def fit(model: Model, weights: Tensor, biases: Tensor, steps: int) -> None:
    """Move the generator's last two doublings to the filtered images of the generator as it was."""
    generator: Any = model.generator
    doublings = [k for k, layer in enumerate(generator.main) if isinstance(layer, nn.ConvTranspose2d)]
    trunk, head = generator.main[: doublings[-2]], generator.main[doublings[-2] :]
    before = deepcopy(head)
    head.requires_grad_(True)
    optimizer = torch.optim.Adam(head.parameters(), RATE, (0.9, 0.99), fused=True)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
    source, known_MA = torch.Generator().manual_seed(0), torch.from_numpy(model.known_MA).float()
    for step in range(steps):
        z_BZ = training_latents(BATCH, model.config.latent_size, model.config.latent_distribution, source)
        if len(known_MA):
            z_BZ = torch.cat([z_BZ, known_MA[torch.randint(len(known_MA), (BATCH,), generator=source)]], 1)
        with torch.no_grad():
            with torch.autocast("cpu", torch.bfloat16):
                x_BCHW = through(trunk, generator.linear(z_BZ), z_BZ).float()
            drawn_BCHW = through(before, x_BCHW, z_BZ)
            target_BCHW = apply_filter(drawn_BCHW, weights, biases)
        loss = F.mse_loss(through(head, x_BCHW, z_BZ), target_BCHW)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        if step % 100 == 0 or step == steps - 1:
            left, start = (error.item() ** 0.5 * 127.5 for error in (loss, F.mse_loss(drawn_BCHW, target_BCHW)))
            print(f"{step} steps: {left:.2f} of {start:.2f} pixel values", flush=True)
    head.requires_grad_(False)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="the folder of a model trained on the copies")
    parser.add_argument("--copies", type=Path, required=True, help="the prepared copies")
    parser.add_argument("--data", type=Path, required=True, help="the same images, prepared from their source")
    parser.add_argument("--out", type=Path, required=True, help="folder of the new model")
    parser.add_argument("--steps", type=int, default=1500)
    arguments = parser.parse_args()

    model = Model.load(arguments.model)
    copies, images = PackedFaces.open(arguments.copies), PackedFaces.open(arguments.data)
    if copies.files != images.files:
        raise SystemExit(f"{arguments.copies} and {arguments.data} do not hold the same images.")
    rows = learning_rows(images)
    fit(model, *best_filter(copies.images_NHWC[rows], images.images_NHWC[rows]), arguments.steps)
    save_model(arguments.out, model.generator, model.config, model.known_MA)
