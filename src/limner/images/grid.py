"""Images side by side."""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def face_grid(images_NHWC: NDArray[np.uint8], columns: int | None = None, padding: int = 2) -> Image.Image:
    """Lay N images out row by row, with `padding` white pixels between them (none around).

    Args:
        images_NHWC: uint8, N x H x W x 3, N >= 1.
        columns: images in a row; by default as nearly square as it goes, rather wide than tall.
        padding: pixels between two images.

    Raises:
        ValueError: the array is not N x H x W x 3 uint8 with at least one image.
    """
    if images_NHWC.ndim != 4 or images_NHWC.shape[3] != 3 or images_NHWC.dtype != np.uint8 or not len(images_NHWC):
        raise ValueError(
            f"face_grid wants N x H x W x 3 uint8 with N >= 1, not {images_NHWC.shape} {images_NHWC.dtype}"
        )
    N, H, W, _ = images_NHWC.shape
    columns = min(N, columns or math.ceil(math.sqrt(N)))
    rows = math.ceil(N / columns)
    cells = np.full((rows * columns, H + padding, W + padding, 3), 255, np.uint8)
    cells[:N, :H, :W] = images_NHWC
    sheet = cells.reshape(rows, columns, H + padding, W + padding, 3).swapaxes(1, 2)
    sheet = sheet.reshape(rows * (H + padding), columns * (W + padding), 3)
    return Image.fromarray(sheet[: sheet.shape[0] - padding, : sheet.shape[1] - padding])
