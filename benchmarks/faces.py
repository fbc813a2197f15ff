"""Ship a run's model as `faces`: measure it, and if it beats the shipped one put it into the package with its card.

The weights go in as fp16, and it is these that are measured. Beside the model lie `metrics.json` (every number with its
protocol, the curve of the training, and the numbers of the models that were shipped before) and the card, which is made
of it. Then the images of the docs are drawn: the README's grid, a row for each attribute, combinations that report
004 asked for. With `--images` alone these are drawn anew from the shipped model.
"""

import argparse
import json
import shutil
import tempfile
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filter_worth import RESULTS as WORTH
from filter_worth import SEEDS, WITHOUT_COPIES
from matplotlib.figure import Figure
from numpy.typing import NDArray
from page import DOCS, put_rows
from PIL import Image, ImageDraw, ImageFont

from limner.core.files import new_folder, write_file
from limner.data.packed import PackedFaces
from limner.evaluation.evaluate import evaluate
from limner.evaluation.results import Result, read_metrics
from limner.exporting.onnx import graph_beside
from limner.images.grid import face_grid
from limner.images.png import generated_png
from limner.latent.latents import face_latents
from limner.model.graph import GRAPH
from limner.model.model import CARD, Model, save_model
from limner.model.sample import sample
from limner.model.shipped import FOLDER
from limner.runs.run import Run
from limner.training.validation import PROTOCOL

NAME = "faces"
METRICS = "metrics.json"
LICENCE = "LicenseRef-CelebA-NonCommercial"
BEGIN = "<!-- rows: python benchmarks/faces.py -->"
SECOND_OPINIONS = ("lite1", "judge")  # networks by whose distances nothing was chosen
FIRST_SECTION = "\n## How it was made\n"  # what is above it belongs to every model
LATENTS = 7  # of each attribute's row
# What report 004 asked its models for, and what it says they failed at.
COMBINATIONS = [
    "male, gray_hair, smiling, straight_hair",
    "male, black_hair, smiling, straight_hair, eyeglasses, no_beard",
    "male, black_hair, smiling, straight_hair, eyeglasses, no_beard, attractive",
    "male, black_hair, straight_hair, attractive, young, high_cheekbones, smiling",
    "male, black_hair, smiling, straight_hair, no_beard, attractive, young, narrow_eyes",
    "big_lips, blond_hair, heavy_makeup, rosy_cheeks, smiling, wearing_lipstick, young, no_beard, straight_hair, "
    "chubby, oval_face, double_chin",
    "attractive, big_lips, blond_hair, heavy_makeup, rosy_cheeks, smiling, wearing_lipstick, young, no_beard, "
    "straight_hair",
    "big_lips, blond_hair, heavy_makeup, rosy_cheeks, wearing_lipstick, no_beard, straight_hair, bangs",
    "big_lips, black_hair, heavy_makeup, rosy_cheeks, smiling, wearing_lipstick, young, no_beard, straight_hair",
    "attractive, big_lips, blond_hair, heavy_makeup, rosy_cheeks, smiling, wearing_lipstick, young, no_beard, "
    "straight_hair, mouth_slightly_open",
    "male, bald, smiling",
    "male, bald, eyeglasses, goatee",
    "male, gray_hair, eyeglasses, wearing_necktie",
    "gray_hair, smiling, eyeglasses",
    "wearing_hat, smiling",
    "male, wearing_hat, mustache",
    "male, mustache, goatee, sideburns",
    "blond_hair, wavy_hair, eyeglasses",
    "brown_hair, bangs, wearing_earrings, smiling",
    "male, double_chin, chubby, receding_hairline",
]


def ship(run: Run, model: Model, after: str, faces: PackedFaces, anyway: bool) -> None:
    """Measure a run's model as it would be shipped, and put it in the place of the one that is there if it is better.

    Better is a smaller Fréchet distance; `anyway` ships it all the same. `after`: the command that was given after the
    training; where it is undo_copies.py, the card also says what benchmarks/filter_worth.py measured before.
    """
    target = FOLDER / NAME
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / NAME
        save_model(folder, model.generator.half(), model.config, model.known_MA)
        write_file(folder / GRAPH, graph_beside(folder))
        results = measure(Model.load(folder), faces)  # a model has no path of this machine in its numbers
        told = {
            "results": [result.model_dump(mode="json") for result in results],
            **curve(run),
            "training": training(run, model.config.images_seen, after),
            "filter": filter_rows() if "undo_copies" in after else [],
            "history": [],
        }
        before = target / METRICS
        if before.is_file():
            old = json.loads(before.read_text(encoding="utf-8"))
            told["history"] = [*old["history"], summary(old)]
            now, then = (summary(each)["fd_lite0"] for each in (told, old))
            print(f"fd_lite0 {now:.2f}; the shipped model has {then:.2f}")
            if now >= then and not anyway:
                raise SystemExit("It is no better: nothing was replaced. --anyway replaces it all the same.")
        write_down(folder, told)
        with new_folder(target) as beside:
            shutil.copytree(folder, beside, dirs_exist_ok=True)


