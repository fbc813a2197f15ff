"""The JPEGs that the plain loop reads, and Limner prepares: drawn faces in the form of CelebA's aligned images.

Shapes: C channels, H and W the image's height and width, A attributes, N files.
"""

import csv
import multiprocessing
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from limner.data.attributes import CELEBA_ATTRIBUTES
from limner.preparation.crops import ALIGNED_SIZE, find_crop
from limner.preparation.synthetic import draw_face
from limner.recipes.schema import DataView

DRAWN_FACES = 64
# Each drawn face is cut out at several places: files that differ, without the time to draw as many.
CUTS = (0, 13, 27, 40)
JPEG_QUALITY = 85  # gives files as large as CelebA's aligned images, about 7 kB
LABELS = "labels.csv"
CELEBA_IMAGES = 202_599


def write_jpegs(folder: Path, seed: int) -> None:
    """Fill `folder` with drawn faces in the size and shape of CelebA's aligned images, and a table of attributes."""
    folder.mkdir()
    width, height = ALIGNED_SIZE
    with (folder / LABELS).open("w", encoding="utf-8", newline="") as out:
        table = csv.writer(out)
        table.writerow(["file", *CELEBA_ATTRIBUTES])
        for index in range(DRAWN_FACES):
            face_HWC, labels_A = draw_face(seed, index, height)
            for cut, left in enumerate(CUTS):
                file = f"{index:06d}-{cut}.jpg"
                image = Image.fromarray(np.ascontiguousarray(face_HWC[:, left : left + width]))
                image.save(folder / file, quality=JPEG_QUALITY)
                table.writerow([file, *labels_A.tolist()])


class Jpegs(Dataset[tuple[Tensor, Tensor]]):
    """The JPEGs below `folder`, decoded, cropped, resized and scaled at every access, and their attributes.

    As many as CelebA has: an epoch of a few batches would be all starting of workers.
    """

    def __init__(self, folder: Path, view: DataView) -> None:
        with (folder / LABELS).open(encoding="utf-8", newline="") as lines:
            _, *rows = csv.reader(lines)
        self.files = [folder / file for file, *_ in rows]
        self.labels_NA = torch.tensor([[float(value) for value in values] for _, *values in rows])
        self.box = find_crop(view.crop, view.size).box(*ALIGNED_SIZE)
        self.view = view
        self.decoded = multiprocessing.Value("q", 0)
        """By all processes together."""

    def __len__(self) -> int:
        return CELEBA_IMAGES

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """3 x H x W in the recipe's range, and A attributes, 0 or 1."""
        index %= len(self.files)
        size = self.view.size
        with Image.open(self.files[index]) as image:
            small = image.convert("RGB").crop(self.box).resize((size, size), Image.Resampling.BILINEAR)
        x_CHW = torch.from_numpy(np.array(small)).permute(2, 0, 1).contiguous().float()
        if self.view.range != "byte":
            x_CHW = x_CHW.div(255)
        if self.view.range == "signed":
            x_CHW = (x_CHW - 0.5) / 0.5
        with self.decoded.get_lock():
            self.decoded.value += 1
        return x_CHW, self.labels_NA[index]
