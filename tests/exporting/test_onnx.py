"""The ONNX file: its contract, and the images of PyTorch from it, for every recipe of images."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from limner.cli import main
from limner.core.errors import UserError
from limner.core.pixels import to_pixels
from limner.exporting import onnx as onnx_export
from limner.exporting.export import export
from limner.exporting.onnx import generator_graph, to_onnx
from limner.model.model import Model, save_model
from limner.recipes import recipe_names
from limner.recipes.load import load_recipe

Untrained = Callable[..., Model]


def run(content: bytes, z_NZ: torch.Tensor, y_NA: torch.Tensor) -> Any:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    given = {"latents": z_NZ.numpy()} | ({"attributes": y_NA.numpy()} if y_NA.shape[1] else {})
    return session.run(None, given)[0]


LARGE = [
    pytest.param(name, ("data.size=128",), marks=[pytest.mark.soak] if name != "sngan-pixelnorm" else [])
    for name in ("dcgan", "dcgan32", "sngan-pixelnorm", "modern-attributes")
]


def different_generators() -> list[str]:
    """A recipe of images for each generator and what it is given: `dcgan-ttur`, say, has that of `dcgan`."""
    found: dict[object, str] = {}
    for name in recipe_names():
        recipe = load_recipe(name)
        given = (recipe.latent.size, recipe.data.size, recipe.data.range, recipe.conditioning is None)
        if recipe.data.kind == "images":
            found.setdefault((repr(recipe.generator), *given), name)
    return [*found.values()]


@pytest.mark.parametrize(("recipe", "overrides"), [*((name, ()) for name in different_generators()), *LARGE])
def test_images_of_every_generator_are_those_of_pytorch(
    recipe: str, overrides: tuple[str, ...], untrained: Untrained
) -> None:
    model = untrained(recipe, *overrides)
    content = to_onnx(model, quiet=True).content
    random = torch.Generator().manual_seed(7)
    names = model.config.attribute_names
    for count in (1, 2, 7, 64):
        z_NZ = torch.randn(count, model.config.latent_size, generator=random)
        y_NA = torch.randint(0, 2, (count, len(names)), generator=random).float()
        images_NCHW = run(content, z_NZ, y_NA)
        with torch.inference_mode():
            raw_NCHW = model.generator(torch.cat([z_NZ, y_NA], 1))
        low, high = {"signed": (-1, 1), "unit": (0, 1), "byte": (0, 255)}[model.config.pixel_range]
        expected_NCHW = ((raw_NCHW - low) / (high - low)).clamp(0, 1).numpy()
        assert images_NCHW.shape == (count, 3, model.config.size, model.config.size)
        assert images_NCHW.dtype == np.float32
        assert expected_NCHW.std() > 0.05
        assert np.abs(images_NCHW - expected_NCHW).max() <= 1e-4


def test_the_recipes_differ_in_range_and_attributes(untrained: Untrained) -> None:
    """So that the test above covers them all."""
    configs = [untrained(name).config for name in recipe_names() if name != "painter"]
    assert {config.pixel_range for config in configs} >= {"signed", "byte"}
    assert {bool(config.attribute_names) for config in configs} == {True, False}


def test_the_contract(untrained: Untrained) -> None:
    model = untrained("modern-attributes")
    proto = onnx.load_from_string(to_onnx(model, quiet=True).content)
    onnx.checker.check_model(proto, full_check=True)

    def shape(value: Any) -> tuple[str, list[Any]]:
        tensor = value.type.tensor_type
        assert tensor.elem_type == onnx.TensorProto.FLOAT
        return value.name, [side.dim_param or side.dim_value for side in tensor.shape.dim]

    (latents, latents_shape), (attributes, attributes_shape) = map(shape, proto.graph.input)
    (images, images_shape), *others = map(shape, proto.graph.output)
    assert (latents, attributes, images, others) == ("latents", "attributes", "images", [])
    free = latents_shape[0]
    assert isinstance(free, str)
    assert (latents_shape, attributes_shape, images_shape) == ([free, 128], [free, 4], [free, 3, 32, 32])
    assert all(tensor.data_location == onnx.TensorProto.DEFAULT for tensor in proto.graph.initializer)
    kept = {one.key: one.value for one in proto.metadata_props}
    assert json.loads(kept["attribute_names"]) == ["Male", "Smiling", "Wearing_Hat", "Young"]
    assert kept["latent_distribution"] == "gaussian"
    assert kept["recipe"] == "modern-attributes"
    assert b".py" not in to_onnx(model, quiet=True).content  # no trace of the machine that exported it


def test_convolutions_stay_convolutions(untrained: Untrained) -> None:
    """Training computes wide ones as matrix products, from which onnxruntime could make nothing fast."""
    wide = to_onnx(untrained("dcgan32", "generator.width=256"), quiet=True)
    kinds = [node.op_type for node in onnx.load_from_string(wide.content).graph.node]
    assert kinds.count("ConvTranspose") == 3
    assert "ScatterND" not in kinds


def test_parametrisations_are_folded_and_the_model_keeps_its_own(untrained: Untrained) -> None:
    model = untrained("sngan-pixelnorm")
    names = {tensor.name for tensor in onnx.load_from_string(to_onnx(model, quiet=True).content).graph.initializer}
    assert not any("parametrizations" in name for name in names)
    assert any("parametrizations" in name for name in model.generator.state_dict())
    assert model.sample(1).shape == (1, 32, 32, 3)


def test_half_is_half_as_large_and_nearly_the_same(untrained: Untrained) -> None:
    model = untrained("dcgan32", "generator.width=256")
    full, half = to_onnx(model, quiet=True), to_onnx(model, "fp16", quiet=True)
    assert 0.45 < len(half.content) / len(full.content) < 0.55
    assert 1e-3 > half.mean_difference > full.mean_difference
    z_NZ = torch.randn(4, 100, generator=torch.Generator().manual_seed(7))
    difference = np.abs(run(half.content, z_NZ, z_NZ[:, :0]) - run(full.content, z_NZ, z_NZ[:, :0]))
    assert 0 < difference.max() < 0.01


@pytest.mark.parametrize(
    ("value", "precision", "words"),
    [(1e5, "fp16", "too large for fp16.*fp32"), (float("nan"), "fp32", "differ by nan")],
)
def test_numbers_that_are_none_are_refused(value: float, precision: Any, words: str, untrained: Untrained) -> None:
    model = untrained("demo")
    graph = onnx.ModelProto()
    graph.CopyFrom(onnx_export.generator_graph(model))
    weight = next(tensor for tensor in graph.graph.initializer if len(tensor.dims) > 1)
    changed = onnx.numpy_helper.to_array(weight).copy()
    changed.flat[0] = value
    weight.CopyFrom(onnx.numpy_helper.from_array(changed, weight.name))
    with pytest.raises(UserError, match=words):
        to_onnx(model, precision, quiet=True, graph=graph)


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_command_writes_a_file_that_works_elsewhere(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "here.onnx"
    monkeypatch.setattr(sys, "argv", ["limner", "export", str(model_folder), "--to", "onnx", "--out", str(out)])
    with pytest.raises(SystemExit) as left:
        main()
    assert not left.value.code
    assert "differ from PyTorch's by" in capsys.readouterr().out
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    moved = out.rename(elsewhere / "moved.onnx")
    model = Model.load(model_folder)
    z_NZ = torch.randn(3, 100, generator=torch.Generator().manual_seed(7))
    images_NCHW = onnxruntime.InferenceSession(str(moved)).run(None, {"latents": z_NZ.numpy()})[0]
    pixels_NHWC = (images_NCHW.transpose(0, 2, 3, 1) * 255).round().astype(np.uint8)
    expected_NHWC = to_pixels(model.raw(z_NZ, z_NZ[:, :0], "fp32"), "signed")
    assert np.abs(pixels_NHWC.astype(int) - expected_NHWC).max() <= 1


def test_mistakes_are_one_line_and_write_nothing(model_folder: Path, tmp_path: Path, untrained: Untrained) -> None:
    there = tmp_path / "there.onnx"
    there.write_bytes(b"mine")
    curves = tmp_path / "curves"
    painter = untrained("painter")
    save_model(curves, painter.generator, painter.config)
    for arguments, words in (
        ((model_folder, there), "exists.*--force"),
        ((model_folder, tmp_path / "file.txt"), r"does not end in \.onnx"),
        ((model_folder, tmp_path / "no" / "file.onnx"), "no folder"),
        ((tmp_path / "nowhere", tmp_path / "a.onnx"), "no run and no model folder"),
        ((curves, tmp_path / "a.onnx"), "makes curves.*--to html"),
    ):
        with pytest.raises(UserError, match=words) as error:
            export(*arguments, to="onnx", quiet=True)
        assert "\n" not in str(error.value)
    assert there.read_bytes() == b"mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curves", "there.onnx"]


def test_without_onnxscript_one_line_says_what_to_install(
    untrained: Untrained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(UserError, match=r"pip install 'limner\[export\]'"):
        generator_graph(untrained("demo"))
