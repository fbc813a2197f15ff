"""Cheap stand-ins for what an evaluation needs: images, an extractor, models that draw what they are told to.

And torch-fidelity, whose numbers ours must equal.
"""

import importlib
import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from stand_ins import SquareMeans

from limner.model.model import Model

if TYPE_CHECKING:
    from limner.data.packed import PackedFaces

Images = NDArray[np.uint8]


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def no_user_s_cache(shared_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache of these tests; what real images give is computed once for all of them."""
    monkeypatch.setenv("LIMNER_CACHE", str(shared_cache))


@pytest.fixture
def own_cache(no_user_s_cache: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that no other test has written to."""
    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Painted(Model):
    """A model that draws what `paint(seed, first, labels_NA)` says, in batches of at most 64."""

    precision = "fp32"

    def __init__(self, paint: Callable[[int, int, NDArray[np.uint8] | None], Images], **config: Any) -> None:
        self.paint = paint
        self.device = torch.device("cpu")
        facts: dict[str, Any] = {
            "size": 32,
            "recipe": "painted",
            "weights_sha256": "1" * 64,
            "images_seen": 1000,
            "ema_halflife_images": 500.0,
            "attribute_names": (),
            "data": {},
        }
        self.config = SimpleNamespace(**{**facts, **config})

    def batches(
        self,
        count: int,
        seed: int = 0,
        *,
        truncation: float = 1.0,
        first: int = 0,
        labels_NA: NDArray[np.uint8] | None = None,
    ) -> Iterator[Images]:
        for start in range(0, count, 64):
            some = slice(start, min(start + 64, count))
            labels = None if labels_NA is None else labels_NA[some]
            yield self.paint(seed, first + start, labels)[: some.stop - start]


def blobs(seed: int, count: int, brightness: float = 120.0) -> Images:
    """Images of 32 x 32 with a random colour in every square of 8 x 8: each has 48 numbers of its own."""
    rng = np.random.default_rng(seed)
    squares = rng.normal(brightness, 30, (count, 4, 4, 3)).clip(0, 255)
    return np.rint(squares).astype(np.uint8).repeat(8, axis=1).repeat(8, axis=2)


@pytest.fixture(scope="session")
def faces(pack_faces: Callable[..., "PackedFaces"]) -> "PackedFaces":
    """660 images, of which 240 test and 60 choose, with the attribute `odd`."""
    return pack_faces(blobs(1, 660), ["train"] * 360 + ["test"] * 240 + ["val"] * 60)


@pytest.fixture
def painted() -> type[Painted]:
    return Painted


@pytest.fixture
def extractor() -> SquareMeans:
    return SquareMeans("pixels48")


@pytest.fixture(scope="session")
def blobs_of() -> Callable[..., Images]:
    return blobs


@pytest.fixture
def fair() -> Painted:
    """A model that draws just such images as the data set has."""
    return Painted(lambda seed, first, _: blobs(1000 + 100 * seed + first // 64, 64)[first % 64 :])


@pytest.fixture(scope="session")
def torch_fidelity() -> Iterator[ModuleType]:
    """torch-fidelity; the test is skipped where it is not installed.

    It imports torchvision, of which PyPI has the CUDA build alone: beside torch's CPU build its operators are missing,
    and the import fails. Declaring them is enough, for none is called.
    """
    if not importlib.util.find_spec("torch_fidelity"):
        pytest.skip("torch-fidelity is not installed (pip install torch-fidelity)")
    library = None
    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        library = torch.library.Library("torchvision", "FRAGMENT")
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor a) -> Tensor")
    yield importlib.import_module("torch_fidelity")
    del library  # the operators are declared for as long as it lives
