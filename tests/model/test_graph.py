"""`faces` through onnxruntime: the faces of the same model in PyTorch but for a rounding, without importing torch."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image
from safetensors.numpy import load_file

import limner
from limner.core.errors import UserError
from limner.core.files import sha256
from limner.images.png import read_settings
from limner.model.graph import GRAPH, GraphModel, has_graph
from limner.model.sample import recreate, sample
from limner.model.shipped import FOLDER, WEIGHTS

FACES = FOLDER / "faces"


@pytest.fixture(scope="module")
def quick() -> GraphModel:
    return GraphModel.load(FACES)


@pytest.mark.parametrize(
    "asked",
    [{}, {"seed": 7, "first": 30, "truncation": 0.6}, {"with_": "smiling", "without": ["male"], "truncation": 1.5}],
)
def test_faces_differ_from_pytorch_s_by_a_rounding(quick: GraphModel, asked: dict[str, object]) -> None:
    """By 1 of 255 at most, and in fewer than 1 of 10,000 values, as docs/sample.md says."""
    expected_NHWC = limner.load("faces").sample(40, precision="fp32", **asked)  # type: ignore[arg-type]
    difference_NHWC = np.abs(quick.sample(40, **asked).astype(int) - expected_NHWC)  # type: ignore[arg-type]
    assert difference_NHWC.max() <= 1
    assert (difference_NHWC > 0).mean() < 1e-4
    assert len(np.unique(expected_NHWC.reshape(40, -1), axis=0)) == 40


def test_face_k_is_the_same_face_whatever_the_count(quick: GraphModel) -> None:
    many_NHWC = quick.sample(70, seed=3)
    np.testing.assert_array_equal(quick.sample(1, seed=3, first=69), many_NHWC[69:])
    np.testing.assert_array_equal(quick.sample(20, seed=3, first=45), many_NHWC[45:65])


def test_the_graph_is_that_of_the_weights_beside_it() -> None:
    """Every weight is read where it lies in the file, under its name, and the graph is of this very file."""
    graph = onnx.load(FACES / GRAPH)  # with the weights that it points to
    stored = load_file(FACES / WEIGHTS)
    pointed = {one.name: onnx.numpy_helper.to_array(one) for one in graph.graph.initializer if one.name in stored}
    assert {name for name in stored if name.endswith(("weight", "bias", "running_var"))} <= set(pointed)
    for name, weight in pointed.items():
        np.testing.assert_array_equal(weight, stored[name])
    assert {one.key: one.value for one in graph.metadata_props}["weights_sha256"] == sha256(FACES / WEIGHTS)
    assert (FACES / GRAPH).stat().st_size < 50_000


def test_the_command_samples_without_torch(tmp_path: Path) -> None:
    out = tmp_path / "faces.png"
    code = "import sys; from limner.cli import app; app(standalone_mode=False); print('torch' in sys.modules)"
    options = ["--out", str(out), "--count", "3", "--seed", "5", "--with", "smiling", "--quiet"]
    command = [sys.executable, "-c", code, "sample", "faces", *options]
    said = subprocess.run(command, capture_output=True, text=True, check=True)
    assert said.stdout.split()[-1] == "False"
    settings = read_settings(out)
    assert (settings["runtime"], settings["precision"], settings["model"]) == ("onnxruntime", "fp32", "faces")
    expected_NHWC = GraphModel.load(FACES).sample(3, 5, with_="smiling")
    np.testing.assert_array_equal(np.asarray(Image.open(out))[:64, :64], expected_NHWC[0])


def test_an_image_is_made_again_by_what_made_it(tmp_path: Path) -> None:
    """A copy of the folder is a model like any other: PyTorch samples from it."""
    copy = shutil.copytree(FACES, tmp_path / "copy")
    assert has_graph(FACES)
    assert not has_graph(copy)
    for model, runtime in (("faces", "onnxruntime"), (str(copy), "torch")):
        first = sample(model, tmp_path / f"{runtime}.png", count=2, seed=11, quiet=True)
        assert read_settings(first)["runtime"] == runtime
        again = recreate(first, tmp_path / f"{runtime}-again.png", model="faces")
        assert again.read_bytes() == first.read_bytes()


@pytest.mark.parametrize("name", [GRAPH, WEIGHTS])
def test_a_damaged_file_is_one_line(tmp_path: Path, name: str) -> None:
    broken = shutil.copytree(FACES, tmp_path / "broken")
    (broken / name).write_bytes((FACES / name).read_bytes()[:-5000])
    with pytest.raises(UserError, match=rf"{name} .*: take a whole copy of the model\.$"):
        GraphModel.load(broken)
