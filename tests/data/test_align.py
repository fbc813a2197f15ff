"""Faces that are small, tilted and off-centre come out as CelebA's: the same ones, for any number of workers."""

import csv
import io
import json
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from broken import celeba
from photos import eye_error, make_photo
from PIL import Image
from typer.testing import CliRunner

import limner
from limner.cli import app
from limner.core.errors import UserError
from limner.data.packed import PackedFaces
from limner.preparation.prepare import prepare

if find_spec("mtcnn") is None:
    pytest.skip("the extra align is not installed", allow_module_level=True)

from limner.preparation import mtcnn
from limner.preparation.align import FaceFinder, Similarity, upright

ROOT = Path(__file__).resolve().parents[2]
COUNT = 8
EMPTY = 25
ENLARGED = 3
CROP = 25 + 45j  # the corner of report004 in the aligned frame, of which the generated faces are the half


@pytest.fixture(scope="module")
def finder() -> FaceFinder:
    return FaceFinder()


@pytest.fixture(scope="module")
def generated() -> np.ndarray:
    """Faces of nobody, 64 x 64, aligned as the CelebA that their model learned from."""
    faces_NHWC: np.ndarray = limner.load("faces").sample(COUNT, seed=0)
    return faces_NHWC


def in_a_photo(face_HWC: np.ndarray, seed: int, **options: Any) -> tuple[Image.Image, tuple[complex, complex]]:
    """A photo of a generated face, and the placement of the aligned frame in it."""
    side = ENLARGED * len(face_HWC)
    enlarged = Image.fromarray(face_HWC).resize((side, side), Image.Resampling.BICUBIC)
    photo, (turn, shift) = make_photo(enlarged, np.random.default_rng(seed), **{"scales": (1, 2)} | options)
    turn *= ENLARGED / 2
    return photo, (turn, shift - turn * CROP)


