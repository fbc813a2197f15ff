"""Runs side by side in the studio: over HTTP, and on the page in a real browser, while one of them goes on."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from stand_ins import make_result, write_run
from studios import serving, studio_client

from limner.evaluation.results import append_metrics

if TYPE_CHECKING:
    from fastapi.testclient import TestClient
    from playwright.sync_api import Browser, Page


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A folder of three runs, of which two were measured alike; `first` has a grid at every hundred images."""
    folder = tmp_path / "runs"
    for name, recipe, every in (("first", "dcgan", 100), ("second", "dcgan-ttur", 150), ("third", "wgan-gp", 50)):
        moments = range(every, 601, every)
        write_run(folder / name, recipe, [(n, 3 - n / 400) for n in moments], samples=[0, *moments])
    append_metrics(folder / "first", [make_result("fd_lite0", (20.0, 20.5, 21.0))])
    append_metrics(folder / "second", [make_result("fd_lite0", (9.0, 9.5, 10.0))])
    return folder


@pytest.fixture
def client(model_folder: Path, runs: Path) -> Iterator["TestClient"]:
    with studio_client(str(model_folder), runs=runs) as client:
        yield client


def test_the_comparison_is_a_page_of_its_own_policy(client: "TestClient") -> None:
    reply = client.get("/api/runs/compare?name=second&name=first")
    assert reply.status_code == 200
    assert reply.headers["content-security-policy"] == "sandbox allow-scripts; frame-ancestors 'self'"
    assert '"names":["second","first"]' in reply.text


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 422),
        ("name=first", 400),
        ("name=first&name=first", 400),
        ("name=first&name=..%2ffirst", 400),
        ("name=first&name=none", 400),
        ("&".join(f"name=r{k}" for k in range(7)), 400),
        ("&".join(f"name=r{k}" for k in range(200)), 422),
    ],
)
def test_mistakes_are_a_sentence(client: "TestClient", query: str, status: int) -> None:
    reply = client.get(f"/api/runs/compare?{query}")
    assert reply.status_code == status
    assert reply.json()["error"]


def test_a_damaged_run_hides_no_other(client: "TestClient", runs: Path) -> None:
    (runs / "first" / "run.json").write_text("{")
    listed = {run["name"]: run["recipe"] for run in client.get("/api/runs").json()["runs"]}
    assert listed == {"first": None, "second": "dcgan-ttur", "third": "wgan-gp"}


@pytest.fixture
def page(browser: "Browser", model_folder: Path, runs: Path) -> Iterator["Page"]:
    with serving(str(model_folder), runs=runs) as address:
        context = browser.new_context(color_scheme="dark", bypass_csp=True)
        page = context.new_page()
        page.set_default_timeout(20_000)
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(address)
        page.get_by_role("tab", name="Runs").click()
        yield page
        context.close()
        assert said == []


def compared(page: "Page") -> dict[str, str]:
    """The grid that is shown of each run, by its alternative text."""
    figures = page.locator("#side-by-side figure").all()
    return {figure.locator("b").inner_text(): figure.locator("img").get_attribute("alt") or "" for figure in figures}


def test_two_runs_are_chosen_and_seen_side_by_side(page: "Page", runs: Path) -> None:
    page.get_by_role("checkbox", name="Compare first").check()
    assert page.locator("#run").is_visible()  # one alone is no comparison
    page.get_by_role("checkbox", name="Compare second").check()
    assert not page.locator("#run").is_visible()
    order = [figure.inner_text() for figure in page.locator("#side-by-side b").all()]
    assert sorted(order) == ["first", "second"]

    slider = page.get_by_role("slider", name="Images seen")
    slider.fill("2")  # of 0, 100, 150, 200, ...
    assert page.locator("#compare-at").inner_text() == "150"
    assert compared(page)["second"] == "Samples of second after 150 images"
    assert compared(page)["first"] in ("Samples of first after 100 images", "Samples of first after 200 images")
    image = page.get_by_role("img", name="Samples of second after 150 images")
    image.evaluate("image => image.decode()")

    report = page.frame_locator("#comparison-report")
    report.get_by_role("heading", name="second is better").wait_for()
    legend = report.locator(".chart").first.locator(".readout li:has(svg)").all_inner_texts()
    assert [entry.split()[0] for entry in legend] == order
    for name in order:
        assert report.get_by_role("columnheader", name=name).first.is_visible()
    assert report.get_by_text("optimizer.discriminator.lr").is_visible()

    # One of them goes on: its newest grid shows once the slider stands at the end, without a reload.
    slider.fill(slider.get_attribute("max") or "")
    write_run(runs / "more", "dcgan", [(900, 0.1)], samples=[900])
    (runs / "more" / "samples" / "000000900.png").rename(runs / "first" / "samples" / "000000900.png")
    page.get_by_role("img", name="Samples of first after 900 images").wait_for()
    assert compared(page)["second"] == "Samples of second after 600 images"

    page.get_by_role("button", name="third").click()
    assert page.locator("#run").is_visible()
    assert not page.get_by_role("checkbox", name="Compare first").is_checked()


@pytest.mark.parametrize("width", [1280, 360])
def test_three_runs_fit_the_window_and_axe_finds_nothing(page: "Page", width: int) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page.set_viewport_size({"width": width, "height": 800})
    for name in ("first", "second", "third"):
        page.get_by_role("checkbox", name=f"Compare {name}").check()
    report = page.frame_locator("#comparison-report")
    report.locator(".chart").first.wait_for()
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    assert report.locator("html").evaluate("page => page.scrollWidth <= page.clientWidth")
    found = Axe().run(page).response["violations"]
    assert found == [], json.dumps(found)[:3000]
