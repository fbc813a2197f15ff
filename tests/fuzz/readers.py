"""Every reader of what comes from outside: the inputs it is given, and the call that reads one.

A call may answer, or refuse by one of `REFUSALS`, in one line; anything else is a fault.
"""

import io
import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import numpy as np
from hypothesis import strategies as st
from inputs import (
    changed_png,
    changed_tree,
    changed_weights,
    damage,
    drawn,
    json_file,
    real_number,
    table,
    text,
    toml_file,
    toml_value,
    whole_number,
    written,
)
from PIL import Image
from png_files import png_chunks, png_of
from stand_ins import write_untrained

from limner.core.errors import UserError
from limner.preparation.crops import Rejected

REFUSALS = (UserError, Rejected)
Read = Callable[[Any], object]


@dataclass(frozen=True)
class Reader:
    """`open` makes in an empty folder what the reader needs, and returns the inputs and the call that reads one."""

    open: Callable[[Path], tuple[st.SearchStrategy[Any], Read]]
    needs: str = ""
    """A package that Limner does not always have."""


def smooth(seed: int, width: int = 24, height: int = 24) -> Image.Image:
    """An image of smooth noise."""
    coarse_HWC = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(coarse_HWC).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    content = io.BytesIO()
    image.save(content, form, **options)
    return content.getvalue()


def write(file: Path, content: bytes) -> Path:
    file.write_bytes(content)
    return file


# --- recipes, protocols, settings on the command line ---------------------------------------------------------------


def recipe_files(place: Path) -> tuple[st.SearchStrategy[Any], Read]:
    from limner.recipes import recipe_names, recipe_text
    from limner.recipes.load import load_recipe

    return (
        drawn(toml_file, [recipe_text(name) for name in recipe_names()]),
        lambda content: load_recipe(write(place / "r.toml", content)),
    )


def overrides(place: Path) -> tuple[st.SearchStrategy[Any], Read]:
    from limner.recipes import recipe_names
    from limner.recipes.load import load_recipe
    from limner.recipes.toml import flatten

    known = {key for name in recipe_names() for key, _ in flatten(load_recipe(name).model_dump())}
    tops = {key.rpartition(".")[0] for key in known} | {"optimizer.generator.lr.x"}
    keys = sorted(known | tops)

    def case(chance: Random) -> tuple[str, list[str]]:
        given = [
            chance.choice((chance.choice(keys), chance.choice(keys), text(chance)))
            + chance.choice(("=", "=", "=", "", " = "))
            + toml_value(chance)
            for _ in range(chance.randint(1, 3))
        ]
        return chance.choice(recipe_names()), given

    return drawn(case), lambda case: load_recipe(*case)


def swept_settings(place: Path) -> tuple[st.SearchStrategy[Any], Read]:
    from limner.sweeping.space import read_space

    keys = ("optimizer.generator.lr", "schedule.batch", "latent.size", "optimizer.generator", "x")

    def axis(chance: Random) -> str:
        if chance.random() < 0.2:
            return text(chance)
        low, high = (
            chance.choice((str(whole_number(chance)), str(real_number(chance)), text(chance), toml_value(chance)))
            for _ in range(2)
        )
        between, end = chance.choice(("..", ",", "...")), chance.choice(("", ",log", ",", ",x"))
        return f"{chance.choice(keys)}={low}{between}{high}{end}"

    def vary(chance: Random) -> list[str]:
        return [axis(chance) for _ in range(chance.randint(1, 2))]

    return drawn(vary), lambda vary: read_space(vary, "dcgan", ())


def protocol_files(place: Path) -> tuple[st.SearchStrategy[Any], Read]:
    from limner.evaluation.protocol import PROTOCOLS, load_protocol
    from limner.recipes.toml import to_toml

    wholes = [
        to_toml({key: value for key, value in protocol.model_dump(mode="json").items() if value is not None})
        for protocol in PROTOCOLS.values()
    ]
    return drawn(toml_file, wholes), lambda content: load_protocol(write(place / "p.toml", content))


# --- images and their labels ----------------------------------------------------------------------------------------