def measure(model: Model, faces: PackedFaces) -> list[Result]:
    """Everything by protocol `quick`, and what is measured in the features of other networks."""
    return evaluate(model, faces, seeds=SEEDS) + second_opinions(model, faces)


def second_opinions(model: Model, faces: PackedFaces) -> list[Result]:
    return [
        one
        for name in SECOND_OPINIONS
        for one in evaluate(model, faces, protocol=WITHOUT_COPIES, seeds=SEEDS, extractor=name)
        if one.metric.endswith(f"_{name}")
    ]


def measure_again(faces: PackedFaces) -> None:
    """Measure the shipped model anew, after a change of how it is measured."""
    told = json.loads((FOLDER / NAME / METRICS).read_text(encoding="utf-8"))
    results = measure(Model.load(NAME), faces)
    told["results"] = [result.model_dump(mode="json") for result in results]
    if told["filter"]:
        told["filter"] = [one for one in told["filter"] if WORTH.name not in one["source"]] + filter_rows()
    write_down(FOLDER / NAME, told)


def write_down(folder: Path, told: dict[str, Any]) -> None:
    """Write a model's numbers beside it, into its card and into the docs."""
    write_file(folder / METRICS, (json.dumps(told, indent=1) + "\n").encode())
    card = (folder / CARD).read_text(encoding="utf-8").partition(FIRST_SECTION)[0]
    card = card.replace("limner sample .", f"limner sample {NAME}")
    write_file(folder / CARD, (card + measured_card(told)).encode())
    put_rows(DOCS / "faces.md", BEGIN, metric_table([Result.model_validate(one) for one in told["results"]]))


def curve(run: Run) -> dict[str, Any]:
    """The Fréchet distance over images seen, as the training measured it, and on what."""
    found = [one for one in read_metrics(run.path) if (one.metric, one.protocol) == ("fd_lite0", PROTOCOL)]
    return {
        "curve": [(one.images_seen, round(one.value, 2)) for one in found],
        "curve_of": {key: getattr(found[0], key) for key in ("n_fake", "split", "data_hash")} if found else {},
    }


def filter_rows() -> list[dict[str, Any]]:
    """Generators without and with the filter behind them, as benchmarks/filter_worth.py measured them."""
    return [
        {
            "generator": f"`{one['recipe']}`, {one['images_seen']:,} images",
            "metric": metric,
            "without": without["value"],
            "with": one["filtered"][metric]["value"],
            "source": f"{without['n_fake']:,} generated, `benchmarks/results/{WORTH.name}`",
        }
        for one in json.loads(WORTH.read_text(encoding="utf-8"))["models"].values()
        for metric, without in one["as it is"].items()
    ]


def training(run: Run, images: int, after: str) -> dict[str, Any]:
    """How the model was made, which had been shown so many images."""
    info = run.info
    seconds = next(line["seconds"] for line in run.log if line["images_seen"] >= images)
    machine = info["machine"]
    return {
        "recipe": run.recipe.name,
        "command": info["command"],
        "after": after,
        "images_seen": images,
        "minutes": round(seconds / 60),
        "machine": f"{machine['device_name']}{of_threads(machine)}, {info['precision']}",
        "started": info["started"],
    }


def of_threads(machine: dict[str, Any]) -> str:
    if machine["device"] != "cpu":
        return ""
    return ", one thread" if machine["threads"] == 1 else f", {machine['threads']} threads"


def summary(told: dict[str, Any]) -> dict[str, Any]:
    """A line of the card's history."""
    results = {one["metric"]: one for one in told["results"]}
    of_all = {metric: one["value"] for metric, one in results.items()}
    return {**told["training"], "model_sha256": results["fd_lite0"]["model_sha256"], "curve": told["curve"], **of_all}


def metric_table(results: list[Result]) -> str:
    counts = {one.floor.n_other for one in results if one.floor}
    of = f": {' or '.join(f'{count:,}' for count in sorted(counts))} training images" if counts else ""
    lines = [f"| metric | value | floor{of} |", "|---|---|---|"]
    for one in results:
        spread = f" ± {one.spread:.2g}" if one.spread is not None else ""
        floor = f"{one.floor.value:.3g}" if one.floor else ""
        lines.append(f"| `{one.metric}` | {one.value:.3g}{spread} | {floor} |")
    return "\n".join(lines)


