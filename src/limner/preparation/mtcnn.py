"""Finds faces, and in each of them eyes, nose and corners of the mouth: MTCNN of Zhang et al. (2016).

Three small networks judge squares of an image, each fewer squares and with more pixels: P-Net at every place of every
scale, R-Net at those that P-Net keeps, O-Net at those that R-Net keeps. O-Net also places five points. The weights (MIT
licence) come in the wheel of the package mtcnn, which computes with TensorFlow; here torch does.

Shapes: N squares or faces, H, W; boxes N x 4 (left, top, right, bottom, in pixels); points N x 5 x 2 (x and y of the
eye on the left of the image, the other eye, the nose, the corner of the mouth on the left, the other corner).
"""

from collections.abc import Sequence
from importlib.util import find_spec
from itertools import count, takewhile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor, nn

from limner.core.errors import UserError

Floats = NDArray[np.float64]

P_SIDE, R_SIDE, O_SIDE = 12, 24, 48
P_STRIDE = 2
SCALE_STEP = 0.709
"""From one scale of P-Net to the next: half the area."""
P_THRESHOLD, R_THRESHOLD, O_THRESHOLD = 0.6, 0.7, 0.8
OVERLAP_IN_SCALE, OVERLAP = 0.5, 0.7
SMALLEST, SMALLEST_SHARE = 24, 1 / 32
"""Width of the smallest face that is searched: in pixels, and as a share of the image's longer side."""