IMAGES = ("000001.jpg", "000002.jpg", "000003.jpg", "caf\u00e9.png")
ATTRIBUTES = "3\nMale Smiling\n000001.jpg  1 -1\n000002.jpg -1 -1\n000003.jpg -1  1\n"
OFFICIAL = {
    "list_attr_celeba.txt": ATTRIBUTES,
    "list_eval_partition.txt": "000001.jpg 0\n000002.jpg 0\n000003.jpg 1\n",
    "identity_CelebA.txt": "000001.jpg 7\n000002.jpg 7\n000003.jpg 9\n",
    "list_attr_celeba.csv": "image_id,Male,Smiling\n000001.jpg,1,-1\n000002.jpg,-1,-1\n000003.jpg,-1,1\n",
}
CSVS = (
    "file,smiling,split\n000001.jpg,1,train\n000002.jpg,0,val\n000003.jpg,1,test\ncaf\u00e9.png,0,train\n",
    ",file;identity;smiling\n0;000001.jpg;7;1\n1;000002.jpg;7;0\n",
    'file\tsmiling\n"000001.jpg"\t1\n',
)


def annotation_files(place: Path) -> tuple[st.SearchStrategy[Any], Read]:
    from limner.preparation.sources.celeba import open_celeba

    (place / "img_align_celeba").mkdir()
    for name in IMAGES:
        write(place / "img_align_celeba" / name, b"")
    source = open_celeba(place)
    assert source is not None

    def read(case: tuple[str, bytes]) -> object:
        file = write(place / case[0], case[1])
        try:
            return source.read_labels()
        finally:
            file.unlink()

    return st.tuples(st.sampled_from([*OFFICIAL]), drawn(table, IMAGES, [*OFFICIAL.values()])), read


def label_tables(place: Path) -> tuple[st.SearchStrategy[Any], Read]:
    from limner.preparation.sources.folder import read_labels

    cases = st.tuples(st.sampled_from(("labels.csv", "labels.tsv", "labels")), drawn(table, IMAGES, CSVS))
    return cases, lambda case: read_labels(write(place / case[0], case[1]), IMAGES)


def zips(place: Path) -> tuple[st.SearchStrategy[Any], Read]:
    import zipfile

    from limner.preparation.sources.celeba import open_celeba
    from limner.preparation.sources.folder import open_folder

    face = encoded(smooth(0), "JPEG")

    def packed(members: dict[str, bytes], how: int = zipfile.ZIP_STORED) -> bytes:
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w", how) as archive:
            for name, data in members.items():
                archive.writestr(zipfile.ZipInfo(name), data, how)
        return content.getvalue()

    official = {f"img_align_celeba/{name}": face for name in IMAGES[:3]} | {
        name: text.encode() for name, text in OFFICIAL.items() if name.endswith("txt")
    }
    wholes = [
        packed(official),
        packed({"a/x.jpg": face, "b/y.jpg": face, "labels.csv": CSVS[0].encode()}, zipfile.ZIP_DEFLATED),
        packed({"../x.jpg": face, "/y.jpg": face, "C:\\z.jpg": face, "inner.zip": packed({"x.jpg": face})}),
        packed({"x.jpg": face, "bomb.jpg": bytes(2**20)}, zipfile.ZIP_DEFLATED),
        packed({"x.jpg": face}, zipfile.ZIP_LZMA),
        packed({"x.jpg": face, "caf\u00e9.png": face}, zipfile.ZIP_BZIP2),
    ]

    def read(content: bytes) -> None:
        path = write(place / "faces.zip", content)
        source = open_celeba(path) or open_folder(path)
        for name in source.files.values():
            try:
                assert len(source.images.read(name, 2**21)) <= 2**21
            except Rejected:
                continue
        source.read_labels()

    return drawn(damage, wholes), read


