"""What does every recipe reach? Train each for a time or a number of images, and write the table.

`docs/recipes.md` holds what the reports printed beside what this measured; the rows between its markers, the grids of
generated faces in `docs/images/recipes/` and `results/recipes.json` are written here, and by `on_gpu.py --docs`. A run
that is already in `--runs` is not trained again but measured as it is, so that the work can be done in batches and on
several machines.
"""

import argparse
import json
import re
import tomllib
from pathlib import Path
from typing import Any

from page import DOCS, put_rows
from PIL import Image

from limner.data.packed import PackedFaces
from limner.evaluation.evaluate import evaluate
from limner.evaluation.results import Result, read_metrics
from limner.images.grid import face_grid
from limner.images.png import generated_png
from limner.recipes import recipe_names, recipe_text
from limner.recipes.load import load_recipe
from limner.runs.run import Run
from limner.training.health import verdict
from limner.training.session import train

IMAGES = DOCS / "images" / "recipes"
RESULTS = Path(__file__).parent / "results" / "recipes.json"
BEGIN = "<!-- rows: python benchmarks/recipes.py -->"
GRID = 24
LEFT_OUT = ("demo", "modern", "modern-cpu-128")  # made for drawn faces, for a GPU, for larger images


def data_for(name: str, folders: list[PackedFaces]) -> PackedFaces | None:
    """The data set of the size and crop that a recipe wants, or one of its size; `None` where it needs no images."""
    view = load_recipe(name).data
    if view.kind != "images":
        return None
    fitting = [faces for faces in folders if faces.size == view.size]
    if not fitting:
        raise SystemExit(f"{name} wants images of {view.size} pixels: give prepared ones with --data.")
    return next((faces for faces in fitting if faces.info.crop and faces.info.crop.preset == view.crop), fitting[0])


def measured(run: Run, protocol: str) -> list[Result]:
    """What the run's metrics already say of its model as it is."""
    images = run.log[-1]["images_seen"]
    return [result for result in read_metrics(run.path) if (result.protocol, result.images_seen) == (protocol, images)]


def row(name: str, run: Run, results: list[Result]) -> dict[str, Any]:
    """Everything that the table says of one recipe."""
    lines = [line for line in run.log if line["event"] == "log"]
    last, stop = lines[-1], run.log[-1]
    info = run.info
    return {
        "recipe": name,
        "images_seen": stop["images_seen"],
        "minutes": round(stop["seconds"] / 60, 1),
        "machine": info["machine"],
        "precision": info["precision"],
        "data": {key: info["data"][key] for key in ("name", "train", "crop", "content_hash") if key in info["data"]},
        "command": f"limner train {name} {length(info['budget'])}",
        "verdict": verdict(lines),
        "diversity": last.get("diversity"),
        "overlap": last.get("overlap"),
        "metrics": {
            result.metric: {
                "value": result.value,
                "standard_error": result.standard_error,
                "n_fake": result.n_fake,
                "floor": result.floor and result.floor.value,
            }
            for result in results
        },
        "started": info["started"],
    }


def length(budget: dict[str, float | None]) -> str:
    """How long a run was to train, as an option of `limner train`."""
    return f"--images {budget['images']:.0f}" if budget["images"] else f"--minutes {(budget['seconds'] or 0) / 60:g}"


def draw_grid(name: str, run: Run) -> None:
    """A few faces of the model, as an image for the page."""
    keep_grid(name, face_grid(run.model.sample(GRID, seed=0), 12), run)


def keep_grid(name: str, grid: Image.Image, run: Run) -> None:
    """Write the image that the page shows of a recipe."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    about = {"recipe": name, "images_seen": run.log[-1]["images_seen"], "licence": run.info["data"]["licence"]}
    small = grid.quantize(256, method=Image.Quantize.MEDIANCUT) if grid.width > 2000 else grid
    (IMAGES / f"{name}.png").write_bytes(generated_png(small, about))


def keep_rows(rows: dict[str, dict[str, Any]], path: Path = RESULTS) -> None:
    """Put the rows of these recipes into the file of results, and all that it has then into the page."""
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    known |= rows
    known = {name: known[name] for name in recipe_names() if name in known}
    path.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    put_rows(DOCS / "recipes.md", BEGIN, table([*known.values()]))


def printed(name: str) -> str:
    """What the report printed, from the recipe's header."""
    text = " ".join(line[1:].strip() for line in recipe_text(name).splitlines() if line.startswith("#"))
    found = re.search(r"Printed: (.*?)(?:\.\s|\.$| \()", text)
    return found[1] if found else "grids, no number"


def table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| recipe | the report printed | images | images seen | epochs | minutes | machine | `fd_lite0` | floor "
        "| precision | recall | diversity | overlap | verdict | faces |",
        "|---" * 15 + "|",
    ]
    for one in rows:
        name, seen, metrics = one["recipe"], one["images_seen"], one["metrics"]
        view = load_recipe(name).data
        fd = metrics.get("fd_lite0", {})
        cells = [
            f"`{name}` ({tomllib.loads(recipe_text(name))['follows']})",
            printed(name),
            f"{view.size}, {one['data']['crop']}" if view.kind == "images" else "–",
            f"{seen:,}",
            number(seen / one["data"]["train"] if "train" in one["data"] else None, ".1f"),
            f"{one['minutes']:g}",
            machine(one["machine"]),
            number(fd.get("value"), ".1f"),
            number(fd.get("floor"), ".1f"),
            *(number(metrics.get(metric, {}).get("value"), ".2f") for metric in ("precision_lite0", "recall_lite0")),
            *(number(one[key], ".2f") for key in ("diversity", "overlap")),
            one["verdict"],
            f"![faces of {name}](images/recipes/{name}.png)",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def machine(facts: dict[str, Any]) -> str:
    """What a recipe was trained on, in a few words."""
    if facts["device"] == "cuda":
        return str(facts["device_name"])
    threads = facts["threads"]
    return f"{facts['device_name'].replace('Intel(R) Xeon(R) Processor', 'Xeon')}, {threads} thread{'s'[: threads - 1]}"


def number(value: float | None, digits: str) -> str:
    return "–" if value is None else format(value, digits)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", help="names; all of them by default")
    parser.add_argument("--data", type=Path, action="append", required=True, help="prepared images; may be repeated")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    until = parser.add_mutually_exclusive_group(required=True)
    until.add_argument("--minutes", type=float)
    until.add_argument("--images", type=int)
    parser.add_argument("--protocol", default="quick")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()

    folders = [PackedFaces.open(path) for path in arguments.data]
    wanted = {key: getattr(arguments, key) for key in ("minutes", "images") if getattr(arguments, key)}
    names = arguments.recipes or [name for name in recipe_names() if name not in LEFT_OUT]
    for name in names:
        path, faces = arguments.runs / name, data_for(name, folders)
        run = Run.open(path) if path.exists() else train(name, faces, path, **wanted)
        results = measured(run, arguments.protocol)
        if faces and not results:
            results = evaluate(path, faces, protocol=arguments.protocol)
        draw_grid(name, run)
        found = row(name, run, results)
        keep_rows({name: found}, arguments.out)
        print(table([found]).splitlines()[-1])
