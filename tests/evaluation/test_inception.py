"""Inception-v3 of 2015: features as torch-fidelity, the resize of TensorFlow 1, and weights that are the known ones.

The real weights are not needed: both networks get the same random ones, whose checksum stands for the known one.
"""

import hashlib
import socket
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import ModuleType

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from limner.core.errors import UserError
from limner.core.files import sha256
from limner.evaluation.extractors import default_extractor, load_extractor
from limner.features import inception
from limner.features.inception import WEIGHTS, Inception, build_network, fetch_weights, find_weights
from limner.preparation.synthetic import draw_face

CONTENT = b"as good as weights " * 5000


@pytest.fixture(scope="module")
def random_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of random weights as the known one is laid out: torch's old format, with the classifier of 1008 classes.

    Scaled so that the features of different faces differ, as trained ones do.
    """
    generator = torch.Generator().manual_seed(0)
    network = build_network()
    uniform = partial(nn.init.uniform_, generator=generator)
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, generator=generator)
            elif isinstance(layer, nn.BatchNorm2d):
                for spread in (layer.weight, layer.running_var):
                    uniform(spread, 0.5, 1.5)
                for middle in (layer.bias, layer.running_mean):
                    uniform(middle, -0.3, 0.3)
    state = network.state_dict()
    state |= {"fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}
    path = tmp_path_factory.mktemp("weights") / "random.pth"
    torch.save(state, path, _use_new_zipfile_serialization=False)
    return path


@pytest.fixture(scope="module")
def extractor(random_weights: Path) -> Inception:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inception, "WEIGHTS_SHA256", sha256(random_weights))
        return load_extractor("inception", random_weights)


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    """Makes the checksum of some content the known one."""
    return lambda content: monkeypatch.setattr(inception, "WEIGHTS_SHA256", hashlib.sha256(content).hexdigest())


def drawn(count: int, size: int, first: int = 0) -> NDArray[np.uint8]:
    return np.stack([draw_face(0, first + index, size)[0] for index in range(count)])


# Features


def test_features_and_distance_are_those_of_torch_fidelity(
    torch_fidelity: ModuleType, random_weights: Path, extractor: Inception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extractor, "_batch", 2)  # 3 images then end within a batch
    torch.set_num_threads(1)  # two cut sums differently by batch, and of so few images that moves the distance 2e-6
    # Loads strictly: whatever our network lacks, or has beyond theirs, is an error.
    theirs = torch_fidelity.FeatureExtractorInceptionV3("inception", ["2048"], str(random_weights))

    def both(images_NHWC: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        x_NCHW = torch.from_numpy(images_NHWC).permute(0, 3, 1, 2).contiguous()
        return extractor.features(images_NHWC), theirs(x_NCHW)[0].numpy()

    big_ours, big_theirs = both(drawn(1, 299))
    one_ours, one_theirs = both(drawn(3, 64))
    other_ours, other_theirs = both(drawn(3, 64, first=3))
    assert one_ours.dtype == np.float32
    assert one_theirs.std(axis=0).mean() > 0.1  # the faces differ, so the distance is of something
    for found, expected in ((big_ours, big_theirs), (one_ours, one_theirs), (other_ours, other_theirs)):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)
    # In fp32 the order of sums, which is the processor's own, moves the distance of so few images by 2e-6.
    assert frechet(one_ours, other_ours) == pytest.approx(frechet(one_theirs, other_theirs), rel=1e-5)


def test_distance_is_that_of_torch_fidelity_where_rounding_plays_no_part(
    torch_fidelity: ModuleType, random_weights: Path, extractor: Inception
) -> None:
    theirs = torch_fidelity.FeatureExtractorInceptionV3(
        "inception", ["2048"], str(random_weights), feature_extractor_internal_dtype="float64"
    )
    ours = deepcopy(extractor._network).double()

    def both(images_NHWC: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        x_NCHW = torch.from_numpy(images_NHWC).permute(0, 3, 1, 2).contiguous()
        with torch.inference_mode():
            own_ND = ours((inception.resize_as_tensorflow1(x_NCHW.double(), inception.RESOLUTION) - 128) / 128)
        return own_ND.numpy(), theirs(x_NCHW)[0].double().numpy()

    (one_ours, one_theirs), (other_ours, other_theirs) = both(drawn(3, 64)), both(drawn(3, 64, first=3))
    assert frechet(one_ours, other_ours) == pytest.approx(frechet(one_theirs, other_theirs), rel=1e-6)


def frechet(x_ND: NDArray[np.float32], y_MD: NDArray[np.float32]) -> float:
    """The Fréchet distance of few images in closed form, no D x D matrix needed.

    The covariances are X'X and Y'Y of centred rows, and tr sqrt(X'X Y'Y) is the sum of the singular values of XY'.
    """
    means = x_ND.mean(0, dtype=np.float64), y_MD.mean(0, dtype=np.float64)
    x_ND, y_MD = ((f - m) / np.sqrt(len(f) - 1) for f, m in zip((x_ND, y_MD), means, strict=True))
    shift = np.sum((means[0] - means[1]) ** 2)
    return float(shift + np.sum(x_ND**2) + np.sum(y_MD**2) - 2 * np.linalg.norm(x_ND @ y_MD.T, "nuc"))


def test_it_is_an_extractor(random_weights: Path, extractor: Inception) -> None:
    assert (extractor.name, extractor.dimension) == ("inception", 2048)
    assert extractor.weights_sha256 == sha256(random_weights)
    assert extractor.features(drawn(1, 64)).shape == (1, 2048)
    assert extractor.features(np.zeros((0, 64, 64, 3), np.uint8)).shape == (0, 2048)


# The resize of TensorFlow 1


def by_hand(image_HWC: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """TensorFlow 1's resize_bilinear pixel by pixel, after the text of its kernel, in float32 as it is."""
    height, width, channels = image_HWC.shape
    result = np.empty((side, side, channels), np.float32)
    row_scale, column_scale = np.float32(height / side), np.float32(width / side)
    for i in range(side):
        y = np.float32(i) * row_scale
        top, bottom = int(y), min(int(y) + 1, height - 1)
        for j in range(side):
            x = np.float32(j) * column_scale
            left, right = int(x), min(int(x) + 1, width - 1)
            dx, dy = x - np.float32(left), y - np.float32(top)
            upper = image_HWC[top, left] + (image_HWC[top, right] - image_HWC[top, left]) * dx
            lower = image_HWC[bottom, left] + (image_HWC[bottom, right] - image_HWC[bottom, left]) * dx
            result[i, j] = upper + (lower - upper) * dy
    return result


