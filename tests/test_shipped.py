"""The model that comes with Limner: it is what its card says, draws what is asked for, and fills a data set."""

import json
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

import limner
from limner.core.errors import UserError
from limner.core.files import sha256
from limner.data.attributes import CELEBA_ATTRIBUTES
from limner.evaluation.distances import kernel_distance
from limner.features.efficientnet_lite import Lite0
from limner.judge.control import attribute_control
from limner.judge.judge import load_judge
from limner.model.model import WEIGHTS, find_model
from limner.model.sample import recreate, sample
from limner.model.shipped import FOLDER, shipped_models
from limner.preparation.prepare import prepare

ROOT = Path(__file__).resolve().parents[1]
FACES = FOLDER / "faces"


def test_faces_are_small_and_in_half_precision() -> None:
    assert shipped_models() == ["faces"]
    assert sum(file.stat().st_size for file in FACES.iterdir()) < 16e6
    with safe_open(FACES / WEIGHTS, "pt") as tensors:
        kinds = {tensors.get_slice(name).get_dtype() for name in tensors.keys()}  # noqa: SIM118
    assert kinds <= {"F16", "U8", "I64"}
    assert "F16" in kinds


def test_the_card_and_the_numbers_are_those_of_the_weights() -> None:
    told = json.loads((FACES / "metrics.json").read_text(encoding="utf-8"))
    digest = sha256(FACES / WEIGHTS)
    assert {result["model_sha256"] for result in told["results"]} == {digest}
    results = {result["metric"]: result["value"] for result in told["results"]}
    card = (FACES / "README.md").read_text(encoding="utf-8")
    for metric, value in results.items():
        assert f"| `{metric}` | {value:.3g}" in card
    assert "non-commercial research" in card
    assert told["training"]["command"] in card
    for one in told["history"]:
        assert f"{one['fd_lite0']:.1f}" in card


@pytest.mark.soak
def test_the_model_is_as_good_as_its_record(real_celeba: Path, tmp_path: Path) -> None:
    """The kernel distance is unbiased: that of few images is the recorded one but for its standard error."""
    recorded = {
        result["metric"]: result["value"] for result in json.loads((FACES / "metrics.json").read_text())["results"]
    }
    real = prepare(real_celeba, tmp_path / "real", crop="report004", size=64, keep=0.025, workers=1, quiet=True)
    model, lite0, judge = limner.load("faces"), Lite0(), load_judge()
    fakes_NHWC, labels_NA = model.sample(450), model.labels(450)
    fakes_ND = lite0.features(fakes_NHWC)
    distance = kernel_distance(lite0.features(np.asarray(real.images_NHWC)), fakes_ND)
    assert distance.value == pytest.approx(recorded["kid_lite0"], abs=0.003)
    frequencies_A = real.attributes_NA.mean(0).astype(float)
    control = attribute_control(labels_NA, judge.decide_by(fakes_ND), judge.balanced_accuracy, frequencies_A)
    assert control.mean_ratio == pytest.approx(recorded["attribute_control_mean"], abs=0.06)


def test_the_card_says_what_the_fitted_filter_is_worth() -> None:
    """And the numbers of the model before it are those that benchmarks/filter_worth.py left."""
    told = json.loads((FACES / "metrics.json").read_text(encoding="utf-8"))
    card = (FACES / "README.md").read_text(encoding="utf-8")
    assert ("undo_copies" in told["training"]["after"]) == bool(told["filter"])
    for row in told["filter"]:
        assert f"| {row['generator']} | `{row['metric']}` | {row['without']:.1f} | {row['with']:.1f} |" in card
    measured = json.loads((ROOT / "benchmarks" / "results" / "filter_worth.json").read_text(encoding="utf-8"))["models"]
    for before in told["history"]:
        if one := measured.get(before["model_sha256"]):
            assert one["as it is"]["fd_lite0"]["value"] == pytest.approx(before["fd_lite0"], abs=0.1)
            told_with = {(row["metric"], row["with"]) for row in told["filter"]}
            assert told_with >= {(metric, found["value"]) for metric, found in one["filtered"].items()}


def test_every_file_of_it_is_packed_into_the_wheel() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]["limner"]
    for file in FACES.iterdir():
        inside = file.relative_to(ROOT / "src" / "limner").as_posix()
        assert any(fnmatch(inside, pattern) and inside.count("/") == pattern.count("/") for pattern in patterns), inside


def test_faces_by_name_have_what_was_asked_for() -> None:
    """The judge, which took no part in the training, sees it."""
    model, judge = limner.load("faces"), load_judge()
    assert model.config.attribute_names == CELEBA_ATTRIBUTES
    for name in ("Eyeglasses", "Male", "Smiling"):
        column = judge.attribute_names.index(name)
        shares = [
            judge.decide(model.sample(64, seed=1, **asked))[:, column].mean()
            for asked in ({"with_": [name]}, {"without": [name]})
        ]
        assert shares[0] > shares[1] + 0.2, (name, shares)


def test_a_image_of_faces_is_made_again_by_name(tmp_path: Path) -> None:
    first = sample("faces", tmp_path / "first.png", count=4, with_=["smiling"], without=["male"], quiet=True)
    again = recreate(first, tmp_path / "again.png")
    assert again.read_bytes() == first.read_bytes()


def test_a_model_folder_of_the_same_name_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("faces").mkdir()  # a folder of images, say
    assert find_model(Path("faces")) == FACES
    (Path("faces") / "config.json").write_text("{}")
    assert find_model(Path("faces")) == Path("faces")


def test_an_unknown_model_is_told_which_there_are() -> None:
    with pytest.raises(UserError, match=r"comes with Limner \(faces\)"):
        limner.load("no-such-model")


def test_a_data_set_of_generated_faces(tmp_path: Path) -> None:
    faces = prepare("faces:150", tmp_path / "faces", seed=5, quiet=True)
    model = limner.load("faces")
    np.testing.assert_array_equal(faces.images_NHWC, model.sample(150, seed=5))
    np.testing.assert_array_equal(faces.attributes_NA, model.labels(150, seed=5))
    assert faces.attribute_names == CELEBA_ATTRIBUTES
    assert faces.info.counts.splits == {"test": 8, "train": 135, "val": 7}
    assert faces.info.source.kind == "generated"
    assert "non-commercial" in faces.info.source.licence
    again = prepare("faces:150", tmp_path / "again", seed=5, quiet=True)
    assert again.info.content_hash == faces.info.content_hash


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("faces:0", {}, r"faces:N makes N faces"),
        ("faces:many", {}, r"faces:N makes N faces"),
        ("faces:8", {"size": 32}, r"makes images of 64 pixels, not 32"),
        ("faces:8", {"crop": "report004"}, r"crop has no meaning for faces:N"),
        ("faces:8", {"workers": 2}, r"workers has no meaning for faces:8"),
    ],
)
def test_mistakes_in_one_line(tmp_path: Path, source: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        prepare(source, tmp_path / "out", quiet=True, **options)  # type: ignore[arg-type]
    assert not any(tmp_path.iterdir())
