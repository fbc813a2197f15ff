"""limner sample: which face is which, what the image says of itself, and that it can be made again."""

import json
import re
import shutil
import sys
import warnings
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import limner
from limner import cli
from limner.core.errors import UserError, brief
from limner.core.files import sha256
from limner.core.pixels import to_pixels
from limner.images.png import generated_png, read_settings
from limner.latent.latents import face_latents
from limner.model.model import CONFIG, WEIGHTS, Model, load, save_model
from limner.model.sample import recreate, sample
from limner.networks import build_generator
from limner.recipes.load import load_recipe

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_are_neither_written_nor_read(
    value: float, model_folder: Path, tmp_path: Path
) -> None:
    model = load(model_folder)
    model.generator.get_parameter("linear.weight").data[3, 2] = value
    with pytest.raises(UserError, match="infinite or NaN"):
        save_model(tmp_path / "model", model.generator, model.config)
    assert list(tmp_path.iterdir()) == []

    bad = shutil.copytree(model_folder, tmp_path / "bad")
    weights = {name: tensor.contiguous() for name, tensor in model.generator.state_dict().items()}
    save_file(weights, bad / WEIGHTS)
    config = json.loads((bad / CONFIG).read_text()) | {"weights_sha256": sha256(bad / WEIGHTS)}
    (bad / CONFIG).write_text(json.dumps(config))
    with pytest.raises(UserError, match="infinite or NaN") as error:
        load(bad)
    assert "\n" not in str(error.value)


def test_images_that_are_not_finite_are_refused(model_folder: Path) -> None:
    """Of weights that are finite, but whose products overflow."""
    model = load(model_folder)
    for parameter in model.generator.parameters():
        parameter.mul_(1e38)
    with pytest.raises(UserError, match="images that are infinite or NaN"):
        model.sample(1)


