"""What an exported page is worth in a real browser: its size, how far its faces are from Limner's, how fast it is.

The page of the shipped `faces`, as a folder behind a plain web server and as a single file, in headless Chromium. Seed,
index and attributes are those of `limner sample`; the difference is the mean over all pixels of 64 faces, from 0 to 1.
A single face is timed from the request to its pixels, 50 times after the first. `painter` trains from start to end.
"""

import argparse
import json
import os
import shutil
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import torch
from playwright.sync_api import Browser, sync_playwright

from limner.core.device import machine_facts
from limner.core.version import __version__
from limner.exporting.export import export
from limner.model.model import Model
from limner.training.session import train

FACES, TIMED = 64, 50
REQUESTS: tuple[dict[str, list[str]], ...] = (
    {"with_": [], "without": []},
    {"with_": ["Smiling"], "without": ["Male"]},
    {"with_": ["Bald", "Wearing_Hat"], "without": ["Male"]},
)
# The page's own `generator` is asked, as its controls ask it.
SAMPLE = """async ([seed, first, count, requested]) => {
  const faces = [], began = performance.now();
  const keep = (face) => faces.push(Array.from(face.pixels));
  await generator.sample({ seed, first, count, requested, truncation: 1 }, keep);
  return [faces, performance.now() - began];
}"""


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a plain web server of a folder."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def measure_page(browser: Browser, address: str, model: Model) -> dict[str, Any]:
    """Differences and times of the page at an address."""
    page = browser.new_page()
    complaints, hosts = [], set()
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: hosts.add(request.url.partition("://")[2].partition("/")[0]))
    page.goto(address)
    page.locator("#status", has_text=" in ").wait_for(timeout=120_000)
    names = model.config.attribute_names
    differences = {}
    for request in REQUESTS:
        requested = [[names.index(name), 1] for name in request["with_"]]
        requested += [[names.index(name), 0] for name in request["without"]]
        faces, _ = page.evaluate(SAMPLE, [0, 0, FACES, requested])
        size = model.config.size
        found_NHWC = np.array(faces, np.float32).reshape(FACES, size, size, 4)[..., :3]
        expected_NHWC = model.sample(FACES, 0, precision="fp32", **request)
        words = [*request["with_"], *(f"no {name}" for name in request["without"])]
        differences[", ".join(words) or "as they occur"] = float(np.abs(found_NHWC - expected_NHWC).mean() / 255)
    times = [page.evaluate(SAMPLE, [1, index, 1, []])[1] for index in range(TIMED + 1)][1:]
    _, bulk = page.evaluate(SAMPLE, [1, 0, FACES, []])
    page.close()
    return {
        "mean_difference": differences,
        "single_face_ms": {"median": statistics.median(times), "all": times},
        "faces_per_second": FACES / bulk * 1000,
        "console": complaints,
        "hosts": sorted(hosts - {""}),
    }


def measure_painter(browser: Browser, address: str) -> dict[str, Any]:
    """How long the painter's page trains, and what it says at its end."""
    page = browser.new_page()
    page.goto(address)
    page.get_by_role("button", name="Train").click()
    page.locator("#status", has_text="Done").wait_for(timeout=300_000)
    ids = ("seen", "value", "right", "diversity")
    said = {name: page.locator(f"#{name}").inner_text() for name in ids}
    seconds = page.evaluate("seconds")
    page.close()
    return {"seconds": seconds, **said}


def measure() -> dict[str, Any]:
    load_before = os.getloadavg()
    model = Model.load("faces")
    chromium = next(path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name)))
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        folder, single = Path(scratch) / "folder", Path(scratch) / "single.html"
        export("faces", folder, to="html", quiet=True)
        export("faces", single, to="html", single_file=True, quiet=True)
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--headless"])
        with served(folder) as address:
            pages = {"folder, from a server": measure_page(browser, f"{address}/index.html", model)}
        pages["single file, from file://"] = measure_page(browser, single.as_uri(), model)
        train("painter", None, Path(scratch) / "painter", images=64, quiet=True)
        export(Path(scratch) / "painter", Path(scratch) / "painter.html", to="html", single_file=True, quiet=True)
        painter = measure_painter(browser, (Path(scratch) / "painter.html").as_uri())
        megabytes = {path.name: round(path.stat().st_size / 1e6, 2) for path in [*sorted(folder.iterdir()), single]}
        version = browser.version
        browser.close()
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "limner_version": __version__,
        "browser": f"Chromium {version}",
        "machine": machine_facts(torch.device("cpu")),
        "load_average": {"before": load_before, "after": os.getloadavg()},
        "model": "faces",
        "megabytes": megabytes,
        "pages": pages,
        "painter": painter,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "browser.json")
    arguments = parser.parse_args()
    result = measure()
    print(f"{result['megabytes']} MB")
    for name, page in result["pages"].items():
        print(f"{name}: single face {page['single_face_ms']['median']:.0f} ms, {page['faces_per_second']:.0f} faces/s")
        print(f"  mean differences {page['mean_difference']}; 1/255 is {1 / 255:.5f}")
        print(f"  console {page['console']}, hosts {page['hosts']}")
    print(f"painter: {result['painter']}")
    arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
