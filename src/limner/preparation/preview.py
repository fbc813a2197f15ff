"""What a person looks at first: a contact sheet of a prepared data set, and how often each attribute occurs."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from limner.data.packed import ALIGNMENT, IMAGES, PREVIEW
from limner.preparation.sources.containers import shown

PREVIEW_COLUMNS, PREVIEW_ROWS = 10, 6
PAIR_COLUMNS, PAIR_ROWS = 4, 6
THUMBNAIL = 160
"""Longer side of a photo on the sheet of alignments, in pixels."""


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


def draw_alignment(
    folder: Path, origins: Sequence[tuple[str, tuple[complex, ...]]], read_photo: Callable[[str], Image.Image]
) -> None:
    """Photos spread evenly over the data set with the crop outlined, each beside the face that came of it.

    `origins` are, by row, the photo's name and the corners of the crop in it.
    """
    images_NHWC = np.load(folder / IMAGES, mmap_mode="r")
    count = min(len(images_NHWC), PAIR_COLUMNS * PAIR_ROWS)
    columns = min(count, PAIR_COLUMNS)
    width, height = 2 * THUMBNAIL + 12, THUMBNAIL + 4
    sheet = Image.new("RGB", (columns * width, -(-count // columns) * height), "white")
    for place, row in enumerate(np.linspace(0, len(images_NHWC) - 1, count).round().astype(int)):
        left, top = place % columns * width + 2, place // columns * height + 2
        name, corners = origins[row]
        sheet.paste(_outlined(read_photo(name), corners), (left, top))
        face = Image.fromarray(images_NHWC[row]).resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BICUBIC)
        sheet.paste(face, (left + THUMBNAIL + 2, top))
    sheet.save(folder / ALIGNMENT)


def _outlined(photo: Image.Image, corners: tuple[complex, ...]) -> Image.Image:
    scale = THUMBNAIL / max(photo.size)
    width, height = (max(1, round(side * scale)) for side in photo.size)
    thumbnail = photo.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0)
    outline = [(corner.real * scale, corner.imag * scale) for corner in corners]
    ImageDraw.Draw(thumbnail).polygon(outline, outline="lime", width=2)
    return thumbnail


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