def measured_card(told: dict[str, Any]) -> str:
    """The part of the card that says how the model was made, what it reaches, and what was shipped before it."""
    results = [Result.model_validate(one) for one in told["results"]]
    first, made = results[0], told["training"]
    floor = first.floor
    floor_note = ""
    if floor and floor.n_other != first.n_fake:
        floor_note = (
            f"; it was measured with {floor.n_other:,} images: that of a Fréchet distance is higher than it would be "
            f"with {first.n_fake:,}, and those of precision to coverage do not compare with the values"
        )
    lines = [
        FIRST_SECTION,
        f"Recipe `{made['recipe']}`, {made['images_seen']:,} images in {made['minutes']:,} minutes on "
        f"{made['machine']}, begun {made['started'][:10]}:\n",
        *(f"    {command}" for command in (made["command"], made["after"]) if command),
        "\n## What it reaches\n",
        f"Protocol `{first.protocol}`: {first.n_fake:,} generated against {first.n_real:,} held-out images, crop "
        f"{first.crop}, {first.resolution} pixels, {len(first.seeds)} sampling seeds, measured {first.evaluated[:10]} "
        "with the fp16 weights of this folder. `±` is the standard deviation over the sampling seeds; the model was "
        f"trained once. The floor is the value of real training images in place of the generated ones{floor_note}.\n",
        metric_table(results),
    ]
    if beside := [one for one in results if one.protocol != first.protocol]:
        networks = " and ".join(f"`{name}`" for name in dict.fromkeys(one.extractor for one in beside))
        lines.append(f"\nIn the features of {networks}: protocol `{beside[0].protocol}`, {beside[0].evaluated[:10]}.")
    if told["filter"]:
        lines += ["", *filter_lines(told["filter"])]
    control = next(one for one in results if one.metric == "attribute_control_mean")
    lines += ["", "| attribute | accuracy / ceiling |", "|---|---|"]
    lines += [
        f"| {one['name']} | {one['ratio']:.2f} |" for one in control.details["attributes"] if one["ratio"] is not None
    ]
    if told["curve"]:
        of = told["curve_of"]
        lines += [
            "\n## During training\n",
            f"Protocol `{PROTOCOL}`: {of['n_fake']:,} generated against the split `{of['split']}` of the data set "
            "in the table at the top. Do not compare with the distance above.\n",
            "| images | `fd_lite0` |",
            "|---|---|",
            *(f"| {images:,} | {value:.1f} |" for images, value in told["curve"]),
        ]
        if made["images_seen"] != told["curve"][-1][0] and of["split"] in (first.split, "heldout"):
            lines += [
                "",
                f"The model after {made['images_seen']:,} images was chosen by this distance, on what is now the split "
                "`test`. The images that chose it also report the numbers above: they are slightly too good.",
            ]
    lines += ["", "## What was shipped before\n"]
    if told["history"]:
        lines += [
            f"Each by protocol `{first.protocol}` when it was shipped.\n",
            "| begun | recipe | machine | images | minutes | `fd_lite0` | control |",
            "|---|---|---|---|---|---|---|",
        ]
        for one in told["history"]:
            lines.append(
                f"| {one['started'][:10]} | `{one['recipe']}` | {one['machine']} | {one['images_seen']:,} "
                f"| {one['minutes']:,} | {one['fd_lite0']:.1f} | {one['attribute_control_mean']:.2f} |"
            )
    else:
        lines.append("Nothing.")
    lines += [
        "\n## Licence\n",
        f"`{LICENCE}`: the weights and the attribute vectors in `model.safetensors` are derived from CelebA and are "
        "for non-commercial research only. Limner's code is under Apache-2.0. Both texts come with Limner, in "
        "`LICENSES/`.",
    ]
    return "\n".join(lines) + "\n"


def filter_lines(rows: list[dict[str, Any]]) -> list[str]:
    """The part of the card that says what the filter is worth."""
    return [
        "The last command above fits a filter of 5 x 5 pixels into the last layers of the generator. It was made to "
        "undo what WebP takes from the training images, and it also sharpens. So the values above do not compare "
        "with those of a generator without it. The distance of generators without the filter, and with the filter "
        "applied to their images:\n",
        "| generator | distance | without | with | measured |",
        "|---|---|---|---|---|",
        *(
            f"| {one['generator']} | `{one['metric']}` | {one['without']:.1f} | {one['with']:.1f} | {one['source']} |"
            for one in rows
        ),
    ]


