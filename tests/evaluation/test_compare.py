"""limner compare: the verdict, what may stand side by side, and what a real browser makes of the page."""

import json
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from stand_ins import make_result, write_run

from limner.core.errors import UserError
from limner.evaluation.evaluate import evaluate_model
from limner.evaluation.results import append_metrics, read_metrics, table_rows
from limner.evaluation.setup import EvaluationOptions, set_up
from limner.reports import compare as comparing
from limner.reports.compare import compare, short_names
from limner.reports.run_report import write_report
from limner.reports.verdict import verdict

HOSTILE = "<img src=x onerror='window.hacked = 1'>"


def result(value, spread=None, metric="fd_lite0", floor=None, model="a", **other):
    values = (value,) if spread is None else (value - spread, value, value + spread)
    better = "lower" if metric.startswith(("f", "k")) else "higher"
    return make_result(metric, values, floor, better=better, model=model, n_real=9, n_fake=9, **other)


# ---- the verdict ----


def test_a_difference_within_the_spread_is_none():
    words = verdict(["A", "B"], [[result(10.0, 0.5)], [result(11.0, 0.5)]])  # twice the spread of it: 1.41
    assert words["headline"] == "Between A and B, no difference that these numbers can show"
    assert "10.00 ± 0.50" in words["sentences"][0]
    assert "random variation easily causes (1.41)" in words["sentences"][0]


def test_a_difference_beyond_the_spread_is_named_with_its_size():
    words = verdict(["A", "B"], [[result(20.0, 0.3, floor=4.0)], [result(10.0, 0.4, floor=4.0)]])
    assert words["headline"] == "B is better"
    assert "10.00 lower (50%), 20 times the spread" in words["sentences"][0]
    assert "score 4.00" in words["sentences"][1]
    assert "B 6.00, A 16.00" in words["sentences"][1]


def test_one_seed_cannot_tell():
    words = verdict(["A", "B"], [[result(20.0)], [result(10.0)]])
    assert words["headline"] == "B comes out ahead; one seed cannot rule out random variation"
    assert "three seeds" in words["sentences"][0]
    assert "±" not in " ".join(words["sentences"])


def test_another_metric_may_say_the_opposite():
    columns = [
        [result(20.0, 0.3), result(0.6, 0.01, "recall_lite0"), result(0.5, 0.01, "precision_lite0")],
        [result(10.0, 0.4), result(0.4, 0.01, "recall_lite0"), result(0.5, 0.01, "precision_lite0")],
    ]
    text = " ".join(verdict(["A", "B"], columns)["sentences"])
    assert "By recall_lite0, however, A is ahead (A 0.600, B 0.400)" in text
    assert "precision_lite0" not in text


def test_of_three_the_best_is_told_from_each_other():
    words = verdict(["A", "B", "C"], [[result(20.0, 0.3)], [result(10.0, 0.4)], [result(10.1, 0.4)]])
    assert "Between B and C" in words["headline"]
    assert "of C 10.10" in words["sentences"][0]
    assert "of A 20.00" in words["sentences"][1]


def test_a_metric_that_one_model_lacks_is_no_stumbling_block():
    recall, other = result(0.6, 0.01, "recall_lite0"), result(9.0, 0.1, "fd_other")
    words = verdict(["A", "B"], [[other, result(20.0, 0.3), recall], [result(10.0, 0.4)]])
    assert words["headline"] == "B is better"
    for columns in ([[recall], [recall]], [[result(20.0, 0.3), recall], [recall]], [[recall], [result(20.0, 0.3)]]):
        words = verdict(["A", "B"], columns)
        assert "no distance was measured of every model" in words["headline"]
    rows = {row["metric"]: row for row in table_rows([[recall], [result(20.0, 0.3, floor=4.0)]])}
    assert [cell and cell["value"] for cell in rows["recall_lite0"]["cells"]] == ["0.600", None]
    assert [cell and cell["value"] for cell in rows["fd_lite0"]["cells"]] == [None, "20.00"]
    assert rows["fd_lite0"]["floor"] == "4.00"
    assert table_rows([[result(0.5, metric="newer_lite0")]])[0]["note"] == ""  # that a newer version wrote