@pytest.fixture(scope="module")
def conditional_folder(model_folder: Path) -> Path:
    """An untrained model of another version with four attributes, of which one in 40,000 known vectors has the last."""
    recipe = load_recipe("dcgan32", ["generator.width=64", "generator.init_std=0.1"])
    torch.manual_seed(1)
    generator = build_generator(recipe.generator, 32, recipe.latent.size + 4)
    changes = {"limner_version": "0.0.1", "attribute_names": ("Male", "Smiling", "Young", "Bald")}
    config = load(model_folder).config.model_copy(update=changes)
    known_MA = np.array([[i % 2, i // 2 % 2, i // 4 % 2, i == 0] for i in range(40_000)], np.uint8)
    save_model(model_folder.with_name("conditional"), generator, config, known_MA)
    return model_folder.with_name("conditional")


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def test_face_k_is_the_same_face_whatever_the_count(model_folder: Path) -> None:
    model = load(model_folder)
    many = model.sample(150, seed=3)
    assert many.shape == (150, 32, 32, 3)
    assert many.dtype == np.uint8
    np.testing.assert_array_equal(model.sample(1, seed=3, first=149), many[149:])
    np.testing.assert_array_equal(model.sample(70, seed=3, first=60), many[60:130])
    assert (model.sample(150, seed=4) != many).any()
    assert len(np.unique(many.reshape(150, -1), axis=0)) == 150


def test_faces_are_the_generator_s(model_folder: Path) -> None:
    """Against the plain call of the network on one latent at a time, in fp32: off by rounding alone."""
    model = load(model_folder)
    latents_BZ = face_latents(5, 0, 3, 100, "gaussian")
    with torch.inference_mode():
        plain = torch.cat([model.generator(z_Z[None]) for z_Z in latents_BZ])
    expected = ((plain.permute(0, 2, 3, 1).double().numpy() + 1) * 127.5).round()
    difference = np.abs(model.sample(3, seed=5, precision="fp32").astype(float) - expected)
    assert difference.max() <= 1
    assert np.abs(model.sample(3, seed=5, precision="bf16").astype(float) - expected).mean() < 2


def test_pixels_are_quantised_at_a_fixed_range() -> None:
    """A rival rescales by the least and largest value of the batch: one image must not change another."""
    x_BCHW = torch.tensor([-1.0, -0.5, 0.0, 0.5, 1.0]).view(5, 1, 1, 1).expand(5, 3, 1, 1)
    assert to_pixels(x_BCHW, "signed")[:, 0, 0, 0].tolist() == [0, 64, 128, 191, 255]
    assert to_pixels(x_BCHW[1:2], "signed")[0, 0, 0, 0] == 64
    assert to_pixels(torch.full((1, 3, 1, 1), 7.0), "signed").max() == 255


@pytest.mark.parametrize("distribution", ["gaussian", "uniform", "spherical"])
def test_truncation_0_is_one_face_for_each_attribute_vector(conditional_folder: Path, distribution: str) -> None:
    conditional = load(conditional_folder)
    config = conditional.config.model_copy(update={"latent_distribution": distribution})
    model = Model(config, conditional.generator, conditional.device, conditional.known_MA)
    faces_NHWC, labels_NA = model.sample(40, truncation=0), model.labels(40)
    same_face = (faces_NHWC[:, None] == faces_NHWC).all(axis=(2, 3, 4))
    np.testing.assert_array_equal(same_face, (labels_NA[:, None] == labels_NA).all(axis=2))
    assert 1 < len(np.unique(labels_NA, axis=0)) < 40


def test_what_is_said_of_truncation_0_holds_for_models_with_attributes() -> None:
    command = cli.typer.main.get_command(cli.app).commands["sample"]  # type: ignore[attr-defined]
    (said,) = (option.help for option in command.params if option.name == "truncation")
    in_python = str(Model.sample.__doc__).partition("`truncation`")[2].partition("`precision`")[0]
    page = (ROOT / "docs" / "sample.md").read_text(encoding="utf-8")
    in_docs = page.partition("`--truncation`")[2].partition("\n\n")[0]
    assert ["attribute" in text for text in (said, in_python, in_docs)] == [True] * 3


def test_truncation(model_folder: Path) -> None:
    model = load(model_folder)
    spread = [model.sample(16, truncation=t).astype(float).std(axis=0).mean() for t in (0.0, 0.5, 1.0)]
    assert spread[0] == 0
    assert spread[1] < spread[2]


def test_grid_says_what_it_is(model_folder: Path, tmp_path: Path) -> None:
    out = sample(model_folder, tmp_path / "faces.png", count=7, seed=2, columns=4, truncation=0.8, quiet=True)
    image = Image.open(out)
    assert image.size == (4 * 32 + 3 * 2, 2 * 32 + 2)
    settings = json.loads(image.info["limner"])
    assert (settings["seed"], settings["count"], settings["truncation"]) == (2, 7, 0.8)
    assert settings["weights_sha256"] == load(model_folder).config.weights_sha256
    packet = image.info["XML:com.adobe.xmp"]
    description = ElementTree.fromstring(packet[packet.index("<x:xmpmeta") : packet.index("<?xpacket end")])
    attributes = {key: value for element in description.iter() for key, value in element.attrib.items()}
    assert attributes["{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType"].endswith(
        "/digitalsourcetype/trainedAlgorithmicMedia"
    )
    np.testing.assert_array_equal(pixels(out)[:32, :32], load(model_folder).sample(1, seed=2, truncation=0.8)[0])


def test_a_image_names_the_version_that_made_it(conditional_folder: Path, tmp_path: Path) -> None:
    """Not the one that trained the model; and images that name another one can be made again all the same."""
    assert load(conditional_folder).config.limner_version == "0.0.1"
    out = sample(conditional_folder, tmp_path / "faces.png", count=2, seed=4, quiet=True)
    settings = read_settings(out)
    assert settings["limner"] == limner.__version__
    old = tmp_path / "old.png"
    old.write_bytes(generated_png(Image.open(out), settings | {"limner": "0.0.1"}))
    assert recreate(old, tmp_path / "again.png").read_bytes() == old.read_bytes()


def test_attributes_may_be_one_string(conditional_folder: Path, tmp_path: Path) -> None:
    conditional = load(conditional_folder)
    expected = conditional.sample(3, with_=["Smiling", "Male"], without=["Young"])
    np.testing.assert_array_equal(conditional.sample(3, with_="smiling, male", without="young"), expected)
    out = sample(conditional_folder, tmp_path / "faces.png", count=1, with_="smiling,male", without="young", quiet=True)
    assert read_settings(out)["with_"] == ["smiling", "male"]
    assert read_settings(out)["without"] == ["young"]
    assert recreate(out, tmp_path / "again.png").read_bytes() == out.read_bytes()


def test_a_rare_request_is_warned_of(
    conditional_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    conditional = load(conditional_folder)
    rare = "Male, Smiling and Bald together are rarer than 1 in 10,000 in the training data: expect weaker faces."
    with pytest.warns(UserWarning, match=re.escape(rare)):
        faces_NHWC = conditional.sample(20, with_=["bald", "smiling", "male"])
    assert len(np.unique(faces_NHWC.reshape(20, -1), axis=0)) == 20
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        conditional.sample(2, with_=["smiling"])
        conditional.sample(2)
    said = []
    for quiet in ([], ["--quiet"]):
        command = ["limner", "sample", str(conditional_folder), "--with", "male,smiling,bald", "--count", "1", *quiet]
        monkeypatch.setattr(sys, "argv", [*command, "--out", str(tmp_path / "faces.png"), "--force"])
        with pytest.raises(SystemExit) as left:
            cli.main()
        assert not left.value.code
        said.append(capsys.readouterr().err.splitlines())
    assert f"Note: {rare}" in said[0]
    assert said[1] == []


def test_recreate_gives_the_same_file(model_folder: Path, tmp_path: Path) -> None:
    out = sample(model_folder, tmp_path / "faces.png", count=5, seed=9, truncation=0.7, first=3, quiet=True)
    again = recreate(out, tmp_path / "again.png")
    assert again.read_bytes() == out.read_bytes()
    folder = sample(model_folder, tmp_path / "single", count=3, seed=9, single=True, quiet=True)
    files = sorted(folder.iterdir())
    assert [file.name for file in files] == ["000000.png", "000001.png", "000002.png"]
    assert recreate(files[2], tmp_path / "third.png").read_bytes() == files[2].read_bytes()
    np.testing.assert_array_equal(pixels(files[2]), load(model_folder).sample(1, seed=9, first=2)[0])


def test_recreate_refuses_another_model(model_folder: Path, tmp_path: Path) -> None:
    out = sample(model_folder, tmp_path / "faces.png", count=1, quiet=True)
    other = tmp_path / "other"
    model = Model.load(model_folder)
    model.generator.linear.bias.add_(1)
    save_model(other, model.generator, model.config)
    with pytest.raises(UserError, match="other weights"):
        recreate(out, tmp_path / "again.png", model=other)
    plain = tmp_path / "plain.png"
    Image.new("RGB", (8, 8)).save(plain)
    with pytest.raises(UserError, match="does not say how it was made"):
        recreate(plain, tmp_path / "again.png")
    with pytest.raises(UserError, match="not a PNG"):
        recreate(Path(__file__), tmp_path / "again.png")
    assert not (tmp_path / "again.png").exists()


@pytest.mark.parametrize(
    "changed",
    [
        {"model": "a\0b"},
        {"model": "two\nlines"},
        {"model": "a" * 100_000},
        {"model": "\ud800"},
        {"seed": 10**400},
        {"first": 2**63},
        {"count": 10**9},
        {"columns": -1},
        {"truncation": 1e300},
        {"with_": ["a\0b"]},
        {"with_": ["x" * 100_000]},
        {"with_": ["smiling"] * 20_000},
        {"two\nlines" * 999: 1},
    ],
    ids=brief,
)
def test_settings_that_somebody_else_wrote_are_one_short_line(
    changed: dict[str, object], model_folder: Path, tmp_path: Path
) -> None:
    out = sample(model_folder, tmp_path / "faces.png", count=1, quiet=True)
    theirs = tmp_path / "theirs.png"
    theirs.write_bytes(generated_png(Image.new("RGB", (8, 8)), {**read_settings(out), **changed}))
    with pytest.raises(UserError) as refused:
        recreate(theirs, tmp_path / "again.png")
    message = str(refused.value).replace(str(theirs), "")
    assert message.isprintable()
    assert len(message) < 300
    assert not (tmp_path / "again.png").exists()


def test_nothing_is_overwritten_without_force(model_folder: Path, tmp_path: Path) -> None:
    out = sample(model_folder, tmp_path / "faces.png", count=1, quiet=True)
    before = out.read_bytes()
    with pytest.raises(UserError, match="--force"):
        sample(model_folder, out, count=2, quiet=True)
    assert out.read_bytes() == before
    sample(model_folder, out, count=2, force=True, quiet=True)
    assert out.read_bytes() != before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"count": 0}, "count is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"truncation": 3.0}, "truncation is 3.0"),
        ({"truncation": float("nan")}, "truncation is nan"),
        ({"count": 5000}, "--single"),
        ({"columns": 0}, "--columns is 0"),
    ],
)
def test_settings_out_of_range(model_folder: Path, tmp_path: Path, options: dict[str, float], words: str) -> None:
    with pytest.raises(UserError, match=words):
        sample(model_folder, tmp_path / "faces.png", quiet=True, **options)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_wrong_out(model_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"\.png"):
        sample(model_folder, tmp_path / "faces.jpg", quiet=True)
    with pytest.raises(UserError, match="no folder"):
        sample(model_folder, tmp_path / "none" / "faces.png", quiet=True)


def broken(folder: Path, name: str, content: bytes) -> Path:
    (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("config.json", lambda old: b"{"),
        ("config.json", lambda old: old.replace(b'"size":32', b'"size":33').replace(b'"size": 32', b'"size": 33')),
        ("config.json", lambda old: old.replace(b'"width": 64', b'"width": 96')),
        ("config.json", lambda old: old.replace(b'"network": "dcgan32"', b'"network": "os.system"')),
        ("config.json", lambda old: b" " * (2 << 20)),
        ("model.safetensors", lambda old: old[:-5]),
        ("model.safetensors", lambda old: b""),
        ("model.safetensors", lambda old: old[:-1] + bytes([old[-1] ^ 1])),
    ],
)
def test_broken_model_is_one_line(model_folder: Path, tmp_path: Path, name: str, change: object) -> None:
    for file in model_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    old = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(change(old))  # type: ignore[operator]
    assert (tmp_path / name).read_bytes() != old
    with pytest.raises(UserError) as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)
    assert name in str(caught.value) or "model.safetensors" in str(caught.value)


def test_no_model_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no model in it yet"):
        load(tmp_path)
    with pytest.raises(UserError, match="is no run and no model folder"):
        load(tmp_path / "nothing")


def test_model_folder_holds_no_code(model_folder: Path) -> None:
    assert sorted(file.name for file in model_folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert "synthetic" in (model_folder / "README.md").read_text()
