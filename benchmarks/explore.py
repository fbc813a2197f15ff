"""Does exploring do what it says? Walks, sums, directions and projections, measured.

    python benchmarks/explore.py PART MODEL [--data DIR] [--count 50]

Directions and sums are made with the judge's help and measured by the same judge, on other samples: high numbers say
that the method does what the judge calls the attribute. Look at the sheets too. Results: results/explore.json, to which
every call adds, and the tables of docs/explore.md; `pictures` draws that page's images.
"""

import argparse
import io
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from page import DOCS, put_rows
from PIL import Image

from limner.bench.measure import load_average
from limner.core.device import machine_facts
from limner.core.files import write_file
from limner.core.randomness import stream
from limner.data.packed import PackedFaces
from limner.explore.attribute_directions import Directions, directions, draw_sheet
from limner.explore.editing import edit
from limner.explore.expressions import parse
from limner.explore.interpolation import interpolate
from limner.explore.inversion import Inverted, invert, pixel_distances
from limner.explore.points import generate, sampled_points, signed_png
from limner.explore.sums import JudgedSamples, add, around, term_points
from limner.explore.sums import arithmetic as sum_of_faces
from limner.features.efficientnet_lite import Lite0
from limner.images.grid import face_grid
from limner.images.png import SETTINGS_KEY, generated_png
from limner.judge.judge import load_judge
from limner.latent.latents import face_latents
from limner.model.model import Model, load

RESULTS = Path(__file__).parent / "results" / "explore.json"
FIVE_FACES = "0:3,0:7,1:2,5:5,2:9"
EDITED = ("Smiling", "Male", "Eyeglasses", "Blond_Hair")
SUMS = {"smiling female - female + male": {"Smiling": 1, "Male": 1}}  # and what the sum should have
SEEDS, FACES_OF_A_SUM = 5, 20
FRESH_SEED, FRESH = 99, 256  # samples that no direction was learned from
RANDOM, STEPS, POOL = 1000, 250, 512


def walk(model: Model, _: PackedFaces | None, __: Path, ____: int) -> dict[str, Any]:
    """60 frames through five faces as MP4: how long, and how even the steps of the decoded frames are."""
    import av

    with TemporaryDirectory() as folder:
        started, used = time.monotonic(), time.process_time()
        out = interpolate(model, FIVE_FACES, Path(folder) / "walk.mp4", even=True, quiet=True)
        facts = {"seconds": time.monotonic() - started, "cpu_seconds": time.process_time() - used}
        with av.open(str(out)) as video:
            frames = [frame.to_ndarray(format="rgb24").astype(float) / 255 for frame in video.decode(video=0)]
        strips = {}
        for even in (False, True):
            png = interpolate(model, FIVE_FACES, Path(folder) / f"{even}.png", even=even, quiet=True)
            strips["even" if even else "by_angle"] = step_range(cells(np.asarray(Image.open(png)), 15, 60))
    return {**facts, "frames": len(frames), "steps_over_mean": strips, "steps_over_mean_of_mp4": step_range(frames)}


