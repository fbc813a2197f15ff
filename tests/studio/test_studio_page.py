"""The studio's page in a real browser: faces, one face, walks; on a phone; nothing asked of another host."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image
from studios import serving

from limner.images.verify import verify
from limner.model.model import Model, load
from limner.model.sample import recreate

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PHONE = {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def address(conditional: str, model_folder: Path) -> Iterator[str]:
    with serving(conditional, str(model_folder)) as address:
        yield address


@contextmanager
def opened(browser: "Browser", address: str, **options: Any) -> Iterator["Page"]:
    """The page, in a context of its own; at the end it must have complained of nothing, and asked only its own host."""
    context = browser.new_context(**options)
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.set_default_timeout(20_000)
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    page.locator("#grid img").first.wait_for()
    yield page
    context.close()
    assert said == []
    foreign = [url for url in asked if not url.startswith((address, "data:", "blob:"))]
    assert foreign == []


def generated(page: "Page", act: Callable[[], None]) -> list[str]:
    """The addresses of the grid's images after `act` has made new ones."""
    with page.expect_response(lambda reply: "/api/faces?" in reply.url):
        act()
    page.wait_for_timeout(50)
    return [image.get_attribute("src") or "" for image in page.locator("#grid img").all()]


def test_faces_with_attributes_are_seen_and_downloaded(
    browser: "Browser", address: str, conditional: str, tmp_path: Path
) -> None:
    with opened(browser, address) as page:
        page.get_by_role("spinbutton", name="Faces").fill("5")
        page.get_by_role("spinbutton", name="Seed").fill("3")
        generated(page, page.get_by_role("button", name="Smiling: free").click)
        page.get_by_role("button", name="Male: free").click()
        shown = generated(page, page.get_by_role("button", name="Male: with").click)
        assert len(shown) == 5
        assert page.get_by_role("button", name="Male: without").count() == 1
        page.get_by_text("Make the same images").click()
        page.get_by_role("button", name="Copy command").click()
        copied = page.evaluate("() => navigator.clipboard.readText()")
        assert copied.endswith("--count 5 --seed 3 --with Smiling --without Male --out faces.png")
        for link, name in (("Download PNG", "faces.png"), ("Download ZIP", "faces.zip")):
            with page.expect_download() as waiting:
                page.get_by_role("link", name=link).click()
            assert waiting.value.suggested_filename == name
            waiting.value.save_as(tmp_path / name)
    found = verify(tmp_path / "faces.png")
    assert found.mark is not None
    assert (found.settings["with_"], found.settings["without"]) == (["Smiling"], ["Male"])
    again = recreate(tmp_path / "faces.png", tmp_path / "again.png")
    assert again.read_bytes() == (tmp_path / "faces.png").read_bytes()
    expected = load(conditional).sample(5, 3, with_="smiling", without="male")
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "faces.png"))[:32, :32], expected[0])


def test_one_face_its_variations_and_a_walk(browser: "Browser", address: str, tmp_path: Path) -> None:
    with opened(browser, address) as page:
        page.get_by_role("button", name="Face 3 of seed 0").click()
        dialog = page.get_by_role("dialog")
        assert dialog.get_by_role("heading").inner_text() == "Face 0:3"
        with page.expect_download() as waiting:
            dialog.get_by_role("link", name="Download PNG").click()
        waiting.value.save_as(tmp_path / "face.png")
        assert waiting.value.suggested_filename == "face-0-3.png"
        dialog.get_by_role("button", name="Add to morph").click()
        page.get_by_role("button", name="Face 5 of seed 0").click()
        dialog.get_by_role("button", name="Variations").click()
        dialog.get_by_role("button", name="Variation 4").click()
        assert dialog.get_by_role("heading").inner_text() == "Face 0:5, variation 4"
        dialog.get_by_role("button", name="Add to morph").click()

        page.get_by_role("tab", name="Morph").click()
        page.locator("#morph").get_by_label("Seed:index").fill("7:1")
        page.get_by_role("button", name="Add", exact=True).click()
        page.get_by_role("img", name="face 7:1").wait_for()
        page.get_by_role("button", name="Remove: face 0:3").click()
        page.get_by_role("button", name="Move forward: face 7:1").click()
        alts = [image.get_attribute("alt") for image in page.locator("#tray img").all()]
        assert alts == ["face 7:1", "face 0:5"]
        page.get_by_role("spinbutton", name="Frames").fill("6")
        page.get_by_role("button", name="Make the walk").click()
        slider = page.get_by_role("slider", name="Position")
        slider.wait_for()
        seen = set()
        for place in range(6):
            slider.fill(str(place))
            seen.add(page.get_by_role("img", name=f"Image {place + 1} of the walk").get_attribute("src"))
        assert len(seen) == 6
        page.get_by_label("Format").select_option("gif")
        with page.expect_download() as waiting:
            page.get_by_role("button", name="Download").click()
        waiting.value.save_as(tmp_path / "walk.gif")
    assert verify(tmp_path / "face.png").settings["first"] == 3
    assert verify(tmp_path / "walk.gif").settings["frames"] == 6


