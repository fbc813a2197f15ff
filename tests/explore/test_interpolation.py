"""limner explore interpolate: the path between faces, even steps, and files that say what they are."""

import base64
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

import limner
from limner.core.errors import UserError
from limner.explore.interpolation import even_times, points_between, slerp
from limner.explore.points import Points, open_model
from limner.images.marks import SYNTHETIC
from limner.images.png import read_settings
from limner.model.model import Model, load

if TYPE_CHECKING:
    from playwright.sync_api import Browser


def test_slerp_is_the_arc_of_a_great_circle() -> None:
    """Between two perpendicular latents of lengths 2 and 4: cosine and sine of a part of 90 degrees."""
    share_N1 = torch.linspace(0, 1, 7)[:, None]
    found_NZ = slerp(torch.tensor([[2.0, 0, 0]]).expand(7, 3), torch.tensor([[0, 4.0, 0]]).expand(7, 3), share_N1)
    angle_N, length_N = share_N1[:, 0] * math.pi / 2, 2 + 2 * share_N1[:, 0]
    expected_NZ = torch.stack([length_N * angle_N.cos(), length_N * angle_N.sin(), torch.zeros(7)], 1)
    torch.testing.assert_close(found_NZ, expected_NZ)


def test_slerp_of_a_latent_with_itself_is_that_latent() -> None:
    z_NZ = torch.randn(5, 64)
    torch.testing.assert_close(slerp(z_NZ, z_NZ, torch.rand(5, 1)), z_NZ)


def test_a_walk_passes_through_the_faces_and_ends_where_it_began() -> None:
    through = Points(torch.randn(3, 16), torch.tensor([[0.0], [1.0], [1.0]]))
    t_N = np.array([0, 1, 2, 3, 0.25])
    found = points_between(through, t_N, spherical=True)
    torch.testing.assert_close(found.z_NZ[:4], through.z_NZ[[0, 1, 2, 0]])
    assert found.y_NA[:, 0].tolist() == [0, 1, 1, 0, 0.25]
    line = points_between(through, t_N, spherical=False)
    torch.testing.assert_close(line.z_NZ[4], 0.75 * through.z_NZ[0] + 0.25 * through.z_NZ[1])


@pytest.mark.parametrize("closed", [False, True])
def test_even_times_make_equal_steps(closed: bool) -> None:
    """Of a point on a circle whose speed changes forty-fold."""

    def images_of(t_N: NDArray[np.float64]) -> torch.Tensor:
        angle_N = torch.from_numpy(t_N / 2 * 2 * math.pi * 0.99)
        angle_N = angle_N + 0.95 * torch.sin(angle_N)
        return torch.stack([angle_N.cos(), angle_N.sin()], 1)[:, :, None, None]

    t_N = np.linspace(0, 2, 40, endpoint=not closed)
    for times_N, evenness in ((t_N, 3), (even_times(t_N, 2, images_of), 0.2)):
        x_N2 = images_of(times_N)[:, :, 0, 0]
        steps_N = (torch.cat([x_N2, x_N2[:1]]) if closed else x_N2).diff(dim=0).norm(dim=1)
        assert (float(steps_N.max() / steps_N.min()) < 1 + evenness) == (evenness == 0.2)


def test_a_strip_has_a_row_a_stretch_and_says_how_it_was_made(model_folder: Path, tmp_path: Path) -> None:
    out = limner.explore.interpolate(model_folder, "0:3,0:7,5:1", tmp_path / "walk.png", frames=10, quiet=True)
    strip = np.asarray(Image.open(out))
    assert strip.shape == (32 * 2 + 2, 32 * 5 + 2 * 4, 3)
    model = load(model_folder)
    # Alone in its batch a face may be off by a rounding.
    ends = ((strip[:32, :32], model.sample(1, 0, first=3)[0]), (strip[-32:, -32:], model.sample(1, 5, first=1)[0]))
    assert [np.abs(found.astype(int) - expected).max() <= 3 for found, expected in ends] == [True, True]
    settings = read_settings(out)
    assert settings["faces"] == "0:3,0:7,5:1"
    assert settings["weights_sha256"] == model.config.weights_sha256
    assert SYNTHETIC in Image.open(out).info["XML:com.adobe.xmp"]