def pictures(place: Path) -> tuple[st.SearchStrategy[Any], Read]:
    from limner.preparation.crops import Crop, decode, read_upright

    image = smooth(0)
    grey = Image.fromarray(np.linspace(0, 60000, 576, dtype=np.uint16).reshape(24, 24))
    turned = Image.Exif()
    turned[0x0112] = 6
    wholes = [
        *(encoded(image, form) for form in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000")),
        encoded(image, "JPEG", exif=turned, progressive=True),
        *(encoded(image.convert(mode), "PNG") for mode in ("1", "L", "LA", "P", "RGBA")),
        *(encoded(image.convert(mode), "TIFF") for mode in ("CMYK", "YCbCr", "LAB", "F", "I")),
        *(encoded(image, "TIFF", compression=how) for how in ("tiff_lzw", "tiff_deflate", "jpeg", "packbits")),
        encoded(grey, "PNG"),
        encoded(grey, "TIFF"),
        encoded(image, "GIF", save_all=True, append_images=[smooth(1)]),
        encoded(image, "WEBP", lossless=True),
        encoded(image, "PNG", interlace=1),
    ]
    with_crc = drawn(changed_png, [whole for whole in wholes if whole.startswith(b"\x89PNG")])

    def read(content: bytes) -> None:
        upright = read_upright(content)
        assert upright.mode == "RGB"
        assert decode(content, Crop(None), 16).shape == (16, 16, 3)

    return st.one_of(drawn(damage, wholes), with_crc), read


def heic_pictures(place: Path) -> tuple[st.SearchStrategy[Any], Read]:
    from pillow_heif import register_heif_opener

    from limner.preparation.crops import read_upright

    register_heif_opener(thumbnails=False)
    wholes = [encoded(smooth(0, 64, 64), "HEIF"), encoded(smooth(1, 64, 48).convert("RGBA"), "HEIF", quality=10)]
    return drawn(damage, wholes), read_upright


# --- what generated files say ---------------------------------------------------------------------------------------


def mark_and_settings() -> tuple[Any, dict[str, Any]]:
    from limner.images.marks import Mark

    mark = Mark(model="dcgan", model_version="0" * 64, time=datetime(2026, 1, 1, tzinfo=UTC), id=UUID(int=1))
    settings = {"model": "faces", "weights_sha256": "0" * 64, "seed": 0, "first": 0, "count": 1, "columns": 1}
    return mark, settings | {"truncation": 1.0, "with_": [], "without": [], "precision": "fp32", "limner": "0.1.0"}


def generated_images(place: Path) -> tuple[st.SearchStrategy[Any], Read]:
    from limner.images.marks import comment, xmp_packet
    from limner.images.png import generated_png
    from limner.images.verify import verify

    mark, settings = mark_and_settings()
    png = generated_png(smooth(0), settings, mark)
    gif = encoded(smooth(0), "GIF", comment=comment(mark, settings).encode())
    webp = encoded(smooth(0), "WEBP", xmp=xmp_packet(mark, settings).encode())

    def with_other_words(chance: Random) -> bytes:
        said = written(changed_tree(chance, settings))
        if chance.random() < 0.5:
            return rejoined(png, said)
        return gif.replace(b'"limner":', b'"limner":' + said[:200] + b',"l":')

    cases = st.one_of(drawn(changed_png, [png]), drawn(damage, [png, gif, webp]), drawn(with_other_words))
    return cases, lambda content: verify(write(place / "image", content)).rows()


def rejoined(png: bytes, settings: bytes) -> bytes:
    """The PNG with other settings."""
    said = b"limner\0" + settings
    return png_of((kind, said if data.startswith(b"limner\0") else data) for kind, data in png_chunks(png))


def recreated_images(place: Path) -> tuple[st.SearchStrategy[Any], Read]:
    """`--recreate` up to where the model is loaded: none has the weights that these images name."""
    from limner.images.png import generated_png
    from limner.model.sample import recreate

    _, settings = mark_and_settings()
    png = generated_png(smooth(0), settings)
    other_words = drawn(changed_tree, settings).map(lambda said: rejoined(png, written(said)))
    cases = st.one_of(drawn(changed_png, [png]), drawn(damage, [png]), other_words)
    return cases, lambda content: recreate(write(place / "image.png", content), place / "again.png", force=True)


def generated_videos(place: Path) -> tuple[st.SearchStrategy[Any], Read]:
    from limner.explore.video import moving
    from limner.images.verify import verify

    frames_NHWC = np.stack([np.asarray(smooth(seed, 32, 32)) for seed in range(3)])
    settings = mark_and_settings()[1] | {"recipe": "dcgan"}
    wholes = [moving(frames_NHWC, ending, 10, 1, settings) for ending in (".mp4", ".webm", ".gif", ".webp")]
    return drawn(damage, wholes), lambda content: verify(write(place / "video", content)).rows()


def signed_images(place: Path) -> tuple[st.SearchStrategy[Any], Read]:
    from certificates import write_certificates

    from limner.images.credentials import open_signer, signing
    from limner.images.png import generated_png
    from limner.images.verify import verify

    mark, settings = mark_and_settings()
    with signing(open_signer(write_certificates(place))):
        png = generated_png(smooth(0), settings, mark)
    return st.one_of(drawn(damage, [png], 3), drawn(changed_png, [png])), lambda content: verify(
        write(place / "image.png", content)
    ).rows()


# --- models and what belongs to them --------------------------------------------------------------------------------


def small_model(folder: Path) -> Path:
    """A model folder with attributes, of few latents."""
    return write_untrained(folder, latent=4, attribute_names=("Male", "Smiling"))


def model_folders(place: Path) -> tuple[st.SearchStrategy[Any], Read]:
    """What a folder of anyone's may hold, so also one of the Hub."""
    from limner.model.model import CONFIG, WEIGHTS, Model

    folder = small_model(place / "model")
    config = json.loads((folder / CONFIG).read_bytes())
    weights = (folder / WEIGHTS).read_bytes()
    widths = st.sampled_from(({"width": 4096}, {"network": "modern", "width": 1024, "max_width": 4096, "depth": 8}))
    larger = st.fixed_dictionaries({"generator": widths, "latent_size": st.sampled_from((4, 49152))})

    def read(case: tuple[str, bytes]) -> object:
        file, content = case
        write(folder / WEIGHTS, content if file == WEIGHTS else weights)
        # A stranger's checksum fits the stranger's weights.
        said = config | {"weights_sha256": sha256(content).hexdigest()}
        write(folder / CONFIG, content if file == CONFIG else written(said))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Model.load(folder).sample(1)

    cases = st.one_of(
        st.tuples(st.just(CONFIG), drawn(json_file, [config])),
        st.tuples(st.just(CONFIG), larger.map(lambda part: written(config | part))),
        st.tuples(st.just(WEIGHTS), drawn(changed_weights, weights)),
    )
    return cases, read


def stored_points(place: Path) -> tuple[st.SearchStrategy[Any], Read]:
    """Directions and projected images."""
    from limner.explore.attribute_directions import Directions, DirectionsConfig
    from limner.explore.points import sampled_points
    from limner.explore.stored import CONFIG, LATENTS, store
    from limner.model.model import Model

    model = Model.load(small_model(place / "model"))
    points = sampled_points(model, 2, 0)
    folder = place / "directions"
    folder.mkdir()
    facts: dict[str, Any] = {"names": ("Male", "Smiling"), "samples": 256, "seed": 0}
    store(folder, DirectionsConfig, model, points, log_odds=(1.0, 1.0), judge_sha256="", **facts)
    config = json.loads((folder / CONFIG).read_bytes())
    latents = (folder / LATENTS).read_bytes()

    def read(case: tuple[str, bytes]) -> object:
        file, content = case
        write(folder / LATENTS, content if file == LATENTS else latents)
        said = config | {"latents_sha256": sha256(content).hexdigest()}
        write(folder / CONFIG, content if file == CONFIG else written(said))
        return Directions.load(folder, model).move(model, points, {"smiling": 1.0})

    return st.one_of(
        st.tuples(st.just(CONFIG), drawn(json_file, [config])),
        st.tuples(st.just(LATENTS), drawn(changed_weights, latents)),
    ), read


def records(place: Path) -> tuple[st.SearchStrategy[Any], Read]:
    """The JSON files of judges, calibrations, data sets and runs."""
    from limner.core.records import read_record
    from limner.data.packed import DatasetInfo
    from limner.judge.calibration import Calibration
    from limner.judge.judge import SHIPPED, JudgeConfig

    judge = json.loads((SHIPPED / "config.json").read_bytes())
    calibration = json.loads((SHIPPED / "calibration.json").read_bytes())
    cases = st.one_of(
        st.tuples(st.just(JudgeConfig), drawn(json_file, [judge])),
        st.tuples(st.just(Calibration), drawn(json_file, [calibration])),
        st.tuples(st.just(DatasetInfo), drawn(json_file, [judge])),
    )
    return cases, lambda case: read_record(write(place / "record.json", case[1]), case[0], "write it anew")


# --- what Limner wrote ----------------------------------------------------------------------------------------------


def prepared_data(place: Path) -> tuple[st.SearchStrategy[Any], Read]:
    from limner.data.packed import ATTRIBUTES as LABELS
    from limner.data.packed import IMAGES as PIXELS
    from limner.data.packed import INDEX, INFO, PackedFaces
    from limner.preparation.prepare import prepare

    faces = prepare("synthetic:6", place / "data", size=16, heldout=2, workers=1, quiet=True)
    whole = {name: (faces.path / name).read_bytes() for name in (INFO, PIXELS, LABELS, INDEX)}
    header = whole[PIXELS][:200]

    def read(case: tuple[str, bytes]) -> object:
        file, content = case
        try:
            write(faces.path / file, content)
            opened = PackedFaces.open(faces.path, verify=True)
            return opened.read(slice(None)), opened.files, opened.rows("heldout")
        finally:
            write(faces.path / file, whole[file])

    cut = drawn(damage, [header]).map(lambda start: start + whole[PIXELS][200:])
    return st.one_of(
        st.tuples(st.just(INFO), drawn(json_file, [json.loads(whole[INFO])])),
        st.tuples(st.just(PIXELS), cut),
        st.tuples(st.just(LABELS), drawn(damage, [whole[LABELS]])),
        st.tuples(st.just(INDEX), drawn(damage, [whole[INDEX]]) | drawn(table, ["0"], [whole[INDEX].decode()])),
    ), read


def kept_statistics(place: Path) -> tuple[st.SearchStrategy[Any], Read]:
    """What is damaged is computed again, so that the answer stays the same."""
    import os

    from limner.evaluation.reference import FEATURES, INFO, load_pixels
    from limner.evaluation.work import Work
    from limner.preparation.prepare import prepare

    faces = prepare("synthetic:6", place / "data", size=16, heldout=2, workers=1, quiet=True)
    os.environ["LIMNER_CACHE"] = str(place / "cache")
    right = np.array(load_pixels(faces, "train", Work(quiet=True)))
    (folder,) = (place / "cache/references").iterdir()
    whole = {name: (folder / name).read_bytes() for name in (INFO, FEATURES)}

    def read(case: tuple[str, bytes]) -> None:
        os.environ["LIMNER_CACHE"] = str(place / "cache")
        write(folder / case[0], case[1])
        np.testing.assert_array_equal(load_pixels(faces, "train", Work(quiet=True)), right)

    return st.one_of(
        st.tuples(st.just(INFO), drawn(json_file, [json.loads(whole[INFO])])),
        st.tuples(st.just(FEATURES), drawn(damage, [whole[FEATURES]])),
    ), read


def run_folders(place: Path) -> tuple[st.SearchStrategy[Any], Read]:
    """Logs, results and facts of a run, as `limner report` and the page of runs read them."""
    from stand_ins import make_result, write_run

    from limner.reports.run_report import write_report
    from limner.reports.runs_page import runs_page
    from limner.runs.run import Run

    run = place / "run"
    write_run(run, "dcgan32", [(64, 1.0), (128, 0.9)], [64])
    write(run / "metrics.jsonl", f"{make_result('fd_lite0', [1.0, 2.0]).model_dump_json()}\n".encode())
    names = ("log.jsonl", "metrics.jsonl", "run.json")
    whole = {name: (run / name).read_bytes() for name in names}

    def changed_lines(chance: Random, name: str) -> bytes:
        if chance.random() < 0.5:
            return damage(chance, [whole[name]])
        lines = [json.loads(line) for line in whole[name].splitlines()]
        stop = {"event": "stop", "reason": "finished", "images_seen": 128, "seconds": 1.0}
        added = [written(changed_tree(chance, chance.choice([*lines, stop]))) for _ in range(chance.randint(0, 4))]
        return whole[name] + b"\n".join(added)

    def read(case: tuple[str, bytes]) -> None:
        write(run / case[0], case[1])
        try:
            write_report(run)
            runs_page([run, run])
            assert isinstance(Run(run).log, list)
        finally:
            write(run / case[0], whole[case[0]])

    return st.one_of(
        st.tuples(st.just("run.json"), drawn(json_file, [json.loads(whole["run.json"])])),
        *(st.tuples(st.just(name), drawn(changed_lines, name)) for name in names[:2]),
    ), read


def checkpoints(place: Path) -> tuple[st.SearchStrategy[Any], Read]:
    import torch
    from safetensors.torch import save

    from limner.training.state import FORMAT, KEYS, read_newest

    weights = save({"generator.weight": torch.ones(2, 2), "discriminator.weight": torch.ones(3)})
    record = dict.fromkeys(sorted(KEYS), 0) | {"format": FORMAT, "sha256": sha256(weights).hexdigest()}
    folder = place / "000000064"
    folder.mkdir()

    def read(case: tuple[str, bytes]) -> object:
        file, content = case
        write(folder / "state.safetensors", content if file == "state.safetensors" else weights)
        said = record | {"sha256": sha256(content).hexdigest()}
        write(folder / "state.json", content if file == "state.json" else written(said))
        return read_newest(place)

    return st.one_of(
        st.tuples(st.just("state.json"), drawn(json_file, [record])),
        st.tuples(st.just("state.safetensors"), drawn(changed_weights, weights)),
    ), read


# --- the studio -----------------------------------------------------------------------------------------------------


def studio_requests(place: Path) -> tuple[st.SearchStrategy[Any], Read]:
    """Any request: it is answered, and no answer but the one of a machine that has no more to give is in the 500s."""
    from fastapi.testclient import TestClient

    from limner.studio.app import create_app

    model = str(small_model(place / "model"))
    (place / "runs").mkdir()
    client = TestClient(
        create_app([model], runs=place / "runs"), base_url="http://localhost:7860", raise_server_exceptions=False
    )
    face = {"seed": 1, "variation": {"amount": 0.5, "seed": 2, "index": 3}, "with": "smiling", "point": None}
    wholes: dict[str, dict[str, Any]] = {
        "/api/variations": {"model": model, "face": face, "amount": 0.1, "count": 1, "seed": 3},
        "/api/morph": {"model": model, "faces": [{"seed": 1}, face], "frames": 2, "format": "png"},
        "/api/edit": {"model": "none", "face": face, "by": {"smiling": 1.0}},
        "/api/nearest": {"model": "none", "face": face},
        "/api/runs": {"recipe": "none", "name": "a", "minutes": 1, "data": None},
        "/api/faces": {},
        "/api/project?model=none": {},
    }
    names = ("model", "count", "seed", "first", "with", "without", "truncation", "columns", "format")
    parts = ("api", "runs", "page", "..", "samples", "report", "%2e%2e", "%00", "a")
    methods = ("GET", "GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD")

    def body(chance: Random) -> tuple[str, str, bytes]:
        path = chance.choice([*wholes])
        return "POST", path, json_file(chance, [wholes[path]])

    def query(chance: Random) -> tuple[str, str, bytes]:
        pairs = [("model", model)]
        for _ in range(chance.randint(0, 5)):
            value = chance.choice((model, str(whole_number(chance)), str(real_number(chance)), text(chance)))
            pairs.append((chance.choice((*names, text(chance))), value))
        return "GET", quoted("/api/faces", pairs), b""

    def anything(chance: Random) -> tuple[str, str, bytes]:
        path = "/".join(chance.choice((*parts, text(chance))) for _ in range(chance.randint(0, 5)))
        # Two slashes at the beginning would name another host, says the client.
        return chance.choice(methods), quoted("/" + path.lstrip("/"), []), chance.randbytes(chance.randint(0, 20))

    def read(case: tuple[str, str, bytes]) -> None:
        method, path, content = case
        answer = client.request(method, path, content=content, headers={"content-type": "application/json"})
        assert answer.status_code < 500, answer.text[:200]
        if answer.status_code >= 400 and method != "HEAD" and answer.headers.get("content-type") == "application/json":
            assert answer.json()["error"].isprintable()

    return st.one_of(drawn(body), drawn(query), drawn(anything)), read


def quoted(path: str, pairs: list[tuple[str, str]]) -> str:
    """A path and its query as a browser sends them."""
    from urllib.parse import quote, urlencode

    query = urlencode(pairs, errors="replace")
    return quote(path, safe="/%", errors="replace") + (f"?{query}" if query else "")


READERS = {
    "recipe": Reader(recipe_files),
    "set": Reader(overrides),
    "vary": Reader(swept_settings, needs="optuna"),
    "protocol": Reader(protocol_files),
    "annotations": Reader(annotation_files),
    "labels": Reader(label_tables),
    "zip": Reader(zips),
    "pictures": Reader(pictures),
    "heic": Reader(heic_pictures, needs="pillow_heif"),
    "verify": Reader(generated_images),
    "recreate": Reader(recreated_images),
    "video": Reader(generated_videos, needs="av"),
    "c2pa": Reader(signed_images, needs="c2pa"),
    "model": Reader(model_folders),
    "points": Reader(stored_points),
    "records": Reader(records),
    "data": Reader(prepared_data),
    "statistics": Reader(kept_statistics),
    "run": Reader(run_folders),
    "checkpoint": Reader(checkpoints),
    "studio": Reader(studio_requests, needs="fastapi"),
}


def check(read: Read, case: Any) -> None:
    """Read one input; raises AssertionError where it is refused in another way than by one line."""
    said = ""
    try:
        read(case)
    except REFUSALS as refusal:
        said = str(refusal)
    assert said.isprintable(), repr(said)
    assert len(said) < 3000, len(said)
