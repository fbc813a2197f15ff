"""How fast is the studio, and does it stay right and small under many users, some of whom send nonsense?

Starts `limner studio faces` in a process of its own. Measures the time to its first page and first faces, a click to 16
faces in a headless Chromium (median and 99th percentile), then runs crowds of users, each with a connection of its own,
who ask for faces of random seeds, of which every answer is compared with what the model gives; some of them send
broken requests or leave in the middle. Prints the server's memory and what is in its folder of files meanwhile.
"""

import argparse
import base64
import io
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import limner
from limner.core.device import machine_facts

PORT = 7871
ADDRESS = f"http://127.0.0.1:{PORT}/"
SEEDS, COUNT = 64, 4  # twice as many seeds as the studio keeps results of
BROKEN = (
    "api/faces?model=faces&count=0",
    "api/faces?model=../../etc/passwd",
    "api/faces?model=faces&seed=-1",
    "api/faces?model=faces&with=sad",
    "page/..%2fapp.py",
)


def main() -> None:
    """Run the parts that are asked for, print them, and bring the JSON up to date with them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clicks", type=int, default=50, help="0: no times of the page are taken")
    parser.add_argument("--crowds", default="20:60:0,50:300:0.1", help="USERS:SECONDS:SHARE OF BROKEN REQUESTS, ...")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "studio.json")
    options = parser.parse_args()
    results: dict[str, Any] = json.loads(options.out.read_text()) if options.out.exists() else {}
    about = {"date": datetime.now(UTC).date().isoformat(), "load_average": round(os.getloadavg()[0], 1)}
    results["machine"] = machine_facts(torch.device("cpu"))
    expected = [limner.load("faces").sample(COUNT, seed) for seed in range(SEEDS)]
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        server = subprocess.Popen(
            [sys.executable, "-m", "limner", "studio", "faces", "--port", str(PORT)],
            env={**os.environ, "TMPDIR": folder},
            stdout=subprocess.DEVNULL,
        )
        try:
            first = {path: wait_for(path, began) for path in ("", "api/models", "api/faces?model=faces")}
            if options.clicks:
                results["page"] = about | {
                    "first_page_seconds": first[""],
                    "models_listed_seconds": first["api/models"],
                    "first_faces_seconds": first["api/faces?model=faces"],
                    "click_to_16_faces_ms": clicks(options.clicks),
                    "memory_mib": memory(server.pid),
                }
                print(json.dumps(results["page"], indent=1))
            crowds = [crowd.split(":") for crowd in options.crowds.split(",") if crowd]
            if crowds:
                results["crowds"] = []
            for users, seconds, broken in crowds:
                watch = Watch(server.pid, Path(folder))
                crowd = run_crowd(int(users), float(seconds), float(broken), expected)
                results["crowds"].append(about | crowd | watch.stop())
                print(json.dumps(results["crowds"][-1]))
        finally:
            server.terminate()
            server.wait()
        results["files_left"] = sum(1 for _ in Path(folder).iterdir())
    options.out.write_text(json.dumps(results, indent=1) + "\n")


def wait_for(path: str, began: float) -> float:
    """Seconds from `began` until this path is answered."""
    while True:
        try:
            urllib.request.urlopen(ADDRESS + path).read()
            return round(time.perf_counter() - began, 2)
        except urllib.error.URLError:
            time.sleep(0.01)


class Watch:
    """Takes the server's memory and the bytes of its files every two seconds, in a thread of its own."""

    def __init__(self, pid: int, folder: Path) -> None:
        self._pid, self._folder = pid, folder
        self._memory: list[float] = []
        self._bytes: list[int] = []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def _look(self) -> None:
        while not self._end.wait(2):
            self._memory.append(memory(self._pid))
            self._bytes.append(size(self._folder))

    def stop(self) -> dict[str, Any]:
        """What it saw: the median memory in each tenth of the time, and the most bytes of files."""
        self._end.set()
        self._thread.join()
        tenths = np.array_split(self._memory, 10)
        return {
            "memory_mib": [round(float(np.median(tenth)), 1) for tenth in tenths],
            "most_bytes_of_files": max(self._bytes),
        }


