"""limner explore directions and edit: what a direction changes and what it leaves, and to which model it belongs."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import limner
from limner.core.errors import UserError
from limner.core.files import sha256
from limner.explore.attribute_directions import SHEET, Directions, DirectionsConfig, fit_directions, judged_inputs
from limner.explore.editing import read_strengths
from limner.explore.points import Points, generate, sampled_points
from limner.explore.stored import CONFIG, LATENTS
from limner.images.marks import SYNTHETIC
from limner.images.png import read_settings
from limner.judge.judge import load_judge
from limner.model.model import Model, load


def made_log_odds(cosine: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Inputs of unequal spread, gradients of which the first two have this cosine, and the log odds they give."""
    generator = torch.Generator().manual_seed(0)
    x_NI = torch.randn(4000, 12, generator=generator, dtype=torch.float64) * torch.linspace(0.1, 2, 12)
    gradient_IJ = torch.eye(12, 3, dtype=torch.float64)
    gradient_IJ[:2, 1] = torch.tensor([cosine, (1 - cosine**2) ** 0.5])
    return x_NI, gradient_IJ, (x_NI / x_NI.std(dim=0)) @ gradient_IJ * torch.tensor([3.0, 0.5, 1.0]) + 1


def test_a_direction_of_unrelated_attributes_is_their_gradient() -> None:
    x_NI, gradient_IJ, log_odds_NJ = made_log_odds(cosine=0)
    steps_DI, unit_D = fit_directions(x_NI, log_odds_NJ, [2, 0])
    torch.testing.assert_close(unit_D, torch.tensor([1.0, 3.0], dtype=torch.float64), atol=0.1, rtol=0)
    expected_DI = (x_NI.std(dim=0)[:, None] * gradient_IJ).T[[2, 0]]
    torch.testing.assert_close(steps_DI, expected_DI, atol=0.08, rtol=0)


def test_related_attributes_are_projected_out() -> None:
    """Strength 1 raises its own attribute by one deviation, and its neighbour by less than the plain gradient's 0.8.

    With K the cosines of the gradients, the rises are K (K + ridge)^-1, scaled to 1 on the diagonal.
    """
    x_NI, gradient_IJ, log_odds_NJ = made_log_odds(cosine=0.8)
    steps_DI, _ = fit_directions(x_NI, log_odds_NJ, [0, 1])
    rise_DJ = (steps_DI / x_NI.std(dim=0)) @ gradient_IJ
    torch.testing.assert_close(rise_DJ[[0, 1], [0, 1]], torch.ones(2, dtype=torch.float64), atol=0.03, rtol=0)
    K = np.array([[1, 0.8], [0.8, 1]])
    leak = K @ np.linalg.inv(K + np.eye(2))
    assert rise_DJ[0, 1].item() == pytest.approx(leak[0, 1] / leak[0, 0], abs=0.05)


def test_inputs_that_never_vary_and_log_odds_that_never_vary_do_no_harm() -> None:
    x_NI, _, log_odds_NJ = made_log_odds(cosine=0)
    x_NI[:, 5], log_odds_NJ[:, 1] = 1, -3
    steps_DI, _ = fit_directions(x_NI, log_odds_NJ, [0])
    assert steps_DI.isfinite().all()
    assert steps_DI[0, 5].abs() < 1e-6


def test_directions_of_a_model_without_attributes(untrained: Model, brightness: Any) -> None:
    """Of an untrained model, by a judge of brightness: fresh images get brighter by what the units say."""
    x_NI, log_odds_NJ = judged_inputs(untrained, brightness, 512, seed=0, advance=lambda _: None)
    steps_DI, unit_D = fit_directions(x_NI, log_odds_NJ, [0])
    points = sampled_points(untrained, 64, seed=1)
    moved = Points(points.z_NZ + steps_DI.float(), points.y_NA)
    rise_N1 = brightness.log_odds(generate(untrained, moved)) - brightness.log_odds(generate(untrained, points))
    assert rise_N1.mean() == pytest.approx(float(unit_D), rel=0.3)


def test_eyeglasses_appear_and_the_rest_stays(directions_folder: Path) -> None:
    faces, judge = load("faces"), load_judge()
    found = Directions.load(directions_folder, faces)
    assert found.config.names == ("Eyeglasses", "Smiling")
    points = sampled_points(faces, 24, seed=11)
    moved = found.move(faces, points, {"eyeglasses": 2})
    assert 0 <= moved.y_NA.min() <= moved.y_NA.max() <= 1
    change_A = np.subtract(*(judge.probabilities(generate(faces, p)).mean(axis=0) for p in (moved, points)))
    glasses = judge.attribute_names.index("Eyeglasses")
    assert change_A[glasses] > 0.15  # of 256 samples; docs/explore.md has what 4,096 give
    assert np.abs(np.delete(change_A, glasses)).mean() < 0.1


