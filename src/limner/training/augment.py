"""Random changes of the images that the discriminator sees in place of the images themselves.

With few training images the discriminator would soon know each by heart. It sees real and generated images changed at
random in the same ways, and the generator learns through the changes, so that they never reach its samples: the
differentiable augmentation of Zhao et al. (2020), and the scaling of Karras et al. (2020). Shapes: B batch, C channels,
H and W the image's height and width.
"""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from limner.core.distributed import ALONE, RowSampler
from limner.core.pixels import SHIFT_AND_SCALE
from limner.recipes.tables import Augment


def augment(x_BCHW: Tensor, settings: Augment, pixel_range: str, rows: RowSampler = ALONE.rows) -> Tensor:
    """B x C x H x W in `pixel_range` -> the same shape, each image changed by its own random numbers.

    They come from torch's global generator of the device; `rows` takes those of this process's images. Differentiable
    twice, by the images.
    """
    if not (settings.colour or settings.zoom or settings.shift or settings.cutout):
        return x_BCHW
    shift, scale = SHIFT_AND_SCALE[pixel_range]
    half = 127.5 / scale  # of the range; mid-grey lies so far above its lower end
    x_BCHW = (x_BCHW + (shift - half)) / half  # [-1, 1] with mid-grey at 0
    if settings.colour:
        x_BCHW = recolour(x_BCHW, settings.colour, rows)
    if settings.zoom:
        x_BCHW = zoom(x_BCHW, settings.zoom, rows)
    if settings.shift:
        x_BCHW = move(x_BCHW, settings.shift, rows)
    if settings.cutout:
        x_BCHW = cut_out(x_BCHW, settings.cutout, rows)
    return x_BCHW * half - (shift - half)


def recolour(x_BCHW: Tensor, strength: float, rows: RowSampler = ALONE.rows) -> Tensor:
    """Change brightness by up to `strength` / 2, saturation by a factor of 1 -+ `strength`, contrast 1 -+ half of it.

    At 1 these are the colours of Zhao et al. (2020); but contrast is about mid-grey, 0, and not each image's mean.
    """
    device = x_BCHW.device
    u_B3111 = (rows(lambda n: torch.rand(3, n, 1, 1, 1, device=device).transpose(0, 1), len(x_BCHW)) - 0.5) * strength
    brightness, saturation, contrast = u_B3111[:, 0], 1 + 2 * u_B3111[:, 1], 1 + u_B3111[:, 2]
    grey_B1HW = x_BCHW.mean(1, keepdim=True)
    return contrast * saturation * x_BCHW + (contrast * (1 - saturation) * grey_B1HW + brightness)


def move(x_BCHW: Tensor, share: float, rows: RowSampler = ALONE.rows) -> Tensor:
    """Move each image by up to `share` of its height and width, by whole pixels; what is uncovered is mid-grey, 0."""
    B, C, H, W = x_BCHW.shape
    far_y, far_x = round(share * H), round(share * W)
    padded_BHWC = F.pad(x_BCHW.permute(0, 2, 3, 1), (0, 0, far_x, far_x, far_y, far_y))
    top_B11 = rows(lambda n: torch.randint(2 * far_y + 1, (n, 1, 1), device=x_BCHW.device), B)
    left_B11 = rows(lambda n: torch.randint(2 * far_x + 1, (n, 1, 1), device=x_BCHW.device), B)
    rows_H1, columns_W = torch.arange(H, device=x_BCHW.device)[:, None], torch.arange(W, device=x_BCHW.device)
    places_BHW = (top_B11 + rows_H1) * (W + 2 * far_x) + left_B11 + columns_W
    index_BPC = places_BHW.reshape(B, -1, 1).expand(-1, -1, C)
    return padded_BHWC.reshape(B, -1, C).gather(1, index_BPC).view(B, H, W, C).permute(0, 3, 1, 2)


def zoom(x_BCHW: Tensor, deviation: float, rows: RowSampler = ALONE.rows) -> Tensor:
    """Scale each image about its centre by 2^u, u from N(0, `deviation`); what is uncovered is mid-grey, 0.

    Bilinear; an image that shrinks is averaged over as many pixels as become one. Two matrix products for each image:
    unlike torch's own resampling they can be differentiated twice, and on a GPU they repeat to the last bit.
    """
    scale_B11 = torch.exp2(deviation * rows(lambda n: torch.randn(n, 1, 1, device=x_BCHW.device), len(x_BCHW)))
    rows_B1HH, columns_B1WW = (_resampling(size, scale_B11)[:, None].to(x_BCHW.dtype) for size in x_BCHW.shape[2:])
    return rows_B1HH @ x_BCHW @ columns_B1WW.transpose(2, 3)


def _resampling(size: int, scale_B11: Tensor) -> Tensor:
    """For each image the weights of `size` pixels in each of `size` pixels of the scaled one, B x size x size."""
    centred = torch.arange(size, device=scale_B11.device) - (size - 1) / 2
    reach_B11 = (1 / scale_B11).clamp(min=1)
    away_BSS = centred[:, None] / scale_B11 - centred
    return (1 - away_BSS.abs() / reach_B11).clamp(min=0) / reach_B11


def cut_out(x_BCHW: Tensor, share: float, rows: RowSampler = ALONE.rows) -> Tensor:
    """Set to mid-grey, 0, a square of `share` of each image's width around a random pixel, where it lies inside."""
    inside = []
    for size in x_BCHW.shape[2:]:
        pixels, hole = torch.arange(size, device=x_BCHW.device), round(share * size)
        first_B1 = rows(partial(_random_places, hole, size, x_BCHW.device), len(x_BCHW))
        inside.append((pixels >= first_B1) & (pixels < first_B1 + hole))
    rows_BH, columns_BW = inside
    return x_BCHW.masked_fill((rows_BH[:, None, :, None] & columns_BW[:, None, None, :]), 0)


def _random_places(hole: int, size: int, device: torch.device, count: int) -> Tensor:
    return torch.randint(-(hole // 2), size - hole // 2, (count, 1), device=device)
