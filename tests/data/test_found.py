"""What people have is read, or refused with the cause: folders one level off, other suffixes, tables, rare formats."""

import io
import unicodedata
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from broken import CELEBA_FILES, CELEBA_LABELS, celeba, encoded, pixels, zip_of
from PIL import Image

from limner.core.errors import UserError
from limner.data.packed import TRAINABLE_SIZES, PackedFaces
from limner.preparation.crops import CROPS, Rejected, decode
from limner.preparation.prepare import prepare
from limner.preparation.sources.celeba import open_celeba
from limner.preparation.sources.folder import Source, open_folder

SIZE = 20


def put(place: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(data)
    return place


def pack(source: Path, out: Path, **options: Any) -> PackedFaces:
    return prepare(source, out, **{"size": 16, "workers": 1, "quiet": True} | options)


# --- CelebA -----------------------------------------------------------------------------------------------------------

JPEGS = {name.rpartition("/")[2]: data for name, data in CELEBA_FILES.items()}
PNGS = {f"00000{number}.png": encoded("PNG", number, 178, 218) for number in (1, 2, 3)}
TABLES = {name: text.encode() for name, text in CELEBA_LABELS.items()}


def under(folder: str, files: dict[str, bytes]) -> dict[str, bytes]:
    return {folder + name: data for name, data in files.items()}


PLACES: dict[str, tuple[dict[str, bytes], str]] = {
    "one folder up": (under("celeba/", TABLES) | under("celeba/img_align_celeba/", JPEGS), "."),
    "one folder up, as on the drive": (
        under("celeba/Anno/", TABLES) | under("celeba/Img/img_align_celeba/", JPEGS),
        ".",
    ),
    "a folder in the images": (under("img_align_celeba/part/", JPEGS) | TABLES, "img_align_celeba/part"),
    "the folder Img": (under("Anno/", TABLES) | under("Img/img_align_celeba/", JPEGS), "Img"),
    "images in a folder of another name": (under("celeba/", TABLES) | under("celeba/images/", JPEGS), "celeba"),
    "that folder": (under("celeba/", TABLES) | under("celeba/images/", JPEGS), "celeba/images"),
    "images among the annotations": (under("celeba/", TABLES | JPEGS), "celeba"),
    "the PNG copy": (TABLES | under("img_align_celeba_png/", PNGS), "."),
    "PNG in the folder for JPEG": (TABLES | under("img_align_celeba/", PNGS), "img_align_celeba"),
    "the PNG copy as a zip": (TABLES | {"img_align_celeba_png.zip": zip_of(*PNGS.items())}, "img_align_celeba_png.zip"),
}


@pytest.mark.parametrize("kind", PLACES)
def test_celeba_is_found_where_it_is(kind: str, tmp_path: Path) -> None:
    files, source = PLACES[kind]
    faces = pack(put(tmp_path / "data", files) / source, tmp_path / "out")
    assert faces.info.source.kind == "celeba"
    assert "non-commercial" in faces.info.source.licence
    assert faces.info.crop is not None
    assert faces.info.crop.preset == "report004"
    assert faces.attribute_names == ("Male", "Smiling")
    np.testing.assert_array_equal(faces.attributes_NA, [[1, 0], [0, 0], [0, 1]])
    assert faces.splits.tolist().count("test") == 1  # the partition's one image of val


@pytest.mark.parametrize("other", ["mine/1.png", "1.png"])
def test_celeba_with_others_beside_it_is_no_guess(other: str, tmp_path: Path) -> None:
    files = under("celeba/img_align_celeba/", JPEGS) | {other: encoded("PNG")}
    with pytest.raises(UserError, match=r"holds CelebA and others: give .*celeba/img_align_celeba"):
        pack(put(tmp_path / "data", files), tmp_path / "out")


def test_a_folder_beside_celeba_is_not_celeba(tmp_path: Path) -> None:
    put(tmp_path, TABLES | under("img_align_celeba/", JPEGS) | {"mine/1.png": encoded("PNG"), "mine/2.png": b""})
    assert open_celeba(tmp_path / "mine") is None


def test_own_labels_of_celeba_do_not_lose_its_licence(tmp_path: Path) -> None:
    source = celeba()(tmp_path)["source"]
    (tmp_path / "mine.csv").write_text("file,tall\n000001.jpg,1\n000002.jpg,0\n")
    faces = pack(source, tmp_path / "out", labels=tmp_path / "mine.csv")
    assert "non-commercial" in faces.info.source.licence
    assert faces.attribute_names == ("tall",)
    assert faces.files == ["000001.jpg", "000002.jpg"]


# --- tables -----------------------------------------------------------------------------------------------------------


def folder(place: Path, table: str, names: tuple[str, ...] = ("a.png", "b.png")) -> Source:
    files = dict.fromkeys(names, b"") | {"labels.csv": table.encode()}
    return open_folder(put(place / "faces", files))


READ = {
    "as it should be": "file,old\na.png,1\nb.png,0\n",
    "an index column": ",file,old\n0,a.png,1\n1,b.png,0\n",
    "an index column with a name": "Unnamed: 0,file,old\n0,a.png,1\n1,b.png,-1\n",
    "the file column last": "old,file\n1,a.png\n0,b.png\n",
    "both": ",old,file\n0,1,a.png\n1,0,b.png\n",
    "the file column as the index": ",old\na.png,1\nb.png,0\n",
    "spaces": "file , old\n a.png , 1\nb.png, 0 \n",
    "floats": "file,old\na.png,1.0\nb.png,0.0\n",
    "booleans": "file,old\na.png,True\nb.png,false\n",
    "relative names": "file,old\n./a.png,1\n./b.png,0\n",
    "names on Windows": "file,old\n.\\a.png,1\n.\\b.png,0\n",
    "another suffix": "file,old\na.jpg,1\nb.jpg,0\n",
    "no suffix": "file,old\na,1\nb,0\n",
}


@pytest.mark.parametrize("kind", READ)
def test_table_is_read(kind: str, tmp_path: Path) -> None:
    labels = folder(tmp_path, READ[kind]).read_labels()
    assert labels.attribute_names == ("old",)
    assert labels.attributes == {"a.png": b"\1", "b.png": b"\0"}
    assert not labels.missing


def test_splits_in_other_case(tmp_path: Path) -> None:
    labels = folder(tmp_path, "file,Split,Identity\na.png,Train,Anna\nb.png,TEST,Bo\n").read_labels()
    assert labels.attribute_names == ()
    assert labels.splits == {"a.png": "train", "b.png": "test"}
    assert labels.identities == {"a.png": "Anna", "b.png": "Bo"}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("file,hair\na.png,blond\nb.png,dark\n", "line 2: the label 'blond' of 'hair' is none of -1, 0, 1"),
        ("file,old,age\na.png,1,61\nb.png,0,9\n", "line 2: the label '61' of 'age' is none of"),
        ("a.png,1\nb.png,0\n", "line 1: the header is missing, this line is about a.png"),
        ("file,split\na.png,holdout\n", "line 2: 'holdout' is no split: train, val, test"),
    ],
)
def test_table_is_refused_with_the_cause(table: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        folder(tmp_path, table).read_labels()


def test_row_with_the_right_suffix_comes_first(tmp_path: Path) -> None:
    labels = folder(tmp_path, "file,old\na.jpg,0\na.png,1\nb.png,0\n").read_labels()
    assert labels.attributes == {"a.png": b"\1", "b.png": b"\0"}


def test_a_name_without_its_suffix_is_no_guess(tmp_path: Path) -> None:
    labels = folder(tmp_path, "file,old\na.gif,1\n", ("a.png", "a.jpg")).read_labels()
    assert labels.missing.keys() == {"a.png", "a.jpg"}


@pytest.mark.parametrize("on_disk", ["NFC", "NFD"])
def test_accents_in_either_form(on_disk: Any, tmp_path: Path) -> None:
    name = unicodedata.normalize(on_disk, "Zoë.png")
    other = unicodedata.normalize("NFD" if on_disk == "NFC" else "NFC", name)
    assert name != other
    labels = folder(tmp_path, f"file,old\n{other},1\n", (name,)).read_labels()
    assert labels.attributes == {name: b"\1"}


# --- class folders ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("around", ["", "faces/"])
def test_class_folders_are_attributes(around: str, tmp_path: Path) -> None:
    names = "old/1.png", "old/more/2.png", "young/1.png"
    files = {around + name: encoded("PNG", seed) for seed, name in enumerate(names)} | {"notes/read.txt": b"me"}
    faces = pack(put(tmp_path / "data", files), tmp_path / "out")
    assert faces.attribute_names == ("old", "young")
    assert faces.files == [around + name for name in names]
    np.testing.assert_array_equal(faces.attributes_NA, [[1, 0], [1, 0], [0, 1]])


@pytest.mark.parametrize(
    ("names", "attributes"),
    [
        (("a.jpg", "b.jpg"), {}),
        (("holiday/a.jpg", "holiday/b.jpg"), {}),
        (("a.jpg", "old/b.jpg"), {"a.jpg": b"\0", "old/b.jpg": b"\1"}),
        (tuple(f"{person}/1.jpg" for person in range(101)), {}),
    ],
)
def test_folders_that_tell_nothing_are_no_classes(names: tuple[str, ...], attributes: Any, tmp_path: Path) -> None:
    labels = open_folder(put(tmp_path / "data", dict.fromkeys(names, b""))).read_labels()
    assert {file: flags for file, flags in labels.attributes.items() if flags} == attributes
    assert labels.attribute_names == (("old",) if attributes else ())


def test_folders_of_splits(tmp_path: Path) -> None:
    names = "train/old/1.jpg", "train/young/1.jpg", "Test/old/1.jpg", "extra"
    labels = open_folder(put(tmp_path / "data", dict.fromkeys(names, b""))).read_labels()
    assert labels.splits == {"train/old/1.jpg": "train", "train/young/1.jpg": "train", "Test/old/1.jpg": "test"}
    assert labels.attribute_names == ("old", "young")
    assert labels.missing == {"extra": "in none of train, val and test"}


def test_a_table_is_worth_more_than_folders(tmp_path: Path) -> None:
    table = "file,tall\nold/a.png,1\nyoung/b.png,0\n"
    assert folder(tmp_path, table, ("old/a.png", "young/b.png")).read_labels().attribute_names == ("tall",)


# --- formats ----------------------------------------------------------------------------------------------------------

WHOLE_HWC = pixels(1, SIZE, SIZE)


def file_of(image: Image.Image, form: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("most", "kind"), [(1023, np.uint16), (4095, np.uint16), (65535, np.uint16), (10**6, np.int32)]
)
def test_deep_grey_is_scaled_by_what_it_holds(most: int, kind: Any) -> None:
    values_HW = np.linspace(0, most, SIZE * SIZE).astype(kind).reshape(SIZE, SIZE)
    got_HWC = decode(file_of(Image.fromarray(values_HW), "TIFF"), CROPS["square"], SIZE)
    np.testing.assert_allclose(got_HWC, np.repeat(values_HW[..., None] / most * 255, 3, axis=2), atol=0.51)


def test_black_16_bit_grey_stays_black() -> None:
    black = Image.fromarray(np.zeros((SIZE, SIZE), np.uint16))
    assert not decode(file_of(black, "PNG"), CROPS["square"], SIZE).any()


@pytest.mark.parametrize(
    ("form", "options", "within"), [("JPEG2000", {}, 0), ("AVIF", {"quality": 100, "subsampling": "4:4:4"}, 3)]
)
def test_newer_formats_are_read(form: str, options: dict[str, Any], within: int) -> None:
    got_HWC = decode(file_of(Image.fromarray(WHOLE_HWC), form, **options), CROPS["square"], SIZE)
    np.testing.assert_allclose(got_HWC.astype(int), WHOLE_HWC.astype(int), atol=within)


@pytest.fixture
def heic() -> bytes:
    heif = pytest.importorskip("pillow_heif", reason="the extra heic is not installed")
    file = io.BytesIO()
    heif.from_pillow(Image.fromarray(pixels(1, 64, 64))).save(file, quality=-1, chroma=444, matrix_coefficients=0)
    return file.getvalue()


def test_heic_is_read(heic: bytes, tmp_path: Path) -> None:
    faces = pack(put(tmp_path / "data", {"a.heic": heic, "b.heic": heic[:200]}), tmp_path / "out", size=64)
    np.testing.assert_allclose(faces.images_NHWC[0].astype(int), pixels(1, 64, 64).astype(int), atol=1)
    assert faces.files == ["a.heic"]


def test_heic_without_its_extra_is_named(heic: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    with pytest.raises(Rejected, match=r"pip install 'limner\[heic\]'"):
        decode(heic, CROPS["square"], SIZE)


# --- sizes ------------------------------------------------------------------------------------------------------------


def test_a_size_that_no_recipe_trains_is_said(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="no recipe trains on images of 48 pixels: the recipes' sizes are 32, 64, 128"):
        pack(put(tmp_path / "data", {"a.png": encoded("PNG", 1, 64, 64)}), tmp_path / "out", size=48, quiet=False)


def test_the_sizes_are_those_of_the_recipes() -> None:
    from limner.recipes.schema import DataView

    assert tuple(size for size in get_args(DataView.model_fields["size"].annotation) if size != 15) == TRAINABLE_SIZES
