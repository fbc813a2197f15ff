"""Report 002's painter: the same loop and run folder as every recipe, and images that show it learn."""

import base64
import io
import json
import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from safetensors.torch import load_file

from limner.cli import main
from limner.core.errors import Interrupted, UserError
from limner.data.curves import Curves
from limner.data.packed import PackedFaces
from limner.images.curve_plots import text_plot
from limner.images.marks import SYNTHETIC
from limner.images.png import read_settings
from limner.model.model import Model, ModelConfig, load
from limner.recipes.load import load_recipe
from limner.runs.run import Run
from limner.training import loop, terminal
from limner.training.modality import CurveModality
from limner.training.session import resume, train

if TYPE_CHECKING:
    from playwright.sync_api import Browser

SMALL = (
    "schedule.batch=16",
    "record.log_images=32",
    "record.sample_images=32",
    "record.checkpoint_images=64",
    "record.grid=8",
)
X_P = np.arange(-7, 8) / 7


def paint(out: Path, images: int = 96, *more: str, **options: Any) -> Run:
    return train("painter", None, out, images=images, overrides=[*SMALL, *more], device="cpu", quiet=True, **options)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """96 curves in batches of 16."""
    return paint(tmp_path_factory.mktemp("runs") / "painter")


def lines(run: Run) -> list[dict[str, Any]]:
    return [line for line in run.log if line["event"] == "log"]


def settings_of(generator: str = "painter") -> dict[str, Any]:
    return load_recipe(generator).generator.model_dump()


# --- learning ---------------------------------------------------------------------------------------------------------


def test_it_learns_the_curves(tmp_path: Path) -> None:
    """After a twentieth of the recipe's length they are rough parabolas of about the right height, and not all one."""
    often = ("record.log_images=2000", "record.sample_images=99999", "record.checkpoint_images=99999")
    painted = train("painter", None, tmp_path / "run", images=10_000, overrides=often, device="cpu", quiet=True)
    with torch.inference_mode():
        y_NP = painted.model.generator(torch.randn(512, 5, generator=torch.Generator().manual_seed(1))).double().numpy()
    design_PK = np.stack([X_P**2, np.ones(15)], 1)
    a_N, c_N = coefficients_KN = np.linalg.lstsq(design_PK, y_NP.T, rcond=None)[0]
    residual_N = np.sqrt(np.square(design_PK @ coefficients_KN - y_NP.T).mean(0))
    assert np.median(residual_N) < 0.15
    assert 1.2 < np.median(a_N) < 1.8
    assert 0.2 < np.median(c_N) < 0.8
    assert lines(painted)[-1]["diversity"] > 0.5
    assert lines(painted)[-1]["verdict"] == "learning"


def test_the_log_has_the_value_of_the_game(run: Run) -> None:
    for line in lines(run):
        assert line["value"] == pytest.approx(-line["loss/discriminator"])
        assert {"accuracy/real", "accuracy/fake", "diversity"} <= line.keys()
        assert "nearest_training" not in line  # no curve is shown twice: there is nothing to learn by heart
    other = paint(run.path.parent / "hinge", 32, "objective.name=hinge")
    assert "value" not in lines(other)[0]


def test_diversity_is_one_for_real_curves_and_nought_for_one(run: Run) -> None:
    measure = CurveModality().measure
    real = Curves(9, torch.device("cpu")).at(0, 512).x_BCHW
    assert measure(real, {})["diversity"] == pytest.approx(1, abs=0.05)
    assert measure(real / 2, {})["diversity"] == pytest.approx(0.5, abs=0.025)
    assert measure(real[:1].repeat(64, 1), {})["diversity"] == pytest.approx(0, abs=1e-6)


