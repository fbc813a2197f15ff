"""FID's Inception-v3: the TensorFlow graph of 2015-12-05 up to its last mean, 2048 features ("pool3").

The network is that of Szegedy and others ("Rethinking the Inception Architecture for Computer Vision", CVPR 2016) as
Heusel and others used it for FID ("GANs Trained by a Two Time-Scale Update Rule", NeurIPS 2017). Two things set that
graph apart from later ones: average pooling leaves the padding out, and the last block pools by the maximum. Weights:
the port to torch that pytorch-fid and torch-fidelity read, 95,628,359 bytes, fetched once.

Shapes: B and N images, C channels, H and W the image's height and width, D features.
"""

import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from limner.features.cache import Remote, fetch_file, find_file
from limner.features.extractor import in_batches, read_weights

WEIGHTS = "weights-inception-2015-12-05-6726825d.pth"
WEIGHTS_URL = f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{WEIGHTS}"
WEIGHTS_BYTES = 95_628_359
WEIGHTS_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
DIMENSION = 2048
RESOLUTION = 299
# Larger batches are no faster on a CPU.
BATCH, DEVICE_BATCH = 8, 64


class Inception:
    """FID's Inception-v3 of 2015, 2048 features, each at least 0. The only extractor whose distances are FID and KID.

    The network sees (x - 128) / 128 of the resized images, as in torch-fidelity 0.4.
    """

    name = "inception"
    dimension = DIMENSION
    resize = (
        f"bilinear to {RESOLUTION} x {RESOLUTION} as TensorFlow 1: legacy corners, no half-pixel centres, no antialias"
    )

    def __init__(self, weights: Path | None = None, device: str = "cpu", quiet: bool = False) -> None:
        """With the weights in the file `weights`; `None`: those of the cache folder, fetched where they are not there.

        Raises UserError where `weights` is not the known file, or there is none and it cannot be fetched.
        """
        state = _load_state(weights or fetch_weights(quiet=quiet))
        with torch.device("meta"):  # random first weights would take seconds
            network = build_network()
        network.load_state_dict(state, assign=True)
        self.weights_sha256 = WEIGHTS_SHA256
        self._device = torch.device(device)
        self._batch = BATCH if torch.device(device).type == "cpu" else DEVICE_BATCH
        self._network: nn.Module = network.eval().requires_grad_(False)
        self._network.to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def features(self, images_NHWC: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The features of any number of RGB images: N x H x W x 3 -> N x 2048."""
        return in_batches(self._forward, images_NHWC, DIMENSION, self._batch)

    def _forward(self, images_BHWC: NDArray[np.uint8]) -> NDArray[np.float32]:
        x_BCHW = torch.from_numpy(np.array(images_BHWC)).to(self._device).permute(0, 3, 1, 2).contiguous().float()
        x_BCHW = (resize_as_tensorflow1(x_BCHW, RESOLUTION) - 128) / 128
        # TF32 rounds products to 10 bits: enough to move features by more than 1e-3.
        exact = torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)
        with torch.inference_mode(), exact:
            features_BD: Tensor = self._network(x_BCHW.contiguous(memory_format=torch.channels_last))
        return features_BD.cpu().numpy()


def find_weights() -> Path | None:
    """The weights in the cache folder, if they are there and their checksum is right. Uses no network; takes 0.1 s."""
    return find_file(_remote(WEIGHTS_URL))


def fetch_weights(url: str = WEIGHTS_URL, quiet: bool = False) -> Path:
    """The weights in the cache folder, fetched from `url` unless they are there. A broken download leaves nothing.

    Raises UserError, one line that says what else to do, where there are none and they cannot be fetched.
    """
    otherwise = f"or bring {url} ({WEIGHTS_BYTES:,} bytes) and give it by --weights FILE, or use --extractor lite0"
    return fetch_file(_remote(url), otherwise, quiet)


def _remote(url: str) -> Remote:
    return Remote("Inception-v3", WEIGHTS, url, WEIGHTS_BYTES, WEIGHTS_SHA256)


def _load_state(path: Path) -> dict[str, Tensor]:
    """The tensors of the weights file but those of the classifier, which no feature needs."""
    content = read_weights(path, WEIGHTS_SHA256, WEIGHTS, f"fetch it anew from {WEIGHTS_URL}, {WEIGHTS_BYTES:,} bytes")
    state: dict[str, Tensor] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return {name: value for name, value in state.items() if name not in ("fc.weight", "fc.bias")}


def resize_as_tensorflow1(x_BCHW: Tensor, resolution: int) -> Tensor:
    """What `tf.image.resize_bilinear` of TensorFlow 1 made of float images, bit for bit: B x C x `resolution` x
    `resolution`.

    Pixel i is read at i * (size / `resolution`), not at the centres of pixels, so the image moves to the upper left;
    the last pixels repeat; shrinking does not average. `torch.nn.functional.interpolate` knows no such rule.
    """
    for axis in (3, 2):
        size = x_BCHW.shape[axis]
        places = torch.arange(resolution, dtype=torch.float32, device=x_BCHW.device) * (size / resolution)
        before = places.long()
        after = (before + 1).clamp_max(size - 1)
        share = (places - before).view(-1, *[1] * (3 - axis))
        low, high = x_BCHW.index_select(axis, before), x_BCHW.index_select(axis, after)
        x_BCHW = low + (high - low) * share
    return x_BCHW


class Convolution(nn.Sequential):
    """Convolution, batch normalisation, ReLU. `padding` is TensorFlow's: "same" by default, "valid" with a stride."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int | tuple[int, int] = 1, stride: int = 1, padding: str | None = None
    ) -> None:
        super().__init__()
        padding = padding or ("same" if stride == 1 else "valid")
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=0.001)
        self.relu = nn.ReLU(inplace=True)


