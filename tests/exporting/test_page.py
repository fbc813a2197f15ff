"""Exported pages in a real browser: from a plain web server, and as a single file without any."""

import re
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from limner.core.errors import UserError
from limner.exporting import runtime as runtimes
from limner.exporting.export import export
from limner.exporting.groups import GROUPS, attribute_groups
from limner.exporting.page import MODEL, faces_page
from limner.exporting.runtime import CHECKSUMS, load_runtime
from limner.images.png import read_settings
from limner.images.verify import verify
from limner.model.model import Model, load, save_model
from limner.model.sample import Settings, recreate

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

Untrained = Callable[..., Model]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, untrained: Untrained) -> Path:
    """Folders of a model with attributes, `asked`, and one of curves, `curves`."""
    folder = tmp_path_factory.mktemp("models")
    for name, recipe in (("asked", "modern-attributes"), ("curves", "painter")):
        model = untrained(recipe)
        save_model(folder / name, model.generator, model.config, model.known_MA)
    return folder


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Path:
    """A page in both forms: `folder`, and `single.html`."""
    try:
        runtime = load_runtime(quiet=True)
    except UserError as error:
        pytest.skip(str(error))
    out = tmp_path_factory.mktemp("pages")
    export(models / "asked", out / "folder", to="html", quiet=True)
    onnx = (out / "folder" / MODEL).read_bytes()
    (single,) = faces_page(load(models / "asked"), "asked", onnx, runtime, single_file=True).values()
    (out / "single.html").write_bytes(single)
    return out


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def address(pages: Path) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(pages))) as server:
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class Opened:
    """A page, and everything that it complained of or asked for."""

    def __init__(self, browser: "Browser", address: str, width: int = 1200) -> None:
        self.page: Page = browser.new_page(viewport={"width": width, "height": 850}, accept_downloads=True)
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(address)

    def generated(self, count: int = 16) -> None:
        """Wait until all faces are there."""
        self.page.locator("#status", has_text=re.compile(rf"^{count} faces? of .* in ")).wait_for(timeout=60_000)

    def download(self, button: str, to: Path) -> Path:
        with self.page.expect_download() as started:
            self.page.locator(button).click()
        started.value.save_as(to)
        return to


@pytest.fixture
def open_page(browser: "Browser") -> Iterator[Callable[..., Opened]]:
    opened: list[Opened] = []

    def open_one(*arguments: Any) -> Opened:
        opened.append(Opened(browser, *arguments))
        return opened[-1]

    yield open_one
    for one in opened:
        one.page.close()


@pytest.mark.parametrize("form", ["folder", "single"])
def test_faces_are_those_of_limner_sample(
    form: str, pages: Path, address: str, models: Path, open_page: Callable[..., Opened], tmp_path: Path
) -> None:
    """64 of them, with attributes requested by the keyboard, downloaded, and made again from what the PNG records."""
    opened = open_page(f"{address}/folder/index.html" if form == "folder" else (pages / "single.html").as_uri())
    opened.generated()
    page = opened.page
    page.get_by_role("button", name="smiling: free").focus()
    page.keyboard.press("Enter")
    page.get_by_role("button", name=re.compile("^male: ")).focus()
    page.keyboard.press("Space")
    page.keyboard.press("Space")
    page.locator("#seed").fill("12")
    page.locator("#count").select_option("64")
    page.locator("#truncation").fill("0.8")
    opened.generated(64)
    png = opened.download("#download-grid", tmp_path / "faces.png")

    settings = Settings.model_validate(read_settings(png))
    assert (settings.model, settings.seed, settings.count, settings.columns) == ("asked", 12, 64, 8)
    assert (settings.truncation, settings.with_, settings.without) == (0.8, ("Smiling",), ("Male",))
    mark = verify(png).mark
    assert mark
    assert (mark.model, mark.model_version) == ("modern-attributes", load(models / "asked").config.weights_sha256)
    assert abs((datetime.now(UTC) - mark.time).total_seconds()) < 600
    assert mark.id.version == 4
    again = recreate(png, tmp_path / "again.png", model=models / "asked")
    difference = np.abs(np.asarray(Image.open(png)).astype(float) - np.asarray(Image.open(again)))
    assert difference.shape == (8 * 34 - 2, 8 * 34 - 2, 3)
    assert np.asarray(Image.open(png)).std() > 10
    assert difference.mean() < 1
    assert page.locator("#command").inner_text() == (
        "limner sample asked --out faces.png --count 64 --seed 12 --with smiling --without male --truncation 0.8"
    )
    assert opened.complaints == []
    outside = [url for url in opened.requests if not url.startswith((address, f"blob:{address}", "file:", "blob:null"))]
    assert outside == []
    assert len(opened.requests) == (4 if form == "folder" else 2)  # with the worker's script, which is in the page


