"""A generator as one ONNX file, compared with PyTorch by onnxruntime before anyone gets it.

Inputs: `latents` (N x Z float32) and, of a conditional model, `attributes` (N x A float32, 0 or 1). Output: `images`
(N x 3 x H x W float32 in [0, 1], whatever range the recipe trains in). N is free. The metadata say which model it is.
Shapes: N images, Z latent, A attributes, C channels, H and W an image's height and width.
"""

import json
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized, remove_parametrizations

from limner.core.console import progress_bar
from limner.core.errors import UserError
from limner.core.pixels import to_unit
from limner.core.version import __version__
from limner.latent.latents import face_latents
from limner.model.model import WEIGHTS, Model, ModelConfig
from limner.networks import build_generator

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

Precision = Literal["fp32", "fp16"]
BATCHES = (1, 2, 7, 64)
"""Of the comparison with PyTorch."""
TOLERANCE = 1e-4
"""The largest difference in fp32 between two values of an image in [0, 1]."""


class OnnxFile(NamedTuple):
    """The bytes of an ONNX file, and how far its images, in [0, 1], are from those of PyTorch in fp32."""

    content: bytes
    largest_difference: float
    mean_difference: float


class ImageGenerator(nn.Module):
    """What the file computes: a generator whose images are in [0, 1]."""

    def __init__(self, generator: nn.Module, pixel_range: str) -> None:
        super().__init__()
        self.generator = generator
        self.pixel_range = pixel_range

    def forward(self, latents: Tensor, attributes: Tensor | None = None) -> Tensor:
        """N x Z and N x A -> N x 3 x H x W."""
        given = latents if attributes is None else torch.cat([latents, attributes], 1)
        return to_unit(self.generator(given), self.pixel_range).clamp(0, 1)


def to_onnx(
    model: Model, precision: Precision = "fp32", quiet: bool = False, graph: "ModelProto | None" = None
) -> OnnxFile:
    """The generator of `model`, on the CPU, as ONNX; `graph` is its `generator_graph` where that was made before.

    In `fp16` the file stores weights in half precision, is half as large, and computes in fp32. Raises UserError as
    `generator_graph`, for a weight that fp16 cannot hold, and where onnxruntime's images are not those of PyTorch.
    """
    import onnx

    proto = onnx.ModelProto()
    proto.CopyFrom(graph or generator_graph(model))
    if precision == "fp16":
        _store_in_half(proto)
    onnx.helper.set_model_props(proto, _metadata(model.config, precision))
    onnx.checker.check_model(proto)
    content = proto.SerializeToString()
    difference_BCHW = _differences(content, model, quiet)
    largest = float(difference_BCHW.max())
    # Written so that NaN is refused too.
    if not (largest <= TOLERANCE or (precision == "fp16" and largest <= 1)):
        raise UserError(
            f"The ONNX file of this model ({model.config.recipe}) gives other images than PyTorch: they differ by "
            f"{largest:.2g}, at most {TOLERANCE:g} is allowed; nothing was written."
        )
    return OnnxFile(content, largest, float(difference_BCHW.mean()))


def generator_graph(model: Model, optimize: bool = True) -> "ModelProto":
    """The computation of `ImageGenerator` in ONNX, with weights in fp32; with `optimize`, some are folded into others.

    Raises UserError for a model of curves, and where onnxscript is missing.
    """
    if model.config.kind == "curves":
        raise UserError(f"This model ({model.config.recipe}) makes curves, no images: export it with --to html.")
    if find_spec("onnxscript") is None:
        raise UserError("An ONNX export needs onnxscript: pip install 'limner[export]'.")
    network = ImageGenerator(_folded(model), model.config.pixel_range).eval()
    attributes = len(model.config.attribute_names)
    # With an example of one image, the exporter would fix N at 1.
    example = (torch.zeros(2, model.config.latent_size), torch.zeros(2, attributes))[: 2 if attributes else 1]
    dynamic = tuple({0: torch.export.Dim("N", min=1)} for _ in example)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network,
            example,
            dynamo=True,
            optimize=optimize,
            external_data=False,
            input_names=["latents", "attributes"][: len(example)],
            output_names=["images"],
            dynamic_shapes=dynamic,
            verbose=False,
        )
    assert program is not None
    proto: ModelProto = program.model_proto
    for part in (*proto.graph.node, *proto.graph.value_info, *proto.graph.input, *proto.graph.output):
        part.ClearField("metadata_props")  # stack traces, with the paths of this machine
    return proto


