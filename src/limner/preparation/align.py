"""From a photo to faces as CelebA is aligned: turned, scaled and moved so that the eyes are at (69, 111) and (108, 111)
of 178 x 218 pixels, then cropped by a preset and resized, in one resampling.

MTCNN finds the faces. Its last network, O-Net, then looks at each face again, upright, in two sizes and mirrored; the
mean of these answers is better placed than its first one about the tilted face (`benchmarks/align.py` measures it).
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from math import ceil
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from limner.preparation.crops import ALIGNED_SIZE, Crop, Rejected, read_upright
from limner.preparation.mtcnn import O_SIDE, Floats, Mtcnn
from limner.preparation.sources.containers import ImageFiles
from limner.preparation.workers import Loaded, PreparedImage

POINTS = np.array([[69.6, 111.7], [108.4, 111.7], [88.0, 135.7], [71.5, 152.6], [106.5, 152.6]])
"""Where O-Net sees the eyes, nose and mouth of CelebA's aligned images: means over 248 of them."""
WEIGHTS = np.array([1, 1, 0, 0.5, 0.5])
"""How much each point counts, chosen on the same images. The nose moves when a head turns, the mouth when it speaks."""
LOOKS = ((41.0, 78.5, 95.0), (33.5, 71.0, 110.0))
"""Left, top and side of the squares of the aligned frame that O-Net looks at."""
MIRRORED = [1, 0, 2, 4, 3]
"""Which point each one is in the mirror."""
ROUNDS = 2
MIN_PROBABILITY = 0.5
MAX_ENLARGEMENT = 1.5
RESAMPLING = "whole-number mean, bicubic at up to 4 points a pixel, mean of these"


@dataclass(frozen=True)
class Similarity:
    """Takes a point z = x + iy of the photo to `turn` z + `shift` of the aligned frame, in pixels."""

    turn: complex
    shift: complex

    @classmethod
    def fit(cls, from_52: Floats, to_52: Floats) -> Self:
        """The similarity that takes points nearest to others: weighted least squares (Umeyama, 1991)."""
        start_5, end_5 = (points_52 @ (1, 1j) for points_52 in (from_52, to_52))
        weights_5 = WEIGHTS / WEIGHTS.sum()
        start, end = weights_5 @ start_5, weights_5 @ end_5
        away_5 = start_5 - start
        turn = weights_5 @ (away_5.conj() * (end_5 - end)) / (weights_5 @ abs(away_5) ** 2)
        return cls(complex(turn), complex(end - turn * start))

    def then(self, other: "Similarity") -> "Similarity":
        return Similarity(other.turn * self.turn, other.turn * self.shift + other.shift)

    def back(self, point: complex) -> complex:
        """The point of the photo that becomes `point`."""
        return (point - self.shift) / self.turn


class FaceFinder:
    """Finds the faces of photos and how each becomes upright."""

    def __init__(self) -> None:
        self._mtcnn = Mtcnn()

    def __call__(self, photo: Image.Image) -> list[Similarity]:
        """One similarity for each face in an RGB photo, the largest first."""
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # as many as in a worker: the last bits depend on it
        try:
            found = [self._refined(photo, points_52) for points_52 in self._mtcnn.find(photo)]
        finally:
            torch.set_num_threads(threads)
        return [similarity for similarity, probability in found if probability >= MIN_PROBABILITY]

    def _refined(self, photo: Image.Image, points_52: Floats) -> tuple[Similarity, float]:
        """The similarity, and how probable it is that there is a face."""
        similarity, probability = Similarity.fit(points_52, POINTS), 0.0
        for _ in range(ROUNDS):
            seen_52, probability = self._look(photo, similarity)
            similarity = similarity.then(Similarity.fit(seen_52, POINTS))
        return similarity, probability

    def _look(self, photo: Image.Image, similarity: Similarity) -> tuple[Floats, float]:
        """Where O-Net sees the points in the aligned frame, 5 x 2, and how probable it is that there is a face."""
        squares = [upright(photo, similarity, *look, O_SIDE) for look in LOOKS]
        mirrored = [square.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for square in squares]
        points_N52, face_N = self._mtcnn.place([*squares, *mirrored])
        straight_N52, mirrored_N52 = np.split(points_N52, 2)
        points_N52 = (straight_N52 + mirrored_N52[:, MIRRORED] * (-1, 1) + (1, 0)) / 2
        looks_N3 = np.array(LOOKS)
        seen_N52 = looks_N3[:, None, :2] + points_N52 * looks_N3[:, 2, None, None]
        return seen_N52.mean(axis=0), float(face_N.mean())