def test_a_stopped_run_ends_as_one_left_alone(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = loop.train_step

    def stopping_step(recipe: Any, state: Any, *rest: Any) -> None:
        step(recipe, state, *rest)
        if state.images_seen == 48:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(loop, "train_step", stopping_step)
    with pytest.raises(Interrupted, match="limner train --resume"):
        paint(tmp_path / "stopped")
    again = resume(tmp_path / "stopped", device="cpu", quiet=True)

    (mine, theirs) = (load_file(which.path / "checkpoints/000000096/state.safetensors") for which in (again, run))
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    (again.path / "samples/000000048.png").unlink()  # what the stop leaves besides
    for path in (run.path / "samples").iterdir():
        assert path.read_bytes() == (again.path / "samples" / path.name).read_bytes()
    clocked = ("seconds", "images_per_second")
    for line, other in zip(lines(run), lines(again), strict=True):
        assert {**line, **dict.fromkeys(clocked)} == {**other, **dict.fromkeys(clocked)}


# --- images ---------------------------------------------------------------------------------------------------------


def test_a_small_image_has_the_curve_where_it_is(run: Run) -> None:
    """A generator whose every curve is 0.5 + 2.5 x^2, far above the upper bound at the sides."""
    config = ModelConfig(
        recipe="painter",
        kind="curves",
        size=15,
        latent_size=5,
        latent_distribution="gaussian",
        generator=settings_of(),  # type: ignore[arg-type]
        images_seen=0,
        ema_halflife_images=0,
        data={},
        licence="none",
        weights_sha256="",
    )
    generator = load(run.path).generator
    for weight in generator.parameters():
        weight.zero_()
    generator.main[2].bias.copy_(torch.from_numpy(0.5 + 2.5 * X_P**2))  # type: ignore[index, union-attr]
    drawn = Model(config, generator, torch.device("cpu")).sample(2)
    assert (drawn.shape, drawn.dtype) == ((2, 64, 64, 3), np.uint8)
    assert (drawn[0] == drawn[1]).all()
    orange_HW = drawn[0, :, :, 0].astype(int) - drawn[0, :, :, 2] > 60
    for column in range(8, 56):
        y = 0.5 + 2.5 * ((column + 0.5) / 64 * 2.2 - 1.1) ** 2
        rows = np.flatnonzero(orange_HW[:, column]) + 0.5
        assert rows.mean() == pytest.approx((3.5 - y) / 4 * 64, abs=1)


def test_sample_draws_synthetic_curves_and_draws_them_again(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def limner(*arguments: str) -> None:
        monkeypatch.setattr(sys, "argv", ["limner", *arguments])
        main()

    with pytest.raises(SystemExit) as left:
        limner("sample", str(run.path), "--out", str(tmp_path / "curves.png"), "--count", "6", "--quiet")
    assert not left.value.code
    image = Image.open(tmp_path / "curves.png")
    assert image.size == (3 * 66 - 2, 2 * 66 - 2)
    assert SYNTHETIC.encode() in (tmp_path / "curves.png").read_bytes()
    with pytest.raises(SystemExit):
        limner("sample", "--recreate", str(tmp_path / "curves.png"), "--out", str(tmp_path / "again.png"))
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "curves.png").read_bytes()


def test_an_old_config_is_one_of_images(run: Run) -> None:
    config = json.loads((run.path / "model/config.json").read_text())
    assert (config["kind"], config["size"]) == ("curves", 15)
    old = {key: value for key, value in config.items() if key != "kind"} | {"size": 64}
    assert ModelConfig.model_validate(old).kind == "images"


def test_the_animation_is_all_paintings_in_order(run: Run) -> None:
    paintings = sorted((run.path / "samples").glob("0*.png"))
    assert [int(path.stem) for path in paintings] == [0, 32, 64, 96]
    film = Image.open(run.path / "painting.png")
    assert (film.n_frames, film.info["loop"]) == (4, 0)  # type: ignore[attr-defined]
    for index, path in enumerate(paintings):
        film.seek(index)
        assert (np.asarray(film.convert("RGB")) == np.asarray(Image.open(path).convert("RGB"))).all()
        assert read_settings(path) == {"recipe": "painter", "images_seen": int(path.stem)}
    assert len({path.read_bytes() for path in paintings}) == 4
    assert SYNTHETIC.encode() in (run.path / "painting.png").read_bytes()
    assert SYNTHETIC.encode() not in (run.path / "samples/real.png").read_bytes()


def test_the_report_holds_the_animation(run: Run) -> None:
    page = (run.path / "report.html").read_text()
    data = json.loads(re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[0])
    kind, content = data["painting"].split(",")
    assert kind == "data:image/png;base64"
    assert base64.b64decode(content) == (run.path / "painting.png").read_bytes()
    assert {"accuracy", "value"} <= {chart["group"] for chart in data["charts"]}


def test_the_report_in_a_browser(run: Run, browser: "Browser") -> None:
    page = browser.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto((run.path / "report.html").as_uri())
    painting = page.locator("#painting img")
    painting.wait_for()
    assert painting.evaluate("image => [image.naturalWidth, image.naturalHeight]") == [560, 420]
    assert "faces" not in page.locator("#synthetic").inner_text()
    # 2 log 1/2 = -1.386 lies where the axis's own labels say.
    chart = page.locator('[data-group="value"]')
    ticks = {
        float(tick.text_content() or ""): float(tick.get_attribute("y") or 0) for tick in chart.locator(".y-tick").all()
    }
    slope, offset = np.polyfit([*ticks], [*ticks.values()], 1)
    at = float(chart.locator(".reference").get_attribute("y1") or 0)
    assert at == pytest.approx(slope * -1.3863 + offset - 4, abs=0.2)
    assert complaints == []
    page.close()


def test_the_plot_of_characters_has_its_dots_on_the_bounds() -> None:
    rows = text_plot(np.zeros((0, 15), np.float32), columns=44, rows=16).plain.splitlines()
    assert {len(row) for row in rows} == {44}
    dots = np.array(
        [
            [bool(ord(rows[down // 4][across // 2]) & bit_of(down % 4, across % 2)) for across in range(88)]
            for down in range(64)
        ]
    )
    for across in range(5, 84):
        x = np.linspace(-1.1, 1.1, 88)[across]
        y = 3.5 - (np.flatnonzero(dots[:, across]) + 0.5) / 64 * 4
        assert y.max() == pytest.approx(2 * x * x + 1, abs=0.07)
        assert y.min() == pytest.approx(x * x, abs=0.07)


def bit_of(down: int, across: int) -> int:
    """Unicode numbers the dots of a braille pattern 1 2 3 7 down the left side and 4 5 6 8 down the right."""
    return 1 << ([0, 1, 2, 6], [3, 4, 5, 7])[across][down]


def test_a_terminal_shows_the_curves_as_they_are_learnt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(terminal, "console", Console(file=screen, force_terminal=True, width=100))
    train("painter", None, tmp_path / "run", images=64, overrides=SMALL, device="cpu")
    assert re.search("[\u2801-\u28ff]{8}", screen.getvalue())


# --- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["data.flip=true"], "flip has no effect with data.kind = curves"),
        (["data.size=32"], "curves have 15 points"),
        (["generator.network=dcgan32"], "generator.network = dcgan32 is not made for data.kind = curves"),
        (["conditioning.method=projection"], "conditioning has no effect with data.kind = curves"),
        (["data.kind=images", "data.size=32"], "generator.network = painter is not made for data.kind = images"),
    ],
)
def test_what_has_no_meaning_for_curves_is_refused(overrides: list[str], words: str) -> None:
    with pytest.raises(UserError, match=words) as error:
        load_recipe("painter", overrides)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("attempt", "words"),
    [
        (
            lambda out, faces: train("painter", faces, out, quiet=True),
            "painter samples its own curves.*leave --data out",
        ),
        (lambda out, faces: train("painter", "nowhere", out, quiet=True), "leave --data out"),
        (lambda out, faces: train("dcgan32", None, out, quiet=True), "dcgan32 learns from images.*--data DIR"),
        (lambda out, faces: train("painter", None, out, epochs=2, quiet=True), "--epochs.*--images or --minutes"),
    ],
)
def test_images_for_a_painter_and_none_for_others_are_refused(
    attempt: Callable[..., None], words: str, faces32: PackedFaces, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=words) as error:
        attempt(tmp_path / "run", faces32)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_a_run_of_curves_goes_on_without_images_only(run: Run, faces32: PackedFaces) -> None:
    with pytest.raises(UserError, match="leave --data out"):
        resume(run.path, data=faces32, images=128, quiet=True)