class Mtcnn:
    """The three networks. Raises UserError where the package mtcnn is not installed."""

    def __init__(self) -> None:
        self.p_net = _Network("pnet", pools=(2, 0, 0))
        self.r_net = _Network("rnet", pools=(3, 3, 0))
        self.o_net = _Network("onet", pools=(3, 3, 2, 0))

    def find(self, image: Image.Image) -> Floats:
        """The points of every face in an RGB image, the largest face first, in pixels: N x 5 x 2."""
        smallest = max(SMALLEST, max(image.size) * SMALLEST_SHARE)
        factor = max(1, int(smallest) // O_SIDE)
        small = image.reduce(factor)
        border = max(small.size) // 4  # squares may reach beyond the image: grey, which is 0 for the networks
        padded = ImageOps.expand(small, border, (127, 127, 127))

        boxes_N4 = self._propose(small, smallest / factor) + border
        points_N52 = np.zeros((0, 5, 2))
        for network, side, threshold in ((self.r_net, R_SIDE, R_THRESHOLD), (self.o_net, O_SIDE, O_THRESHOLD)):
            squares_N4 = _squares(boxes_N4, padded.size)
            if not len(squares_N4):
                return np.zeros((0, 5, 2))
            cut = [padded.resize((side, side), Image.Resampling.BILINEAR, tuple(box), 2.0) for box in squares_N4]
            offsets_N4, *points, face_N = network(_to_tensor(cut))
            boxes_N4 = _moved(squares_N4, offsets_N4)
            kept = np.flatnonzero(face_N > threshold)
            kept = kept[_suppress(boxes_N4[kept], face_N[kept], OVERLAP, of_smaller=network is self.o_net)]
            boxes_N4 = boxes_N4[kept]
            if points:
                sides_N11 = (squares_N4[kept, 2] - squares_N4[kept, 0])[:, None, None]
                points_N52 = squares_N4[kept, None, :2] + _pairs(points[0][kept]) * sides_N11
                points_N52 = points_N52[np.argsort(-sides_N11.ravel(), kind="stable")]
        return (points_N52 - border) * factor

    def place(self, squares: Sequence[Image.Image]) -> tuple[Floats, Floats]:
        """The points of the face that fills each square of `O_SIDE` pixels, as shares of its side, N x 5 x 2; and the
        probability that there is a face, N."""
        _, points_N10, face_N = self.o_net(_to_tensor(squares))
        return _pairs(points_N10), face_N

    def _propose(self, image: Image.Image, smallest: float) -> Floats:
        """Boxes that may hold a face `smallest` pixels wide or wider, N x 4."""
        boxes, faces = [np.zeros((0, 4))], [np.zeros(0)]
        scales = (P_SIDE / smallest * SCALE_STEP**step for step in count())
        for scale in takewhile(lambda scale: min(image.size) * scale >= P_SIDE, scales):
            width, height = (round(side * scale) for side in image.size)
            scaled = image.resize((width, height), Image.Resampling.BILINEAR)
            (offsets_4HW,), (face_HW,) = self.p_net(_to_tensor([scaled]))
            rows, columns = np.nonzero(face_HW > P_THRESHOLD)
            corners_N2 = np.stack([columns, rows], axis=1) * P_STRIDE
            squares_N4 = np.concatenate([corners_N2, corners_N2 + P_SIDE], axis=1) / scale
            boxes_N4, face_N = _moved(squares_N4, offsets_4HW[:, rows, columns].T), face_HW[rows, columns]
            kept = _suppress(boxes_N4, face_N, OVERLAP_IN_SCALE)
            boxes.append(boxes_N4[kept])
            faces.append(face_N[kept])
        boxes_N4 = np.concatenate(boxes)
        return boxes_N4[_suppress(boxes_N4, np.concatenate(faces), OVERLAP)]


class _Network(nn.Module):
    """Convolutions with PReLU and pooling, a linear layer (not in P-Net), and heads: box, points (in O-Net), face."""

    def __init__(self, name: str, pools: tuple[int, ...]) -> None:
        super().__init__()
        weights = [torch.from_numpy(array) for array in _weights(name)]
        layers: list[nn.Module] = []
        for pool in pools:
            layers += [_convolution(*weights[:2]), _prelu(weights[2])]
            layers += [nn.MaxPool2d(pool, 2, ceil_mode=True)] if pool else []
            channels = weights[1].numel()
            del weights[:3]
        if weights[0].ndim == 2:
            layers += [nn.Flatten(), _linear(_channels_first(weights[0], channels), weights[1]), _prelu(weights[2])]
            del weights[:3]
        self.body = nn.Sequential(*layers)
        heads = zip(weights[::2], weights[1::2], strict=True)
        self.heads = nn.ModuleList(
            _linear(kernel, bias) if kernel.ndim == 2 else _convolution(kernel, bias) for kernel, bias in heads
        )
        self.requires_grad_(False)

    def forward(self, x_N3HW: Tensor) -> list[Floats]:
        """Offsets of the box (N x 4), points (N x 10, O-Net alone), probability of a face (N), P-Net's x H x W."""
        features = self.body(x_N3HW)
        *outputs, logits = [head(features).double() for head in self.heads]
        return [output.numpy() for output in (*outputs, logits.softmax(dim=1)[:, 1])]


def find_weights() -> Path:
    """The folder of the package's weights; raises UserError where it is not installed."""
    package = find_spec("mtcnn")  # importing it would need TensorFlow
    places = (package and package.submodule_search_locations) or []
    for folder in (Path(place, "assets", "weights") for place in places):
        if (folder / "onet.lz4").is_file():
            return folder
    raise UserError("finding faces needs an extra: pip install 'limner[align]'")


def _weights(name: str) -> list[NDArray[np.float32]]:
    folder = find_weights()
    import joblib

    arrays: list[NDArray[np.float32]] = joblib.load(folder / f"{name}.lz4")
    return arrays


def _convolution(kernel_HWIO: Tensor, bias_O: Tensor) -> nn.Conv2d:
    height, width, inputs, outputs = kernel_HWIO.shape
    layer = nn.Conv2d(inputs, outputs, (height, width))
    layer.weight = nn.Parameter(kernel_HWIO.permute(3, 2, 0, 1).contiguous())
    layer.bias = nn.Parameter(bias_O)
    return layer


def _linear(weight_IO: Tensor, bias_O: Tensor) -> nn.Linear:
    layer = nn.Linear(*weight_IO.shape)
    layer.weight, layer.bias = nn.Parameter(weight_IO.T.contiguous()), nn.Parameter(bias_O)
    return layer


def _prelu(slopes: Tensor) -> nn.PReLU:
    layer = nn.PReLU(slopes.numel())
    layer.weight = nn.Parameter(slopes.ravel())
    return layer


def _channels_first(weight_IO: Tensor, channels: int) -> Tensor:
    """The package flattens columns, rows, channels; torch flattens channels, rows, columns."""
    side = round((len(weight_IO) / channels) ** 0.5)
    return weight_IO.reshape(side, side, channels, -1).permute(2, 1, 0, 3).reshape(weight_IO.shape)


def _to_tensor(images: Sequence[Image.Image]) -> Tensor:
    """RGB images of one size as N x 3 x H x W, about -1 to 1, as the networks were trained."""
    images_NHWC = np.stack([np.asarray(image) for image in images])
    return (torch.from_numpy(images_NHWC).permute(0, 3, 1, 2).float() - 127.5) / 128


def _pairs(points_N10: Floats) -> Floats:
    """Five x and five y as five pairs."""
    return points_N10.reshape(-1, 2, 5).transpose(0, 2, 1)


def _moved(boxes_N4: Floats, offsets_N4: Floats) -> Floats:
    """Boxes with their sides moved by shares of their width and height."""
    return boxes_N4 + offsets_N4 * np.tile(boxes_N4[:, 2:] - boxes_N4[:, :2], 2)


def _squares(boxes_N4: Floats, size: tuple[int, int]) -> Floats:
    """Squares around the middles of boxes, as large as the longer side; none that leave an image of this size."""
    middles_N2 = (boxes_N4[:, :2] + boxes_N4[:, 2:]) / 2
    halves_N1 = (boxes_N4[:, 2:] - boxes_N4[:, :2]).max(axis=1, keepdims=True) / 2
    squares_N4 = np.concatenate([middles_N2 - halves_N1, middles_N2 + halves_N1], axis=1)
    inside_N = (squares_N4[:, :2] >= 0).all(axis=1) & (squares_N4[:, 2:] <= size).all(axis=1)
    kept: Floats = squares_N4[inside_N & (halves_N1[:, 0] >= 1)]
    return kept


def _suppress(boxes_N4: Floats, scores_N: Floats, most: float, of_smaller: bool = False) -> NDArray[np.intp]:
    """Of boxes that overlap, the one with the highest score: positions, best first.

    `most` is how much two may share: of both together, or of the smaller one.
    """
    areas_N = (boxes_N4[:, 2:] - boxes_N4[:, :2]).prod(axis=1)
    rest = np.argsort(-scores_N, kind="stable")
    kept: list[np.intp] = []
    while len(rest):
        best, rest = rest[0], rest[1:]
        kept.append(best)
        corners = np.maximum(boxes_N4[best, :2], boxes_N4[rest, :2]), np.minimum(boxes_N4[best, 2:], boxes_N4[rest, 2:])
        shared_N = (corners[1] - corners[0]).clip(0).prod(axis=1)
        whole_N = np.minimum(areas_N[best], areas_N[rest]) if of_smaller else areas_N[best] + areas_N[rest] - shared_N
        rest = rest[shared_N <= most * whole_N]
    return np.array(kept, dtype=np.intp)