class Layer(NamedTuple):
    """One convolution of a branch."""

    outputs: int
    kernel: int | tuple[int, int] = 1
    stride: int = 1


Branches = dict[str, list[Layer | list[Layer]]]
"""The chain of layers of each branch of a block. A list within it: layers that see the same input and are joined."""

ROW, COLUMN = (1, 7), (7, 1)
FORK = [Layer(384, (1, 3)), Layer(384, (3, 1))]


def _block_a(pooled: int) -> Branches:
    return {
        "branch1x1": [Layer(64)],
        "branch5x5": [Layer(48), Layer(64, 5)],
        "branch3x3dbl": [Layer(64), Layer(96, 3), Layer(96, 3)],
        "branch_pool": [Layer(pooled)],
    }


BLOCK_B: Branches = {
    "branch3x3": [Layer(384, 3, 2)],
    "branch3x3dbl": [Layer(64), Layer(96, 3), Layer(96, 3, 2)],
    "branch_pool": [],
}


def _block_c(width: int) -> Branches:
    row, column = Layer(width, ROW), Layer(width, COLUMN)
    return {
        "branch1x1": [Layer(192)],
        "branch7x7": [Layer(width), row, Layer(192, COLUMN)],
        "branch7x7dbl": [Layer(width), column, row, column, Layer(192, ROW)],
        "branch_pool": [Layer(192)],
    }


BLOCK_D: Branches = {
    "branch3x3": [Layer(192), Layer(320, 3, 2)],
    "branch7x7x3": [Layer(192), Layer(192, ROW), Layer(192, COLUMN), Layer(192, 3, 2)],
    "branch_pool": [],
}
BLOCK_E: Branches = {
    "branch1x1": [Layer(320)],
    "branch3x3": [Layer(384), FORK],
    "branch3x3dbl": [Layer(448), Layer(384, 3), FORK],
    "branch_pool": [Layer(192)],
}


class Block(nn.Module):
    """Branches side by side, joined along the channels. `branch_pool` sees what `pool` makes of the input.

    The layers bear the names of the weights file: `branch1x1`, `branch5x5_2`, `branch3x3_2a`.
    """

    def __init__(self, inputs: int, branches: Branches, pool: nn.Module) -> None:
        super().__init__()
        self.outputs = 0
        self._chains: list[list[list[nn.Module]]] = []
        for branch, stages in branches.items():
            chain: list[list[nn.Module]] = [[pool]] if branch == "branch_pool" else []
            channels = inputs
            for number, stage in enumerate(stages, 1):
                layers = [stage] if isinstance(stage, Layer) else stage
                chain.append([Convolution(channels, *layer) for layer in layers])
                channels = sum(layer.outputs for layer in layers)
                name = f"{branch}_{number}" if len(stages) > 1 else branch
                for letter, convolution in zip("ab" if len(layers) > 1 else [""], chain[-1], strict=True):
                    self.add_module(f"{name}{letter}", convolution)
            self.outputs += channels
            self._chains.append(chain)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """B x `inputs` x H x W -> B x `outputs` x H' x W', halved where the block has strides."""
        branches = []
        for chain in self._chains:
            y_BCHW = x_BCHW
            for side_by_side in chain:
                y_BCHW = _join([layer(y_BCHW) for layer in side_by_side])
            branches.append(y_BCHW)
        return _join(branches)


def _join(parts: list[Tensor]) -> Tensor:
    return torch.cat(parts, 1) if len(parts) > 1 else parts[0]


def build_network() -> nn.Sequential:
    """The network up to its features, B x 3 x 299 x 299 in [-1, 1) -> B x 2048, with weights yet to be loaded."""
    halve = nn.MaxPool2d(3, stride=2)
    mean = nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
    maximum = nn.MaxPool2d(3, stride=1, padding=1)
    network = nn.Sequential()
    network.add_module("Conv2d_1a_3x3", Convolution(3, 32, 3, stride=2))
    network.add_module("Conv2d_2a_3x3", Convolution(32, 32, 3, padding="valid"))
    network.add_module("Conv2d_2b_3x3", Convolution(32, 64, 3))
    network.add_module("MaxPool_1", halve)
    network.add_module("Conv2d_3b_1x1", Convolution(64, 80))
    network.add_module("Conv2d_4a_3x3", Convolution(80, 192, 3, padding="valid"))
    network.add_module("MaxPool_2", halve)
    channels = 192
    for name, branches, pool in (
        ("Mixed_5b", _block_a(32), mean),
        ("Mixed_5c", _block_a(64), mean),
        ("Mixed_5d", _block_a(64), mean),
        ("Mixed_6a", BLOCK_B, halve),
        ("Mixed_6b", _block_c(128), mean),
        ("Mixed_6c", _block_c(160), mean),
        ("Mixed_6d", _block_c(160), mean),
        ("Mixed_6e", _block_c(192), mean),
        ("Mixed_7a", BLOCK_D, halve),
        ("Mixed_7b", BLOCK_E, mean),
        ("Mixed_7c", BLOCK_E, maximum),
    ):
        block = Block(channels, branches, pool)
        network.add_module(name, block)
        channels = block.outputs
    network.add_module("AvgPool", nn.AdaptiveAvgPool2d(1))
    network.add_module("Flatten", nn.Flatten())
    return network
