"""Folders and zips of images, and CSVs of labels as people's programs write them."""

import pickle
import struct
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from broken import encoded, zip_of

from limner.preparation.crops import Rejected
from limner.preparation.sources.containers import FolderImages, ZipImages, shown
from limner.preparation.sources.folder import open_folder

FILES = {name: encoded("PNG", seed) for seed, name in enumerate(["b.png", "a/z.png", "a.png", "a/b/c.png", "Z.png"])}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, data in FILES.items():
        (tmp_path / "faces" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "faces" / name).write_bytes(data)
    return tmp_path / "faces"


def test_folder_and_zip_hold_the_same(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "faces.zip").write_bytes(zip_of(*FILES.items()))
    for images in (FolderImages(folder), ZipImages(tmp_path / "faces.zip")):
        assert images.names == sorted(FILES)
        assert {name: images.read(name) for name in images.names} == FILES
        assert not images.rejects


def test_link_inside_the_folder_is_read(folder: Path) -> None:
    (folder / "link.png").symlink_to("a/z.png")
    assert FolderImages(folder).read("link.png") == FILES["a/z.png"]


@pytest.mark.parametrize("container", ["folder", "zip"])
def test_images_are_read_after_being_sent_to_a_process(container: str, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "faces.zip").write_bytes(zip_of(*FILES.items()))
    images = FolderImages(folder) if container == "folder" else ZipImages(tmp_path / "faces.zip")
    sent = pickle.loads(pickle.dumps(images))
    assert {name: sent.read(name) for name in images.names} == FILES


def test_reading_is_bounded(folder: Path) -> None:
    with pytest.raises(Rejected, match="file too large"):
        FolderImages(folder).read("b.png", limit=10)


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_csv_dialects(newline: str, delimiter: str, encoding: str, folder: Path, tmp_path: Path) -> None:
    rows = [
        ["file", "wears hat", "identity", "split"],
        *[[name, "1", "anna", "train"] for name in FILES],
        ["x", "1", "", ""],
    ]
    text = newline.join(delimiter.join(row) for row in rows)
    (tmp_path / "my.csv").write_text(text, encoding=encoding, newline="")
    labels = open_folder(folder, tmp_path / "my.csv").read_labels()
    assert labels.attribute_names == ("wears hat",)
    assert labels.attributes == dict.fromkeys(FILES, b"\1")
    assert labels.splits == dict.fromkeys(FILES, "train")
    assert labels.identities == dict.fromkeys(FILES, "anna")


@pytest.mark.parametrize("name", ["my.tsv", "my.txt", "labels"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_table_with_a_header_may_have_any_name_and_blank_lines(
    name: str, delimiter: str, folder: Path, tmp_path: Path
) -> None:
    rows = ["", delimiter.join(["file", "hat"]), "", *(delimiter.join([file, "1"]) for file in FILES), ""]
    (tmp_path / name).write_text("\n".join(rows))
    labels = open_folder(folder, tmp_path / name).read_labels()
    assert labels.attribute_names == ("hat",)
    assert labels.attributes == dict.fromkeys(FILES, b"\1")


def test_quoted_name_with_a_comma(tmp_path: Path) -> None:
    source = tmp_path / "faces"
    source.mkdir()
    (source / "anna, smiling.png").write_bytes(b"")
    (source / "labels.csv").write_text('file,a\n"anna, smiling.png",1\n')
    assert open_folder(source).read_labels().attributes == {"anna, smiling.png": b"\1"}


def test_labels_in_the_folder_of_a_zip_name_its_neighbours(tmp_path: Path) -> None:
    members = [("faces/a.png", FILES["a.png"]), ("faces/labels.csv", b"file,a\na.png,1\n"), ("b.png", FILES["b.png"])]
    (tmp_path / "faces.zip").write_bytes(zip_of(*members))
    source = open_folder(tmp_path / "faces.zip")
    assert source.files == {"a.png": "faces/a.png"}
    assert source.read_labels().attributes == {"a.png": b"\1"}
    assert source.rejects == {"b.png": "not under faces/"}


def test_shown_is_one_line() -> None:
    assert shown("a\nb\x1b\udcffü") == r"a\nb\x1b\udcffü"


def test_a_member_that_is_larger_than_it_claims_takes_no_memory(tmp_path: Path) -> None:
    size, claimed = 200 * 2**20, 1000
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("face.png", b"\0" * size)
    path.write_bytes(path.read_bytes().replace(struct.pack("<I", size), struct.pack("<I", claimed)))
    images = ZipImages(path)
    tracemalloc.start()
    with pytest.raises(Rejected, match="broken in the zip"):
        images.read("face.png")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20
