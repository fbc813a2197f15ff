"""`limner compare`: models side by side on one page that needs no network, with a verdict in words."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from limner.core.arguments import checked
from limner.core.console import console, progress_bar
from limner.core.errors import UserError
from limner.core.files import check_output, write_file
from limner.core.version import __version__
from limner.data.packed import PackedFaces
from limner.evaluation.evaluate import check_size, evaluate_model
from limner.evaluation.protocol import MANY_SEEDS, load_protocol
from limner.evaluation.results import (
    Result,
    append_metrics,
    describe,
    evaluations,
    read_metrics,
    refuse_mixed,
)
from limner.evaluation.setup import EvaluationOptions, Setup, crop_of, set_up
from limner.features.extractor import Extractor
from limner.model.model import Model
from limner.reports.overlaid import differing_settings, metric_charts, training_charts
from limner.reports.page import Row, build_page
from limner.reports.sheets import Entry, data_uri, model_grid, nearest_sheets
from limner.reports.verdict import ranked_rows, verdict
from limner.runs.run import is_run, read_log


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
    `nearest` puts the training images nearest to generated ones on the page, which then may show real people.

    Raises:
        UserError: there are not two models to compare, a model is of another size or crop than the data set, `out`
            exists (without `force`), or anything that `evaluate` refuses.
    """
    out = Path(out)
    if out.suffix.lower() != ".html":
        raise UserError(f"{out} does not end in .html: the comparison is a web page.")
    check_output(out, force)
    paths = [Path(path) for path in models]
    if len(paths) < 2 or len({path.resolve() for path in paths}) < len(paths):
        raise UserError("Name at least two runs or model folders to compare, each once.")
    loaded = [Model.load(path, device) for path in paths]
    faces = data if isinstance(data, PackedFaces) else PackedFaces.open(data, verify=True)
    _refuse_misfits(paths, loaded, faces)
    options = EvaluationOptions(
        protocol=protocol,
        samples=samples,
        extractor=extractor,
        weights=weights,
        seeds=max(MANY_SEEDS, load_protocol(protocol).seeds) if seeds is None else seeds,
        device=device,
        quiet=quiet,
    )
    setup = set_up(faces, options)
    names = short_names(paths)
    entries = [
        Entry(name, path, model, results_of(path, model, setup))
        for name, path, model in zip(names, paths, loaded, strict=True)
    ]
    refuse_mixed([result for entry in entries for result in entry.results])
    write_file(out, build_page("compare.html", _contents(entries, setup, nearest)))
    if nearest and _real_people(faces) and not quiet:
        console.print(f"Note: {out} holds images of real people: do not pass it on.", markup=False, soft_wrap=True)
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


def _refuse_misfits(paths: Sequence[Path], models: Sequence[Model], faces: PackedFaces) -> None:
    for path, model in zip(paths, models, strict=True):
        check_size(model.config.size, faces, str(path))
        crop = model.config.data.get("crop", crop_of(faces))
        if crop != crop_of(faces):
            raise UserError(
                f"{path} was trained on the crop {crop}, and {faces.path} has {crop_of(faces)}: numbers of different "
                "crops are different benchmarks; compare models of one crop, with data of that crop."
            )


def results_of(path: Path, model: Model, setup: Setup) -> list[Result]:
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
    names, paths = [entry.name for entry in entries], [entry.path for entry in entries]
    columns = [entry.results for entry in entries]
    faces = setup.faces
    with progress_bar("page", len(entries) * (1 + nearest), "images", setup.work.quiet) as advance:
        grids, sheets = [], []
        for entry in entries:
            grids.append({"name": entry.name, "facts": _facts(entry), "src": data_uri(model_grid(entry, setup))})
            advance(1)
            if nearest:
                sheets.append({"name": entry.name, "sheets": nearest_sheets(entry, setup)})
                advance(1)
    remarks = dict.fromkeys(remark for entry in entries for remark in describe(entry.results))
    return {
        "names": names,
        "verdict": verdict(names, columns),
        "rows": ranked_rows(names, columns),
        "remarks": [*remarks],
        "runs": [],
        "grids": grids,
        "settings": differing_settings(paths),
        "charts": [*metric_charts(names, paths), *training_charts(names, paths)],
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
        f"{config.images_seen:,} images seen{time}",
        "EMA of the weights" if config.ema_halflife_images > 0 else "raw weights",
        f"weights {config.weights_sha256[:8]}",
    ]


def _attributes(entries: Sequence[Entry]) -> Row | None:
    """How reliably each attribute is predicted where it was requested; `None` where no model takes attributes."""
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
