"""`limner label`: thresholds and probabilities against their definitions, what is written, and what is refused."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from limner.core.errors import UserError
from limner.data.packed import ATTRIBUTES, IMAGES, INDEX, INFO, PackedFaces
from limner.judge.calibration import fit_sigmoids, frequency_thresholds, measure_labels, read_calibration
from limner.judge.judge import load_judge, shipped_judge
from limner.judge.label import describe, label
from limner.preparation.prepare import prepare


def test_a_sigmoid_is_recovered_from_labels_drawn_by_it() -> None:
    rng = np.random.default_rng(0)
    logits_NA = rng.normal(0, 2, (40_000, 2)).astype(np.float32)
    wanted = 1 / (1 + np.exp(-(logits_NA * [2.0, 0.5] + [-1.0, 3.0])))
    slope_A, offset_A = fit_sigmoids(logits_NA, (rng.random(logits_NA.shape) < wanted).astype(np.uint8))
    assert slope_A == pytest.approx([2.0, 0.5], abs=0.06)
    assert offset_A == pytest.approx([-1.0, 3.0], abs=0.06)


def test_a_sigmoid_stays_finite_where_the_classes_are_apart() -> None:
    logits_NA = np.array([[-1.0], [-2.0], [1.0], [2.0]], np.float32)
    slope_A, offset_A = fit_sigmoids(logits_NA, np.array([[0], [0], [1], [1]], np.uint8))
    assert np.isfinite([*slope_A, *offset_A]).all()
    assert slope_A > 1


def test_labels_are_as_frequent_as_the_attributes() -> None:
    logits_NA = np.random.default_rng(1).normal(0, 1, (1000, 3)).astype(np.float32)
    threshold_A = frequency_thresholds(logits_NA, np.array([0.02, 0.5, 0.0]))
    assert ((logits_NA > threshold_A).mean(axis=0)[:2] == [0.02, 0.5]).all()
    assert threshold_A[2] == 0


def test_labels_are_measured_by_their_definitions() -> None:
    labels_NA = np.array([[1, 0], [1, 0], [0, 0], [0, 0]], np.uint8)
    true_NA = np.array([[1, 0], [0, 0], [0, 0], [1, 1]], np.uint8)
    measured = measure_labels(labels_NA, true_NA)
    assert measured["agreement"].tolist() == [0.5, 0.75]
    assert measured["recall"].tolist() == [0.5, 0.0]
    assert measured["precision"][0] == 0.5
    assert np.isnan(measured["precision"][1])
    assert measured["test_frequency"].tolist() == [0.5, 0.25]


@pytest.fixture(scope="module")
def unlabelled(tmp_path_factory: pytest.TempPathFactory) -> PackedFaces:
    """48 drawn faces that a folder of PNGs is prepared from: they have no attributes."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("unlabelled")
    drawn = prepare("synthetic:48", folder / "drawn", size=64, workers=1, quiet=True)
    (folder / "images").mkdir()
    for row, image_HWC in enumerate(drawn.images_NHWC):
        Image.fromarray(image_HWC).save(folder / "images" / f"{row:02}.png")
    return prepare(folder / "images", folder / "data", workers=1, quiet=True)


def test_the_labelled_folder(unlabelled: PackedFaces, tmp_path: Path) -> None:
    faces = label(unlabelled.path, tmp_path / "labelled", quiet=True)
    assert PackedFaces.open(faces.path, verify=True).attribute_names == load_judge().attribute_names
    for name in (IMAGES, INDEX):
        assert (faces.path / name).read_bytes() == (unlabelled.path / name).read_bytes()

    rows = list(csv.reader((faces.path / "confidences.csv").open(encoding="utf-8")))
    assert rows[0] == ["file", *faces.attribute_names]
    assert [row[0] for row in rows[1:]] == faces.files
    p_NA = np.array([row[1:] for row in rows[1:]], np.float64)
    assert ((p_NA >= 0) & (p_NA <= 1)).all()
    for p_N, y_N in zip(p_NA.T, faces.attributes_NA.T, strict=True):  # an image with the label is the likelier one
        if 0 < y_N.sum() < len(y_N):
            assert p_N[y_N == 1].min() >= p_N[y_N == 0].max()
    assert np.ptp(faces.attributes_NA, axis=0).sum() >= 10  # attributes that some of the images have

    told = json.loads((faces.path / "labels.json").read_text())
    assert told["judge_sha256"] == load_judge().weights_sha256
    assert unlabelled.info.source.licence in faces.info.source.licence
    assert load_judge().config.licence in faces.info.source.licence
    assert any("Wearing_Necklace" in sentence for sentence in describe(faces))

    # `prepare --force` knows the folder as one of ours.
    assert prepare("synthetic:20", faces.path, workers=1, force=True, quiet=True).info.counts.images == 20