@pytest.mark.parametrize(("height", "width", "side"), [(5, 7, 13), (32, 32, 23), (9, 4, 9), (1, 2, 3)])
def test_resize_is_tensorflow_ones(height: int, width: int, side: int) -> None:
    image_HWC = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.float32)
    found = inception.resize_as_tensorflow1(torch.from_numpy(image_HWC).permute(2, 0, 1)[None], side)
    np.testing.assert_array_equal(found[0].permute(1, 2, 0).numpy(), by_hand(image_HWC, side))


def test_resize_keeps_the_upper_left_corner_and_repeats_the_last_pixel() -> None:
    found = inception.resize_as_tensorflow1(torch.tensor([[[[0.0, 10.0], [20.0, 30.0]]]]), 4)
    assert found[0, 0].tolist() == [[0, 5, 10, 10], [10, 15, 20, 20], [20, 25, 30, 30], [20, 25, 30, 30]]


def test_resize_is_torch_fidelitys_bit_for_bit(torch_fidelity: ModuleType) -> None:
    from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x as reference

    x_BCHW = torch.from_numpy(drawn(2, 64)).permute(0, 3, 1, 2).float()
    expected = reference(x_BCHW, (299, 299), align_corners=False)
    assert torch.equal(inception.resize_as_tensorflow1(x_BCHW, 299), expected)


# Weights


class Server(ThreadingHTTPServer):
    """Serves `CONTENT`; under /missing nothing, under /short its half, under /cut its half though it announces all."""

    daemon_threads = True
    asked = 0


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked += 1
        if self.path == "/missing":
            self.send_error(404)
            return
        body = CONTENT if self.path == "/whole" else CONTENT[: len(CONTENT) // 2]
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT if self.path == "/cut" else body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


def address(server: Server, path: str) -> str:
    return f"http://127.0.0.1:{server.server_port}/{path}"


def test_weights_are_fetched_once(server: Server, own_cache: Path, known: Callable[[bytes], None]) -> None:
    known(CONTENT)
    assert find_weights() is None
    assert default_extractor() == "lite0"
    for _ in range(2):
        assert fetch_weights(address(server, "whole"), quiet=True) == own_cache / WEIGHTS
    assert server.asked == 1
    assert (own_cache / WEIGHTS).read_bytes() == CONTENT
    assert [file.name for file in own_cache.iterdir()] == [WEIGHTS]
    assert find_weights() == own_cache / WEIGHTS
    assert default_extractor() == "inception"


def test_a_damaged_file_in_the_cache_is_fetched_anew(
    server: Server, own_cache: Path, known: Callable[[bytes], None]
) -> None:
    known(CONTENT)
    own_cache.mkdir()
    (own_cache / WEIGHTS).write_bytes(CONTENT[:-1])
    assert find_weights() is None
    assert fetch_weights(address(server, "whole"), quiet=True).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("path", "reason"),
    [("missing", "the server answered 404"), ("short", "another checksum"), ("cut", "broke off")],
)
def test_a_broken_download_leaves_nothing(
    server: Server, own_cache: Path, known: Callable[[bytes], None], path: str, reason: str
) -> None:
    known(CONTENT)
    with pytest.raises(UserError, match=reason) as mistake:
        fetch_weights(address(server, path), quiet=True)
    assert list(own_cache.iterdir()) == []
    says_the_ways_out(mistake.value)


def test_without_a_connection_the_message_says_what_to_do(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    monkeypatch.setattr(fetch_weights, "__defaults__", (f"http://127.0.0.1:{port}/{WEIGHTS}", True))
    with pytest.raises(UserError, match="no connection") as mistake:
        load_extractor("inception")
    says_the_ways_out(mistake.value)
    assert not own_cache.exists() or list(own_cache.iterdir()) == []


def test_a_folder_that_cannot_be_written(server: Server, own_cache: Path) -> None:
    own_cache.write_text("a file, where the folder should be")
    with pytest.raises(UserError, match=f"{own_cache} cannot be written") as mistake:
        fetch_weights(address(server, "whole"), quiet=True)
    says_the_ways_out(mistake.value)


def says_the_ways_out(mistake: UserError) -> None:
    message = str(mistake)
    assert "\n" not in message
    assert [way for way in ("http", "--weights FILE", "--extractor lite0") if way not in message] == []


def test_another_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    other = tmp_path / "other.pth"
    torch.save({"a": torch.zeros(3)}, other)
    with pytest.raises(
        UserError, match=r"other\.pth does not hold weights-inception.* bytes and sha256 .*95,628,359"
    ) as mistake:
        Inception(other)
    assert "\n" not in str(mistake.value)
    with pytest.raises(UserError, match=r"nowhere\.pth cannot be read"):
        Inception(tmp_path / "nowhere.pth")