def nearest_face(frame_HWC: NDArray[np.uint8], model_folder: Path) -> int:
    """Which of the faces 0:0 ... 0:9 an enlarged and compressed frame shows; it must be far nearer than any other."""
    small_HWC = np.asarray(Image.fromarray(frame_HWC).resize((32, 32), Image.Resampling.BOX)).astype(float)
    distance_N = np.abs(load(model_folder).sample(10) - small_HWC).mean(axis=(1, 2, 3))
    assert np.partition(distance_N, 1)[1] > 1.5 * distance_N.min()
    return int(distance_N.argmin())


def test_a_gif_loops_and_is_marked(model_folder: Path, tmp_path: Path) -> None:
    out = limner.explore.interpolate(
        model_folder, ["0:0", "0:1"], tmp_path / "walk.gif", frames=6, loop=True, even=True, fps=10, quiet=True
    )
    with Image.open(out) as gif:
        assert (gif.n_frames, gif.info["loop"], gif.info["duration"], gif.size) == (6, 0, 100, (256, 256))
        said = json.loads(gif.info["comment"])
        first = np.asarray(gif.convert("RGB"))
    assert said["digital_source_type"] == SYNTHETIC
    assert said["limner"]["loop"] is True
    assert nearest_face(first, model_folder) == 0


@pytest.mark.parametrize("ending", ["mp4", "webm"])
def test_a_video_is_marked_and_plays_in_a_browser(
    ending: str, model_folder: Path, tmp_path: Path, browser: "Browser"
) -> None:
    av = pytest.importorskip("av")
    out = limner.explore.interpolate(model_folder, "0:0,0:1", tmp_path / f"walk.{ending}", frames=9, fps=5, quiet=True)
    with av.open(str(out)) as video:
        said = {key.lower(): value for key, value in video.metadata.items()}
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    assert json.loads(said["comment"])["digital_source_type"] == SYNTHETIC
    assert len(frames) == 9
    assert [nearest_face(frames[place], model_folder) for place in (0, -1)] == [0, 1]

    page = browser.new_page()
    url = f"data:video/{ending};base64,{base64.b64encode(out.read_bytes()).decode()}"
    page.set_content(f'<video src="{url}" muted></video>')
    page.wait_for_function("document.querySelector('video').readyState >= 2", timeout=10_000)
    size, seconds = page.evaluate("(v => [[v.videoWidth, v.videoHeight], v.duration])(document.querySelector('video'))")
    page.close()
    assert size == [256, 256]
    assert seconds == pytest.approx(1.8, abs=0.25)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"faces": "0:3,0:x"}, r"^'0:x' is no face: give SEED:INDEX"),
        ({"faces": "0:3,-1:2"}, "is no face"),
        ({"faces": "0:3,"}, "is no face"),
        ({"faces": "0:3"}, "at least two faces"),
        ({"frames": 1}, r"^frames is 1; for 2 faces it must lie between 2 and 5,000\.$"),
        ({"fps": 0}, r"^fps is 0"),
        ({"out": "walk.avi"}, r"does not end in \.png or \.gif or \.webp or \.mp4 or \.webm"),
        ({"out": "nowhere/walk.png"}, "There is no folder nowhere"),
        ({"model": "nothing"}, "is no run and no model folder"),
    ],
)
def test_mistakes_are_one_line(
    change: dict[str, str | int], message: str, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = {"model": model_folder, "faces": "0:0,0:1", "out": "walk.png", "quiet": True} | change
    with pytest.raises(UserError, match=message) as error:
        limner.explore.interpolate(**given)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_video_without_pyav_is_one_line(model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UserError, match=r"needs PyAV: pip install 'limner\[video\]'"):
        limner.explore.interpolate(model_folder, "0:0,0:1", tmp_path / "walk.mp4", quiet=True)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten_without_force(model_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "walk.png").write_text("mine")
    walk: Callable[..., Path] = limner.explore.interpolate
    with pytest.raises(UserError, match="exists"):
        walk(model_folder, "0:0,0:1", tmp_path / "walk.png", quiet=True)
    walk(model_folder, "0:0,0:1", tmp_path / "walk.png", frames=2, force=True, quiet=True)
    assert Image.open(tmp_path / "walk.png").size == (66, 32)


def test_a_model_of_curves_is_refused(model_folder: Path) -> None:
    model = load(model_folder)
    curves = Model(model.config.model_copy(update={"kind": "curves"}), model.generator, model.device)
    with pytest.raises(UserError, match="generates curves, and limner explore works with images"):
        open_model(curves)
