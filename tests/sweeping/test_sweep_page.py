"""The page of a sweep, in a real browser: it shows every trial, with no network and no error."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from known_landscape import distance, train

import limner
from limner.data.packed import PackedFaces
from limner.sweeping.child import Job, TrialFailedError

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

G, D = "optimizer.generator.lr", "optimizer.discriminator.lr"
HOSTILE = "</script><script>window.hacked = 1</script>"


@pytest.fixture
def shown(
    browser: "Browser", tmp_path: Path, faces32: PackedFaces, no_training: pytest.MonkeyPatch
) -> Iterator[Callable[..., "Page"]]:
    """Sweeps and opens the page; the test fails where the page asks for something or raises an error."""
    problems: list[str] = []
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("request", lambda request: problems.append(request.url) if request.url.startswith("http") else None)

    def show(vary: list[str], **options: Any) -> "Page":
        given = {"images": 4000, "prune": False, "quiet": True} | options
        swept = limner.sweep("dcgan32", faces32, tmp_path / "study", vary=vary, **given)
        page.goto(swept.page.as_uri())
        return page

    yield show
    page.close()
    assert not problems


def test_two_lists_are_a_heat_map(shown: Callable[..., "Page"]) -> None:
    page = shown([f"{G}=1e-3,1e-4,2e-4", f"{D}=5e-5,1e-4"])
    cells = page.locator(".heat td").all_inner_texts()
    column = [f"{distance(rate, 4000):.1f}" for rate in (1e-4, 2e-4, 1e-3)]
    assert cells == column * 2
    assert page.locator(".heat td.best").count() == 1
    assert page.locator(".heat thead tr:last-child th").all_inner_texts()[1:] == ["1e-4", "2e-4", "0.001"]
    assert page.locator("#trials tbody tr").count() == 6
    assert page.locator("#trials tbody tr.best td.faces img").count() == 1
    assert page.locator("h1").inner_text() == f"fd_lite0 {distance(2e-4, 4000):.1f}"
    bars = page.locator("#importances code").all_inner_texts()
    assert bars == [G, D]  # the value depends on G alone
    assert "lr = 0.0002" in page.locator("#best pre").inner_text()
    page.locator("#trials .grid-of").first.click()
    assert page.locator("#trials .grid-of img").first.bounding_box()["width"] > 400  # type: ignore[index]


def test_two_ranges_are_a_scatter_of_every_trial(shown: Callable[..., "Page"]) -> None:
    page = shown([f"{G}=1e-5..1e-2,log", f"{D}=1e-5..1e-2,log"], trials=8)
    points = page.locator("#map circle")
    assert points.count() == 8
    box = page.locator("#map svg").bounding_box()
    assert box
    for point in points.all():
        inside = point.bounding_box()
        assert inside
        assert box["x"] <= inside["x"] <= box["x"] + box["width"]
        assert box["y"] <= inside["y"] <= box["y"] + box["height"]


def test_one_key_is_a_curve_whose_lowest_point_is_the_best(shown: Callable[..., "Page"]) -> None:
    page = shown([f"{G}=1e-5,1e-4,2e-4,1e-3"], seeds=2)
    heights = [float(point.get_attribute("cy") or 0) for point in page.locator("#map circle").all()]
    best = page.locator("#map circle.best")
    assert float(best.get_attribute("cy") or 0) == max(heights)  # down is low
    assert page.locator("#map path.line").count() == 1
    assert not page.locator("#importances").is_visible()


def test_reasons_of_failures_are_text(shown: Callable[..., "Page"], no_training: pytest.MonkeyPatch) -> None:
    times = iter(range(2))

    def fail_twice(job: Job, watch: Callable[[], None]) -> None:
        if next(times, None) is not None:
            raise TrialFailedError(HOSTILE)
        train(job, watch)

    no_training.setattr("limner.sweeping.trial.run_job", fail_twice)
    page = shown([f"{G}=1e-5,1e-4"])
    rows = page.locator("#trials tbody tr").all_inner_texts()
    assert [f"failed: {HOSTILE}; tried again as trial" in row for row in rows] == [False, False, True, True]
    assert "2 attempts failed" in page.locator("#about").inner_text()
    assert page.evaluate("window.hacked") is None
