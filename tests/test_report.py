"""The run report: what goes into the file, and what a real browser makes of it."""

import base64
import io
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from limner.core.errors import UserError
from limner.images.grid import face_grid
from limner.reports.run_report import write_report
from limner.runs.run import read_log

HOSTILE = "</script><script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>"
REAL_COLOUR = (250, 10, 200)  # a colour that no sample grid of the tests has


def log_row(images: int, seconds: float, **more: Any) -> dict[str, Any]:
    wave = math.sin(images / 9000)
    return {
        "event": "log",
        "images_seen": images,
        "step": images // 64,
        "seconds": seconds,
        "images_per_second": 148.25,
        "loss/discriminator": round(0.9 + 0.1 * wave, 4),
        "loss/generator": round(1.9 - 0.3 * wave, 4),
        "gradient/generator": 0.6,
        "verdict": "learning",
        "remedy": "",
        **more,
    }


def make_run(run: Path, rows: list[dict[str, Any]], samples: tuple[int, ...] = (), tail: str = "") -> Path:
    (run / "samples").mkdir(parents=True)
    (run / "recipe.toml").write_text(f'name = "dcgan"\n# {HOSTILE}\n')
    info = {
        "recipe": "dcgan",
        "data": {"name": f"faces {HOSTILE}", "images": 1000, "train": 900, "licence": "non-commercial research"},
        "budget": {"images": 64000},
    }
    (run / "run.json").write_text(json.dumps(info))
    (run / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + tail)
    for images in samples:
        noise_NHWC = np.random.default_rng(images).integers(0, 120, (4, 16, 16, 3)).astype(np.uint8)
        face_grid(noise_NHWC).save(run / "samples" / f"{images:09d}.png")
    Image.new("RGB", (34, 34), REAL_COLOUR).save(run / "samples" / "real.png")
    return run


def contents(report: Path) -> dict[str, Any]:
    match = re.search(r'<script type="application/json" id="data">(.*?)</script>', report.read_text(), re.DOTALL)
    assert match
    data: dict[str, Any] = json.loads(match[1])
    return data


def decoded(image: dict[str, Any]) -> Image.Image:
    head, _, body = image["src"].partition(",")
    assert head == "data:image/webp;base64"
    return Image.open(io.BytesIO(base64.b64decode(body))).convert("RGB")


# The run that most tests look at: a rollback after a NaN, a resume, a collapse at the end.
ROWS: list[dict[str, Any]] = [
    {"event": "start", "images_seen": 0, "seconds": 0},
    *(log_row(n, n / 150, verdict="starting") for n in range(640, 6401, 640)),
    *(log_row(n, n / 150, diversity=0.8) for n in range(7040, 32001, 640)),
    log_row(32640, 217.6, **{"loss/generator": math.nan}),
    {"event": "rollback", "images_seen": 32640, "to_images": 25600, "lr_scale": 0.5, "reason": HOSTILE},
    *(log_row(n, (n + 7040) / 150) for n in range(26240, 48001, 640)),
    {"event": "stop", "images_seen": 48000, "seconds": 367.0, "reason": "interrupted"},
    {"event": "resume", "images_seen": 48000},
    *(
        log_row(n, (n + 7040) / 150, verdict="collapsing", remedy="Raise <b>noise</b>.")
        for n in range(48640, 64001, 640)
    ),
    {"event": "stop", "images_seen": 64000, "seconds": 474.0, "reason": "finished"},
]
SAMPLES = (0, 16000, 32000, 48000, 64000)


