"""A shipped model through onnxruntime, without torch, whose import takes longer than sampling hundreds of faces.

`graph.onnx` in its folder is the generator's computation alone: its weights are those in `model.safetensors`, where
they lie in that file (`limner.exporting.onnx.graph_beside`). It computes in fp32; its images differ from those of
`Model` in fp32 by 1 of 255 at most.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from limner.core.errors import UserError
from limner.core.precision import Precision
from limner.core.process import usable_cores
from limner.core.records import check_sum
from limner.latent.numbers import face_numbers
from limner.model.sampler import BATCH, CPU_PASS, KNOWN, MEND, Sampler, SamplerConfig, read_sampler_config
from limner.model.shipped import FOLDER, WEIGHTS

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

GRAPH = "graph.onnx"
PASSES = BATCH // CPU_PASS  # that are computed at a time


def has_graph(folder: Path) -> bool:
    """Whether a model folder is a shipped one with a graph: of others, nobody knows whether it fits the weights."""
    return folder.parent == FOLDER and (folder / GRAPH).is_file()


class GraphModel(Sampler):
    """A trained generator in ONNX, of gaussian or uniform latents, on the CPU."""

    runtime: Literal["torch", "onnxruntime"] = "onnxruntime"
    precision = "fp32"

    def __init__(self, config: SamplerConfig, session: "InferenceSession", known_MA: NDArray[np.uint8]) -> None:
        self.config = config
        self.session = session
        self.known_MA = known_MA
        self._pool = ThreadPoolExecutor(min(PASSES, usable_cores()))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The shipped model in `folder`. Raises UserError where its files are broken."""
        import onnxruntime

        config = read_sampler_config(folder)
        check_sum(folder / WEIGHTS, config.weights_sha256, MEND)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = max(1, usable_cores() - PASSES + 1)
        # Threads that wait spinning keep the cores from whatever else runs.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Resolved: onnxruntime reads no weights through a link that leads out of the folder.
        graph = str((folder / GRAPH).resolve())
        try:
            session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its errors have no class of their own in common
            raise UserError(f"{folder / GRAPH} cannot be read: {MEND}.") from error
        with safe_open(folder / WEIGHTS, "np") as tensors:
            known_MA = tensors.get_tensor(KNOWN) if config.attribute_names else np.zeros((0, 0), np.uint8)
        return cls(config, session, known_MA)

    def _map(self, images: Callable[[slice], NDArray[np.uint8]], parts: Iterable[slice]) -> Iterator[NDArray[np.uint8]]:
        # Threads that share a pass wait for each other after every layer; those with passes of their own do not.
        return self._pool.map(images, parts)

    def _latents(self, seed: int, first: int, count: int) -> NDArray[np.float32]:
        return face_numbers(seed, first, count, self.config.latent_size, self.config.latent_distribution)

    def _images(self, z_BZ: NDArray[np.float32], y_BA: NDArray[np.float32], precision: Precision) -> NDArray[np.uint8]:
        given = {"latents": z_BZ} | ({"attributes": y_BA} if y_BA.shape[1] else {})
        (x_BCHW,) = self.session.run(["images"], given)
        return np.ascontiguousarray(np.rint(x_BCHW * 255).astype(np.uint8).transpose(0, 2, 3, 1))