def test_true_attributes_are_not_lost_unawares(unlabelled: PackedFaces, tmp_path: Path) -> None:
    drawn = unlabelled.path.parent / "drawn"
    with pytest.raises(UserError, match="has 40 attributes already: with --replace"):
        label(drawn, tmp_path / "labelled", quiet=True)
    assert not (tmp_path / "labelled").exists()
    by_judge = label(drawn, tmp_path / "labelled", replace=True, quiet=True).attributes_NA
    same = label(unlabelled, tmp_path / "other", quiet=True).attributes_NA
    assert (by_judge == same).all()


def test_what_the_command_refuses(unlabelled: PackedFaces, tmp_path: Path, refusal: Callable[..., str]) -> None:
    shutil.copytree(shipped_judge(64), tmp_path / "judge")
    (tmp_path / "judge" / "calibration.json").unlink()
    (tmp_path / "strange").mkdir()
    (tmp_path / "strange" / "note.txt").write_text("mine")
    data, there = str(unlabelled.path), str(tmp_path / "strange")
    for arguments, words in (
        ([str(tmp_path / "nothing"), "--out", str(tmp_path / "out")], "is not a prepared data set"),
        ([data, "--out", there], "exists: use --force"),
        ([data, "--out", there, "--force"], "strange is not a prepared data set"),
        ([data, "--out", data, "--force"], "lie in each other"),
        ([data, "--out", str(tmp_path / "out"), "--judge", str(tmp_path / "judge")], "calibration.json cannot be read"),
        ([data, "--out", str(tmp_path / "out"), "--judge", str(tmp_path / "none")], "config.json cannot be read"),
    ):
        assert words in refusal("label", *arguments)
        assert not (tmp_path / "out").exists()
    assert (tmp_path / "strange" / "note.txt").read_text() == "mine"


@pytest.mark.parametrize("size", [64, 128])
def test_the_shipped_calibrations_belong_to_the_shipped_judges(size: int) -> None:
    folder = shipped_judge(size)
    judge, calibration = load_judge(folder), read_calibration(folder)
    assert judge.config.size == size
    assert calibration.judge_sha256 == judge.weights_sha256
    assert tuple(calibration.attributes) == judge.attribute_names


def test_labels_of_real_images_agree_with_the_true_ones(real_celeba: Path, tmp_path: Path) -> None:
    """On images of `test`, which neither the judge nor its thresholds have seen."""
    data = prepare(real_celeba, tmp_path / "data", keep=0.02, workers=1, quiet=True)
    test = data.splits == "test"
    for name in (ATTRIBUTES, IMAGES):
        np.save(data.path / name, np.load(data.path / name)[test])
    lines = (data.path / INDEX).read_text().splitlines()
    (data.path / INDEX).write_text(
        "\n".join([lines[0], *(line for line, of in zip(lines[1:], test, strict=True) if of)])
    )
    info = json.loads((data.path / INFO).read_text())
    info["counts"] |= {"images": int(test.sum()), "splits": {"test": int(test.sum())}}
    (data.path / INFO).write_text(json.dumps(info))
    true = PackedFaces.open(data.path)
    found = label(true, tmp_path / "labelled", replace=True, quiet=True)
    agreement_A = (found.attributes_NA == true.attributes_NA).mean(axis=0)
    majority_A = np.maximum(true.attributes_NA.mean(axis=0), 1 - true.attributes_NA.mean(axis=0))
    assert agreement_A.mean() > 0.82
    male, smiling = (true.attribute_names.index(name) for name in ("Male", "Smiling"))
    assert agreement_A[male] > 0.85 > majority_A[male]
    assert agreement_A[smiling] > 0.72 > majority_A[smiling]
