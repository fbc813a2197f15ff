"""`limner compare`: models side by side on one page that needs no network, with a verdict in words."""

import base64
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from limner import __version__
from limner.arguments import checked
from limner.data.packed import PackedFaces
from limner.errors import UserError
from limner.evaluation.evaluate import Setup, check_size, crop_of, evaluate_model, is_run, set_up
from limner.evaluation.extractors import Extractor
from limner.evaluation.fakes import asked_for
from limner.evaluation.memorisation import Pair, nearest_sheet
from limner.evaluation.protocol import MANY_SEEDS, load_protocol
from limner.evaluation.results import (
    Result,
    append_metrics,
    decimals,
    describe,
    evaluations,
    fixed,
    kind,
    note,
    read_metrics,
    refuse_mixed,
    table_rows,
)
from limner.files import write_file
from limner.model import Model
from limner.progress import console, progress_bar
from limner.report import Row, build_page, charts_of, face_grid, read_log
from limner.run import Run

GRID = 64  # faces of each model, all of seed 0
CURVES = ("overlap", "diversity", "nearest_training")  # and every loss
METRIC_CURVES = ("fid", "fd", "kid", "precision", "recall", "attribute_control")  # the table has them all
SURE = 2.0
"""A difference counts from so many times its spread. With three seeds each, whose means are compared, chance alone
exceeds that in about 3 of 100 comparisons (Student's t, 4 degrees of freedom)."""


@dataclass(frozen=True)
class Entry:
    """One model of a comparison."""

    name: str
    """Short, and unlike every other."""
    path: Path
    model: Model
    results: list[Result]

    @property
    def run(self) -> Run | None:
        """The run that the model comes from, where that is known."""
        return Run(self.path) if is_run(self.path) else None


@checked
def compare(
    models: Sequence[str | Path],
    data: PackedFaces | str | Path,
    out: str | Path,
    *,
    protocol: str | Path = "quick",
    samples: int | None = None,
    extractor: str | Extractor | None = None,
    weights: str | Path | None = None,
    seeds: int | None = None,
    nearest: bool = True,
    device: str = "cpu",
    force: bool = False,
    quiet: bool = False,
) -> Path:
    """Write the page `out` that shows runs or model folders side by side, measured against `data` by one protocol.

    Results that a run already keeps are taken where they were measured in just this way; all others are measured now,
    as `limner.evaluation.evaluate.evaluate` does, but with three seeds at least: without a spread there is no verdict.
    `nearest` puts the training pictures nearest to generated ones on the page, which then may show real people.

    Raises:
        UserError: there are not two models to compare, a model is of another size or crop than the data set, `out`
            exists (without `force`), or anything that `evaluate` refuses.
    """
    out = Path(out)
    if out.suffix.lower() != ".html":
        raise UserError(f"{out} does not end in .html: the comparison is a web page.")
    if out.exists() and not force:
        raise UserError(f"{out} exists: choose another --out, or replace it with --force.")
    if not out.parent.is_dir():
        raise UserError(f"There is no folder {out.parent} to write {out.name} into.")
    paths = [Path(path) for path in models]
    if len(paths) < 2 or len({path.resolve() for path in paths}) < len(paths):
        raise UserError("Name at least two runs or model folders to compare, each once.")
    loaded = [Model.load(path, device) for path in paths]
    faces = data if isinstance(data, PackedFaces) else PackedFaces.open(data, verify=True)
    _refuse_misfits(paths, loaded, faces)
    setup = set_up(
        faces,
        protocol=protocol,
        samples=samples,
        extractor=extractor,
        weights=weights,
        seeds=max(MANY_SEEDS, load_protocol(protocol).seeds) if seeds is None else seeds,
        device=device,
        quiet=quiet,
    )
    names = short_names(paths)
    entries = [
        Entry(name, path, model, _results(path, model, setup))
        for name, path, model in zip(names, paths, loaded, strict=True)
    ]
    refuse_mixed([result for entry in entries for result in entry.results])
    write_file(out, build_page("compare.html", _contents(entries, setup, nearest)))
    if nearest and _real_people(faces) and not quiet:
        console.print(f"Note: {out} holds pictures of real people: do not pass it on.", markup=False, soft_wrap=True)
    return out


def _real_people(faces: PackedFaces) -> bool:
    return faces.info.source.kind not in ("synthetic", "generated")