@pytest.fixture(scope="module")
def photos(generated: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for number, face_HWC in enumerate(generated):
        in_a_photo(face_HWC, number)[0].save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def aligned(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> PackedFaces:
    return align(photos, tmp_path_factory.mktemp("data") / "aligned")


def align(source: Path, out: Path, **options: Any) -> PackedFaces:
    return prepare(source, out, **{"align": True, "workers": 1, "quiet": True} | options)


def rejects(faces: PackedFaces) -> dict[str, str]:
    with (faces.path / "rejects.csv").open(newline="") as file:
        return {row["file"]: row["reason"] for row in csv.DictReader(file)}


# --- where faces are --------------------------------------------------------------------------------------------------


def test_eyes_come_where_they_belong(generated: np.ndarray, finder: FaceFinder) -> None:
    errors = []
    for number, face_HWC in enumerate(generated):
        photo, placement = in_a_photo(face_HWC, number)
        (found,) = finder(photo)
        errors.append(eye_error(placement, found.turn, found.shift))
    assert np.median(errors) < 0.03
    assert max(errors) < 0.08


def test_aligned_faces_are_the_faces(aligned: PackedFaces, generated: np.ndarray, photos: Path, tmp_path: Path) -> None:
    squares = prepare(photos, tmp_path / "squares", workers=1, quiet=True)
    assert aligned.files == squares.files == [f"{number}.png" for number in range(COUNT)]
    away, away_before = (
        abs(faces.images_NHWC.astype(int) - generated).mean(axis=(1, 2, 3)) for faces in (aligned, squares)
    )
    assert (away < 15).all()
    assert (away_before > 30).all()


def test_real_faces(real_celeba: Path, finder: FaceFinder) -> None:
    errors = []
    with zipfile.ZipFile(real_celeba / "img_align_celeba.zip") as archive:
        for number, name in enumerate(sorted(archive.namelist())[100:12000:500]):
            face = Image.open(io.BytesIO(archive.read(name)))
            photo, placement = make_photo(face, np.random.default_rng(number))
            errors.append(min((eye_error(placement, found.turn, found.shift) for found in finder(photo)), default=1.0))
    assert np.mean(np.array(errors) < 0.5) > 0.9
    assert np.median(errors) < 0.04


@pytest.mark.parametrize(("width", "height"), [(1, 1), (3, 3), (13, 400), (3000, 20)])
def test_no_face_in_noise_of_any_shape(width: int, height: int, finder: FaceFinder) -> None:
    assert finder(Image.fromarray(noise(width, height))) == []


def test_a_face_that_the_photo_cuts_is_found(generated: np.ndarray, finder: FaceFinder) -> None:
    photo = Image.fromarray(generated[0]).resize((256, 256), Image.Resampling.BICUBIC)
    (found,) = finder(photo.crop((60, 0, 256, 256)))  # the eye on the left is near the edge
    placement = 2 + 0j, -2 * CROP - 60  # two pixels for each of the aligned frame
    assert eye_error(placement, found.turn, found.shift) < 0.1


def test_a_photo_on_its_side_in_the_file_is_seen_upright(photos: Path, aligned: PackedFaces, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    stored = Image.open(photos / "0.png").transpose(Image.Transpose.ROTATE_90)
    stored.save(tmp_path / "photos" / "0.png", exif=exif)
    turned = align(tmp_path / "photos", tmp_path / "out")
    np.testing.assert_array_equal(turned.images_NHWC[0], aligned.images_NHWC[0])


# --- what a data set says of it ---------------------------------------------------------------------------------------


def test_result_does_not_depend_on_workers(photos: Path, aligned: PackedFaces, tmp_path: Path) -> None:
    import torch

    before = torch.get_num_threads()
    for number in range(EMPTY):  # more than one chunk
        Image.new("RGB", (64 + number, 64), "red").save(photos / f"empty{number}.png")
    try:
        torch.set_num_threads(2)
        one, two = (align(photos, tmp_path / str(workers), workers=workers) for workers in (1, 2))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
        for number in range(EMPTY):
            (photos / f"empty{number}.png").unlink()
    for file in one.path.iterdir():
        assert file.read_bytes() == (two.path / file.name).read_bytes(), file.name
    assert one.info.content_hash == aligned.info.content_hash
    assert set(rejects(two).values()) == {"no face found"}


def test_the_data_set_records_the_alignment(aligned: PackedFaces) -> None:
    assert aligned.info.crop is not None
    assert aligned.info.crop.preset == "report004"
    assert aligned.info.crop.aligned == "all"
    assert "bicubic" in (aligned.info.resize_filter or "")
    with Image.open(aligned.path / "alignment.png") as sheet:
        assert sheet.width == 4 * 332  # four pairs a row
        column = np.asarray(sheet)[:, :160]
    assert (column == (0, 255, 0)).all(axis=2).any()  # the outline of a crop


@pytest.fixture(scope="module")
def group(generated: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two photos of two faces each, the second face larger, and a photo of one."""
    folder = tmp_path_factory.mktemp("group")
    for number in range(2):
        pair = [in_a_photo(generated[2 * number + n], 9, scales=(scale, scale))[0] for n, scale in ((0, 1), (1, 1.5))]
        wide = Image.new("RGB", (1280, 640))
        wide.paste(pair[0], (0, 0))
        wide.paste(pair[1], (640, 0))
        wide.save(folder / f"{number}.png")
    in_a_photo(generated[5], 5)[0].save(folder / "2.png")
    (folder / "labels.csv").write_text("file,old\n0.png,1\n1.png,0\n2.png,1\n")
    return folder


def test_all_faces_of_a_photo(group: Path, generated: np.ndarray, tmp_path: Path) -> None:
    faces = align(group, tmp_path / "all", heldout=2, seed=1)
    assert faces.files == ["0.png#1", "0.png#2", "1.png#1", "1.png#2", "2.png"]
    np.testing.assert_array_equal(faces.attributes_NA[:, 0], [1, 1, 0, 0, 1])
    for first in (0, 2):  # the larger face comes first, and a photo is in one split
        away = abs(faces.images_NHWC[first].astype(int) - generated[first : first + 2]).mean(axis=(1, 2, 3))
        assert away.argmin() == 1
        assert faces.splits[first] == faces.splits[first + 1]


def test_the_largest_face_of_a_photo(group: Path, tmp_path: Path) -> None:
    everyone = align(group, tmp_path / "all")
    largest = align(group, tmp_path / "largest", faces="largest")
    assert largest.files == ["0.png", "1.png", "2.png"]
    np.testing.assert_array_equal(largest.images_NHWC, everyone.images_NHWC[[0, 2, 4]])


def test_a_face_too_small_is_rejected_with_the_reason(generated: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    in_a_photo(generated[0], 0, scales=(1, 1))[0].save(tmp_path / "photos" / "small.png")
    with pytest.raises(UserError, match=r"too small', .*its eyes are 5\d pixels apart, 512 x 512 needs 104"):
        align(tmp_path / "photos", tmp_path / "out", size=512)
    assert len(align(tmp_path / "photos", tmp_path / "out", size=192)) == 1  # more than the 128 of the crop


def test_force_replaces_an_aligned_data_set(group: Path, tmp_path: Path) -> None:
    for _ in range(2):
        assert len(align(group, tmp_path / "out", faces="largest", force=True)) == 3


def test_command(group: Path, tmp_path: Path) -> None:
    arguments = ["prepare", str(group), str(tmp_path / "out"), "--align", "--workers", "1"]
    assert CliRunner().invoke(app, [*arguments, "--faces", "both"]).exit_code == 2
    done = CliRunner().invoke(app, [*arguments, "--faces", "largest"])
    assert done.exit_code == 0
    assert "3 images" in done.output
    assert "alignment.png" in done.output


def test_the_guide_has_the_numbers_of_the_benchmark() -> None:
    page = (ROOT / "docs" / "photos.md").read_text(encoding="utf-8").replace(" %", "%")
    results = json.loads((ROOT / "benchmarks" / "results" / "align.json").read_text(encoding="utf-8"))
    measured = results["align"]
    assert f"| faces found | {measured['found']:.1%} |" in page
    assert f"median {measured['eyes_p50']:.1%}, 95th percentile {measured['eyes_p95']:.1%}" in page
    assert f"photos a second of CPU time on two cores | {measured['photos_per_second_of_two_cores']:.0f} |" in page
    for kind, digits in (("aligned", 1), ("central_square", 0), ("other_originals", 1)):
        assert f"| {measured[f'fd_lite0_{kind}']:.{digits}f} |" in page
    for row in results["detectors"]:
        numbers = f"{row['found']:.0%} | {row['eyes_p50']:.1%} | {row['eyes_p95']:.1%} | {row['cpu_ms']:.0f} ms"
        assert numbers in page, row["detector"]


# --- what cannot be aligned -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"align": False, "faces": "all"}, "faces all has no meaning without align"),
        ({"faces": "both"}, "faces is 'both'; it must be 'all' or 'largest'"),
        ({"align": "yes"}, "align is 'yes'; it must be True or False"),
    ],
)
def test_options_that_mean_nothing(options: dict[str, Any], message: str, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        align(photos, tmp_path / "out", **options)


def test_sources_that_are_aligned_already(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is CelebA, which is aligned already: leave --align out"):
        align(celeba()(tmp_path)["source"], tmp_path / "out")
    with pytest.raises(UserError, match="align has no meaning for synthetic:N"):
        prepare("synthetic:5", tmp_path / "out", align=True)


def test_without_the_extra_one_line_names_it(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mtcnn, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"finding faces needs an extra: pip install 'limner\[align\]'"):
        align(photos, tmp_path / "out")


# --- the geometry -----------------------------------------------------------------------------------------------------


def test_fit_recovers_a_similarity_and_is_the_least_squares_one() -> None:
    random = np.random.default_rng(0)
    points_52 = random.normal(size=(5, 2)) * 40
    exact = Similarity(0.8 - 0.3j, 7 + 2j)
    moved_5 = exact.turn * (points_52 @ (1, 1j)) + exact.shift
    fitted = Similarity.fit(points_52, np.stack([moved_5.real, moved_5.imag], axis=1))
    assert abs(fitted.turn - exact.turn) < 1e-12
    assert abs(fitted.shift - exact.shift) < 1e-10

    to_52 = random.normal(size=(5, 2)) * 40
    rows = [[[x, -y, 1, 0], [y, x, 0, 1]] for x, y in points_52]
    root_10 = np.repeat(np.sqrt([1, 1, 0, 0.5, 0.5]), 2)
    wanted, *_ = np.linalg.lstsq(np.concatenate(rows) * root_10[:, None], to_52.ravel() * root_10, rcond=None)
    fitted = Similarity.fit(points_52, to_52)
    np.testing.assert_allclose(
        [fitted.turn.real, fitted.turn.imag, fitted.shift.real, fitted.shift.imag], wanted, atol=1e-9
    )


def noise(width: int, height: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_identity_copies_pixels() -> None:
    photo_HWC = noise(90, 70)
    cut = upright(Image.fromarray(photo_HWC), Similarity(1, 0), 10, 20, 32, 32)
    np.testing.assert_array_equal(np.asarray(cut), photo_HWC[20:52, 10:42])


def test_a_quarter_turn_copies_pixels() -> None:
    photo_HWC = noise(64, 64)
    cut = upright(Image.fromarray(photo_HWC), Similarity(1j, 64), 0, 0, 64, 64)
    np.testing.assert_array_equal(np.asarray(cut), np.rot90(photo_HWC, -1))


@pytest.mark.parametrize("factor", [2, 4, 6, 16])
def test_shrinking_is_a_mean(factor: int) -> None:
    photo_HWC = noise(20 * factor, 20 * factor)
    cut = upright(Image.fromarray(photo_HWC), Similarity(1 / factor, 0), 0, 0, 20, 20)
    means_HWC = photo_HWC.reshape(20, factor, 20, factor, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(np.asarray(cut), means_HWC, atol=1.01)


@pytest.mark.parametrize("factor", [2.5, 3.3, 7.7, 21.0])
@pytest.mark.parametrize("degrees", [0, 20])
def test_fine_stripes_become_grey(factor: float, degrees: float) -> None:
    photo_HW = np.tile(np.array([0, 255], np.uint8), (900, 450))
    turn = np.exp(1j * np.deg2rad(degrees)) / factor
    cut = upright(Image.fromarray(photo_HW).convert("RGB"), Similarity(complex(turn), 0), 20, 20, 12, 12)
    assert abs(np.asarray(cut).astype(int) - 127).max() <= 48


def test_beyond_the_photo_its_edge_goes_on() -> None:
    photo_HWC = noise(40, 40)
    cut = np.asarray(upright(Image.fromarray(photo_HWC), Similarity(1, 0), -10, 5, 30, 30))
    np.testing.assert_array_equal(cut[:, :10], np.repeat(photo_HWC[5:35, :1], 10, axis=1))
    np.testing.assert_array_equal(cut[:, 10:], photo_HWC[5:35, :20])