def test_the_page_of_faces_in_the_docs(open_page: Callable[..., Opened]) -> None:
    """It has the shipped model within it, and generates its faces."""
    path = Path(__file__).resolve().parents[2] / "docs" / "faces.html"
    opened = open_page(path.as_uri())
    opened.generated()
    model = load("faces")
    assert opened.page.evaluate("about.weightsSha256") == model.config.weights_sha256
    pixels = opened.page.evaluate("shown.faces.map(({ pixels }) => Array.from(pixels))")
    found_NHWC = np.array(pixels, np.float32).reshape(16, 64, 64, 4)[..., :3]
    assert np.abs(found_NHWC - model.sample(16, 0, precision="fp32")).mean() < 1
    assert opened.complaints == []
    assert len(opened.requests) == 2  # the page, and the worker's script, which is in it


def test_selected_faces_morph_and_add_up(address: str, open_page: Callable[..., Opened], tmp_path: Path) -> None:
    opened = open_page(f"{address}/folder/index.html", 390)
    opened.generated()
    page = opened.page
    assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")
    for number in (3, 5, 8):
        page.locator(".face").nth(number).click()
    assert page.locator(".badge:visible").all_inner_texts() == ["A", "B", "C"] * 2
    page.locator("#position").fill("0")
    page.locator("#sum-image[aria-label^='Generated face']").wait_for()
    pixels = """(id) => Array.from(document.getElementById(id).getContext('2d').getImageData(0, 0, 32, 32).data)"""
    face = page.evaluate("(n) => Array.from(shown.faces[n].pixels)", 3)
    for _ in range(200):
        if page.evaluate("selection.frames.filter(Boolean).length") == 25:
            break
        page.wait_for_timeout(50)
    assert np.abs(np.subtract(page.evaluate(pixels, "morph-image"), face)).max() <= 1  # the morph begins at A
    page.get_by_role("button", name="Play").click()
    page.wait_for_timeout(200)
    page.get_by_role("button", name="Pause").click()
    ids = set()
    for button, command in (("#download-walk", "page morph"), ("#download-sum", "page arithmetic")):
        png = opened.download(button, tmp_path / "made.png")
        mark, settings = verify(png)[1:3]
        assert mark
        ids.add(mark.id)
        assert settings["command"] == command
        assert [origin["index"] for origin in settings["faces"]] == [3, 5, 8][: len(settings["faces"])]
        with pytest.raises(UserError, match="says how it was made, but"):
            recreate(png, tmp_path / "again.png")
    assert len(ids) == 2
    page.get_by_role("button", name="Remove face A").click()
    assert page.locator("#tray figure").count() == 2
    assert page.locator("#sum").is_hidden()
    assert opened.complaints == []


def test_every_control_has_a_name(address: str, open_page: Callable[..., Opened]) -> None:
    opened = open_page(f"{address}/folder/index.html")
    opened.generated()
    opened.page.locator(".face").first.click()
    tree = opened.page.locator("body").aria_snapshot()
    assert not re.search(r"- (button|img|slider|spinbutton|combobox|textbox)\s*$", tree, re.MULTILINE)
    assert re.search(r'button "Generated face 0: ', tree)


