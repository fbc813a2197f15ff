"""What a person looks at first: a contact sheet of a prepared data set, and how often each attribute occurs."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from limner.data.packed import (
    IMAGES,
    PREVIEW,
)
from limner.preparation.sources.containers import shown

PREVIEW_COLUMNS, PREVIEW_ROWS = 10, 6


def draw_preview(folder: Path) -> None:
    """A contact sheet of images spread evenly over the data set."""
    images_NHWC = np.load(folder / IMAGES, mmap_mode="r")
    count = min(len(images_NHWC), PREVIEW_COLUMNS * PREVIEW_ROWS)
    rows = np.linspace(0, len(images_NHWC) - 1, count).round().astype(int)
    pitch = images_NHWC.shape[1] + 2
    columns = min(count, PREVIEW_COLUMNS)
    sheet = Image.new("RGB", (columns * pitch + 2, -(-count // columns) * pitch + 2), "white")
    for place, row in enumerate(rows):
        sheet.paste(Image.fromarray(images_NHWC[row]), (place % columns * pitch + 2, place // columns * pitch + 2))
    sheet.save(folder / PREVIEW)


def draw_frequencies(
    file: Path, names: Sequence[str], attributes_NA: NDArray[np.uint8], is_train_N: NDArray[np.bool_]
) -> None:
    """How often each attribute occurs among the images for training and among the others."""
    from matplotlib.figure import Figure

    order = np.argsort(attributes_NA.mean(axis=0), kind="stable")
    height = 1.2 + 0.22 * len(names)  # inches: 0.6 above and below the bars
    figure = Figure(figsize=(8, height))
    axes = figure.add_axes((0.25, 0.6 / height, 0.72, 1 - 1.2 / height))
    for label, chosen_N, shift in (("train", is_train_N, 0.2), ("held out", ~is_train_N, -0.2)):
        if chosen_N.any():
            percent_A = attributes_NA[chosen_N].mean(axis=0)[order] * 100
            axes.barh(np.arange(len(names)) + shift, percent_A, 0.4, label=f"{label} ({chosen_N.sum():,} images)")
    axes.set_yticks(np.arange(len(names)), [shown(names[i]).replace("_", " ").replace("$", r"\$") for i in order])
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.set_xlabel("percent of the images")
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    axes.legend(loc="lower right")
    figure.savefig(file, dpi=100)
