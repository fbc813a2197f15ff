"""The run report: one self-contained HTML page that shows a training, and the image grids in it.

Python reads the run folder, thins the log out and re-encodes the sample grids; `assets/report.html` holds the style and
the script that renders it all from one block of JSON. The page asks the network for nothing, and its content security
policy forbids everything but its own script and style, so it can be mailed about or kept for years.
"""

import base64
import io
import math
import re
import shlex
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from PIL import Image

from limner.core.errors import UserError
from limner.core.files import write_file
from limner.core.records import parse_json
from limner.evaluation.metrics import metric_of, note
from limner.evaluation.results import (
    Conditions,
    Result,
    describe,
    evaluations,
    read_metrics,
    table_rows,
)
from limner.reports.charts import charts_of, is_finite
from limner.reports.page import Row, build_page
from limner.runs.run import read_log

MAX_GRIDS = 24  # at most this many sample grids in a report
GRID_BYTES = 3_500_000  # and about this many bytes of them (a third more in base64)
LARGEST_SIDE = 2048  # pixels; a larger grid is reduced
SEGMENTS = 400  # stretches of the verdict band


def write_report(run: Path) -> Path:
    """Write `run/report.html` from what the run folder holds so far, and return its path.

    The sheet of real images, `samples/real.png`, stays out: a report may be passed on, the data set perhaps not.
    The page appears in one piece (written beside, then renamed).

    Raises:
        UserError: `run` is no run folder, or its `run.json` cannot be read.
    """
    if not any((run / name).is_file() for name in ("run.json", "recipe.toml", "log.jsonl")):
        raise UserError(
            f"{run} is not a run (no run.json, recipe.toml or log.jsonl in it): give the folder of a training"
        )
    path = run / "report.html"
    write_file(path, build_page("report.html", _contents(run)))
    return path


def _contents(run: Path) -> Row:
    """Everything the page shows. Numbers stay numbers: the page's script puts them into words."""
    recipe = run / "recipe.toml"
    log = read_log(run)
    rows = [row for row in log if row.get("event") == "log" and is_finite(row.get("images_seen"))]
    newest: Row = next((row for row in reversed(rows) if row.get("verdict")), {})
    state: Row = next((row for row in reversed(log) if row.get("event") in ("start", "resume", "log", "stop")), {})
    stop = state if state.get("event") == "stop" else None
    verdict = "diverged" if stop and stop.get("reason") == "diverged" else newest.get("verdict")
    measured = evaluations(read_metrics(run))
    speeds = [row["images_per_second"] for row in rows if is_finite(row.get("images_per_second"))]
    return {
        "name": run.resolve().name,
        "info": _read_info(run / "run.json"),
        "recipe": recipe.read_text(encoding="utf-8", errors="replace") if recipe.is_file() else None,
        "resume": f"limner train --resume {shlex.quote(str(run))}",
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "images_seen": next((row["images_seen"] for row in reversed(log) if is_finite(row.get("images_seen"))), None),
        "seconds": next((row["seconds"] for row in reversed(log) if is_finite(row.get("seconds"))), None),
        "images_per_second": float(np.median(speeds)) if speeds else None,
        "stop": stop,
        "verdict": {"name": verdict, "remedy": newest.get("remedy")} if verdict else None,
        "verdicts": _verdict_band(log),
        "events": _events(log),
        "measured": _newest(measured),
        "charts": [*_metric_charts(measured, rows), *charts_of(rows)],
        "images": _images(run / "samples", rows),
        "painting": _painting(run / "painting.png"),
    }


def _newest(measured: list[list[Result]]) -> list[Row]:
    """The newest evaluation under each set of conditions, newest first, as tables."""
    newest: dict[Conditions, list[Result]] = {}
    for results in reversed(measured):
        newest.setdefault(results[0].conditions(), results)
    return [
        {
            "images_seen": results[0].images_seen,
            "protocol": results[0].protocol,
            "rows": table_rows([results]),
            "remarks": describe(results),
        }
        for results in newest.values()
    ]


def _metric_charts(measured: list[list[Result]], rows: list[Row]) -> list[Row]:
    """Charts of the metrics along the run; numbers of different conditions never share a line nor a chart."""
    seconds_at = _clock(rows)
    charts = []
    for conditions in dict.fromkeys(results[0].conditions() for results in measured):
        same = [results for results in measured if results[0].conditions() == conditions]
        if len({results[0].images_seen for results in same}) < 2:  # one point makes no curve: it is in the table
            continue
        families = dict.fromkeys(_family(result.metric) for results in same for result in results)
        for family in families:
            points = [
                {"images_seen": results[0].images_seen, "seconds": seconds_at(results[0].images_seen)}
                | {f"metric/{result.metric}": result.value for result in results if _family(result.metric) == family}
                for results in sorted(same, key=lambda results: results[0].images_seen)
            ]
            (chart,) = charts_of(points)
            words = note(chart["series"][0]["name"]) if len(chart["series"]) == 1 else ""
            charts.append({**chart, "group": family, "title": f"{family} ({conditions.protocol})", "note": words})
    return charts


def _family(metric: str) -> str:
    """The title of the chart that a metric is plotted in."""
    return metric_of(metric).chart or metric


