"""limner prepare as a whole: what comes out, that bad input never stops or half-finishes it, and that it repeats."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from broken import BYTES, CALLS, FILES, MEMBERS, SIZE, Call, celeba, encoded, zip_of
from PIL import Image

from limner.core.errors import UserError
from limner.data.packed import PackedFaces
from limner.data.splits import SPLITS, choose_rows, official_splits
from limner.preparation import prepare as module
from limner.preparation import workers
from limner.preparation.prepare import prepare


def run(source: Any, out: Path, **options: Any) -> PackedFaces:
    return prepare(source, out, **{"size": SIZE, "quiet": True, "workers": 1} | options)


def rejects(faces: PackedFaces) -> dict[str, str]:
    with (faces.path / "rejects.csv").open(newline="", encoding="utf-8") as file:
        return {row["file"]: row["reason"] for row in csv.DictReader(file)}


def folder_of(place: Path, count: int, **options: Any) -> Path:
    place.mkdir()
    for number in range(count):
        (place / f"{number:03d}.png").write_bytes(encoded("PNG", number, **options))
    return place


def left_behind(place: Path) -> list[str]:
    return [path.name for path in place.iterdir() if re.search(r"\.(partial|retired)$", path.name)]


# --- bad input --------------------------------------------------------------------------------------------------------


def test_bad_images_are_listed_and_the_rest_is_used(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for name, (data, _) in {"good.png": (encoded("PNG", 0), ""), **BYTES}.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(data)
    faces = run(source, tmp_path / "out")
    found = rejects(faces)
    assert faces.files == ["good.png"]
    assert found.keys() == BYTES.keys()
    wrong = {name: found[name] for name, (_, reason) in BYTES.items() if not re.match(reason, found[name])}
    assert not wrong
    assert not any(re.search(r"\n|0x[0-9a-f]{6}|BytesIO", reason) for reason in found.values())
    assert faces.info.counts.rejected == len(BYTES)


@pytest.mark.parametrize("kind", FILES)
def test_bad_file(kind: str, tmp_path: Path) -> None:
    make, reason = FILES[kind]
    source = folder_of(tmp_path / "source", 1)
    make(source)
    faces = run(source, tmp_path / "out")
    assert len(faces) == 1
    assert re.match(reason, rejects(faces)["bad.png"])


@pytest.mark.parametrize("kind", MEMBERS)
def test_bad_member_of_a_zip(kind: str, tmp_path: Path) -> None:
    data, reason = MEMBERS[kind]
    (tmp_path / "faces.zip").write_bytes(data)
    faces = run(tmp_path / "faces.zip", tmp_path / "out")
    assert faces.files == ["good.png"]
    assert [bool(re.match(reason, found)) for found in rejects(faces).values()] == [True]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["faces.zip", "out"]


@pytest.mark.parametrize("kind", CALLS)
def test_call_that_cannot_succeed(kind: str, tmp_path: Path) -> None:
    call: Call = CALLS[kind]
    arguments = {"out": tmp_path / "out", **call.make(tmp_path)}
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError) as caught:
        run(**arguments)
    message = str(caught.value)
    assert call.message in message or re.search(call.message, message)
    assert len(message.splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, MemoryError])
def test_interruption_leaves_nothing_behind_and_keeps_the_old(
    error: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = folder_of(tmp_path / "source", 3)
    old = run(source, tmp_path / "out").info

    def fails(folder: Path) -> None:
        raise error

    monkeypatch.setattr(module, "draw_preview", fails)
    with pytest.raises(error):
        run(source, tmp_path / "out", seed=5, force=True)
    assert PackedFaces.open(tmp_path / "out", verify=True).info == old
    assert not left_behind(tmp_path)


def test_failure_to_move_in_puts_the_old_one_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = folder_of(tmp_path / "source", 3)
    old = run(source, tmp_path / "out").info
    rename = Path.rename

    def fails(path: Path, target: Path) -> Path:
        if path.name.endswith(".partial"):
            raise OSError(28, "No space left on device")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(OSError, match="No space left on device"):
        run(source, tmp_path / "out", seed=5, force=True)
    assert PackedFaces.open(tmp_path / "out", verify=True).info == old
    assert not left_behind(tmp_path)


def test_force_replaces(tmp_path: Path) -> None:
    run(folder_of(tmp_path / "a", 3), tmp_path / "out")
    faces = run(folder_of(tmp_path / "b", 5), tmp_path / "out", force=True)
    assert len(PackedFaces.open(faces.path, verify=True)) == 5
    assert not left_behind(tmp_path)


def test_force_replaces_a_data_set_of_an_earlier_format(tmp_path: Path) -> None:
    out = run(folder_of(tmp_path / "a", 3), tmp_path / "out").path
    info = json.loads((out / "dataset.json").read_text())
    (out / "dataset.json").write_text(json.dumps(info | {"format_version": 1}))
    with pytest.raises(UserError, match=r"format_version: .*prepare the data again"):
        PackedFaces.open(out)
    assert len(run(folder_of(tmp_path / "b", 5), out, force=True)) == 5


def test_force_spares_a_stranger_in_a_prepared_folder(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "source", 3)
    out = run(source, tmp_path / "out").path
    (out / "notes.txt").write_text("precious")
    with pytest.raises(UserError, match=r"notes\.txt, which --force would delete"):
        run(source, out, force=True)
    assert (out / "notes.txt").read_text() == "precious"


# --- good input -------------------------------------------------------------------------------------------------------


def test_everything_is_written_and_opens(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "source", 20)
    (source / "labels.csv").write_text(
        "file,smiling,old\n" + "".join(f"{i:03d}.png,{i % 2},{-1 if i < 5 else 1}\n" for i in range(19))
    )
    faces = run(source, tmp_path / "out", seed=3)
    assert sorted(path.name for path in faces.path.iterdir()) == [
        "attributes.npy", "dataset.json", "frequencies.png", "images.npy", "index.csv", "preview.png", "rejects.csv",
    ]  # fmt: skip
    images_NHWC = np.load(faces.path / "images.npy", mmap_mode="r")
    for row, file in enumerate(faces.files):
        wanted = Image.open(source / file).reduce(2).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(images_NHWC[row], np.asarray(wanted))
    assert faces.files == sorted(faces.files)
    assert faces.attribute_names == ("smiling", "old")
    np.testing.assert_array_equal(faces.attributes_NA, [[i % 2, i >= 5] for i in range(19)])
    assert rejects(faces) == {"019.png": "no line in labels.csv"}
    assert Counter(faces.splits.tolist()) == {"train": 17, "val": 1, "test": 1}
    assert Image.open(faces.path / "preview.png").size == (10 * 18 + 2, 2 * 18 + 2)
    assert faces.info.counts.model_dump() == {
        "found": 20, "left_out": 0, "rejected": 1, "images": 19, "splits": {"test": 1, "train": 17, "val": 1},
    }  # fmt: skip


def test_result_does_not_depend_on_workers(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "source", 150)
    (source / "007.png").write_bytes(b"broken")
    (source / "100.png").write_bytes(encoded("PNG", 3))
    for count in (1, 2, 5):
        run(source, tmp_path / str(count), workers=count, keep=0.8, heldout=20)
    for file in (tmp_path / "1").iterdir():
        assert file.read_bytes() == (tmp_path / "2" / file.name).read_bytes(), file.name
        assert file.read_bytes() == (tmp_path / "5" / file.name).read_bytes(), file.name


def test_result_does_not_depend_on_the_container(tmp_path: Path) -> None:
    arguments = celeba()(tmp_path)
    source: Path = arguments["source"]
    members = [(f"img_align_celeba/{p.name}", p.read_bytes()) for p in sorted((source / "img_align_celeba").iterdir())]
    zipped = tmp_path / "zipped"
    zipped.mkdir()
    for file in source.glob("*.txt"):
        (zipped / file.name).write_bytes(file.read_bytes())
    (zipped / "img_align_celeba.zip").write_bytes(zip_of(*members, compression=zipfile.ZIP_DEFLATED))
    places = source, source / "img_align_celeba", zipped, zipped / "img_align_celeba.zip"
    results = [run(place, tmp_path / f"out{i}") for i, place in enumerate(places)]
    assert len({faces.info.content_hash for faces in results}) == 1
    assert {tuple(faces.files) for faces in results} == {("000001.jpg", "000002.jpg", "000003.jpg")}


def test_keep(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "source", 200)
    half, same, other = (run(source, tmp_path / str(i), keep=0.5, seed=s) for i, s in enumerate((0, 0, 1)))
    assert 70 < len(half) < 130
    assert half.files == same.files != other.files
    assert half.info.counts.left_out == 200 - len(half)


@pytest.mark.parametrize(
    ("heldout", "test", "val", "reporting"), [(0, None, 0, 0), (1, None, 0, 1), (7, None, 3, 4), (19, 15, 4, 15)]
)
def test_heldout_is_exact(heldout: int, test: int | None, val: int, reporting: int, tmp_path: Path) -> None:
    faces = run(folder_of(tmp_path / "source", 20), tmp_path / "out", heldout=heldout, test=test)
    counts = Counter(faces.splits.tolist())
    assert (counts["train"], counts["val"], counts["test"]) == (20 - heldout, val, reporting)
    assert counts.total() == 20


@pytest.mark.parametrize(
    ("images", "train", "val", "test"), [(1, 1, 0, 0), (2, 1, 0, 1), (3, 1, 1, 1), (12, 10, 1, 1), (50, 45, 2, 3)]
)
def test_the_default_share(images: int, train: int, val: int, test: int, tmp_path: Path) -> None:
    counts = Counter(run(folder_of(tmp_path / "source", images), tmp_path / "out").splits.tolist())
    assert (counts["train"], counts["val"], counts["test"]) == (train, val, test)


@pytest.mark.parametrize(
    ("heldout", "test", "val", "reporting"),
    [(4, None, 0, 4), (8, None, 4, 4), (8, 3, 4, 4), (8, 6, 0, 8), (8, 0, 8, 0)],
)
def test_persons_that_do_not_fit_val_are_for_test(
    heldout: int, test: int | None, val: int, reporting: int, tmp_path: Path
) -> None:
    source = folder_of(tmp_path / "source", 20)
    lines = [f"{row:03d}.png,{row // 4}\n" for row in range(20)]  # four images a person
    (source / "labels.csv").write_text("file,identity\n" + "".join(lines))
    counts = Counter(run(source, tmp_path / "out", heldout=heldout, test=test).splits.tolist())
    assert (counts["train"], counts["val"], counts["test"]) == (20 - heldout, val, reporting)


def test_persons_are_on_one_side_only(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "source", 60)
    random = np.random.default_rng(0)
    person = {f"{i:03d}.png": str(random.integers(12)) for i in range(60)}
    (source / "labels.csv").write_text("file,identity\n" + "".join(f"{f},{p}\n" for f, p in person.items()))
    chosen = []
    for seed in range(5):
        faces = run(source, tmp_path / f"out{seed}", heldout=17, seed=seed)
        sides = [{person[faces.files[row]] for row in faces.rows(split)} for split in ("train", "val", "test")]
        assert sum(map(len, sides)) == len(set.union(*sides)) == 12
        assert len(faces.rows("heldout")) == 17
        chosen.append(frozenset(sides[1] | sides[2]))
    assert len(set(chosen)) > 1


@pytest.mark.parametrize(
    ("sizes", "asked", "chosen"),
    [((3, 3, 2, 2), 4, 4), ((3, 3), 4, 3), ((5,), 4, 0), ((2, 2, 3), 7, 7), ((4, 4), 0, 0)],
)
def test_whole_persons_make_the_number_where_they_can(sizes: tuple[int, ...], asked: int, chosen: int) -> None:
    starts = np.cumsum((0, *sizes))
    persons = [list(range(start, start + size)) for start, size in zip(starts, sizes, strict=False)]
    for seed in range(20):
        rows = choose_rows(persons, asked, np.random.default_rng(seed))
        assert len(rows) == len(set(rows)) == chosen
        assert all(set(person) <= set(rows) or not set(person) & set(rows) for person in persons)


def test_split_column_is_used_unless_heldout_is_given(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "source", 4)
    (source / "labels.csv").write_text("file,split\n000.png,train\n001.png,val\n002.png,test\n003.png,train\n")
    faces = run(source, tmp_path / "out")
    assert faces.splits.tolist() == ["train", "val", "test", "train"]
    assert faces.rows("heldout").tolist() == [1, 2]
    chosen = run(source, tmp_path / "random", heldout=1)
    assert Counter(chosen.splits.tolist()) == {"train": 3, "test": 1}


@pytest.mark.parametrize(
    ("there", "wanted", "moved"),
    [
        ({"train": 30, "val": 5, "test": 6}, {"train": 30, "val": 5, "test": 6}, set()),
        ({"train": 30, "val": 5}, {"train": 24, "val": 6, "test": 5}, {("train", "val"), ("val", "test")}),
        ({"train": 30, "test": 5}, {"train": 24, "val": 6, "test": 5}, {("train", "val")}),
        ({"train": 60}, {"train": 54, "val": 3, "test": 3}, {("train", "val"), ("train", "test")}),
    ],
)
def test_the_partition_of_the_source_is_completed(
    there: dict[str, int], wanted: dict[str, int], moved: set[tuple[str, str]], tmp_path: Path
) -> None:
    official = [split for split, count in there.items() for _ in range(count)]
    source = folder_of(tmp_path / "source", len(official))
    lines = [f"{row:03d}.png,{split},{row // 3}\n" for row, split in enumerate(official)]  # three images a person
    (source / "labels.csv").write_text("file,split,identity\n" + "".join(lines))
    faces = run(source, tmp_path / "out")
    assert Counter(faces.splits.tolist()) == wanted
    with (faces.path / "index.csv").open() as index:
        rows = [*csv.DictReader(index)]
    assert [row["official"] for row in rows] == official
    assert {(row["official"], row["split"]) for row in rows if row["official"] != row["split"]} == moved
    people = {split: {row["identity"] for row in rows if row["split"] == split} for split in ("train", "val")}
    assert not people["train"] & people["val"]


def test_the_real_partition_is_completed_by_whole_people(real_celeba: Path) -> None:
    lines = (real_celeba / "list_eval_partition.txt").read_text().split("\n")
    value = dict(line.split() for line in lines if line)
    person = dict(line.split() for line in (real_celeba / "identity_CelebA.txt").read_text().split("\n") if line)
    with zipfile.ZipFile(real_celeba / "img_align_celeba.zip") as archive:
        files = sorted(name.rpartition("/")[2] for name in archive.namelist() if name.endswith(".jpg"))
    persons = [person[file] for file in files]
    splits = official_splits([{"0": "train", "1": "val"}[value[file]] for file in files], persons, seed=0)
    assert splits is not None
    assert Counter(splits) == {"train": 13_979, "val": 2_000, "test": 2_044}
    people = [{persons[row] for row, split in enumerate(splits) if split == name} for name in SPLITS]
    assert sum(map(len, people)) == len(set.union(*people))


def test_synthetic_faces_are_the_drawn_ones(tmp_path: Path) -> None:
    from limner.preparation.synthetic import draw_face

    faces = run("synthetic:4", tmp_path / "out", seed=9, heldout=1)
    for row in range(4):
        image_HWC, attributes_A = draw_face(9, row, SIZE)
        np.testing.assert_array_equal(faces.images_NHWC[row], image_HWC)
        np.testing.assert_array_equal(faces.attributes_NA[row], attributes_A)
    assert len(faces.attribute_names) == 40


def test_a_fault_of_ours_is_not_a_reject(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "decode", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(folder_of(tmp_path / "source", 3), tmp_path / "out")
    assert not left_behind(tmp_path)


def test_heldout_smaller_than_any_person(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "source", 6)
    (source / "labels.csv").write_text("file,identity\n" + "".join(f"{i:03d}.png,{i // 3}\n" for i in range(6)))
    with pytest.raises(UserError, match="every person has more images"):
        run(source, tmp_path / "out", heldout=2)
    assert Counter(run(source, tmp_path / "out").splits.tolist()) == {"train": 6}


def test_split_names_other_than_the_three_are_refused(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "source", 2)
    (source / "labels.csv").write_text("file,split\n000.png,train\n001.png,holdout\n")
    with pytest.raises(UserError, match=r"labels.csv, line 3: 'holdout' is no split: train, val, test"):
        run(source, tmp_path / "out")


def test_preparing_loads_neither_torch_nor_pyplot() -> None:
    code = (
        "import sys, limner.preparation.prepare; print([m for m in ('torch', 'matplotlib.pyplot') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_script_without_main_guard(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "source", 70)
    script = tmp_path / "script.py"
    script.write_text(
        f"print('once')\nfrom limner.preparation.prepare import prepare\n"
        f"print(len(prepare({str(source)!r}, {str(tmp_path / 'out')!r}, size=16, workers=2, quiet=True)))\n"
    )
    done = subprocess.run([sys.executable, script], text=True, capture_output=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == ("once\n70\n", "")


@pytest.mark.skipif(sys.platform == "win32", reason="no POSIX signals")
def test_ctrl_c_leaves_nothing_behind(tmp_path: Path) -> None:
    call = f"prepare('synthetic:100000', {str(tmp_path / 'out')!r}, workers=2)"
    code = f"from limner.preparation.prepare import prepare; {call}"
    running = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, start_new_session=True)
    while not any(tmp_path.glob(".out.*.partial/images.npy")):
        assert running.poll() is None
        time.sleep(0.05)
    time.sleep(5)  # the workers are up, on a busy machine too
    os.killpg(running.pid, signal.SIGINT)
    _, errors = running.communicate(timeout=180)
    assert running.returncode != 0
    assert errors.count(b"Traceback") == 1  # the caller's own KeyboardInterrupt; the workers say nothing
    assert b"KeyboardInterrupt" in errors
    assert not any(tmp_path.iterdir())


def test_real_celeba(real_celeba: Path, tmp_path: Path) -> None:
    two = prepare(real_celeba, tmp_path / "two", workers=2, quiet=True)
    assert len(two) == two.info.counts.found == 18_023
    assert two.info.counts.rejected == 0
    assert two.info.counts.splits == {"train": 13_979, "val": 2_000, "test": 2_044}
    assert len(two.attribute_names) == 40
    some = {"keep": 0.03, "workers": 1, "quiet": True}
    from_zip = prepare(real_celeba / "img_align_celeba.zip", tmp_path / "zip", **some)
    from_both = prepare(real_celeba, tmp_path / "both", **some)
    with zipfile.ZipFile(real_celeba / "img_align_celeba.zip") as archive:
        archive.extractall(tmp_path / "unpacked", [f"img_align_celeba/{file}" for file in from_zip.files])
    for file in real_celeba.glob("*.txt"):
        (tmp_path / "unpacked" / file.name).symlink_to(file)
    from_folder = prepare(tmp_path / "unpacked", tmp_path / "folder", workers=2, quiet=True)
    assert from_zip.info.content_hash == from_folder.info.content_hash == from_both.info.content_hash

    row = 4321
    with zipfile.ZipFile(real_celeba / "img_align_celeba.zip") as archive:
        full_HWC = np.asarray(Image.open(archive.open(f"img_align_celeba/{two.files[row]}")))
    means_HWC = full_HWC[45:173, 25:153].reshape(64, 2, 64, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(two.images_NHWC[row], means_HWC, atol=0.5)
    line = next(x for x in (real_celeba / "list_attr_celeba.txt").open() if x.startswith(two.files[row]))
    np.testing.assert_array_equal(two.attributes_NA[row], [value == "1" for value in line.split()[1:]])