def clicks(count: int) -> dict[str, float]:
    """Milliseconds from a click on Generate, with a new seed, until 16 faces are decoded in the page."""
    from playwright.sync_api import sync_playwright

    script = """seed => new Promise((done) => {
        const form = document.getElementById('faces-form'), grid = document.getElementById('grid');
        form.seed.value = seed;
        const began = performance.now();
        new MutationObserver(async (_, observer) => {
            observer.disconnect();
            const images = [...grid.querySelectorAll('img')];
            await Promise.all(images.map((image) => image.decode()));
            done(images.length === 16 ? performance.now() - began : NaN);
        }).observe(grid, {childList: true});
        form.querySelector('[type=submit]').click();
    })"""
    with sync_playwright() as playwright:
        chromium = shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.goto(ADDRESS)
        page.locator("#grid img").first.wait_for(timeout=120_000)
        page.wait_for_timeout(500)
        times = [page.evaluate(script, 1000 + click) for click in range(count)]
        browser.close()
    return {
        "clicks": count,
        "median": round(float(np.median(times)), 1),
        "percentile_99": round(float(np.quantile(times, 0.99)), 1),
        "least": round(min(times), 1),
        "most": round(max(times), 1),
    }


def run_crowd(users: int, seconds: float, broken: float, expected: list[Any]) -> dict[str, Any]:
    """So many users at once for so long; what they were answered, and how fast."""
    answers: Counter[str] = Counter()
    times: list[float] = []
    end = time.monotonic() + seconds

    def user(number: int) -> None:
        own = random.Random(number)
        while time.monotonic() < end:
            if own.random() < broken:
                answers[send_nonsense(own)] += 1
                continue
            seed, began = own.randrange(SEEDS), time.perf_counter()
            answers[ask_faces(seed, expected[seed])] += 1
            times.append(time.perf_counter() - began)

    threads = [threading.Thread(target=user, args=(number,)) for number in range(users)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {
        "users": users,
        "seconds": seconds,
        "share_broken": broken,
        "answers": dict(answers),
        "median_seconds": round(float(np.median(times)), 2),
        "percentile_99_seconds": round(float(np.quantile(times, 0.99)), 2),
    }


def ask_faces(seed: int, expected_NHWC: Any) -> str:
    """Whether the faces of a seed are the right ones."""
    url = f"{ADDRESS}api/faces?model=faces&count={COUNT}&seed={seed}"
    try:
        with urllib.request.urlopen(url, timeout=120) as reply:
            faces = json.load(reply)["faces"]
    except urllib.error.HTTPError as error:
        return f"status {error.code}"
    images = [np.asarray(Image.open(io.BytesIO(base64.b64decode(face["png"].partition(",")[2])))) for face in faces]
    return "right" if np.array_equal(images, expected_NHWC) else "WRONG"


def send_nonsense(own: random.Random) -> str:
    """A broken request, or one whose sender leaves; it must be refused."""
    if own.random() < 0.3:
        with socket.create_connection(("127.0.0.1", PORT)) as gone:
            gone.sendall(b"POST /api/morph HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999\r\n\r\n{")
        return "left"
    try:
        urllib.request.urlopen(ADDRESS + own.choice(BROKEN), timeout=120).read()
        return "BROKEN REQUEST ANSWERED"
    except urllib.error.HTTPError as error:
        return "refused" if 400 <= error.code < 500 or error.code == 503 else f"status {error.code}"


def memory(pid: int) -> float:
    """Resident memory in MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return round(int(status.partition("VmRSS:")[2].split()[0]) / 1024, 1)


def size(folder: Path) -> int:
    """Bytes in all files below the folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


if __name__ == "__main__":
    main()