def _read_info(path: Path) -> Row:
    try:
        info = parse_json(path.read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON ({error}): restore it, or delete it to report without it") from None
    if not isinstance(info, dict):
        raise UserError(f"{path} should hold a JSON object: restore it, or delete it to report without it")
    return info


def _events(log: list[Row]) -> list[Row]:
    """All but the log lines, each with the images and seconds at which it happened, where they can be known."""
    events, images, seconds = [], None, None
    for row in log:
        images = row["images_seen"] if is_finite(row.get("images_seen")) else images
        seconds = row["seconds"] if is_finite(row.get("seconds")) else seconds
        if row.get("event") != "log":
            events.append({**row, "images_seen": images, "seconds": seconds})
        if row.get("event") == "rollback" and is_finite(row.get("to_images")):
            images = row["to_images"]
    return events


def _verdict_band(log: list[Row]) -> list[Row]:
    """Stretches of one verdict: {verdict, images: [from, to], seconds: [from, to]}, in the order of the log.

    A verdict holds from the log line before to its own. After a rollback or a resume the images may go back, so that a
    later stretch lies on an earlier one.
    """
    stretches: list[Row] = []
    images = seconds = 0.0
    for row in log:
        if row.get("event") == "log" and is_finite(row.get("images_seen")):
            begin = {"images_seen": min(images, row["images_seen"]), "seconds": seconds}
            images = row["images_seen"]
            seconds = max(seconds, row["seconds"]) if is_finite(row.get("seconds")) else seconds
            stretch = {
                "verdict": str(row.get("verdict") or "starting"),
                "images_seen": [begin["images_seen"], images],
                "seconds": [begin["seconds"], seconds],
            }
            stretches.append(stretch)
        else:
            back = row.get("to_images", row.get("images_seen"))
            images = back if is_finite(back) else images
    stretches = _joined(stretches)
    if len(stretches) > SEGMENTS:
        step = math.ceil(len(stretches) / SEGMENTS)
        stretches = _joined([_as_one(stretches[i : i + step]) for i in range(0, len(stretches), step)])
    return stretches


def _joined(stretches: list[Row]) -> list[Row]:
    joined: list[Row] = []
    for stretch in stretches:
        last = joined[-1] if joined else None
        if last and last["verdict"] == stretch["verdict"] and last["images_seen"][1] == stretch["images_seen"][0]:
            joined[-1] = _as_one([last, stretch])
        else:
            joined.append(stretch)
    return joined


def _as_one(stretches: list[Row]) -> Row:
    """One stretch for several: of the verdict that holds longest, unless one is `diverged`, which must not get lost."""
    lengths: dict[str, float] = {}
    for stretch in stretches:
        begin, end = stretch["images_seen"]
        lengths[stretch["verdict"]] = lengths.get(stretch["verdict"], 0) + end - begin
    return {
        "verdict": "diverged" if "diverged" in lengths else max(lengths, key=lambda name: lengths[name]),
        "images_seen": [min(s["images_seen"][0] for s in stretches), max(s["images_seen"][1] for s in stretches)],
        "seconds": [stretches[0]["seconds"][0], stretches[-1]["seconds"][1]],
    }


def _images(folder: Path, rows: list[Row]) -> list[Row]:
    """The sample grids as WebP data URIs, each with its images seen and seconds: all, or rather more early ones."""
    # Only grids named by their images seen: real.png must not get in.
    paths = sorted((p for p in folder.glob("*.png") if re.fullmatch(r"[0-9]+", p.stem)), key=lambda p: int(p.stem))
    if not paths:
        return []
    # The last grid has the most detail: what it takes tells how many fit.
    last = _webp(paths[-1])
    count = min(MAX_GRIDS, len(paths), max(2, GRID_BYTES // max(len(last), 1)))
    power = 1.6 if count < len(paths) else 1
    positions = np.rint((len(paths) - 1) * np.linspace(0, 1, count) ** power).astype(int)
    chosen = [paths[i] for i in np.unique(positions) if i < len(paths) - 1]
    with ThreadPoolExecutor() as pool:  # Pillow lets other threads run while it works
        webps = {**dict(zip(chosen, pool.map(_webp, chosen), strict=True)), paths[-1]: last}
    seconds_at = _clock(rows)
    return [
        {
            "images_seen": int(path.stem),
            "seconds": seconds_at(int(path.stem)),
            "src": f"data:image/webp;base64,{base64.b64encode(webp).decode('ascii')}",
        }
        for path, webp in webps.items()
        if webp
    ]


def _painting(path: Path) -> str | None:
    """The animation of a painter's run as a data URI, as it is."""
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode('ascii')}" if path.is_file() else None


def _webp(path: Path) -> bytes:
    """The image as lossy WebP; nothing where it cannot be read (a grid that is still being written)."""
    buffer = io.BytesIO()
    try:
        with Image.open(path) as file:
            image = file.convert("RGB")
    except (OSError, SyntaxError):  # Pillow raises SyntaxError for a broken PNG chunk
        return b""
    image.thumbnail((LARGEST_SIDE, LARGEST_SIDE), Image.Resampling.LANCZOS)
    image.save(buffer, "WEBP", quality=85, method=2)
    return buffer.getvalue()


def _clock(rows: list[Row]) -> Callable[[int], float | None]:
    """Seconds of training at a number of images seen, between log lines by interpolation."""
    images, seconds = [0.0], [0.0]
    for row in rows:
        if is_finite(row.get("seconds")):
            while len(images) > 1 and images[-1] >= row["images_seen"]:  # rolled back: this line replaces later ones
                images.pop()
                seconds.pop()
            images.append(float(row["images_seen"]))  # NumPy makes objects of whole numbers of more than 64 bits
            seconds.append(float(row["seconds"]))
    return lambda shown: float(np.interp(shown, images, seconds)) if len(images) > 1 else None