def graph_beside(folder: Path) -> bytes:
    """`graph.onnx` of a model folder: its generator as ONNX whose weights are those in `model.safetensors` there.

    It has tens of KiB, and is of use in that folder alone (`limner.model.graph`). Raises UserError as
    `generator_graph`, and for weights that are not stored in fp16 and for spherical latents.
    """
    from onnx import TensorProto, helper

    model = Model.load(folder)
    if model.config.latent_distribution == "spherical":
        raise UserError(f"{folder} has spherical latents: there can be no graph beside its weights.")
    proto = generator_graph(model, optimize=False)
    from onnxscript.optimizer import fold_constants, remove_unused_nodes

    fold_constants(proto)
    remove_unused_nodes(proto)
    stored = _stored(folder / WEIGHTS)
    casts = []
    for weight in proto.graph.initializer:
        name = weight.name.removeprefix("generator.")
        if name not in stored:
            continue  # a constant
        place = stored[name]
        if (place["dtype"], place["shape"]) != ("F16", list(weight.dims)):
            raise UserError(f"{name} in {folder / WEIGHTS} is not in fp16: there can be no graph beside the weights.")
        casts.append(helper.make_node("Cast", [name], [weight.name], to=TensorProto.FLOAT))
        outside = TensorProto(name=name, dims=weight.dims, data_type=TensorProto.FLOAT16)
        outside.data_location = TensorProto.EXTERNAL
        for key, value in (("location", WEIGHTS), ("offset", place["begin"]), ("length", place["length"])):
            outside.external_data.add(key=key, value=str(value))
        weight.CopyFrom(outside)
    _put_first(casts, proto)
    helper.set_model_props(proto, _metadata(model.config, "fp16"))
    content: bytes = proto.SerializeToString()
    return content


def _stored(weights: Path) -> dict[str, dict[str, Any]]:
    """Of every tensor in a file of safetensors: dtype, shape, the byte at which it begins, and its length."""
    with weights.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        tensors = json.loads(file.read(size))
    tensors.pop("__metadata__", None)
    for place in tensors.values():
        begin, end = place["data_offsets"]
        place |= {"begin": 8 + size + begin, "length": end - begin}
    return tensors  # type: ignore[no-any-return]


def _folded(model: Model) -> nn.Module:
    """The generator anew, contiguous in memory, in which every parametrised weight (spectral norm) is its value.

    No copy of the model's: a copy shares the classes that parametrisations change.
    """
    config = model.config
    plain = build_generator(config.generator, config.size, config.latent_size + len(config.attribute_names))
    plain.load_state_dict(model.generator.state_dict())
    plain.eval()  # in training mode, spectral norm would iterate once more
    for module in list(plain.modules()):
        if is_parametrized(module):
            for name in list(module.parametrizations):  # type: ignore[arg-type]
                remove_parametrizations(module, name, leave_parametrized=True)
    return plain


def _store_in_half(proto: "ModelProto") -> None:
    """Store every matrix and kernel in fp16, followed by a cast back to fp32."""
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for weight in proto.graph.initializer:
        if weight.data_type == TensorProto.FLOAT and len(weight.dims) > 1:
            name = weight.name
            with np.errstate(over="ignore"):
                half = numpy_helper.to_array(weight).astype(np.float16)
            if not np.isfinite(half).all():
                raise UserError(f"The weight {name} is too large for fp16 (more than 65,504): export with fp32.")
            weight.CopyFrom(numpy_helper.from_array(half, f"{name}.fp16"))
            casts.append(helper.make_node("Cast", [weight.name], [name], to=TensorProto.FLOAT))
    _put_first(casts, proto)


def _put_first(nodes: "list[NodeProto]", proto: "ModelProto") -> None:
    nodes = [*nodes, *proto.graph.node]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)


def _metadata(config: ModelConfig, precision: Precision) -> dict[str, str]:
    return {
        "limner": __version__,
        "recipe": config.recipe,
        "weights_sha256": config.weights_sha256,
        "attribute_names": json.dumps(config.attribute_names),
        "latent_distribution": config.latent_distribution,
        "precision": precision,
        "licence": config.licence,
    }


def _differences(content: bytes, model: Model, quiet: bool) -> NDArray[np.float32]:
    """How far onnxruntime's images are from PyTorch's, for a batch of each size: images x 3 x H x W."""
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    differences, first = [], 0
    with progress_bar("Comparing with PyTorch", sum(BATCHES), "images", quiet) as advance:
        for size in BATCHES:
            z_NZ = face_latents(0, first, size, model.config.latent_size, model.config.latent_distribution)
            y_NA = torch.from_numpy(model.labels(size, first=first)).float()
            expected_NCHW = to_unit(model.raw(z_NZ, y_NA, "fp32"), model.config.pixel_range).clamp(0, 1)
            given = {"latents": z_NZ.numpy()} | ({"attributes": y_NA.numpy()} if y_NA.shape[1] else {})
            (images_NCHW,) = session.run(["images"], given)
            differences.append(np.abs(images_NCHW - expected_NCHW.numpy()))
            first += size
            advance(size)
    return np.concatenate(differences)