def test_names_are_as_short_as_tells_them_apart(tmp_path):
    assert short_names([tmp_path / "a", tmp_path / "b"]) == ["a", "b"]
    assert short_names([tmp_path / "x" / "a", tmp_path / "y" / "a"]) == ["x/a", "y/a"]


# ---- whole pages, of two models that draw what they are told to ----


@pytest.fixture
def runs(tmp_path, faces, painted, fair, blobs_of, monkeypatch):
    """Two runs; the images of `dull` are too dark."""
    models = {
        "fair": painted(fair.paint, recipe="dcgan", weights_sha256="a" * 64),
        "dull": painted(
            lambda seed, first, _: blobs_of(2000 + 100 * seed + first // 64, 64, 60)[first % 64 :],
            recipe="dcgan-ttur",
            weights_sha256="b" * 64,
        ),
    }
    monkeypatch.setattr(comparing, "Model", SimpleNamespace(load=lambda path, device: models[path.name]))
    write_run(tmp_path / "fair", "dcgan", [(100, 1.0), (200, 0.5), (300, 0.25)])
    write_run(tmp_path / "dull", "dcgan-ttur", [(150, 2.0), (300, 1.5)])
    return SimpleNamespace(paths=[tmp_path / "dull", tmp_path / "fair"], models=models, out=tmp_path / "page.html")


def contents(page):
    match = re.search(r'<script type="application/json" id="data">(.*?)</script>', page.read_text(), re.DOTALL)
    return json.loads(match[1])


def test_the_page_holds_what_was_measured(runs, faces, extractor):
    page = compare(runs.paths, faces, runs.out, samples=100, seeds=3, extractor=extractor, quiet=True)
    data = contents(page)
    assert data["names"] == ["dull", "fair"]
    assert data["verdict"]["headline"] == "fair is better"
    rows = {row["metric"]: row for row in data["rows"]}
    kept = {r.metric: r for r in read_metrics(runs.paths[1])}
    fd, cell = kept["fd_pixels48"], rows["fd_pixels48"]["cells"][1]
    assert float(cell["value"]) == pytest.approx(fd.value, abs=fd.spread)
    assert cell["best"]
    assert not rows["fd_pixels48"]["cells"][0]["best"]
    assert float(rows["fd_pixels48"]["floor"]) == pytest.approx(fd.floor.value, abs=fd.spread)
    assert data["settings"] == [{"key": "optimizer.discriminator.lr", "values": [5e-5, 2e-4]}]
    charts = {chart["group"]: chart for chart in data["charts"]}
    assert [s["name"] for s in charts["loss generator"]["series"]] == ["dull", "fair"]
    assert charts["loss generator"]["images_seen"] == [100, 150, 200, 300]
    assert data["attributes"] is None


def test_what_a_run_keeps_is_not_measured_again(runs, faces, extractor):
    setup = set_up(faces, EvaluationOptions(samples=60, extractor=extractor, quiet=True))
    append_metrics(runs.paths[1], evaluate_model(runs.models["fair"], setup, "fair"))
    assert len(setup.reference.real_ND)  # kept from here on

    def looked_at(**settings):
        extractor.seen.clear()
        compare(runs.paths, faces, runs.out, extractor=extractor, nearest=False, force=True, quiet=True, **settings)
        return sum(map(len, extractor.seen))

    assert looked_at(samples=60, seeds=1) == 60  # `dull` alone
    assert looked_at(samples=60, seeds=1) == 0
    assert looked_at(samples=60) == 3 * 2 * 60  # a verdict needs a spread
    assert looked_at(samples=60) == 0
    runs.models["fair"].config.weights_sha256 = "c" * 64  # trained on
    assert looked_at(samples=60) == 3 * 60
    assert looked_at(samples=50, seeds=1) == 2 * 50


def test_numbers_of_other_conditions_share_no_chart(runs, faces, extractor, painted):
    for protocol, count in (("quick", 60), ("quick", 80), ("training", 60)):
        setup = set_up(faces, EvaluationOptions(protocol, count, extractor, quiet=True))
        for images in (100, 200):
            early = painted(runs.models["fair"].paint, images_seen=images, weights_sha256="")
            append_metrics(runs.paths[1], evaluate_model(early, setup, "fair"))
    compare(runs.paths, faces, runs.out, samples=60, seeds=1, extractor=extractor, quiet=True)
    charts = [chart for chart in contents(runs.out)["charts"] if chart["group"] == "fd_pixels48"]
    assert len(charts) == 3
    assert all(len(series["at"]) <= 3 for chart in charts for series in chart["series"])
    report = contents(write_report(runs.paths[1]))
    assert len([chart for chart in report["charts"] if chart["group"] == "fd_pixels48"]) == 3
    assert len(report["measured"]) == 3
    assert report["measured"][0]["rows"][0]["metric"] == "fd_pixels48"


def test_nearest_training_images_are_the_right_ones_and_can_be_left_out(runs, faces, extractor, monkeypatch):
    sheets = []

    def sheet(fakes_NHWC, train_MHWC, pairs):
        sheets.append((fakes_NHWC, train_MHWC, pairs))
        return Image.new("RGB", (8, 8))

    monkeypatch.setattr("limner.reports.sheets.nearest_sheet", sheet)
    compare(runs.paths, faces, runs.out, samples=100, seeds=1, extractor=extractor, quiet=True)
    assert len(sheets) == 4  # two models, by features and by pixels
    assert contents(runs.out)["real_people"]
    drawn = np.concatenate([*runs.models["dull"].batches(100)])
    found = {r.metric: r for r in read_metrics(runs.paths[0])}["memorisation_pixels48"].details["closest"]
    fakes_NHWC, train_MHWC, pairs = sheets[0]
    for position, pair in enumerate(pairs):
        np.testing.assert_array_equal(fakes_NHWC[pair.fake], drawn[found[position]["face"]])
        np.testing.assert_array_equal(train_MHWC[pair.train], faces.images_NHWC[found[position]["row"]])

    compare(
        runs.paths, faces, runs.out, samples=100, seeds=1, extractor=extractor, nearest=False, force=True, quiet=True
    )
    assert contents(runs.out)["nearest"] == []
    assert len(sheets) == 4


@pytest.mark.parametrize("kind", ["synthetic", "generated"])
def test_drawn_and_generated_faces_are_no_real_people(kind, runs, faces, extractor, capsys):
    source = faces.info.source.model_copy(update={"kind": kind})
    drawn = replace(faces, info=faces.info.model_copy(update={"source": source}))
    compare(runs.paths, drawn, runs.out, samples=60, seeds=1, extractor=extractor)
    assert not contents(runs.out)["real_people"]
    assert "real people" not in capsys.readouterr().err
    compare(runs.paths, faces, runs.out, samples=60, seeds=1, extractor=extractor, force=True)
    assert "holds images of real people" in capsys.readouterr().err


def test_models_of_other_crops_or_sizes_are_refused(runs, faces, extractor):
    def refused():
        with pytest.raises(UserError) as raised:
            compare(runs.paths, faces, runs.out, extractor=extractor, quiet=True)
        assert "\n" not in str(raised.value)
        assert not runs.out.exists()
        return str(raised.value)

    runs.models["fair"].config.data = {"crop": "centre178"}
    assert "crop centre178" in refused()
    runs.models["fair"].config.data = {}
    runs.models["fair"].config.size = 64
    assert "64 pixels" in refused()


def test_kept_results_of_other_conditions_are_never_taken(runs, faces, extractor, monkeypatch):
    setup = set_up(faces, EvaluationOptions(samples=60, extractor=extractor, quiet=True))
    results = evaluate_model(runs.models["fair"], setup, "fair")
    monkeypatch.setattr(comparing, "evaluate_model", lambda model, setup, name: results)
    changes = [
        {"crop": "centre178"},
        {"resolution": 64},
        {"n_real": 99},
        {"n_fake": 61},
        {"split": "train"},
        {"data_hash": "other"},
        {"extractor": "inception"},
        {"extractor_sha256": "other"},
        {"resize": "other"},
        {"truncation": 0.5},
        {"protocol": "mine"},
    ]
    for change in changes:
        (runs.paths[1] / "metrics.jsonl").unlink(missing_ok=True)
        append_metrics(runs.paths[1], [r.model_copy(update={**change, "value": -1.0}) for r in results])
        assert comparing.results_of(runs.paths[1], runs.models["fair"], setup)[0].value > 0, change
    append_metrics(runs.paths[1], [r.model_copy(update={"value": -1.0}) for r in results])
    assert comparing.results_of(runs.paths[1], runs.models["fair"], setup)[0].value == -1


def test_what_cannot_be_compared_is_refused_in_one_line(runs, faces, extractor, tmp_path):
    (tmp_path / "there.html").write_text("")
    cases = {
        "at least two": lambda: compare(runs.paths[:1], faces, runs.out),
        "each once": lambda: compare([runs.paths[0]] * 2, faces, runs.out),
        ".html": lambda: compare(runs.paths, faces, tmp_path / "page.pdf"),
        "exists": lambda: compare(runs.paths, faces, tmp_path / "there.html"),
        "There is no folder": lambda: compare(runs.paths, faces, tmp_path / "none" / "page.html"),
    }
    for words, call in cases.items():
        with pytest.raises(UserError, match=re.escape(words)) as raised:
            call()
        assert "\n" not in str(raised.value)


# ---- in the browser ----


def test_the_page_in_a_browser(runs, faces, extractor, browser):
    named = faces.info.source.model_copy(update={"name": f"faces {HOSTILE}", "licence": HOSTILE})
    hostile = replace(faces, info=faces.info.model_copy(update={"source": named}))
    compare(runs.paths, hostile, runs.out, samples=100, seeds=3, extractor=extractor, quiet=True)
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    complaints, requests = [], []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(runs.out.as_uri())
    page.get_by_text("This page is one file").wait_for()
    assert page.locator("h1").inner_text() == "dull against fair"
    assert page.locator("#headline").inner_text() == "fair is better"
    assert page.locator(".results .best b").first.is_visible()
    assert page.locator("#charts .chart").count() >= 2
    assert page.locator("#faces img").count() == 2
    assert page.locator("#nearest img").count() == 4
    assert "do not pass it on" in page.locator(".private").inner_text()
    assert HOSTILE in page.locator(".private").inner_text()
    assert page.evaluate("window.hacked") is None
    assert not page.locator("#attributes").is_visible()

    page.locator("#faces .image").first.click()
    zoomed = page.locator("#zoom img")
    zoomed.wait_for()
    page.wait_for_function("document.querySelector('#zoom img').clientWidth > 300")
    factor = zoomed.evaluate("image => image.clientWidth / image.naturalWidth")
    assert factor == int(factor)
    page.keyboard.press("Escape")
    for width in (1200, 320):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    reached = page.evaluate("fetch('https://localhost:9/').then(() => 'sent', (error) => String(error))")
    assert reached.startswith("TypeError")
    assert all("Content Security Policy" in text for text in complaints)

    complaints.clear()
    page.goto(write_report(runs.paths[1]).as_uri())
    page.get_by_text("This page is one file").wait_for()
    assert page.locator("#measured .results").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    assert complaints == []
    assert [url for url in requests if not url.startswith(("file:", "data:", "https://localhost:9"))] == []
    page.close()