def upright(
    photo: Image.Image, similarity: Similarity, left: float, top: float, side: float, pixels: int
) -> Image.Image:
    """A square of the aligned frame, `pixels` wide. Beyond the photo its edge goes on, as in CelebA.

    Every pixel of the photo in the square counts: a whole-number mean shrinks it first, bicubic interpolation takes up
    to 4 x 4 points a pixel of the result, and their mean is the pixel.
    """
    step = side / pixels / similarity.turn
    factor = max(1, int(abs(step) / 2))
    fine = max(1, ceil(abs(step) / factor))
    origin = similarity.back(complex(left, top)) / factor
    corners_4 = origin + step / factor * pixels * np.array([0, 1, 1j, 1 + 1j])
    region, corner = _region(photo, factor, corners_4)
    origin -= corner
    step /= factor * fine
    numbers = (step.real, -step.imag, origin.real, step.imag, step.real, origin.imag)
    large = region.transform((pixels * fine,) * 2, Image.Transform.AFFINE, numbers, Image.Resampling.BICUBIC)
    return large.reduce(fine) if fine > 1 else large


def _region(photo: Image.Image, factor: int, corners_4: NDArray[np.complex128]) -> tuple[Image.Image, complex]:
    """The part of the photo, shrunk by `factor`, that holds these corners and a margin; and its left top corner."""
    corners_42 = np.stack([corners_4.real, corners_4.imag], axis=1)
    low_2, high_2 = np.floor(corners_42.min(axis=0)).astype(int) - 2, np.ceil(corners_42.max(axis=0)).astype(int) + 2
    size_2 = np.ceil(np.array(photo.size) / factor).astype(int)
    inner_low_2, inner_high_2 = low_2.clip(0, size_2 - 1), high_2.clip(1, size_2)
    left, top = (inner_low_2 * factor).tolist()
    right, bottom = np.minimum(inner_high_2 * factor, photo.size).tolist()
    part_HWC = np.asarray(photo.reduce(factor, (left, top, right, bottom)))
    columns, rows = (
        np.arange(low, high).clip(inner_low, inner_high - 1) - inner_low
        for low, high, inner_low, inner_high in zip(low_2, high_2, inner_low_2, inner_high_2, strict=True)
    )
    return Image.fromarray(part_HWC[rows][:, columns]), complex(*low_2)


@dataclass(frozen=True)
class Align:
    """How a photo becomes images of the faces in it: the one of the largest, or of `every` one."""

    images: ImageFiles
    crop: Crop
    size: int
    every: bool

    def __call__(self, name: str) -> Loaded:
        data = self.images.read(name)
        photo = read_upright(data)
        similarities = self._find(photo)
        if not similarities:
            raise Rejected("no face found")
        digest = hashlib.sha256(data).digest()
        return [self._cut(photo, similarity, digest) for similarity in similarities[: None if self.every else 1]]

    def read(self, name: str) -> Image.Image:
        """The photo."""
        return read_upright(self.images.read(name))

    def _cut(self, photo: Image.Image, similarity: Similarity, digest: bytes) -> PreparedImage | str:
        """The face, or why it is rejected."""
        left, top, right, bottom = self.crop.box(*ALIGNED_SIZE)
        eyes = abs((POINTS[1] - POINTS[0]) @ (1, 1j)) / abs(similarity.turn)
        enlargement = self.size / (right - left) * abs(similarity.turn)
        if enlargement > MAX_ENLARGEMENT:
            needed = ceil(eyes * enlargement / MAX_ENLARGEMENT)
            return f"face too small: its eyes are {eyes:.0f} pixels apart, {self.size} x {self.size} needs {needed}"
        face = upright(photo, similarity, left, top, right - left, self.size)
        corners = (left, top), (right, top), (right, bottom), (left, bottom)
        return PreparedImage(
            face.tobytes(), None, digest, tuple(similarity.back(complex(*corner)) for corner in corners)
        )

    @cached_property
    def _find(self) -> FaceFinder:
        return FaceFinder()