def short_names(paths: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that tell them all apart."""
    for length in range(1, max(len(path.resolve().parts) for path in paths) + 1):
        names = ["/".join(path.resolve().parts[-length:]) for path in paths]
        if len(set(names)) == len(names):
            break
    return names


def verdict(names: Sequence[str], columns: Sequence[Sequence[Result]]) -> Row:
    """What the results say in words: a `headline` and `sentences`. One column of results for each name."""
    found = [{result.metric: result for result in column} for column in columns]
    distances = (metric for metric in found[0] if kind(metric) in ("fid", "fd") and all(metric in of for of in found))
    metric = next(distances, None)
    if metric is None:
        return {"headline": "Nothing to rank by: no distance was measured of every model", "sentences": []}
    ranked = sorted(((name, of[metric]) for name, of in zip(names, found, strict=True)), key=lambda pair: pair[1].value)
    (best, first), (next_best, second) = ranked[:2]
    sure = _sure(first, second)
    if sure is None:
        headline = f"{best} comes out ahead; by chance or not, one seed cannot tell"
    elif sure:
        headline = f"{best} is better"
    else:
        headline = f"Between {best} and {next_best}, no difference that these numbers can show"
    digits = decimals([result for _, result in ranked])
    sentences = [_against((best, first), other, digits) for other in ranked[1:]]
    if floor := first.floor:
        above = ", ".join(f"{name} {fixed(result.value - floor.value, digits)}" for name, result in ranked)
        sentences.append(
            f"Real training pictures ({floor.n_other:,} of them) in place of the generated ones score "
            f"{fixed(floor.value, digits)}, and nothing can be expected to do better. Above that floor remain: {above}."
        )
    for other in found[0]:
        if other == metric or not all(other in of for of in found):
            continue
        leader = _leader(names, [of[other] for of in found])
        if leader not in (None, best):
            places = decimals([of[other] for of in found])
            values = ", ".join(
                f"{name} {fixed(of[other].value, places)}" for name, of in zip(names, found, strict=True)
            )
            sentences.append(f"By {other}, however, {leader} is ahead ({values}).")
    if sure is not None:
        sentences.append(
            "The spread is that of drawing other faces from the same model. Training the same recipe once more gives "
            "another model, which may differ by more than that."
        )
    return {"headline": headline, "sentences": sentences}


def _against(better: tuple[str, Result], worse: tuple[str, Result], digits: int | None) -> str:
    """How far the better of two results is ahead, and what that is worth."""
    (best, first), (name, result) = better, worse
    gap = result.value - first.value
    share = f" ({gap / result.value:.0%})" if result.value > 0 else ""
    texts = [
        fixed(each.value, digits) + ("" if each.spread is None else f" ± {fixed(each.spread, digits)}")
        for each in (first, result)
    ]
    values = f"{first.metric} of {best} is {texts[0]}, of {name} {texts[1]}"
    sure, spread = _sure(first, result), _spread(first, result)
    if sure is None or spread is None:
        return f"{values}: {fixed(gap, digits)} lower{share}. Without a spread, of three seeds each, that says little."
    if sure:
        times = f"{gap / spread:.0f} times" if spread > 0 else "far more than"
        return f"{values}: {fixed(gap, digits)} lower{share}, {times} the spread of that difference."
    return (
        f"{values}: the difference of {fixed(gap, digits)} is no more than chance easily brings about "
        f"({fixed(SURE * spread, digits)})."
    )


def _spread(one: Result, other: Result) -> float | None:
    """Standard deviation of the difference of two results; `None` where either has none."""
    if one.spread is None or other.spread is None:
        return None
    return math.hypot(one.spread, other.spread)


def _sure(one: Result, other: Result) -> bool | None:
    """Whether two results differ by more than chance; `None` where their spread is not known."""
    spread = _spread(one, other)
    return None if spread is None else abs(one.value - other.value) > SURE * spread


def _leader(names: Sequence[str], results: Sequence[Result]) -> str | None:
    """The name whose result is better than each other one by more than chance."""
    if results[0].better is None:
        return None
    pick: Callable[..., Result] = max if results[0].better == "higher" else min
    best = pick(results, key=lambda result: result.value)
    if all(_sure(best, other) for other in results if other is not best):
        return names[[*map(id, results)].index(id(best))]
    return None


def _refuse_misfits(paths: Sequence[Path], models: Sequence[Model], faces: PackedFaces) -> None:
    for path, model in zip(paths, models, strict=True):
        check_size(model.config.size, faces, str(path))
        crop = model.config.data.get("crop", crop_of(faces))
        if crop != crop_of(faces):
            raise UserError(
                f"{path} was trained on the crop {crop}, and {faces.path} has {crop_of(faces)}: numbers of different "
                "crops are different benchmarks; compare models of one crop, with data of that crop."
            )


def _results(path: Path, model: Model, setup: Setup) -> list[Result]:
    """The newest results that the run keeps of this very model and these very conditions, else new ones."""
    if is_run(path):
        for results in reversed(evaluations(read_metrics(path))):
            first = results[0]
            same_model = (first.model_sha256, first.seeds) == (model.config.weights_sha256, setup.seeds)
            if same_model and not first.differences(setup.conditions):
                return results
    results = evaluate_model(model, setup, str(path))
    if is_run(path):
        append_metrics(path, results)
    return results


def _contents(entries: Sequence[Entry], setup: Setup, nearest: bool) -> Row:
    """Everything that the page shows."""
    names = [entry.name for entry in entries]
    columns = [entry.results for entry in entries]
    rows = table_rows(columns)
    for row in rows:
        found = [next((r for r in column if r.metric == row["metric"]), None) for column in columns]
        leader = _leader(names, [r for r in found if r]) if all(found) else None
        for name, cell in zip(names, row["cells"], strict=True):
            if cell:
                cell["best"] = name == leader
    faces = setup.faces
    with progress_bar("page", len(entries) * (1 + nearest), "pictures", setup.quiet) as advance:
        grids, sheets = [], []
        for entry in entries:
            grids.append({"name": entry.name, "facts": _facts(entry), "src": _data_uri(_grid(entry, setup))})
            advance(1)
            if nearest:
                sheets.append({"name": entry.name, "sheets": _sheets(entry, setup)})
                advance(1)
    remarks = dict.fromkeys(remark for entry in entries for remark in describe(entry.results))
    return {
        "names": names,
        "verdict": verdict(names, columns),
        "rows": rows,
        "remarks": [*remarks],
        "grids": grids,
        "settings": _settings(entries),
        "charts": [*_metric_charts(entries), *_training_charts(entries)],
        "attributes": _attributes(entries),
        "nearest": sheets,
        "real_people": _real_people(faces),
        "source": faces.info.source.name,
        "licence": faces.info.source.licence,
        "events": [],
        "verdicts": [],
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "limner": __version__,
    }


def _facts(entry: Entry) -> list[str]:
    config = entry.model.config
    log = read_log(entry.path) if entry.run else []
    seconds = next((row["seconds"] for row in reversed(log) if "seconds" in row), None)
    time = "" if seconds is None else f" in {seconds / 60:,.0f} min" if seconds >= 120 else f" in {seconds:.0f} s"
    return [
        config.recipe,
        f"{config.images:,} images shown{time}",
        "running mean of the weights" if config.ema_halflife_images > 0 else "raw weights",
        f"weights {config.weights_sha256[:8]}",
    ]


def _grid(entry: Entry, setup: Setup) -> Image.Image:
    """The first faces of seed 0; conditional models are all asked for the same attributes."""
    labels_NA = asked_for(entry.model, setup.faces, setup.protocol.heldout, GRID, 0)
    return face_grid(np.concatenate([*entry.model.batches(GRID, 0, labels_NA=labels_NA)]))


def _sheets(entry: Entry, setup: Setup) -> list[Row]:
    """Generated faces beside their nearest training pictures, in each kind of features that was looked at."""
    sheets = []
    for result in entry.results:
        if kind(result.metric) != "memorisation":
            continue
        pairs = result.details["closest"]
        labels_NA = asked_for(entry.model, setup.faces, result.split, result.n_fake, result.seeds[0])
        drawn = [_face(entry.model, result, pair["face"], labels_NA) for pair in pairs]
        real_NHWC = setup.faces.images_NHWC[[pair["row"] for pair in pairs]]
        tiles = [Pair(position, position, pair["distance"]) for position, pair in enumerate(pairs)]
        sheet = nearest_sheet(np.stack(drawn), real_NHWC, tiles)
        about = {"by": result.extractor, "among": result.details["training"], "share": result.value}
        sheets.append({**about, "src": _data_uri(sheet)})
    return sheets


def _face(model: Model, result: Result, index: int, labels_NA: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    """Generated picture number `index` of an evaluation, H x W x 3, drawn once more."""
    (face_NHWC,) = model.batches(
        1,
        result.seeds[0],
        first=index,
        truncation=result.truncation,
        labels_NA=None if labels_NA is None else labels_NA[index : index + 1],
    )
    face_HWC: NDArray[np.uint8] = face_NHWC[0]
    return face_HWC


def _data_uri(picture: Image.Image) -> str:
    content = io.BytesIO()
    picture.save(content, "WEBP", lossless=True)
    return f"data:image/webp;base64,{base64.b64encode(content.getvalue()).decode('ascii')}"


def _settings(entries: Sequence[Entry]) -> list[Row]:
    """The settings in which the runs' recipes differ; none unless all are runs."""
    runs = [entry.run for entry in entries]
    recipes = [run.recipe for run in runs if run is not None]
    if len(recipes) < len(entries):
        return []
    keys: dict[str, Any] = {}
    others = [recipes[0].differences(recipe) for recipe in recipes]
    for differences in others:
        keys.update({key: first for key, (first, _) in differences.items()})
    return [
        {"key": key, "values": [differences.get(key, (first, first))[1] for differences in others]}
        for key, first in keys.items()
        if key not in ("name", "follows", "summary")
    ]


def _training_charts(entries: Sequence[Entry]) -> list[Row]:
    """Losses, overlap, diversity and nearness to training pictures, one line a run."""
    logs = [_kept_rows(read_log(entry.path)) if entry.run else [] for entry in entries]
    keys = dict.fromkeys(key for log in logs for row in log for key in row if key.startswith("loss/") or key in CURVES)
    charts = []
    for key in [*(key for key in CURVES if key in keys), *(key for key in keys if key not in CURVES)]:
        lines = [[(row["images"], row[key]) for row in log if key in row] for log in logs]
        title = f"Loss: {key.partition('/')[2].replace('_', ' ')}" if key.startswith("loss/") else ""
        charts += _chart(entries, key.replace("/", " "), lines, title, "")
    return charts


def _metric_charts(entries: Sequence[Entry]) -> list[Row]:
    """Every metric along the trainings; numbers of different conditions never share a chart."""
    points: dict[Any, dict[int, dict[int, float]]] = {}  # (conditions, metric) -> entry -> images -> value
    for position, entry in enumerate(entries):
        for result in read_metrics(entry.path) if entry.run else []:
            if kind(result.metric) not in METRIC_CURVES:
                continue
            lines = points.setdefault((result.conditions(), result.metric), {})
            lines.setdefault(position, {})[result.images] = result.value
    charts = []
    for (conditions, metric), lines in points.items():
        if max(map(len, lines.values())) > 1:
            title = f"{metric} ({conditions.protocol})"
            by_entry = [sorted(lines.get(position, {}).items()) for position in range(len(entries))]
            charts += _chart(entries, metric, by_entry, title, note(metric))
    return charts


def _chart(
    entries: Sequence[Entry], group: str, lines: Sequence[Sequence[tuple[int, float]]], title: str, note: str
) -> list[Row]:
    """One chart with a line for each model that has points (images, value); without `title`, that of its group."""
    by_images: dict[int, Row] = {}
    for position, points in enumerate(lines):
        for images, value in points:
            by_images.setdefault(images, {"images": images})[f"{group}/{position}"] = value
    charts = charts_of([by_images[images] for images in sorted(by_images)])
    for chart in charts:
        chart |= {"apart": True} | ({"title": title, "note": note} if title else {})
        for series in chart["series"]:
            series["colour"] = int(series["name"])
            series["name"] = entries[series["colour"]].name
        chart["series"].sort(key=lambda series: series["colour"])
    return charts


def _kept_rows(log: list[Row]) -> list[Row]:
    """The log lines of a run without those that a rollback took back."""
    kept: list[Row] = []
    for row in log:
        if row.get("event") == "rollback":
            kept = [line for line in kept if line["images"] <= row["to_images"]]
        elif row.get("event") == "log":
            kept.append(row)
    return kept


def _attributes(entries: Sequence[Entry]) -> Row | None:
    """How surely each attribute is found where it was asked for; `None` where no model takes attributes."""
    tables = {
        position: {row["name"]: row for row in result.details["attributes"]}
        for position, entry in enumerate(entries)
        for result in entry.results
        if result.metric == "attribute_control_mean"
    }
    rows = {name: row for table in tables.values() for name, row in table.items() if row["accuracy"] is not None}
    if not rows:
        return None
    ordered = sorted(rows.values(), key=lambda row: -row["frequency"])
    return {
        "rows": [
            {
                "name": row["name"],
                "frequency": row["frequency"],
                "ceiling": row["ceiling"],
                "found": [table.get(row["name"], {}).get("accuracy") for table in tables.values()],
            }
            for row in ordered
        ],
        "models": [{"name": entries[position].name, "colour": position} for position in tables],
    }