def test_the_page_is_there_while_the_model_loads(
    browser: "Browser", model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says what it waits for; nothing more once the model is there."""
    may_load = threading.Event()

    def load_late(name: str, device: str) -> Model:
        assert may_load.wait(20)
        return loaded

    loaded = load(model_folder)
    monkeypatch.setattr(Model, "load", load_late)
    with serving(str(model_folder)) as address:
        page = browser.new_page()
        page.set_default_timeout(20_000)
        page.goto(address)
        page.get_by_role("status").get_by_text("Loading the model").wait_for()
        page.get_by_label("Model").locator("option").first.wait_for(state="attached")
        assert page.get_by_label("Model").input_value() == str(model_folder)
        assert page.locator("#grid img").count() == 0
        page.get_by_role("tab", name="Morph").click()  # the page is not held up
        page.get_by_role("tab", name="Faces").click()
        may_load.set()
        page.get_by_role("status").get_by_text("16 faces of seed 0").wait_for()
        page.evaluate(
            "() => { new MutationObserver(() => document.title += document.getElementById('status').textContent)"
            ".observe(document.getElementById('status'), { childList: true }); }"
        )
        generated(page, page.get_by_role("button", name="New seed").click)
        assert "Loading" not in page.title()
        assert "Generating" in page.title()
        page.close()


def test_mistakes_are_a_sentence_on_the_page(browser: "Browser", address: str) -> None:
    with opened(browser, address) as page:
        page.get_by_role("tab", name="Morph").click()
        page.get_by_role("button", name="Make the walk").click()
        assert page.get_by_role("alert").inner_text() == "A walk needs at least two faces: add some."
        page.get_by_role("button", name="Add", exact=True).click()
        assert page.get_by_role("alert").inner_text().startswith("A face is named SEED:INDEX")
        page.get_by_role("tab", name="Runs").click()
        page.get_by_text("The studio has no folder for runs.").wait_for()


def test_two_people_see_only_their_own_faces(browser: "Browser", address: str) -> None:
    with opened(browser, address) as one, opened(browser, address) as other:
        before = generated(one, one.get_by_role("button", name="Generate").click)
        one.get_by_role("button", name="Face 3 of seed 0").click()
        one.get_by_role("button", name="Add to morph").click()
        other.get_by_role("spinbutton", name="Seed").fill("77")
        after = generated(other, other.get_by_role("button", name="Generate").click)
        assert not set(before) & set(after)
        assert [image.get_attribute("src") for image in one.locator("#grid img").all()] == before
        assert one.locator("#tray img").count() == 1
        assert other.locator("#tray img").count() == 0
        other.close()  # midway through a request
        assert len(generated(one, one.get_by_role("button", name="New seed").click)) == 16


def test_the_keyboard_is_enough(browser: "Browser", address: str) -> None:
    with opened(browser, address) as page:
        page.get_by_role("tab", name="Faces").focus()
        page.keyboard.press("ArrowRight")
        assert page.get_by_role("tab", name="Morph").get_attribute("aria-selected") == "true"
        page.keyboard.press("Home")
        page.get_by_role("spinbutton", name="Seed").focus()
        page.keyboard.type("12")
        generated(page, lambda: page.keyboard.press("Enter"))
        page.get_by_role("button", name="Face 2 of seed").focus()
        page.keyboard.press("Enter")
        assert page.get_by_role("dialog").is_visible()
        page.keyboard.press("Escape")
        assert not page.get_by_role("dialog").is_visible()
        page.get_by_role("button", name="Bald: free").focus()
        page.keyboard.press("Space")
        assert page.get_by_role("button", name="Bald: with").is_visible()


@pytest.mark.parametrize(
    ("size", "scheme"), [({"width": 1280, "height": 900}, "dark"), (PHONE, "light")], ids=["desktop", "phone"]
)
def test_nothing_is_wider_than_the_window_and_axe_finds_nothing(
    browser: "Browser", address: str, size: dict[str, int], scheme: str
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    axe = Axe()
    with opened(browser, address, viewport=size, color_scheme=scheme, bypass_csp=True) as page:
        background = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
        assert (int(background.strip("rgb()").split(",")[0]) < 128) == (scheme == "dark")
        for tab in ("Faces", "Morph", "Edit", "Runs"):
            page.get_by_role("tab", name=tab).click()
            assert page.evaluate("() => document.documentElement.scrollWidth") <= size["width"]
            found = axe.run(page).response["violations"]
            assert found == [], json.dumps(found)[:3000]


def test_a_model_without_attributes_has_no_chips(browser: "Browser", address: str, model_folder: Path) -> None:
    with opened(browser, address) as page:
        generated(page, lambda: page.get_by_label("Model").select_option(str(model_folder)) and None)
        assert page.locator(".chip").count() == 0
        assert not page.get_by_role("heading", name="Attributes").is_visible()


def test_every_image_has_an_alternative_text(browser: "Browser", address: str) -> None:
    with opened(browser, address) as page:
        shown = [image for image in page.locator("img").all() if image.is_visible()]
        assert len(shown) == 16
        assert all(image.get_attribute("alt") for image in shown)