def test_the_sheet_has_a_row_for_each_direction(directions_folder: Path) -> None:
    with Image.open(directions_folder / SHEET) as sheet:
        assert sheet.height == 15 + 2 * 66
        assert sheet.width > 14 * 66
        assert SYNTHETIC in sheet.info["XML:com.adobe.xmp"]


def test_an_edited_face_stands_beside_what_it_was(directions_folder: Path, tmp_path: Path) -> None:
    out = limner.explore.edit("faces", directions_folder, "smiling=2,eyeglasses=0", tmp_path / "e.png", face="0:3,0:4")
    edited = np.asarray(Image.open(out)).astype(int)
    assert edited.shape == (130, 130, 3)
    before_NHWC = load("faces").sample(2, 0, first=3)
    for row, before_HWC in enumerate(before_NHWC):
        cells = [edited[row * 66 : row * 66 + 64, left : left + 64] for left in (0, 66)]
        assert np.abs(cells[0] - before_HWC).max() <= 3
        assert np.abs(cells[1] - before_HWC).mean() > 1
    assert read_settings(out)["by"] == {"Smiling": 2.0, "Eyeglasses": 0.0}


@pytest.mark.parametrize(
    ("by", "message"),
    [
        ("smiling", "'smiling' is no change: give ATTRIBUTE=STRENGTH"),
        ("smiling=much", "is no change"),
        ("smiling" + " " * 60_000 + "much", "is no change"),
        ("smiling=11", "is too strong"),
        ("bald=1", "no attribute 'bald'; the nearest is"),
        ("", "Nothing is to be changed"),
    ],
)
def test_changes_that_cannot_be_read_are_one_line(by: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        read_strengths(by, ("Smiling", "Male"))
    assert "\n" not in str(error.value)


def test_directions_of_another_model_are_refused(directions_folder: Path, untrained: Model) -> None:
    with pytest.raises(UserError, match=r"belongs to another model \(modern, weights 5b4b537b\.\.\.\)") as error:
        Directions.load(directions_folder, untrained)
    assert "\n" not in str(error.value)


def test_damaged_directions_are_refused(directions_folder: Path, tmp_path: Path) -> None:
    faces = load("faces")
    with pytest.raises(UserError, match="cannot be read"):
        Directions.load(tmp_path, faces)
    config = json.loads((directions_folder / CONFIG).read_text())
    tensors = load_file(directions_folder / LATENTS)
    save_file(tensors | {"latents": tensors["latents"][:, 1:].contiguous()}, tmp_path / LATENTS)
    (tmp_path / CONFIG).write_text(json.dumps(config))
    with pytest.raises(UserError, match="missing or damaged"):
        Directions.load(tmp_path, faces)
    (tmp_path / CONFIG).write_text(json.dumps(config | {"latents_sha256": sha256(tmp_path / LATENTS)}))
    with pytest.raises(UserError, match=r"does not hold what config\.json beside it describes"):
        Directions.load(tmp_path, faces)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attributes": "smilling"}, "no attribute 'smilling'; the nearest is 'Smiling'"),
        ({"samples": 10}, "^samples is 10"),
        ({"seed": -1}, "^seed is -1"),
    ],
)
def test_mistakes_are_one_line(change: dict[str, Any], message: str, model_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        limner.explore.directions(model_folder, tmp_path / "directions", quiet=True, **change)
    assert list(tmp_path.iterdir()) == []


def test_only_directions_are_replaced_by_force(directions_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="exists"):
        limner.explore.directions("faces", directions_folder, quiet=True)
    (tmp_path / "mine").mkdir()
    with pytest.raises(UserError, match="is not a folder of directions"):
        limner.explore.directions("faces", tmp_path / "mine", force=True, quiet=True)


def test_a_latent_stays_in_the_cube(untrained: Model) -> None:
    config = untrained.config.model_copy(update={"latent_distribution": "uniform"})
    model = Model(config, untrained.generator, untrained.device)
    facts = {"recipe": "", "model_sha256": "", "seed": 0, "licence": "", "latents_sha256": ""}
    about = DirectionsConfig(names=("Odd",), log_odds=(1.0,), samples=1, judge_sha256="", **facts)
    found = Directions(about, Points(torch.full((1, 100), 0.5), torch.zeros(1, 0)))
    z_NZ = found.move(model, Points(torch.full((1, 100), 0.2), torch.zeros(1, 0)), {"odd": 3}).z_NZ
    assert z_NZ.unique().tolist() == [1.0]
