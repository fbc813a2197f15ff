"""limner explore arithmetic: the expressions, which samples a term is the mean of, and what the sum shows."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image

import limner
from limner.core.errors import UserError
from limner.data.attributes import CELEBA_ATTRIBUTES
from limner.explore import sums
from limner.explore.expressions import Term, parse
from limner.explore.points import Points, generate, sampled_points
from limner.explore.sums import JudgedSamples, add, around, term_points
from limner.images.marks import SYNTHETIC
from limner.images.png import read_settings
from limner.judge.judge import load_judge
from limner.model.model import Model, load

MALE, SMILING, GLASSES, SHADOW = (
    CELEBA_ATTRIBUTES.index(name) for name in ("Male", "Smiling", "Eyeglasses", "5_o_Clock_Shadow")
)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (
            "smiling female - female + male",
            [(1, {SMILING: 1, MALE: 0}), (-1, {MALE: 0}), (1, {MALE: 1})],
        ),
        ("Woman+0.5*Eyeglasses", [(1, {MALE: 0}), (0.5, {GLASSES: 1})]),
        ("-2 no eyeglasses + not female", [(-2, {GLASSES: 0}), (1, {MALE: 1})]),
        ("5_o_clock_shadow man - 1.5 5_o_clock_shadow", [(1, {SHADOW: 1, MALE: 1}), (-1.5, {SHADOW: 1})]),
        ("0:3 - 2 11:40", [(1, "0:3"), (-2, "11:40")]),
    ],
)
def test_expressions(expression: str, expected: list[tuple[float, Any]]) -> None:
    found = parse(expression, CELEBA_ATTRIBUTES)
    assert [(term.coefficient, term.face or term.requested) for term in found] == expected


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("smilling female", r"no attribute 'smilling'; the nearest is 'Smiling'"),
        ("male female", "has Male with and without at once"),
        ("smiling +", "cannot be read from"),
        ("smiling - - male", "cannot be read from"),
        ("no", "names no attribute after its last word"),
        (" ", "is empty"),
        ("0:3:4", "no attribute"),
        ("smiling" + " " * 60_000 + "+", "60,008 characters; the most is 1,000"),
        ("smiling + " + "9" * 500 + " male", "too large a coefficient"),
    ],
)
def test_expressions_that_cannot_be_read_are_one_line(expression: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        parse(expression, CELEBA_ATTRIBUTES)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("wanted", [0, 1])
def test_a_term_is_made_of_samples_in_which_the_judge_sees_it(untrained: Model, brightness: Any, wanted: int) -> None:
    points = JudgedSamples(untrained, brightness, seed=3).take({0: wanted}, 50)
    assert len(points) == 50
    assert (brightness.decide(generate(untrained, points)) == wanted).mean() > 0.95  # a rounding may cross the line
    assert len(points.z_NZ.unique(dim=0)) == 50


def test_what_the_judge_hardly_ever_sees_is_one_line(
    untrained: Model, brightness: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sums, "MOST_SAMPLES", 64)
    with pytest.raises(UserError, match=r"^The judge sees Bright in 0 of 64 samples .* ask for less"):
        JudgedSamples(untrained, type(brightness)(line=300), seed=0).take({0: 1}, 8)


def test_the_sum_is_that_of_the_means_and_attributes_stay_in_range() -> None:
    z_NZ, y_NA = torch.randn(6, 5), torch.tensor([[1.0], [0], [1], [1], [1], [1]])
    parts = [Points(z_NZ[:2], y_NA[:2]), Points(z_NZ[2:3], y_NA[2:3]), Points(z_NZ[3:], y_NA[3:])]
    found = add([Term(1, "a"), Term(-2, "b"), Term(0.5, "c")], parts)
    torch.testing.assert_close(found.z_NZ[0], (z_NZ[0] + z_NZ[1]) / 2 - 2 * z_NZ[2] + (z_NZ[3] + z_NZ[4] + z_NZ[5]) / 6)
    assert found.y_NA.tolist() == [[0.0]]


@pytest.mark.parametrize("distribution", ["gaussian", "uniform", "spherical"])
def test_faces_around_a_sum_lie_where_the_model_has_latents(distribution: str) -> None:
    config = SimpleNamespace(latent_size=400, latent_distribution=distribution)
    point = Points(0.8 * torch.ones(1, 400), torch.zeros(1, 0))
    z_NZ = around(SimpleNamespace(config=config), point, 5, 0.5, 0).z_NZ  # type: ignore[arg-type]
    if distribution == "uniform":
        assert z_NZ.abs().max() <= 1
    elif distribution == "spherical":
        torch.testing.assert_close(z_NZ.norm(dim=1), torch.full((5,), 20.0))
    else:
        torch.testing.assert_close(z_NZ[:1], point.z_NZ)
        assert (z_NZ[1:] - 0.8).std().item() == pytest.approx(0.5, abs=0.05)


def test_smiling_female_minus_female_plus_male_is_a_smiling_male() -> None:
    faces, judge = load("faces"), load_judge()
    pool = JudgedSamples(faces, judge, seed=0)
    terms = parse("smiling female - female + male", judge.attribute_names)
    total = add(terms, [term_points(faces, term, pool, 16) for term in terms])
    seen_NA = judge.decide(generate(faces, around(faces, total, 16, 0.5, 0)))
    assert seen_NA[:, [MALE, SMILING]].all(axis=1).mean() >= 0.8
    assert judge.decide(generate(faces, sampled_points(faces, 16, 0)))[:, [MALE, SMILING]].all(axis=1).mean() < 0.5


def test_the_figure_is_marked_and_says_how_it_was_made(tmp_path: Path) -> None:
    out = limner.explore.arithmetic(
        "faces", "eyeglasses - 0.5 0:3", tmp_path / "sum.png", count=2, samples=8, quiet=True
    )
    assert read_settings(out)["expression"] == "eyeglasses - 0.5 0:3"
    with Image.open(out) as figure:
        assert SYNTHETIC in figure.info["XML:com.adobe.xmp"]
        assert figure.height > 4 * 64 * 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"count": 0}, "^count is 0"),
        ({"variation": 1.5}, r"^variation is 1\.5"),
        ({"samples": 7}, "^samples is 7"),
        ({"out": "sum.gif"}, r"does not end in \.png"),
        ({"judge": "nowhere"}, "nowhere"),
    ],
)
def test_mistakes_are_one_line(change: dict[str, Any], message: str, model_folder: Path, tmp_path: Path) -> None:
    given = {"model": model_folder, "expression": "male", "out": tmp_path / "sum.png", "quiet": True} | change
    with pytest.raises(UserError, match=message) as error:
        limner.explore.arithmetic(**given)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []
