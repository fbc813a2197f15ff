"""limner explore project: a face of the model is found again, and what is no image of a face is refused."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import limner
from limner.core.errors import UserError
from limner.explore import inversion
from limner.explore.inversion import invert, passes, pixel_distances
from limner.explore.points import generate
from limner.explore.projection import IMAGES, TARGETS, load_projected
from limner.explore.stored import CONFIG
from limner.explore.targets import read_targets
from limner.features.perceptual import PerceptualMaps, map_distance
from limner.images.marks import SYNTHETIC
from limner.latent.latents import face_latents
from limner.model.model import Model, load

NOISE_HWC = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)


@pytest.fixture
def short_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer starts, so that a test takes seconds."""
    monkeypatch.setattr(inversion, "STARTS", 2)
    monkeypatch.setattr(inversion, "SCOUT_STEPS", 5)


def save(image_HWC: np.ndarray, path: Path) -> Path:
    Image.fromarray(image_HWC).save(path)
    return path


def test_the_latents_of_generated_faces_are_found(untrained: Model) -> None:
    """Of an untrained model, whose images hardly repeat each other; no start is the face itself."""
    images_NHWC = untrained.sample(2, seed=7)
    counted = []
    found = invert(untrained, images_NHWC, steps=150, samples=32, seed=0, advance=counted.append)
    assert sum(counted) == 32 + 2 * passes(150)
    assert (found.pixels_N < 0.2 * found.sample_pixels_N).all()
    z_NZ = face_latents(7, 0, 2, 100, "gaussian")
    assert [np.corrcoef(a, b)[0, 1] > 0.95 for a, b in zip(found.points.z_NZ, z_NZ, strict=True)] == [True] * 2
    difference_N = np.sqrt(((found.images_NHWC / 255 - images_NHWC / 255) ** 2).mean(axis=(1, 2, 3)))
    np.testing.assert_allclose(found.pixels_N, difference_N, rtol=1e-6)


def test_pixel_distances_are_root_mean_squares() -> None:
    black, grey = np.zeros((1, 4, 4, 3), np.uint8), np.full((1, 4, 4, 3), 51, np.uint8)
    np.testing.assert_allclose(pixel_distances(black, np.concatenate([black, grey])), [[0, 0.2]], atol=1e-7)


def test_perceptual_maps_have_length_1_over_their_channels() -> None:
    maps = PerceptualMaps(torch.device("cpu"))
    x_BCHW = torch.rand(2, 3, 64, 64)
    same, other = maps(x_BCHW), maps(1 - x_BCHW)
    assert [tuple(map_BCHW.shape) for map_BCHW in same] == [(2, 16, 32, 32), (2, 24, 16, 16), (2, 40, 8, 8)]
    torch.testing.assert_close(same[0].norm(dim=1), torch.ones(2, 32, 32))
    assert map_distance(same, same).tolist() == [0, 0]
    # |a - b|^2 = 2 - 2 a.b for vectors of length 1.
    expected_B = sum(2 - 2 * (a * b).sum(1).mean((1, 2)) for a, b in zip(same, other, strict=True))
    torch.testing.assert_close(map_distance(same, other), expected_B)


def test_a_generated_face_comes_back_from_a_file(short_search: None, tmp_path: Path) -> None:
    faces = load("faces")
    photo = save(faces.sample(1, 5, first=3)[0], tmp_path / "photo.png")
    out = tmp_path / "projected"
    config = limner.explore.project("faces", photo, out, steps=25, samples=32, quiet=True)
    assert config.names == ("photo.png",)
    assert config.distances[0].pixels < 0.6 * config.distances[0].sample_pixels
    assert json.loads((out / CONFIG).read_text())["format"] == "limner projected"
    points = load_projected(out, faces)
    assert 0 <= points.y_NA.min() <= points.y_NA.max() <= 1
    with Image.open(out / IMAGES) as made, Image.open(out / TARGETS) as target:
        assert SYNTHETIC in made.info["XML:com.adobe.xmp"]
        assert target.info == {}
        assert np.abs(np.asarray(made).astype(int) - generate(faces, points)[0]).max() <= 3
        np.testing.assert_array_equal(np.asarray(target), np.asarray(Image.open(photo)))