def test_what_goes_wrong_is_said_plainly(
    pages: Path, address: str, open_page: Callable[..., Opened], tmp_path: Path
) -> None:
    opened = open_page((pages / "folder" / "index.html").as_uri())
    assert "--single-file" in opened.page.locator("#problem").inner_text()
    shutil.copy(pages / "folder" / "index.html", pages / "alone.html")
    missing = open_page(f"{address}/alone.html")
    missing.page.locator("#problem").wait_for()
    assert "could not be loaded (404)" in missing.page.locator("#problem").inner_text()


def test_the_painter_trains_in_its_page(
    models: Path, tmp_path: Path, open_page: Callable[..., Opened], untrained: Untrained
) -> None:
    """A few hundred steps; the whole training, to the value of the game, is in benchmarks/browser.py."""
    export(models / "curves", tmp_path / "painter.html", to="html", single_file=True, quiet=True)
    opened = open_page((tmp_path / "painter.html").as_uri(), 390)
    page = opened.page
    before = page.locator("#painting").inner_html()
    page.get_by_role("button", name="Train").click()
    for _ in range(400):
        if page.evaluate("painter.imagesSeen") > 10_000:
            break
        page.wait_for_timeout(50)
    page.get_by_role("button", name="Pause").click()
    assert page.locator("#painting").inner_html() != before
    heights_NP = np.array(page.evaluate("Array.from(painter.samples())")).reshape(-1, 15)
    x_P = np.linspace(-1, 1, 15)
    (a_N, c_N), *_ = np.linalg.lstsq(np.stack([x_P**2, np.ones(15)], 1), heights_NP.T, rcond=None)
    assert 1 < np.median(a_N) < 2
    assert 0 < np.median(c_N) < 1
    assert page.locator("#value").inner_text().startswith("−1.")
    assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")
    assert opened.complaints == []
    assert len(opened.requests) == 1


def test_pages_forbid_everything_else(pages: Path) -> None:
    for path, reads in ((pages / "folder" / "index.html", "'self'"), (pages / "single.html", "'none'")):
        policy = re.search(r'Policy" content="(.*?)"', path.read_text(encoding="utf-8"))
        assert policy
        assert "default-src 'none'" in policy[1]
        assert f"connect-src {reads}" in policy[1]
        assert "unsafe-inline" not in policy[1]
        assert "'unsafe-eval'" not in policy[1]


def test_no_page_has_a_path_of_this_machine(pages: Path, models: Path) -> None:
    for path in (pages / "folder" / "index.html", pages / "folder" / "model.onnx"):
        assert str(models).encode() not in path.read_bytes()


def test_every_attribute_is_in_one_group() -> None:
    names = load("faces").config.attribute_names
    groups = attribute_groups((*names, "Freckles"))
    assert sorted(position for group in groups for position in group["positions"]) == list(range(41))
    assert [group["title"] for group in groups] == [*GROUPS, "Other"]
    assert groups[-1]["positions"] == [40]


# --- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"to": "html", "out": "full"}, "full exists: choose another --out"),
        ({"to": "html", "out": "full", "force": True}, "no page that limner export wrote"),
        ({"to": "html", "out": "page", "single_file": True}, r"does not end in \.html"),
        ({"to": "html", "out": "page", "runtime": "full"}, "does not hold ort.wasm.bundle.min.mjs"),
        ({"to": "onnx", "out": "a.onnx", "single_file": True}, "single_file has no effect"),
        ({"to": "onnx", "out": "a.onnx", "runtime": "full"}, "runtime has no effect"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(
    options: dict[str, Any], words: str, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match=words) as error:
        export(models / "asked", **options, quiet=True)
    assert "\n" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["full"]
    assert (tmp_path / "full" / "thesis.txt").read_text() == "mine"


def test_another_runtime_is_refused(tmp_path: Path) -> None:
    for name in CHECKSUMS:
        (tmp_path / name).write_bytes(b"other")
    with pytest.raises(UserError, match="is not that of onnxruntime-web"):
        load_runtime(tmp_path)


def test_without_a_connection_one_line_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(runtimes, "PACKAGE", runtimes.PACKAGE._replace(url="http://127.0.0.1:9/package.tgz"))
    with pytest.raises(UserError, match=r"could not be fetched \(no connection.*--runtime DIR"):
        load_runtime(quiet=True)