def cells(strip_HWC: NDArray[np.uint8], columns: int, count: int) -> list[NDArray[np.float64]]:
    """The images of a grid, 2 pixels apart, each in [0, 1]."""
    size = (strip_HWC.shape[1] + 2) // columns
    places = [(k // columns * size, k % columns * size) for k in range(count)]
    return [strip_HWC[top : top + size - 2, left : left + size - 2] / 255 for top, left in places]


def step_range(frames: list[NDArray[np.float64]]) -> list[float]:
    """The least and the largest step from frame to frame, over the mean step."""
    steps = np.array([np.sqrt(((b - a) ** 2).mean()) for a, b in pairwise(frames)])
    return [steps.min() / steps.mean(), steps.max() / steps.mean()]


def arithmetic(model: Model, _: PackedFaces | None, __: Path, ____: int) -> dict[str, Any]:
    """How many of 100 faces of a sum, twenty for each of five seeds, have what the sum should have."""
    judge = load_judge()
    found = {}
    for expression, wanted in SUMS.items():
        terms = parse(expression, judge.attribute_names)
        columns = [judge.attribute_names.index(name) for name in wanted]
        hits = []
        for seed in range(SEEDS):
            pool = JudgedSamples(model, judge, seed)
            total = add(terms, [term_points(model, term, pool, 64) for term in terms])
            seen_NA = judge.decide(generate(model, around(model, total, FACES_OF_A_SUM, 0.5, seed)))
            hits.append((seen_NA[:, columns] == list(wanted.values())).all(axis=1).mean())
        found[expression] = {"share": float(np.mean(hits)), "by_seed": hits}
    return found


def measured_directions(model: Model, _: PackedFaces | None, sheets: Path, __: int) -> dict[str, Any]:
    """What strength 2 changes in 256 fresh samples: the judge's probability of the attribute, and of all others."""
    judge = load_judge()
    folder = directions_folder(model, sheets)
    if (folder / "config.json").is_file():
        found = Directions.load(folder, model)
    else:
        found = directions(model, folder, quiet=True)
    points = sampled_points(model, FRESH, FRESH_SEED)
    before_NA = judge.probabilities(generate(model, points))
    rows: dict[str, Any] = {}
    for name in EDITED:
        column = judge.attribute_names.index(name)
        change_NA = judge.probabilities(generate(model, found.move(model, points, {name: 2}))) - before_NA
        others_NA = np.delete(change_NA, column, axis=1)
        lacks_N = before_NA[:, column] <= 0.5
        most = np.argsort(-np.abs(change_NA.mean(axis=0)))[:5]
        rows[name] = {
            "before": before_NA[:, column].mean(),
            "rise": change_NA[:, column].mean(),
            "rise_where_lacking": change_NA[lacks_N, column].mean(),
            "others_mean_change": np.abs(others_NA.mean(axis=0)).mean(),
            "others_mean_absolute_change_of_a_face": np.abs(others_NA).mean(),
            "most_changed": {judge.attribute_names[j]: change_NA[:, j].mean() for j in most},
        }
    means = {key: np.mean([row[key] for row in rows.values()]) for key in ("rise", "rise_where_lacking")}
    return {"strength": 2, "faces": FRESH, "samples": found.config.samples, "attributes": rows, "mean": means}


def samples_projected(model: Model, _: PackedFaces | None, sheets: Path, count: int) -> dict[str, Any]:
    """Generated faces that come back, and whether their latents are found."""
    images_NHWC = model.sample(count, seed=FRESH_SEED + 1)
    found, inverted = measured_projection(model, images_NHWC, sheets / "projection-samples.png")
    z_NZ = face_latents(FRESH_SEED + 1, 0, count, model.config.latent_size, model.config.latent_distribution)
    pairs = zip(inverted.points.z_NZ, z_NZ, strict=True)
    return found | {"latent_correlation": summary(np.array([np.corrcoef(a, b)[0, 1] for a, b in pairs]))}


def photos_projected(model: Model, faces: PackedFaces | None, sheets: Path, count: int) -> dict[str, Any]:
    """Held-out photos."""
    if faces is None:
        raise SystemExit("photos need --data")
    rows = np.sort(stream(0, "projected images").choice(faces.rows("test"), count, replace=False))
    return measured_projection(model, faces.images_NHWC[rows], sheets / "projection-photos.png")[0]


def measured_projection(model: Model, images_NHWC: NDArray[np.uint8], sheet: Path) -> tuple[dict[str, Any], Inverted]:
    """How near projections come, also in the measure of the best of 1,000 random samples."""
    started, used = time.monotonic(), time.process_time()
    inverted = invert(model, images_NHWC, steps=STEPS, samples=POOL, seed=0)
    seconds = {"seconds": time.monotonic() - started, "cpu_seconds": time.process_time() - used}
    pairs_NHWC = np.stack([images_NHWC, inverted.images_NHWC], axis=1).reshape(-1, *images_NHWC.shape[1:])
    face_grid(pairs_NHWC, 20).save(sheet)
    lite0 = Lite0()
    random_NHWC = model.sample(RANDOM, seed=FRESH_SEED)
    target_ND, reached_ND = lite0.features(images_NHWC), lite0.features(inverted.images_NHWC)
    nearest_N = np.linalg.norm(target_ND[:, None] - lite0.features(random_NHWC), axis=2).min(axis=1)
    distances = {
        "pixel_error_rms": inverted.pixels_N,
        "pixel_error_absolute": np.abs(inverted.images_NHWC / 255 - images_NHWC / 255).mean(axis=(1, 2, 3)),
        "pixels_over_best_of_1000": inverted.pixels_N / pixel_distances(images_NHWC, random_NHWC).min(axis=1),
        "features_over_best_of_1000": np.linalg.norm(target_ND - reached_ND, axis=1) / nearest_N,
    }
    about = {"images": len(images_NHWC), "steps": STEPS, "samples": POOL}
    per_face = {f"{name}_a_face": value / len(images_NHWC) for name, value in seconds.items()}
    return about | per_face | {name: summary(values_N) for name, values_N in distances.items()}, inverted


def one_projection(model: Model, faces: PackedFaces | None, _: Path, ____: int) -> dict[str, Any]:
    """How long one image takes alone."""
    started, used = time.monotonic(), time.process_time()
    invert(model, model.sample(1, seed=FRESH_SEED + 1), steps=STEPS, samples=POOL, seed=0)
    return {"seconds": time.monotonic() - started, "cpu_seconds": time.process_time() - used}


def summary(values_N: NDArray[np.float64]) -> dict[str, float]:
    """Median, mean, and the range that holds nine of ten."""
    low, median, high = np.percentile(values_N, [5, 50, 95])
    return {"median": median, "mean": values_N.mean(), "from": low, "to": high}


def pictures(model: Model, _: PackedFaces | None, sheets: Path, __: int) -> dict[str, Any]:
    """Draw the images of docs/explore.md, after `directions` and `samples_projected`, in 256 colours."""
    folder = directions_folder(model, sheets)
    found = Directions.load(folder, model)
    sheet = signed_png(draw_sheet(model, found, EDITED, seed=0), model, "directions", seed=0)
    with Image.open(sheets / "projection-samples.png") as pairs:
        first_row = pairs.crop((0, 0, pairs.width, model.config.size))
    made = {
        "walk": interpolate(model, "0:3,0:7,1:2", sheets / "walk.png", frames=24, even=True, force=True).read_bytes(),
        "sum": sum_of_faces(model, next(iter(SUMS)), sheets / "sum.png", force=True).read_bytes(),
        "directions": sheet,
        "edit": edit(model, folder, "smiling=2,male=-1", sheets / "edit.png", face="0:3,0:4", force=True).read_bytes(),
        "projection": signed_png(first_row, model, "project", steps=STEPS, samples=POOL, seed=0),
    }
    for name, content in made.items():
        with Image.open(io.BytesIO(content)) as image:
            settings = json.loads(image.info[SETTINGS_KEY])
            small = image.convert("RGB").quantize(256, method=Image.Quantize.MEDIANCUT)
        write_file(DOCS / "images" / f"explore-{name}.png", generated_png(small, settings))
    return {}


def directions_folder(model: Model, sheets: Path) -> Path:
    """Where the directions of a model are kept between two calls."""
    return sheets / f"directions-{model.config.weights_sha256[:8]}"


def write_page(results: dict[str, Any]) -> None:
    """Put the numbers into docs/explore.md."""
    page = DOCS / "explore.md"
    if walked := results.get("walk", {}).get("faces"):
        rows = ["| steps | least step / mean step | largest step / mean step |", "|---|---|---|"]
        rows += [
            f"| {words} | {low:.2f} | {high:.2f} |"
            for words, (low, high) in (
                ("equal angles", walked["steps_over_mean"]["by_angle"]),
                ("`--even`", walked["steps_over_mean"]["even"]),
                ("`--even`, the frames of the MP4", walked["steps_over_mean_of_mp4"]),
            )
        ]
        put_rows(page, "<!-- walk: python benchmarks/explore.py walk faces --name faces -->", "\n".join(rows))
    if added := results.get("arithmetic", {}).get("faces"):
        rows = ["| sum | have what it should have |", "|---|---|"]
        rows += [f"| `{expression}` | {100 * added[expression]['share']:.0f} % |" for expression in SUMS]
        put_rows(
            page, "<!-- arithmetic: python benchmarks/explore.py arithmetic faces --name faces -->", "\n".join(rows)
        )
    rows = [
        "| model | attribute | before | rise | rise of the lacking | others: mean change | others: in a face |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, measured in sorted(results.get("directions", {}).items()):
        for attribute, row in measured["attributes"].items():
            keys = ("before", "rise", "rise_where_lacking")
            keys += ("others_mean_change", "others_mean_absolute_change_of_a_face")
            rows.append(f"| `{name}` | {attribute} | " + " | ".join(f"{row[key]:.2f}" for key in keys) + " |")
    put_rows(page, "<!-- directions: python benchmarks/explore.py directions MODEL --name NAME -->", "\n".join(rows))
    kinds = [results.get(part, {}).get("faces") for part in ("samples_projected", "photos_projected")]
    if all(kinds):
        generated, photos = kinds
        rows = [f"| median | {generated['images']} generated | {photos['images']} held-out |", "|---|---|---|"]
        for key, words in (
            ("pixel_error_rms", "pixel error, root mean square"),
            ("pixel_error_absolute", "pixel error, mean absolute"),
            ("pixels_over_best_of_1000", "pixel error / that of the best of 1,000 random samples"),
            ("features_over_best_of_1000", "`lite0` distance / that of the best of 1,000 random samples"),
            ("latent_correlation", "correlation of the found latents with the true ones"),
        ):
            cells = [f"{kind[key]['median']:.3f}" if key in kind else "" for kind in kinds]
            rows.append(f"| {words} | {' | '.join(cells)} |")
        begin = "<!-- projection: benchmarks/explore.py samples_projected and photos_projected faces --name faces -->"
        put_rows(page, begin, "\n".join(rows))


PARTS: dict[str, Callable[[Model, PackedFaces | None, Path, int], dict[str, Any]]] = {
    "walk": walk,
    "arithmetic": arithmetic,
    "directions": measured_directions,
    "samples_projected": samples_projected,
    "photos_projected": photos_projected,
    "one_projection": one_projection,
    "pictures": pictures,
}


def rounded(value: Any) -> Any:
    """The same with numbers of four digits, for JSON."""
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(inner) for inner in value]
    return float(f"{float(value):.4g}") if isinstance(value, float | np.floating) else value


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("model")
    parser.add_argument("--name", help="of the model in the results; default: its recipe")
    parser.add_argument("--data", type=Path, help="folder made by limner prepare, whose test images are projected")
    parser.add_argument("--count", type=int, default=50, help="images that are projected")
    parser.add_argument("--sheets", type=Path, default=Path(), help="folder for sheets to look at (they show people)")
    arguments = parser.parse_args()
    model = load(arguments.model)
    data = PackedFaces.open(arguments.data) if arguments.data else None
    found = PARTS[arguments.part](model, data, arguments.sheets, arguments.count)
    if not found:
        raise SystemExit
    about = {
        "model_sha256": model.config.weights_sha256,
        "images_seen": model.config.images_seen,
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": machine_facts(torch.device("cpu")),
        "load_average": load_average(),
    }
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
    results.setdefault(arguments.part, {})[arguments.name or model.config.recipe] = rounded({**found, **about})
    RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    write_page(results)
    print(json.dumps(rounded(found), indent=1))
