"""Makes inputs that are wrong, each in one way, and says what `limner prepare` should make of each.

`BYTES`, `FILES` and `MEMBERS` are bad images: prepare lists them in rejects.csv and goes on. `CALLS` are calls that
cannot succeed: prepare raises a UserError of one line. All are made from nothing, small, in a folder of the test.
"""

import io
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from png_files import png_of

SIZE = 16
HTML = b"<!DOCTYPE html><html><head><title>Google Drive - Quota exceeded</title></head><body></body></html>"


def pixels(seed: int, width: int = 40, height: int = 40) -> np.ndarray:
    """An image of smooth noise, another one for every seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def encoded(form: str, seed: int = 1, width: int = 40, height: int = 40, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels(seed, width, height)).save(file, form, **options)
    return file.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that promises this size and holds next to nothing."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return png_of([(b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")])


def cut(data: bytes, share: float) -> bytes:
    return data[: int(len(data) * share)]


def flipped(data: bytes, find: bytes, offset: int) -> bytes:
    """One byte changed, `offset` bytes after the first `find`."""
    place = data.index(find) + offset
    return data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :]


def floating_tiff() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.linspace(0, 1, 1600, dtype=np.float32).reshape(40, 40)).save(file, "TIFF")
    return file.getvalue()


def negative_integers() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((40, 40), -1, np.int32)).save(file, "TIFF")
    return file.getvalue()


# --- bad images, as bytes: file name -> (bytes, reason) -------------------------------------------------------------

DAMAGED = "truncated|broken"
BYTES: dict[str, tuple[bytes, str]] = {
    **{
        f"cut_{form.lower()}_{int(share * 100)}.{form.lower()}": (cut(encoded(form), share), DAMAGED)
        for form in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000")
        for share in (0.1, 0.5, 0.9)
    },
    "zero.jpg": (b"", "empty file"),
    "page.jpg": (HTML, "not an image: a web page"),
    "text.png": (b"not an image at all\n", "not an image"),
    "notes.txt": (b"somebody's notes", "not an image"),
    "noise.jpg": (np.random.default_rng(0).bytes(5000), "not an image"),
    "nulls.jpg": (bytes(5000), "not an image"),
    "half_magic.jpg": (b"\xff\xd8\xff", DAMAGED),
    "magic_then_noise.jpg": (b"\xff\xd8\xff\xe0" + np.random.default_rng(1).bytes(500), DAMAGED),
    "wrong_header.png": (flipped(encoded("PNG"), b"IHDR", 1), DAMAGED),
    "header_crc.png": (flipped(encoded("PNG"), b"IHDR", 17), DAMAGED),
    "data_broken.png": (flipped(encoded("PNG"), b"IDAT", 30), DAMAGED),
    "bomb.png": (png_header(60_000, 60_000), "too many pixels"),
    "large.png": (png_header(9_000, 9_000), "too many pixels"),
    "long.png": (png_header(2_000_000_000, 1), "too many pixels|broken"),
    "no_width.png": (png_header(0, 40), DAMAGED),
    "promises_more.png": (png_header(400, 400), DAMAGED),
    "one_pixel.png": (encoded("PNG", 2, 1, 1), "too small"),
    "small.png": (encoded("PNG", 3, 15, 15), "too small"),
    "flat.png": (encoded("PNG", 4, 300, 10), "too small"),
    "drawing.svg": (b"<svg xmlns='http://www.w3.org/2000/svg' width='64' height='64'/>", "not an image"),
    "program.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n", "not an image"),
    "film.mp4": (b"\0\0\0\x18ftypmp42" + bytes(500), "not an image"),
    "inner.zip": (b"PK\x03\x04" + bytes(500), "not an image"),
    "float.tiff": (floating_tiff(), "unsupported pixels"),
    "negative.tiff": (negative_integers(), "unsupported pixels: negative"),
    ".hidden.png": (encoded("PNG", 5), "hidden file"),
    "__MACOSX/._a.png": (encoded("PNG", 5), "hidden file"),
    "a/.git/b.png": (encoded("PNG", 5), "hidden file"),
    "Thumbs.db": (encoded("PNG", 5), "hidden file"),
    "zz_copy.png": (encoded("PNG", 0), "duplicate of good.png"),
    "line\nbreak.jpg": (b"x", "not an image"),
    'comma, and "quote".jpg': (b"x", "not an image"),
    "ünï\u4eba.jpg": (b"x", "not an image"),
}

# --- bad files in a folder: what to make, and where the reject is listed ----------------------------------------------


def outer_link(folder: Path) -> None:
    outside = folder.parent / "outside.png"
    outside.write_bytes(encoded("PNG", 6))
    (folder / "bad.png").symlink_to(outside)


def inner_folder_link(folder: Path) -> None:
    (folder / "real").mkdir()
    (folder / "bad.png").symlink_to(folder / "real")


def without_permission(folder: Path) -> None:
    (folder / "bad.png").write_bytes(encoded("PNG", 6))
    (folder / "bad.png").chmod(0)


def sparse(folder: Path) -> None:
    with (folder / "bad.png").open("wb") as file:
        file.truncate(100 * 2**20)


FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "dangling_link": (lambda folder: (folder / "bad.png").symlink_to("nowhere.png"), "broken link"),
    "circular_link": (lambda folder: (folder / "bad.png").symlink_to("bad.png"), "broken link"),
    "link_outside": (outer_link, "link out of the source"),
    "link_to_folder": (inner_folder_link, "link to something that is not a file"),
    "file_too_large": (sparse, "file too large"),
}
if hasattr(os, "mkfifo"):
    FILES["fifo"] = (lambda folder: os.mkfifo(folder / "bad.png"), "not a regular file")
if hasattr(os, "geteuid") and os.geteuid() != 0:
    FILES["no_permission"] = (without_permission, "unreadable")

# --- bad members of a zip ---------------------------------------------------------------------------------------------


def zip_of(*members: tuple[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name), data, compression)
    return file.getvalue()


GOOD = ("good.png", encoded("PNG", 0))
BAD = encoded("PNG", 7)


def patched_member(offset_here: int, offset_in_directory: int, value: bytes) -> bytes:
    """A zip whose second member has `value` in its own header and in the directory."""
    data = bytearray(zip_of(GOOD, ("bad.png", BAD)))
    here = data.index(b"PK\x03\x04", 1)
    there = data.index(b"PK\x01\x02", data.index(b"PK\x01\x02") + 1)
    data[here + offset_here : here + offset_here + len(value)] = value
    data[there + offset_in_directory : there + offset_in_directory + len(value)] = value
    return bytes(data)


def unnamed() -> bytes:
    file = io.BytesIO()
    without = zipfile.ZipInfo("bad.png")
    without.filename = ""
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(*GOOD)
        archive.writestr(without, BAD)
    return file.getvalue()


def linked() -> bytes:
    file = io.BytesIO()
    link = zipfile.ZipInfo("bad.png")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(*GOOD)
        archive.writestr(link, "/etc/passwd")
    return file.getvalue()


MEMBERS: dict[str, tuple[bytes, str]] = {
    "unnamed": (unnamed(), "no name in the zip"),
    "absolute": (zip_of(GOOD, ("/bad.png", BAD)), "unsafe path"),
    "parent": (zip_of(GOOD, ("../bad.png", BAD)), "unsafe path"),
    "inner_parent": (zip_of(GOOD, ("a/../../bad.png", BAD)), "unsafe path"),
    "backslashes": (zip_of(GOOD, ("..\\..\\bad.png", BAD)), "unsafe path"),
    "drive": (zip_of(GOOD, ("C:\\bad.png", BAD)), "unsafe path"),
    "encrypted": (patched_member(6, 8, b"\x01\x00"), "encrypted in the zip"),
    "checksum": (patched_member(14, 16, b"abcd"), "broken in the zip"),
    "method": (patched_member(8, 10, b"\x63\x00"), "broken in the zip"),
    "declared_huge": (patched_member(22, 24, b"\xf0\xff\xff\x7f"), "file too large"),
    "deflated_garbage": (patched_member(8, 10, b"\x08\x00"), "broken in the zip"),
    "real_bomb": (zip_of(GOOD, ("bad.png", bytes(65 * 2**20)), compression=zipfile.ZIP_DEFLATED), "file too large"),
    "link": (linked(), "link in the zip"),
    "macosx": (zip_of(GOOD, ("__MACOSX/._bad.png", BAD)), "hidden file"),
    "nested": (zip_of(GOOD, ("bad.zip", zip_of(GOOD))), "not an image"),
    "duplicate": (zip_of(GOOD, ("sub/bad.png", GOOD[1])), "duplicate of good.png"),
}

# --- calls that cannot succeed ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Call:
    """`make` fills the folder of the test and returns the arguments of prepare; `message` is in the error."""

    make: Callable[[Path], dict[str, Any]]
    message: str


def folder_with(files: dict[str, bytes]) -> Callable[[Path], dict[str, Any]]:
    def make(place: Path) -> dict[str, Any]:
        for name, data in ({"source/good.png": GOOD[1], "source/more.png": encoded("PNG", 8)} | files).items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(data)
        return {"source": place / "source"}

    return make


def one_file(name: str, data: bytes) -> Callable[[Path], dict[str, Any]]:
    def make(place: Path) -> dict[str, Any]:
        (place / name).write_bytes(data)
        return {"source": place / name}

    return make


def with_options(**options: Any) -> Callable[[Path], dict[str, Any]]:
    return lambda place: folder_with({})(place) | options


def labelled(text: str | bytes) -> Callable[[Path], dict[str, Any]]:
    return folder_with({"source/labels.csv": text if isinstance(text, bytes) else text.encode()})


CELEBA_FILES = {f"source/img_align_celeba/00000{number}.jpg": encoded("JPEG", number, 178, 218) for number in (1, 2, 3)}
CELEBA_LABELS = {
    "list_attr_celeba.txt": "3\nMale Smiling\n000001.jpg  1 -1\n000002.jpg -1 -1\n000003.jpg -1  1\n",
    "list_eval_partition.txt": "000001.jpg 0\n000002.jpg 0\n000003.jpg 1\n",
    "identity_CelebA.txt": "000001.jpg 7\n000002.jpg 7\n000003.jpg 9\n",
}


def celeba(**changed: str | bytes) -> Callable[[Path], dict[str, Any]]:
    """A CelebA of three images with some annotation files replaced (`attr`, `partition`, `identity`)."""
    file_of = {
        "attr": "list_attr_celeba.txt",
        "partition": "list_eval_partition.txt",
        "identity": "identity_CelebA.txt",
    }
    texts: dict[str, str | bytes] = {**CELEBA_LABELS, **{file_of[key]: text for key, text in changed.items()}}

    def make(place: Path) -> dict[str, Any]:
        data = {name: text if isinstance(text, bytes) else text.encode() for name, text in texts.items()}
        for name, content in (CELEBA_FILES | {f"source/{name}": content for name, content in data.items()}).items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(content)
        return {"source": place / "source"}

    return make


def existing_out(name: str) -> Callable[[Path], dict[str, Any]]:
    def make(place: Path) -> dict[str, Any]:
        (place / "out").mkdir()
        (place / "out" / name).write_text("precious")
        return folder_with({})(place)

    return make


def annotations_only(place: Path) -> dict[str, Any]:
    arguments = celeba()(place)
    for file in (place / "source" / "img_align_celeba").iterdir():
        file.unlink()
    (place / "source" / "img_align_celeba").rmdir()
    return arguments


def empty_folder(place: Path) -> dict[str, Any]:
    (place / "source").mkdir()
    return {"source": place / "source"}


def out_is_a_file(place: Path) -> dict[str, Any]:
    (place / "out").write_text("precious")
    return folder_with({})(place)


def only_bad(place: Path) -> dict[str, Any]:
    (place / "source").mkdir()
    for number in range(3):
        (place / "source" / f"{number}.jpg").write_bytes(HTML + bytes([number]))
    (place / "source" / "small.png").write_bytes(encoded("PNG", 3, 9, 9))
    return {"source": place / "source"}


ATTR = CELEBA_LABELS["list_attr_celeba.txt"]
CALLS: dict[str, Call] = {
    # the source
    "no_source": Call(lambda place: {"source": place / "nothing"}, "does not exist"),
    "empty_folder": Call(empty_folder, "holds no files"),
    "only_bad_images": Call(only_bad, "3 of 4 are rejected as 'not an image', for example 0.jpg"),
    "html_as_zip": Call(one_file("img_align_celeba.zip", HTML), "is a web page"),
    "empty_zip_file": Call(one_file("img_align_celeba.zip", b""), "is empty: the download failed"),
    "zip_cut_short": Call(one_file("img_align_celeba.zip", cut(zip_of(GOOD), 0.7)), "cut short"),
    "zip_directory_cut": Call(one_file("faces.zip", cut(zip_of(GOOD), 0.97)), "cut short"),
    "zip_without_members": Call(one_file("faces.zip", zip_of()), "holds no files"),
    "tar_as_zip": Call(one_file("faces.zip", bytes(2048)), "is not a zip"),
    "image_as_source": Call(one_file("face.png", GOOD[1]), "is not a zip"),
    "html_as_zip_in_folder": Call(folder_with({"source/img_align_celeba.zip": HTML}), "is a web page"),
    "annotations_without_images": Call(annotations_only, "neither img_align_celeba.zip nor"),
    # CelebA's annotations
    "attr_count_missing": Call(celeba(attr=ATTR.partition("\n")[2]), "list_attr_celeba.txt, line 1"),
    "attr_count_wrong": Call(celeba(attr="4" + ATTR[1:]), "promises 4 images, 3 lines follow"),
    "attr_only_count": Call(celeba(attr="3\n"), "list_attr_celeba.txt, line 1"),
    "attr_header_missing": Call(celeba(attr="3\n" + ATTR.partition("\n")[2].partition("\n")[2]), "line 1"),
    "attr_value_missing": Call(celeba(attr=ATTR.replace("-1 -1", "-1")), "line 4: 1 values where the header names 2"),
    "attr_value_extra": Call(celeba(attr=ATTR.replace("-1 -1", "-1 -1 1")), "line 4: 3 values"),
    "attr_value_no_number": Call(celeba(attr=ATTR.replace("-1 -1", "-1 yes")), "line 4: the label 'yes'"),
    "attr_value_two": Call(celeba(attr=ATTR.replace("-1 -1", "-1 2")), "line 4: the label '2' of 'Smiling' is none of"),
    "attr_line_twice": Call(celeba(attr=ATTR.replace("000003", "000002")), "line 5: 000002.jpg has a line already (4)"),
    "attr_name_twice": Call(celeba(attr=ATTR.replace("Smiling", "Male")), "must name each column once"),
    "attr_garbage": Call(celeba(attr=b"\xff\xfe\x00\x01" * 100), "line 1: not UTF-8"),
    "attr_html": Call(celeba(attr=HTML), "is a web page, not a table"),
    "attr_empty": Call(celeba(attr=""), "list_attr_celeba.txt is empty"),
    "partition_seven": Call(celeba(partition="000001.jpg 0\n000002.jpg 7\n"), "line 2: '7' is no partition"),
    "partition_without_value": Call(celeba(partition="000001.jpg\n"), "no value|0 values where one"),
    "partition_two_values": Call(celeba(partition="000001.jpg 0 1\n"), "2 values where one belongs"),
    "partition_without_train": Call(
        celeba(partition="000001.jpg 1\n000002.jpg 1\n000003.jpg 2\n"), "no image is in the source's split 'train'"
    ),
    "partition_of_others": Call(celeba(partition="100001.jpg 1\n"), "'no line in list_eval_partition.txt'"),
    "identity_twice": Call(celeba(identity="000001.jpg 1\n000001.jpg 1\n"), "line 2: 000001.jpg has a line already"),
    "identity_garbage": Call(celeba(identity=b"000001.jpg 1\n000002.jpg \xff\n"), "line 2: not UTF-8"),
    # a CSV of labels
    "labels_missing_file": Call(with_options(labels="nowhere.csv"), "nowhere.csv: unreadable: No such file"),
    "labels_empty": Call(labelled(""), "labels.csv is empty"),
    "labels_without_header": Call(labelled("good.png,1\nmore.png,0\n"), "line 1: the header"),
    "labels_value": Call(labelled("file,smiling\ngood.png,1\nmore.png,maybe\n"), "line 3: the label 'maybe'"),
    "labels_half": Call(labelled("file,smiling\ngood.png,0.5\n"), "line 2: the label '0.5'"),
    "labels_no_value": Call(labelled("file,smiling\ngood.png,\n"), "line 2: the label ''"),
    "labels_row_short": Call(labelled("file,a,b\ngood.png,1\n"), "line 2: 1 values where the header names 2"),
    "labels_row_long": Call(labelled("file,a\ngood.png,1,1\n"), "line 2: 2 values where the header names 1"),
    "labels_row_twice": Call(labelled("file,a\ngood.png,1\ngood.png,1\n"), "line 3: good.png has a line already (2)"),
    "labels_column_twice": Call(labelled("file,a,a\ngood.png,1,1\n"), "must name each column once, not 'a'"),
    "labels_column_unnamed": Call(labelled("file,a,\ngood.png,1,1\n"), "must name each column once, not ''"),
    "labels_garbage": Call(labelled(b"file,a\n\xff\xff\xff,1\n"), "line 2: not UTF-8"),
    "labels_utf16": Call(labelled("file,a\ngood.png,1\n".encode("utf-16")), "line 1: not UTF-8"),
    "labels_field_endless": Call(labelled('file,a\ngood.png,"' + "1" * 200_000), "line 2: field larger than"),
    "labels_of_others": Call(labelled("file,a\nother.png,1\n"), "'no line in labels.csv'"),
    "labels_split_empty": Call(labelled("file,split\ngood.png,train\nmore.png,\n"), "line 3: '' is no split"),
    "labels_no_train": Call(labelled("file,split\ngood.png,val\nmore.png,test\n"), "source's split 'train'"),
    "labels_two": Call(
        folder_with({"source/labels.csv": b"file,a\n", "source/b/labels.csv": b"file,a\n"}), "name one with --labels"
    ),
    # the output
    "out_exists": Call(existing_out("thesis.tex"), "exists: use --force"),
    "out_exists_forced": Call(lambda p: existing_out("thesis.tex")(p) | {"force": True}, "not a prepared data set"),
    "out_broken_forced": Call(
        lambda p: existing_out("dataset.json")(p) | {"force": True}, "dataset.json cannot be used"
    ),
    "out_is_a_file": Call(out_is_a_file, "is a file"),
    "out_without_parent": Call(lambda p: folder_with({})(p) | {"out": p / "a" / "b"}, "make it first"),
    "out_in_source": Call(lambda p: folder_with({})(p) | {"out": p / "source" / "out"}, "lie in each other"),
    "out_is_source": Call(lambda p: folder_with({})(p) | {"out": p / "source", "force": True}, "lie in each other"),
    "out_around_source": Call(lambda p: folder_with({})(p) | {"out": p, "force": True}, "lie in each other"),
    "out_name_long": Call(lambda p: folder_with({})(p) | {"out": p / ("x" * 250)}, "too long a name"),
    "out_name_too_long": Call(lambda p: folder_with({})(p) | {"out": p / ("x" * 300)}, "too long a name"),
    "source_name_too_long": Call(lambda p: {"source": p / ("x" * 300)}, "too long a name"),
    # the numbers and names
    "size_small": Call(with_options(size=15), "size 15 is out of range"),
    "size_large": Call(with_options(size=513), "size 513 is out of range"),
    "keep_zero": Call(with_options(keep=0.0), "keep 0.0 is no probability"),
    "keep_two": Call(with_options(keep=2.0), "keep 2.0 is no probability"),
    "keep_nan": Call(with_options(keep=float("nan")), "keep is nan; it must be a finite number"),
    "keep_none_left": Call(with_options(keep=1e-12), "keep left out every one of the 2 images"),
    "heldout_negative": Call(with_options(heldout=-1), "heldout -1 is negative"),
    "test_alone": Call(with_options(test=1), "test 1 says how many of the held-out images report: give heldout"),
    "test_too_many": Call(with_options(heldout=1, test=2), "test 2 is out of range: give 0 to 1"),
    "heldout_everything": Call(with_options(heldout=2), "heldout 2 leaves nothing for training"),
    "seed_negative": Call(with_options(seed=-1), "seed -1 is negative"),
    "workers_zero": Call(with_options(workers=0), "workers 0 is out of range"),
    "workers_many": Call(with_options(workers=257), "workers 257 is out of range"),
    "crop_unknown": Call(with_options(crop="report04"), "did you mean report004? the crops are report000, report004"),
    "crop_nonsense": Call(with_options(crop="\n"), "no crop is called"),
    "crop_would_enlarge": Call(with_options(crop="report004", size=129), "use --size 128 or less"),
    "crop_needs_aligned": Call(with_options(crop="ddim128"), "this crop needs CelebA's 178 x 218"),
    "synthetic_none": Call(lambda _: {"source": "synthetic:0"}, "N from 1 to"),
    "synthetic_word": Call(lambda _: {"source": "synthetic:many"}, "synthetic:many is no source"),
    "synthetic_empty": Call(lambda _: {"source": "synthetic:"}, "N from 1 to"),
    "synthetic_fraction": Call(lambda _: {"source": "synthetic:1.5"}, "N from 1 to"),
    "synthetic_huge": Call(lambda _: {"source": "synthetic:99999999999"}, "N from 1 to"),
    "synthetic_crop": Call(lambda _: {"source": "synthetic:5", "crop": "square"}, "crop has no meaning"),
    "synthetic_labels": Call(lambda _: {"source": "synthetic:5", "labels": "a.csv"}, "labels has no meaning"),
}
