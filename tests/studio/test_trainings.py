"""Trainings from the studio: started, watched, stopped with their state saved, resumed; on the page and over HTTP."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from studios import serving, studio_client

from limner.core.errors import UserError
from limner.runs.run import Run, read_log
from limner.studio import trainings
from limner.studio.requests import TrainingRequest
from limner.studio.trainings import Runs

if TYPE_CHECKING:
    from fastapi.testclient import TestClient
    from playwright.sync_api import Browser


def wait_until(true: Callable[[], object], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.fixture(scope="module")
def watched(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple["TestClient", Path]]:
    """A client of a studio with a folder for runs."""
    runs = tmp_path_factory.mktemp("runs")
    with studio_client(str(model_folder), runs=runs, data=[str(runs / "no data")]) as client:
        yield client, runs


def test_a_training_is_started_stopped_and_resumed_on_the_page(
    browser: "Browser", model_folder: Path, tmp_path: Path
) -> None:
    with serving(str(model_folder), runs=tmp_path / "runs") as address:
        page = browser.new_page()
        page.set_default_timeout(60_000)
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.goto(address)
        page.get_by_role("tab", name="Runs").click()
        page.get_by_label("Recipe").select_option("painter")
        page.get_by_label("Data").select_option("")
        page.get_by_label("Name").fill("first")
        page.get_by_label("Minutes").fill("30")
        page.get_by_role("button", name="Start").click()
        page.get_by_text("painter · training").first.wait_for()
        page.get_by_role("img", name="Samples of first").wait_for()
        page.get_by_role("button", name="Stop").click()
        page.get_by_text("painter · interrupted").first.wait_for()
        stopped = Run.open(tmp_path / "runs" / "first").log[-1]
        assert (stopped["event"], stopped["reason"]) == ("stop", "interrupted")
        page.get_by_role("button", name="Show the report").click()
        report = page.frame_locator("#run-report")
        report.get_by_role("heading", name="painter").first.wait_for()
        page.get_by_role("button", name="Resume").click()
        page.get_by_role("button", name="Stop").wait_for()
        wait_until(lambda: any(row.get("event") == "resume" for row in read_log(tmp_path / "runs" / "first")))
        page.close()
        assert said == []
    # Closing the studio stops its training, and the state is saved.
    last = read_log(tmp_path / "runs" / "first")[-1]
    assert (last["event"], last["reason"]) == ("stop", "interrupted")
    assert last["images_seen"] > stopped["images_seen"]


def test_a_training_that_cannot_start_says_why(watched: tuple["TestClient", Path]) -> None:
    client, runs = watched
    asked = {"recipe": "dcgan", "data": str(runs / "no data"), "name": "second"}
    assert client.post("/api/runs", json=asked).status_code == 202
    busy = client.post("/api/runs", json={**asked, "name": "third"})
    assert busy.status_code == 202 or "second is training" in busy.json()["error"]
    wait_until(lambda: not client.get("/api/runs").json()["training"]["runs"])
    assert "no data" in client.get("/api/runs").json()["training"]["mistake"]
    assert client.post("/api/runs/stop").status_code == 400


def test_of_many_that_start_at_once_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow:
        runs = True

        def __init__(self, name: str, *_: object) -> None:
            time.sleep(0.05)
            self.name = name
            started.append(name)

    started: list[str] = []
    monkeypatch.setattr(trainings, "Training", Slow)
    runs = Runs(tmp_path / "runs", (), tmp_path)

    def start(name: str) -> str | None:
        try:
            runs.start(TrainingRequest(recipe="painter", name=name))
        except UserError as error:
            return str(error)
        return None

    with ThreadPoolExecutor(8) as pool:
        said = list(pool.map(start, "abcdefgh"))
    assert len(started) == said.count(None) == 1
    assert said.count(f"{started[0]} is training: stop it, or wait for its end.") == 7


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"recipe": "nothing"}, "There is no recipe 'nothing'"),
        ({"recipe": "../x.toml"}, "There is no recipe"),
        ({"data": "/etc"}, "'/etc' is not among the studio's data"),
        ({"name": "there"}, "There is a run 'there' already"),
    ],
)
def test_mistakes_start_nothing(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    (tmp_path / "there").mkdir()
    runs = Runs(tmp_path, (), tmp_path)
    with pytest.raises(UserError, match=words.replace("'/etc'", ".*")):
        runs.start(TrainingRequest(**{"recipe": "painter", "name": "new"} | change))
    assert runs.training is None
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


@pytest.mark.parametrize(
    "path", ["x/report", "..%2f..%2fetc/report", "x/samples/real.png", "x/samples/..%2frun.json", ".hidden/resume"]
)
def test_only_runs_and_their_grids_are_shown(watched: tuple["TestClient", Path], path: str) -> None:
    """The sheet of real images, too, stays where it is."""
    client, runs = watched
    for name in ("x", ".hidden"):
        (runs / name / "samples").mkdir(parents=True, exist_ok=True)
        (runs / name / "samples" / "real.png").write_bytes(b"private")
    reply = client.post(f"/api/runs/{path}") if path.endswith("resume") else client.get(f"/api/runs/{path}")
    assert 400 <= reply.status_code < 500
    assert b"private" not in reply.content
