"""From images to the points of a generator that come nearest to them, by gradient descent on its inputs.

Latents, and attributes between 0 and 1, are optimised with Adam against pixels and a perceptual distance (as Abdal et
al. 2019 do for StyleGAN). Descent from one start often ends in a poor minimum, so several of the nearest random samples
take a few steps each, and the best of them goes on. Shapes: N images, S starts of each, P pooled samples, Z latent,
A attributes, H and W an image's height and width.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from limner.core.batching import batches_of
from limner.core.optimizers import Adam
from limner.core.pixels import from_pixels, to_unit
from limner.explore.points import Points, generate, sampled_points
from limner.features.perceptual import PerceptualMaps, map_distance
from limner.latent.latents import to_support
from limner.model.model import Model

BATCH = 16  # images; S times as many points at first
STARTS, SCOUT_STEPS = 3, 30
RATE, ATTRIBUTE_RATE = 0.1, 0.03  # a latent's standard deviation is 1, an attribute's at most 1/2
BETAS = (0.9, 0.95)
PERCEPTUAL = 0.01  # weight beside the mean squared error
OUTWARD = 0.002  # penalty for latents longer than sampled ones, beyond which directions mean less


@dataclass(frozen=True)
class Inverted:
    """The N points found, and how far their images are from what was looked for."""

    points: Points
    images_NHWC: NDArray[np.uint8]
    pixels_N: NDArray[np.float64]
    """Root mean square difference of the pixels, 0 to 1."""
    perceptual_N: NDArray[np.float64]
    """`map_distance`."""
    sample_pixels_N: NDArray[np.float64]
    """`pixels_N` of the nearest of the random samples."""


def invert(
    model: Model,
    images_NHWC: NDArray[np.uint8],
    *,
    steps: int,
    samples: int,
    seed: int,
    advance: Callable[[int], None] = lambda _: None,
) -> Inverted:
    """Find the points whose images are nearest to `images_NHWC`, uint8 N x H x W x 3 of the model's resolution.

    `advance` is called with the passes through the generator that were made: `samples` in all, and `passes(steps)` for
    each image.
    """
    pool = sampled_points(model, samples, seed)
    pool_PHWC = generate(model, pool, advance)
    maps = PerceptualMaps(model.device)
    found: list[Points] = []
    nearest_N = np.empty(len(images_NHWC))
    for some in batches_of(len(images_NHWC), BATCH):
        target = Target(model, maps, images_NHWC[some])
        distance_NP = pixel_distances(images_NHWC[some], pool_PHWC)
        nearest_N[some] = distance_NP.min(axis=1)
        starts_NS = torch.from_numpy(distance_NP.argsort(axis=1)[:, :STARTS])
        S = starts_NS.shape[1]
        points, loss_M = target.descend(pool[starts_NS.flatten()], S, SCOUT_STEPS, advance)
        best_N = loss_M.view(-1, S).argmin(dim=1) + S * torch.arange(len(starts_NS))
        found.append(target.descend(points[best_N], 1, steps, advance)[0])
    points = Points.join(found)
    made_NHWC = generate(model, points)
    perceptual = [
        map_distance(maps(_unit(made_NHWC[some], model.device)), maps(_unit(images_NHWC[some], model.device)))
        for some in batches_of(len(images_NHWC), BATCH)
    ]
    return Inverted(
        points,
        made_NHWC,
        pixel_distances(made_NHWC, images_NHWC).diagonal(),
        torch.cat(perceptual).double().cpu().numpy(),
        nearest_N,
    )


def passes(steps: int) -> int:
    """Passes through the generator for each image."""
    return STARTS * SCOUT_STEPS + steps


class Target:
    """Images that points are moved towards."""

    def __init__(self, model: Model, maps: PerceptualMaps, images_NHWC: NDArray[np.uint8]) -> None:
        self.model, self.maps = model, maps
        self._x_NCHW = _unit(images_NHWC, model.device)
        with torch.no_grad():
            self._maps = maps(self._x_NCHW)

    def descend(self, points: Points, copies: int, steps: int, advance: Callable[[int], None]) -> tuple[Points, Tensor]:
        """The points after so many steps, with a learning rate that falls to 0, and the loss of each.

        The first `copies` points are for the first image, the next for the second.
        """
        distribution = self.model.config.latent_distribution
        z_MZ, y_MA = points.z_NZ.clone().requires_grad_(), points.y_NA.clone().requires_grad_()
        optimizer = Adam([{"params": [z_MZ], "lr": RATE}, {"params": [y_MA], "lr": ATTRIBUTE_RATE}], betas=BETAS)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(steps):
            loss_M = self._loss(z_MZ, y_MA, copies)
            optimizer.zero_grad()
            torch.autograd.backward(loss_M.sum())
            optimizer.step()
            schedule.step()
            with torch.no_grad():
                z_MZ.copy_(to_support(z_MZ, distribution))
                y_MA.clamp_(0, 1)
            advance(len(z_MZ))
        return Points(z_MZ.detach(), y_MA.detach()), loss_M.detach().cpu()

    def _loss(self, z_MZ: Tensor, y_MA: Tensor, copies: int) -> Tensor:
        model = self.model
        with torch.autocast(model.device.type, torch.bfloat16, enabled=model.precision == "bf16"):
            x_MCHW = model.generator(torch.cat([z_MZ, y_MA], 1).to(model.device))
        x_MCHW = to_unit(x_MCHW, model.config.pixel_range)
        pixels_M = (x_MCHW - self._x_NCHW.repeat_interleave(copies, 0)).square().mean((1, 2, 3))
        maps = [map_NCHW.repeat_interleave(copies, 0) for map_NCHW in self._maps]
        outward_M = (z_MZ.square().mean(1) - 1).clamp(min=0).to(model.device)
        return pixels_M + PERCEPTUAL * map_distance(self.maps(x_MCHW), maps) + OUTWARD * outward_M


def pixel_distances(some_NHWC: NDArray[np.uint8], others_PHWC: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The root mean square difference of every image from every other: N x P, 0 to 1."""
    some_NK, others_PK = (torch.from_numpy(images / 255).flatten(1) for images in (some_NHWC, others_PHWC))
    distance_NP: NDArray[np.float64] = (torch.cdist(some_NK, others_PK) / some_NK.shape[1] ** 0.5).numpy()
    return distance_NP


def _unit(images_NHWC: NDArray[np.uint8], device: torch.device) -> Tensor:
    return from_pixels(torch.tensor(images_NHWC, device=device), "unit")  # a copy: the array may be read-only