def test_projected_faces_can_be_edited(
    untrained: Model, model_folder: Path, directions_folder: Path, tmp_path: Path, short_search: None
) -> None:
    photo = save(load("faces").sample(1)[0], tmp_path / "photo.png")
    limner.explore.project("faces", [str(photo)] * 2, tmp_path / "projected", steps=1, samples=8, quiet=True)
    out = tmp_path / "edited.png"
    limner.explore.edit("faces", directions_folder, "smiling=1", out, projected=tmp_path / "projected")
    assert Image.open(out).size == (130, 130)
    with pytest.raises(UserError, match="belongs to another model"):
        load_projected(tmp_path / "projected", untrained)
    with pytest.raises(UserError, match="give --face SEED:INDEX or --projected DIR"):
        limner.explore.edit("faces", directions_folder, "smiling=1", tmp_path / "e.png")


def test_aligned_images_of_celeba_are_cropped_as_the_training_images(tmp_path: Path) -> None:
    pixels_HWC = np.random.default_rng(0).integers(0, 256, (218, 178, 3), np.uint8)
    (aligned,) = read_targets([save(pixels_HWC, tmp_path / "aligned.png")], load("faces"))
    crop_HWC = pixels_HWC[45:173, 25:153].reshape(64, 2, 64, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(aligned, crop_HWC, atol=1)


def test_a_model_of_other_images_gets_the_central_square(untrained: Model, tmp_path: Path) -> None:
    pixels_HWC = np.random.default_rng(0).integers(0, 256, (64, 80, 3), np.uint8)
    (square,) = read_targets([save(pixels_HWC, tmp_path / "photo.png")], untrained)
    np.testing.assert_allclose(square, pixels_HWC[:, 8:72].reshape(32, 2, 32, 2, 3).mean(axis=(1, 3)), atol=1)


def test_a_face_in_a_photo_is_aligned(real_celeba: Path, tmp_path: Path) -> None:
    """One of CelebA's images at twice its size in a larger photo: nearly the crop that the image itself gets."""
    with zipfile.ZipFile(real_celeba / "img_align_celeba.zip") as archive:
        name = next(name for name in archive.namelist() if name.endswith(".jpg"))
        (tmp_path / "aligned.jpg").write_bytes(archive.read(name))
    with Image.open(tmp_path / "aligned.jpg") as image:
        photo = Image.new("RGB", (600, 700), "grey")
        photo.paste(image.resize((356, 436), Image.Resampling.BICUBIC), (150, 160))
    photo.save(tmp_path / "photo.png")
    itself, found = read_targets([tmp_path / "aligned.jpg", tmp_path / "photo.png"], load("faces"))
    assert np.corrcoef(itself.ravel(), found.ravel())[0, 1] > 0.9


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.tile(NOISE_HWC, (3, 3, 1)), r"photo\.png cannot be projected, no face found: give a photo of a face"),
        (None, r"photo\.png cannot be projected, not an image"),
    ],
)
def test_what_is_no_photo_of_a_face_is_one_line(image: Any, message: str, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    photo.write_text("a letter") if image is None else save(image, photo)
    with pytest.raises(UserError, match=message) as error:
        limner.explore.project("faces", photo, tmp_path / "out", quiet=True)
    assert "\n" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "^steps is 0"),
        ({"samples": 0}, "^samples is 0"),
        ({"images": []}, "^There are 0 images to project"),
        ({"images": "nowhere.png"}, r"nowhere\.png cannot be projected, it cannot be read"),
    ],
)
def test_mistakes_are_one_line(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    photo = save(NOISE_HWC, tmp_path / "photo.png")
    given = {"model": "faces", "images": photo, "out": tmp_path / "out", "quiet": True} | change
    with pytest.raises(UserError, match=message):
        limner.explore.project(**given)
    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"]
