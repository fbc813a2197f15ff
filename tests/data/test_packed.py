"""PackedFaces: opens what prepare made, and says what is wrong with what is no longer so."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from broken import encoded

from limner.core.errors import UserError
from limner.core.files import release
from limner.data.packed import PackedFaces
from limner.preparation.prepare import prepare


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(12):
        (source / f"{number}.png").write_bytes(encoded("PNG", number))
    (source / "labels.csv").write_text("file,a\n" + "".join(f"{n}.png,{n % 2}\n" for n in range(12)))
    return prepare(source, tmp_path / "out", size=16, heldout=4, workers=1, quiet=True).path


def test_opens_mapped_and_read_only(packed: Path) -> None:
    faces = PackedFaces.open(packed, verify=True)
    assert isinstance(faces.images_NHWC, np.memmap)
    assert not faces.images_NHWC.flags.writeable
    assert faces.images_NHWC.shape == (12, 16, 16, 3)
    assert (faces.size, faces.attribute_names, len(faces)) == (16, ("a",), 12)


def test_rows(packed: Path) -> None:
    faces = PackedFaces.open(packed)
    train, heldout = faces.rows("train"), faces.rows("heldout")
    assert (len(train), len(heldout)) == (8, 4)
    assert sorted([*train, *heldout]) == list(range(12))
    assert train.dtype == np.int64
    with pytest.raises(UserError, match="its splits are test, train, val"):
        faces.rows("validation")


def edit_info(**changes: object) -> Callable[[Path], object]:
    def edit(packed: Path) -> None:
        info = json.loads((packed / "dataset.json").read_text())
        (packed / "dataset.json").write_text(json.dumps(info | changes))

    return edit


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda p: (p / "dataset.json").unlink(), "not a prepared data set"),
        (lambda p: (p / "images.npy").unlink(), "images.npy is missing or damaged"),
        (lambda p: (p / "attributes.npy").unlink(), "attributes.npy is missing or damaged"),
        (lambda p: (p / "index.csv").unlink(), "index.csv is missing or damaged"),
        (lambda p: (p / "dataset.json").write_text("{"), "dataset.json cannot be used"),
        (edit_info(format_version=1), "format_version"),
        (edit_info(surprise=1), "surprise"),
        (edit_info(size=32), "images.npy holds"),
        (edit_info(attribute_names=["a", "b"]), "attributes.npy holds"),
        (lambda p: np.save(p / "images.npy", np.zeros((12, 16, 16, 3), np.float32)), "float32, not uint8"),
        (lambda p: np.save(p / "images.npy", np.array([{}]), allow_pickle=True), "images.npy is missing or damaged"),
        (lambda p: (p / "images.npy").write_bytes((p / "images.npy").read_bytes()[:500]), "images.npy is missing"),
        (lambda p: (p / "images.npy").write_bytes(b""), "images.npy is missing"),
        (lambda p: (p / "index.csv").write_text("row,file\n"), "its header is not"),
        (
            lambda p: (p / "index.csv").write_text("row,file,split,identity,official\n1,2\n"),
            "index.csv is missing or damaged",
        ),
        (lambda p: (p / "index.csv").write_text("row,file,split,identity,official\n0,a,train,,\n"), "index.csv holds"),
        (lambda p: (p / "index.csv").write_text((p / "index.csv").read_text().replace("test", "x")), "other splits"),
    ],
)
def test_damage_is_named(damage: Callable[[Path], object], message: str, packed: Path) -> None:
    damage(packed)
    with pytest.raises(UserError, match=message) as caught:
        PackedFaces.open(packed)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("file", ["images.npy", "attributes.npy"])
def test_verify_sees_one_changed_byte(file: str, packed: Path) -> None:
    data = bytearray((packed / file).read_bytes())
    data[-1] ^= 1
    (packed / file).write_bytes(data)
    os.utime(packed / file, (0, 0))
    PackedFaces.open(packed)
    with pytest.raises(UserError, match="another hash"):
        PackedFaces.open(packed, verify=True)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux says how much memory mapped files hold")
def test_a_pass_through_a_large_file_holds_little_memory(tmp_path: Path) -> None:
    def mapped() -> int:
        (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssFile"))
        return int(line.split()[1])

    np.save(tmp_path / "large.npy", np.ones((64, 2**19), np.uint8))
    array = np.load(tmp_path / "large.npy", mmap_mode="r")
    before = mapped()
    assert array[3:].sum() == 61 * 2**19
    assert mapped() - before > 24 * 1024  # KiB of the file's 32 MiB
    release(array[3:])
    assert mapped() - before < 4 * 1024
    assert array[5, 7] == 1
    release(np.ones(3))
