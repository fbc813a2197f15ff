"""CelebA in every shape in which people have it."""

from pathlib import Path

import pytest
from broken import CELEBA_LABELS, celeba, zip_of

from limner.core.errors import UserError
from limner.preparation.prepare import prepare
from limner.preparation.sources.celeba import open_celeba
from limner.preparation.sources.folder import Source

KAGGLE = {
    "list_attr_celeba.csv": "image_id,Male,Smiling\n000001.jpg,1,-1\n000002.jpg,-1,-1\n000003.jpg,-1,1\n",
    "list_eval_partition.csv": "image_id,partition\n000001.jpg,0\n000002.jpg,0\n000003.jpg,1\n",
}


@pytest.fixture
def official(tmp_path: Path) -> Path:
    place: Path = celeba()(tmp_path)["source"]
    return place


def images(place: Path) -> list[tuple[str, bytes]]:
    return [(path.name, path.read_bytes()) for path in sorted(place.glob("img_align_celeba/*.jpg"))]


def check(source: Source | None, identities: bool = True) -> None:
    assert source is not None
    assert list(source.files) == ["000001.jpg", "000002.jpg", "000003.jpg"]
    labels = source.read_labels()
    assert labels.attribute_names == ("Male", "Smiling")
    assert list(labels.attributes.values()) == [b"\1\0", b"\0\0", b"\0\1"]
    assert labels.splits == {"000001.jpg": "train", "000002.jpg": "train", "000003.jpg": "val"}
    assert bool(labels.identities) == identities
    assert not source.rejects
    assert not labels.missing


def test_official_folder(official: Path) -> None:
    check(open_celeba(official))


def test_folder_of_the_images(official: Path) -> None:
    check(open_celeba(official / "img_align_celeba"))


def test_drive_layout(official: Path, tmp_path: Path) -> None:
    home = tmp_path / "drive"
    for folder in ("Img", "Anno", "Eval"):
        (home / folder).mkdir(parents=True)
    (home / "Img" / "img_align_celeba.zip").write_bytes(
        zip_of(*[(f"img_align_celeba/{name}", data) for name, data in images(official)])
    )
    for name, text in CELEBA_LABELS.items():
        (home / ("Eval" if "eval" in name else "Anno") / name).write_text(text)
    check(open_celeba(home))
    check(open_celeba(home / "Img" / "img_align_celeba.zip"))


def test_kaggle_unpacked(official: Path, tmp_path: Path) -> None:
    nested = tmp_path / "kaggle" / "img_align_celeba" / "img_align_celeba"
    nested.mkdir(parents=True)
    for name, data in images(official):
        (nested / name).write_bytes(data)
    for name, text in KAGGLE.items():
        (tmp_path / "kaggle" / name).write_text(text.replace("\n", "\r\n"), encoding="utf-8-sig", newline="")
    check(open_celeba(tmp_path / "kaggle"), identities=False)
    check(open_celeba(nested), identities=False)


def test_kaggle_zip(official: Path, tmp_path: Path) -> None:
    members = [(f"img_align_celeba/img_align_celeba/{name}", data) for name, data in images(official)]
    archive = tmp_path / "archive.zip"
    archive.write_bytes(zip_of(*members, *[(name, text.encode()) for name, text in KAGGLE.items()]))
    check(open_celeba(archive), identities=False)


def test_annotations_are_optional(official: Path) -> None:
    for name in CELEBA_LABELS:
        (official / name).unlink()
    faces = prepare(official, official.parent / "out", size=16, quiet=True, workers=1)
    assert faces.attribute_names == ()
    assert faces.attributes_NA.shape == (3, 0)
    assert sorted(faces.splits.tolist()) == ["test", "train", "val"]
    assert not (faces.path / "frequencies.png").exists()


def test_annotations_may_know_more_and_must_know_each(official: Path) -> None:
    (official / "list_eval_partition.txt").write_text("000001.jpg 0\n000002.jpg 0\n000009.jpg 2\n")
    source = open_celeba(official)
    assert source is not None
    assert source.read_labels().missing == {"000003.jpg": "no line in list_eval_partition.txt"}


@pytest.mark.parametrize("number", ["1" + "0" * 5000, "0" * 5000, "٣" * 5000, "4"])
def test_a_number_of_images_that_is_another_is_one_short_line(official: Path, number: str) -> None:
    file = official / "list_attr_celeba.txt"
    file.write_text(number + "\n" + file.read_text().partition("\n")[2])
    source = open_celeba(official)
    assert source is not None
    with pytest.raises(UserError, match=r"line 1: promises \d+(\.\.\.)? images, 3 lines follow") as refusal:
        source.read_labels()
    assert len(str(refusal.value).replace(str(official), "")) < 200


def test_a_label_as_long_as_a_book_is_one_short_line(official: Path) -> None:
    file = official / "list_attr_celeba.txt"
    file.write_text(file.read_text().replace(" -1", " " + "x" * 100_000, 1))
    source = open_celeba(official)
    assert source is not None
    with pytest.raises(UserError, match="the label 'xxx") as refusal:
        source.read_labels()
    assert len(str(refusal.value).replace(str(official), "")) < 300


def test_default_crop_and_licence(official: Path) -> None:
    info = prepare(official, official.parent / "out", quiet=True, workers=1).info
    assert info.crop is not None
    assert (info.crop.preset, info.crop.box) == ("report004", (25, 45, 153, 173))
    assert "non-commercial" in info.source.licence


def test_other_zips_and_folders_are_not_celeba(official: Path, tmp_path: Path) -> None:
    (tmp_path / "faces.zip").write_bytes(zip_of(*images(official)))
    assert open_celeba(tmp_path / "faces.zip") is None
    (tmp_path / "faces").mkdir()
    assert open_celeba(tmp_path / "faces") is None