def draw_images(model: Model) -> None:
    """The images of the docs."""
    sample(NAME, DOCS / "images" / "faces.png", count=96, columns=12, force=True)
    about = {"model": NAME, "weights_sha256": model.config.weights_sha256, "licence": model.config.licence}
    for name, sheet in (("attributes", attribute_rows(model)), ("combinations", combination_rows(model))):
        small = sheet.quantize(256, method=Image.Quantize.MEDIANCUT)  # a third of the bytes, and no one sees it
        write_file(DOCS / "images" / f"faces-{name}.png", generated_png(small, about))
    draw_curve(json.loads((FOLDER / NAME / METRICS).read_text(encoding="utf-8")))


def draw_curve(told: dict[str, Any]) -> None:
    """The distance over images seen: as the training measured it, as shipped, and what training images reach."""
    shipped = next(Result.model_validate(one) for one in told["results"] if one["metric"] == "fd_lite0")
    figure = Figure((6.4, 3.2), layout="constrained")
    axes = figure.subplots()
    learnt = np.array(told["curve"]).reshape(-1, 2)
    axes.plot(learnt[:, 0] / 1e3, learnt[:, 1], "o-", label=f"while it learnt (protocol {PROTOCOL})")
    axes.plot(
        told["training"]["images_seen"] / 1e3, shipped.value, "s", label=f"as shipped (protocol {shipped.protocol})"
    )
    if shipped.floor:
        axes.axhline(shipped.floor.value, color="grey", ls="--", label="training images in its place")
    axes.set(xlabel="thousand images seen", ylabel="fd_lite0", ylim=(0, None))
    axes.legend()
    figure.savefig(DOCS / "images" / "faces-curve.png", dpi=100)


def attribute_rows(model: Model) -> Image.Image:
    """A row for each attribute: the same latents without and with it, in pairs.

    All other attributes are, in both, those of someone in CelebA who has it.
    """
    z_BZ = face_latents(0, 0, LATENTS, model.config.latent_size, model.config.latent_distribution)
    rows = []
    for column, name in enumerate(model.config.attribute_names):
        with_BA = model.labels(LATENTS, with_=[name])
        without_BA = with_BA.copy()
        without_BA[:, column] = 0
        pair = [model.generate(z_BZ, torch.from_numpy(y_BA).float()) for y_BA in (without_BA, with_BA)]
        rows.append((name.replace("_", " "), np.stack(pair, 1).reshape(-1, *pair[0].shape[1:])))
    return titled(rows, gap_every=2)


def combination_rows(model: Model) -> Image.Image:
    """A row for each combination that was asked for."""
    return titled(
        [(names.replace("_", " "), model.sample(2 * LATENTS, with_=names.split(", "))) for names in COMBINATIONS]
    )


def titled(rows: list[tuple[str, NDArray[np.uint8]]], gap_every: int | None = None) -> Image.Image:
    """Rows of images, each with its title to the left."""
    font, left, gap = ImageFont.load_default(11), 190, 6
    size = rows[0][1].shape[1]
    groups = len(rows[0][1]) // (gap_every or len(rows[0][1]))
    per = len(rows[0][1]) // groups
    sheet = Image.new("RGB", (left + groups * (per * (size + 1) + gap), len(rows) * (size + 2)), "white")
    draw = ImageDraw.Draw(sheet)
    for row, (title, faces_NHWC) in enumerate(rows):
        top = row * (size + 2)
        draw.multiline_text((4, top + 2), "\n".join(textwrap.wrap(title, 32)), "black", font, spacing=1)
        for group in range(groups):
            image = face_grid(faces_NHWC[group * per : (group + 1) * per], per, padding=1)
            sheet.paste(image, (left + group * (per * (size + 1) + gap), top))
    return sheet


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?", help="a run with attributes")
    parser.add_argument("--model", type=Path, help="ship this model of the run and not its last one")
    parser.add_argument("--after", default="", metavar="COMMAND", help="what was done to it after the training")
    parser.add_argument("--data", type=Path, help="the images it was trained on")
    parser.add_argument("--anyway", action="store_true", help="ship it even if it is no better")
    parser.add_argument("--again", action="store_true", help="measure the shipped model anew on --data")
    parser.add_argument("--images", action="store_true", help="only draw the images of the docs")
    arguments = parser.parse_args()
    if arguments.again and arguments.data:
        measure_again(PackedFaces.open(arguments.data))
    elif not arguments.images:
        if arguments.run is None or arguments.data is None:
            parser.error("give a run and --data, --again and --data, or --images")
        run = Run.open(arguments.run)
        model = Model.load(arguments.model) if arguments.model else run.model
        ship(run, model, arguments.after, PackedFaces.open(arguments.data), arguments.anyway)
    draw_images(Model.load(NAME))