def test_face_grid_lays_out_row_by_row_with_padding_between() -> None:
    values = np.arange(1, 8, dtype=np.uint8) * 20
    images_NHWC = np.broadcast_to(values[:, None, None, None], (7, 4, 5, 3)).copy()
    sheet = np.asarray(face_grid(images_NHWC))
    assert sheet.shape == (3 * 4 + 2 * 2, 3 * 5 + 2 * 2, 3)  # 7 images: 3 x 3, rather square
    for i, value in enumerate(values):
        y, x = (i // 3) * 6, (i % 3) * 7
        assert (sheet[y : y + 4, x : x + 5] == value).all()
    assert (sheet[4:6] == 255).all()
    assert (sheet[:, 5:7] == 255).all()
    assert (sheet[12:, 7:] == 255).all()  # the empty places
    assert face_grid(images_NHWC, columns=7, padding=0).size == (35, 4)
    assert face_grid(images_NHWC[:2], columns=8).size == (12, 4)


@pytest.mark.parametrize("shape", [(0, 4, 4, 3), (4, 4, 3), (2, 4, 4, 1)])
def test_face_grid_refuses_what_is_no_batch_of_images(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="N x H x W x 3"):
        face_grid(np.zeros(shape, np.uint8))
    with pytest.raises(ValueError, match="float64"):
        face_grid(np.zeros((2, 4, 4, 3)))  # type: ignore[arg-type]


def test_read_log_leaves_out_half_lines_and_keeps_nan(tmp_path: Path) -> None:
    assert read_log(tmp_path) == []
    lines = [
        '{"event":"log","images_seen":1,"loss":NaN}',
        '{"event":"log","ima',
        '{"event":"log","images_seen":2}',
        "7",
        '{"ev',
    ]
    (tmp_path / "log.jsonl").write_text("\n".join(lines))
    rows = read_log(tmp_path)
    assert [row["images_seen"] for row in rows] == [1, 2]
    assert math.isnan(rows[0]["loss"])


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a run"):
        write_report(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_failing_report_leaves_the_one_before_and_no_debris(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", ROWS)
    before = write_report(run).read_bytes()
    names = sorted(p.name for p in run.iterdir())
    (run / "run.json").write_text('{"recipe": ')
    with pytest.raises(UserError, match=r"run\.json is not valid JSON"):
        write_report(run)
    assert (run / "report.html").read_bytes() == before
    assert sorted(p.name for p in run.iterdir()) == names


def test_real_images_stay_out_and_samples_go_in(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", ROWS, SAMPLES)
    report = write_report(run)
    images = contents(report)["images"]
    assert [p["images_seen"] for p in images] == list(SAMPLES)
    for image in images:
        original = np.asarray(Image.open(run / "samples" / f"{image['images_seen']:09d}.png"), float)
        shown = np.asarray(decoded(image), float)
        assert np.abs(shown - original).mean() < 25  # lossy, yet this image and no other
        assert np.abs(shown - REAL_COLOUR).mean() > 60
    real = base64.b64encode((run / "samples" / "real.png").read_bytes()).decode()
    assert real[24:60] not in report.read_text()


def test_of_many_samples_the_ends_and_more_early_ones_are_kept(tmp_path: Path) -> None:
    report = write_report(make_run(tmp_path / "run", ROWS, tuple(range(0, 10000, 100))))
    kept = [p["images_seen"] for p in contents(report)["images"]]
    assert len(kept) <= 24
    assert (kept[0], kept[-1]) == (0, 9900)
    assert sum(images < 4950 for images in kept) > len(kept) / 2
    assert kept == sorted(set(kept))


def test_a_sample_that_is_still_being_written_is_left_out(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", ROWS, SAMPLES)
    last = run / "samples" / "000064000.png"
    last.write_bytes(last.read_bytes()[:200])
    assert [p["images_seen"] for p in contents(write_report(run))["images"]] == [0, 16000, 32000, 48000]


def test_the_time_of_a_sample_is_read_off_the_log_that_counts(tmp_path: Path) -> None:
    images = contents(write_report(make_run(tmp_path / "run", ROWS, (0, 16000, 32000))))["images"]
    # 32,000 images were reached twice; the second time, after the rollback, is the one that lasted.
    assert [p["seconds"] for p in images] == pytest.approx([0, 16000 / 150, (32000 + 7040) / 150])


def test_a_long_log_is_thinned_out_but_keeps_extremes_gaps_and_means(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    values = rng.exponential(size=20_000)
    values[[777, 15_432]] = [99.5, -7.25]
    rows = [
        {"event": "log", "images_seen": i, "seconds": i, "loss/a": float(v), "loss/b": 1.0}
        for i, v in enumerate(values)
    ]
    rows[9000]["loss/a"] = math.inf
    rows[5]["verdict"] = "diverged"
    run = make_run(tmp_path / "run", rows)
    data = contents(write_report(run))
    (chart,) = data["charts"]
    a = chart["series"][0]
    shown = dict(zip((chart["images_seen"][k] for k in a["at"]), a["values"], strict=True))
    assert len(shown) <= 1000
    assert min(shown) == 0
    assert max(shown) == 19_999
    assert (shown[777], shown[15_432], shown[9000]) == (99.5, -7.25, None)
    assert all(v is None or v == pytest.approx(values[i], rel=1e-5) for i, v in shown.items())
    # The extremes would pull a smoothed curve up; the means do not.
    quiet = [
        m for i, m in zip((chart["images_seen"][k] for k in a["at"]), a["means"], strict=True) if 1000 < i < 15_000
    ]
    assert np.mean(quiet) == pytest.approx(1.0, abs=0.05)
    assert "diverged" in [stretch["verdict"] for stretch in data["verdicts"]]


def test_a_flickering_verdict_is_shown_as_what_it_mostly_was(tmp_path: Path) -> None:
    names = ["learning", "learning", "learning", "collapsing"]
    rows = [log_row(64 * (i + 1), i, verdict=names[i % 4]) for i in range(4000)]
    band = contents(write_report(make_run(tmp_path / "run", rows)))["verdicts"]
    assert len(band) <= 400
    assert sum(s["images_seen"][1] - s["images_seen"][0] for s in band if s["verdict"] == "learning") > 0.6 * 64 * 4000
    assert (band[0]["images_seen"][0], band[-1]["images_seen"][1]) == (0, 64 * 4000)


# ---- in the browser ----


class Opened:
    """A browser page with a report in it, and everything that the page complained of or asked for."""

    def __init__(self, browser: Any) -> None:
        self.page = browser.new_page(viewport={"width": 1200, "height": 900})
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))

    def open(self, report: Path) -> None:
        self.complaints.clear()
        self.requests.clear()
        self.page.mouse.move(0, 0)
        self.page.set_viewport_size({"width": 1200, "height": 900})
        self.page.goto(report.as_uri())
        self.page.get_by_text("This page is one file").wait_for()

    def check(self) -> None:
        """The page is content, and has asked for nothing but itself."""
        assert self.complaints == []
        assert [url for url in self.requests if not url.startswith(("file:", "data:"))] == []
        assert sum(url.startswith("file:") for url in self.requests) == 1

    def texts(self, selector: str) -> list[str]:
        return [str(text) for text in self.page.locator(selector).all_text_contents()]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tail = '{"event":"log","images_seen":640'
    return write_report(make_run(tmp_path_factory.mktemp("report") / "run-a", ROWS, SAMPLES, tail))


@pytest.fixture(scope="module")
def window(browser: Any) -> Iterator[Opened]:
    window = Opened(browser)
    yield window
    window.page.close()


@pytest.fixture
def opened(window: Opened, report: Path) -> Iterator[Opened]:
    window.open(report)
    yield window
    window.check()


def test_the_page_leads_with_the_verdict_and_the_figures(opened: Opened) -> None:
    page = opened.page
    assert page.locator("h1").inner_text() == "dcgan"
    assert "Finished" in page.locator("#status").inner_text()
    verdict = page.locator("#verdict").inner_text()
    assert "Collapsing" in verdict
    assert "Raise <b>noise</b>." in verdict
    facts = page.locator("#facts").inner_text()
    assert "64,000" in facts
    assert "1,000 images" in facts
    assert "synthetic" in page.locator("#synthetic").inner_text()
    assert "non-commercial research" in page.locator("#synthetic").inner_text()


def test_untrusted_text_is_shown_as_text(opened: Opened) -> None:
    page = opened.page
    page.locator("#recipe summary").click()
    assert HOSTILE in page.locator("#recipe pre").inner_text()
    assert HOSTILE in page.locator("#facts").inner_text()
    assert HOSTILE in page.locator("#events tbody").inner_text()
    assert page.evaluate("window.hacked") is None
    assert page.locator("script").count() == 2  # the data and the page's own


def test_the_slider_changes_image_and_caption(opened: Opened) -> None:
    page = opened.page
    image, caption, slider = page.locator("#image"), page.locator("#caption"), page.locator("#time")
    assert caption.inner_text() == "After 64,000 images (7 min 54 s)"
    last = image.get_attribute("src")
    slider.focus()
    page.keyboard.press("ArrowLeft")
    assert caption.inner_text() == "After 48,000 images (6 min 7 s)"
    assert image.get_attribute("src") != last
    assert "48,000 images" in (image.get_attribute("alt") or "")
    page.keyboard.press("Home")
    assert caption.inner_text() == "After 0 images, before any training"
    assert page.evaluate("document.getElementById('image').naturalWidth") == 34


def test_play_runs_to_the_last_image(opened: Opened) -> None:
    page = opened.page
    page.locator("#time").focus()
    page.keyboard.press("ArrowLeft")
    page.get_by_role("button", name="Play").click()
    page.get_by_role("button", name="Pause").wait_for()
    page.get_by_text("After 64,000 images").first.wait_for()
    page.get_by_role("button", name="Play").wait_for()


def test_a_click_enlarges_with_crisp_pixels(opened: Opened) -> None:
    page = opened.page
    page.locator("#stage").click()
    large = page.locator("#zoom img")
    style = "image => [getComputedStyle(image).imageRendering, image.clientWidth / image.naturalWidth]"
    rendering, factor = large.evaluate(style)
    assert rendering == "pixelated"
    assert factor >= 2
    assert factor == int(factor)
    page.keyboard.press("Escape")
    assert not large.is_visible()


def test_the_axis_can_be_images_or_time(opened: Opened) -> None:
    page, ticks = opened.page, '[data-group="loss"] .x-tick'
    by_images = opened.texts(ticks)
    assert by_images == ["0", "20k", "40k", "60k"]
    page.get_by_text("time", exact=True).click()
    by_time = opened.texts(ticks)
    assert by_time[:2] == ["0", "2 min"]
    page.get_by_text("images seen", exact=True).click()
    assert opened.texts(ticks) == by_images


@pytest.mark.parametrize("share", [0.3, 0.62, 0.9])
def test_hovering_shows_the_values_of_the_log(opened: Opened, share: float) -> None:
    page = opened.page
    plot = page.locator('[data-group="loss"] .plot')
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + share * box["width"], box["y"] + box["height"] / 2)
    assert plot.bounding_box() == box  # nothing moves under the pointer
    discriminator, generator, at = opened.texts('[data-group="loss"] .readout li')
    images = int(at.split(" images")[0].replace(",", ""))
    assert images == pytest.approx(share * 64000, abs=4000)  # the axis does not quite fill the drawing
    logged = {
        (r["loss/discriminator"], r["loss/generator"]) for r in ROWS if r.get("images_seen") == images and "step" in r
    }
    assert (float(discriminator.split()[-1]), float(generator.split()[-1])) in logged
    # The cursor is one for all charts.
    assert at == opened.texts('[data-group="gradient"] .readout .at')[0]


def test_a_chart_can_be_read_with_the_keyboard(opened: Opened) -> None:
    page = opened.page
    page.locator('[data-group="loss"] .plot').focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    second = ROWS[2]
    text = page.locator('[data-group="loss"] .plot').get_attribute("aria-valuetext")
    assert text is not None
    assert text.startswith("1,280 images")
    assert f"generator {second['loss/generator']}" in text


def test_the_line_breaks_at_nan_and_at_a_rollback(opened: Opened) -> None:
    def pieces(series: int) -> int:
        path = opened.page.locator('[data-group="loss"] .plot path.line').nth(series).get_attribute("d")
        return str(path).count("M")

    assert pieces(0) == 2  # the rollback
    assert pieces(1) == 2  # the NaN just before it: no third piece
    assert len(opened.texts('[data-group="loss"] .mark title')) == 2
    opened.page.locator("#smoothing").fill("5")
    assert opened.page.locator('[data-group="loss"] .plot path.line').count() == 4  # raw behind smoothed


def test_the_verdict_band_tells_verdicts_apart_by_pattern(opened: Opened) -> None:
    fills = opened.page.locator("#band .stretch").evaluate_all("rects => rects.map(r => r.getAttribute('fill'))")
    assert fills == ["url(#p-starting)", "url(#p-learning)", "url(#p-learning)", "url(#p-collapsing)"]
    assert opened.texts("#band .keys li") == ["starting", "learning", "collapsing"]


def test_the_policy_stops_foreign_scripts_and_the_network(window: Opened, report: Path) -> None:
    window.open(report)
    window.page.evaluate("document.body.append(Object.assign(document.createElement('script'), {text: 'hacked = 1'}))")
    assert window.page.evaluate("typeof hacked") == "undefined"
    reached = window.page.evaluate("fetch('https://localhost:9/').then(() => 'sent', (error) => String(error))")
    assert reached.startswith("TypeError")
    blocked = [text for text in window.complaints if "Content Security Policy" in text]
    assert any("script" in text for text in blocked)
    assert any("https://localhost:9/" in text for text in blocked)


@pytest.mark.parametrize("rows", [[], ROWS[:1], ROWS[:2]], ids=["no log", "only a start", "one line"])
def test_a_run_that_has_hardly_begun(window: Opened, tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    run = make_run(tmp_path / "run", rows)
    (run / "run.json").unlink()
    window.open(write_report(run))
    assert window.page.locator("h1").inner_text() == "run"
    assert window.page.get_by_text("No sample images yet.").is_visible()
    assert window.page.get_by_text("No log lines yet.").is_visible() == (len(rows) < 2)
    for width in (1200, 320):
        window.page.set_viewport_size({"width": width, "height": 800})
        assert window.page.evaluate("document.documentElement.scrollWidth") <= width
    window.check()
