"""What does every recipe reach? Train each for a short time on the images that it wants, and write the table.

`docs/recipes.md` holds what the reports printed beside what this measured; the rows between its markers, the grids of
generated faces in `docs/images/recipes/` and `results/recipes.json` are written here. A run that is already in `--runs`
is not trained again but measured as it is, so that the work can be done in batches and on several machines.
"""

import argparse
import json
import re
import shlex
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
BEGIN = "<!-- rows: python benchmarks/recipes.py -->"
GRID = 24
LEFT_OUT = ("demo", "modern")  # made for drawn faces, made for a GPU


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
    images = run.model.config.images_seen
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
        "threads": info["machine"]["threads"],
        "processor": info["machine"]["device_name"],
        "data": {key: info["data"][key] for key in ("name", "train", "crop", "content_hash") if key in info["data"]},
        "command": shlex.join(["limner", "train", name, *(["--minutes", f"{stop['seconds'] / 60:.0f}"])]),
        "verdict": verdict(lines),
        "diversity": last.get("diversity"),
        "overlap": last.get("overlap"),
        "metrics": {
            result.metric: {"value": result.value, "standard_error": result.standard_error, "n_fake": result.n_fake}
            for result in results
        },
        "started": info["started"],
    }


def draw_grid(name: str, run: Run) -> None:
    """A few faces of the model, as an image for the page."""
    faces_NHWC = run.model.sample(GRID, seed=0)
    grid = face_grid(faces_NHWC, 12)
    IMAGES.mkdir(parents=True, exist_ok=True)
    about = {"recipe": name, "images_seen": run.model.config.images_seen, "licence": run.model.config.licence}
    small = grid.quantize(256, method=Image.Quantize.MEDIANCUT) if grid.width > 2000 else grid
    (IMAGES / f"{name}.png").write_bytes(generated_png(small, about))


def printed(name: str) -> str:
    """What the report printed, from the recipe's header."""
    text = " ".join(line[1:].strip() for line in recipe_text(name).splitlines() if line.startswith("#"))
    found = re.search(r"Printed: (.*?)(?:\.\s|\.$| \()", text)
    return found[1] if found else "grids, no number"


def table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| recipe | the report printed | images | images | minutes | `fd_lite0` | `kid_lite0` | diversity | verdict "
        "| faces |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for one in rows:
        metrics = one["metrics"]
        fd, kid = (metrics.get(metric) for metric in ("fd_lite0", "kid_lite0"))
        view = load_recipe(one["recipe"]).data
        images = f"{view.size}, {one['data']['crop']}" if view.kind == "images" else "–"
        lines.append(
            f"| `{one['recipe']}` ({tomllib.loads(recipe_text(one['recipe']))['follows']}) | {printed(one['recipe'])} "
            f"| {images} | {one['images_seen']:,} | {one['minutes']:g} "
            f"| {format(fd['value'], '.1f') if fd else '–'} "
            f"| {format(kid['value'], '.4f') + ' ± ' + format(kid['standard_error'], '.4f') if kid else '–'} "
            f"| {format(one['diversity'], '.2f') if one['diversity'] is not None else '–'} | {one['verdict']} "
            f"| ![faces of {one['recipe']}](images/recipes/{one['recipe']}.png) |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", help="names; all of them by default")
    parser.add_argument("--data", type=Path, action="append", required=True, help="prepared images; may be repeated")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--protocol", default="quick")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "recipes.json")
    arguments = parser.parse_args()

    folders = [PackedFaces.open(path) for path in arguments.data]
    known = json.loads(arguments.out.read_text(encoding="utf-8")) if arguments.out.exists() else {}
    names = arguments.recipes or [name for name in recipe_names() if name not in LEFT_OUT]
    for name in names:
        path, faces = arguments.runs / name, data_for(name, folders)
        run = Run.open(path) if path.exists() else train(name, faces, path, minutes=arguments.minutes)
        results = measured(run, arguments.protocol)
        if faces and not results:
            results = evaluate(path, faces, protocol=arguments.protocol)
        draw_grid(name, run)
        known[name] = row(name, run, results)
        arguments.out.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
        put_rows(DOCS / "recipes.md", BEGIN, table([known[name] for name in recipe_names() if name in known]))
        print(table([known[name]]).splitlines()[-1])
