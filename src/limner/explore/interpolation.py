"""Walks through faces: `limner explore interpolate`.

A Gaussian latent of many dimensions lies near a sphere, so a walk between two follows the arc (slerp, Shoemake 1985;
White 2016); a straight line would cut through the middle, where no training latent lies. Uniform latents fill a cube,
and there the line is right. Shapes: N frames, K faces, Z latent, A attributes, H and W an image's height and width.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from limner.core.arguments import checked
from limner.core.console import progress_bar
from limner.core.errors import UserError
from limner.core.pixels import to_unit
from limner.explore.points import Points, face_points, generate, open_model, provenance
from limner.explore.video import check_moving, write_moving
from limner.model.model import Model

MOST_FRAMES, MOST_FPS = 5000, 100
ROUNDS = 5  # of evening out; the steps of 60 frames then differ from their mean by a few per cent


@checked
def interpolate(
    model: str | Path | Model,
    faces: str | Sequence[str],
    out: str | Path,
    *,
    frames: int = 60,
    loop: bool = False,
    even: bool = False,
    fps: int = 20,
    device: str = "cpu",
    force: bool = False,
    quiet: bool = False,
) -> Path:
    """Write a walk through `faces` (SEED:INDEX each, at least two): a PNG with a row a stretch, GIF, WebP, MP4, WebM.

    Latents and attributes change from face to face in `frames` images; `loop` also goes back to the first face. `even`
    places the frames so that every step changes the image by the same root mean square of its pixels; otherwise every
    step is the same angle (uniform latents: length) of its stretch. Videos need the extra `video`.

    Raises:
        UserError: a face is not of the form SEED:INDEX, a number is out of range, there is no such model or it is not
            one of images, or `out` cannot be written (it exists, without `force`; its ending; PyAV is missing).
    """
    out = Path(out)
    check_moving(out, force)
    if not 1 <= fps <= MOST_FPS:
        raise UserError(f"fps is {fps}; it must lie between 1 and {MOST_FPS}.")
    loaded = open_model(model, device)
    through = face_points(loaded, faces)
    if len(through) < 2:
        raise UserError("A walk needs at least two faces: give --faces SEED:INDEX,SEED:INDEX.")
    if not len(through) <= frames <= MOST_FRAMES:
        raise UserError(f"frames is {frames}; for {len(through)} faces it must lie between {len(through)} and 5,000.")
    stretches = len(through) if loop else len(through) - 1
    spherical = loaded.config.latent_distribution != "uniform"

    def walk(t_N: NDArray[np.float64]) -> Points:
        return points_between(through, t_N, spherical)

    with progress_bar("interpolate", frames * (1 + ROUNDS * even), "images", quiet) as advance:
        t_N = np.linspace(0, stretches, frames, endpoint=not loop)
        if even:
            t_N = even_times(t_N, stretches, lambda t_N: _images(loaded, walk(t_N), advance))
        images_NHWC = generate(loaded, walk(t_N), advance)
    given = faces if isinstance(faces, str) else ",".join(faces)
    settings = provenance(loaded, "interpolate", faces=given, frames=frames, loop=loop, even=even)
    write_moving(images_NHWC, out, fps, math.ceil(frames / stretches), settings)
    return out


def points_between(through: Points, t_N: NDArray[np.float64], spherical: bool) -> Points:
    """The points at the times `t_N`: k is face k, k + 1/2 halfway to the next, and after the last comes the first."""
    K = len(through)
    from_N = torch.from_numpy(np.floor(t_N).astype(np.int64))
    share_N1 = torch.from_numpy(t_N).float()[:, None] - from_N[:, None]
    before, after = through[from_N % K], through[(from_N + 1) % K]
    between = slerp if spherical else torch.lerp
    return Points(between(before.z_NZ, after.z_NZ, share_N1), torch.lerp(before.y_NA, after.y_NA, share_N1))


def slerp(from_NZ: Tensor, to_NZ: Tensor, share_N1: Tensor) -> Tensor:
    """Latents on the arcs from `from_NZ` to `to_NZ`, N x Z; their lengths go evenly from the one's to the other's."""
    a_NZ, b_NZ = F.normalize(from_NZ, dim=1), F.normalize(to_NZ, dim=1)
    angle_N1 = torch.acos((a_NZ * b_NZ).sum(1, keepdim=True).clamp(-1, 1))
    # sin(share * angle) / sin(angle); torch's sinc makes it exact for two equal latents too.
    whole_N1 = torch.sinc(angle_N1 / math.pi)
    a_N1 = (1 - share_N1) * torch.sinc((1 - share_N1) * angle_N1 / math.pi) / whole_N1
    b_N1 = share_N1 * torch.sinc(share_N1 * angle_N1 / math.pi) / whole_N1
    length_N1 = torch.lerp(from_NZ.norm(dim=1, keepdim=True), to_NZ.norm(dim=1, keepdim=True), share_N1)
    return length_N1 * (a_N1 * a_NZ + b_N1 * b_NZ)


def even_times(
    t_N: NDArray[np.float64], stretches: int, images_of: Callable[[NDArray[np.float64]], Tensor]
) -> NDArray[np.float64]:
    """Times from 0 to at most `stretches` at which the images are equally far from one to the next.

    Each round measures the steps between the images of N times, and takes the image to change at an even rate within
    each. `t_N` are the first times; in a closed walk they end before `stretches`, which is time 0 again.
    """
    closed = t_N[-1] < stretches
    for _ in range(ROUNDS):
        x_NCHW = images_of(t_N)
        knots = np.append(t_N, stretches) if closed else t_N
        if closed:
            x_NCHW = torch.cat([x_NCHW, x_NCHW[:1]])
        steps = x_NCHW.diff(dim=0).square().mean(dim=(1, 2, 3)).sqrt().double().numpy()
        travelled = np.append(0.0, steps.cumsum())
        t_N = np.interp(np.linspace(0, travelled[-1], len(t_N), endpoint=not closed), travelled, knots)
    return t_N


def _images(model: Model, points: Points, advance: Callable[[int], None]) -> Tensor:
    """The images as floats on the CPU, N x 3 x H x W in [0, 1]: steps are finer than a pixel's 1/255."""
    images = []
    for some in points.batches():
        images.append(to_unit(model.raw(some.z_NZ, some.y_NA, "fp32"), model.config.pixel_range).clamp(0, 1).cpu())
        advance(len(some))
    return torch.cat(images)
