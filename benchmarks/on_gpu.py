"""What wants a GPU, in the order of its worth, for as many minutes as a card is there.

`tests`: those that need CUDA. `faces`: the model that ships with Limner, trained anew. `spectral`: two kinds of EMA.
`recipes`: every recipe for the same number of images, several at a time. `large`: `modern` at 128 pixels. `speed`:
images per second, launched and replayed, and beside a plain PyTorch loop on the same card.

Every piece is a process of its own with a deadline. What is finished lies in `--work` and is not done again; a training
that was cut off goes on where it was. `--out` has everything so far after each piece: `results.json`, and zips of
grids, logs and models (fp16), each small enough to carry. With `--device cpu` and few images it can be rehearsed.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).parents[1]
PIECES = ("tests", "faces", "spectral", "recipes", "large", "speed")
# Report 000's crop is not in the cuts that a GPU machine gets, so its recipes train on report004's.
RECIPES = (
    *("wgan-gp", "sngan-pixelnorm", "acgan", "cgan", "dcgan", "dcgan-ttur", "gan", "vae", "dcgan32", "modern-cpu"),
    *("modern-attributes", "avgpool-bce", "painter", "autoencoder-bce"),
)
FACES = [
    *("conditioning.method=projection", "conditioning.weight=1"),
    *("augment.colour=0.5", "augment.zoom=0.1", "augment.cutout=0.5"),
]
KEPT = ("run.json", "recipe.toml", "log.jsonl", "metrics.jsonl")  # of a run, beside its grids and models
GRACE = 20  # seconds for a process to save after it was asked to stop
MEASURING = 40  # seconds that an evaluation takes beside others


@dataclass(frozen=True)
class Session:
    """What all pieces share."""

    data: dict[int, Path]
    """Prepared images by their size."""
    work: Path
    out: Path
    device: str
    deadline: float
    """On the monotonic clock."""
    images: int
    jobs: int
    protocol: str
    lock: threading.Lock

    @property
    def seconds_left(self) -> float:
        return self.deadline - time.monotonic()

    def known(self, piece: str) -> Any:
        """What a finished piece measured; `None` where it is not finished."""
        file = self.work / "done" / f"{piece}.json"
        return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None

    def keep(self, piece: str, measured: Any) -> None:
        """Note that a piece is finished, and put everything so far into `out`."""
        with self.lock:
            (self.work / "done").mkdir(parents=True, exist_ok=True)
            (self.work / "done" / f"{piece}.json").write_text(json.dumps(measured, indent=1), encoding="utf-8")
            collect(self)

    def run(self, *words: object, seconds: float = float("inf"), threads: int = 0) -> tuple[int, str]:
        """Run a command of Python's until it ends or `seconds` are over; its exit status and all it printed.

        Where time is over it is asked to stop and save (SIGTERM), and after some seconds killed.
        """
        environment = os.environ | {"LIMNER_CACHE": str(self.work / "cache")}
        if threads:
            environment |= {"OMP_NUM_THREADS": str(threads)}
        command = [sys.executable, *map(str, words)]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, cwd=ROOT
        ) as process:
            try:
                text, _ = process.communicate(timeout=max(1.0, min(seconds, self.seconds_left)))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGTERM)
                try:
                    text, _ = process.communicate(timeout=GRACE)
                except subprocess.TimeoutExpired:
                    process.kill()
                    text, _ = process.communicate()
        return process.returncode, text


def tests(session: Session) -> None:
    """The tests that are skipped without CUDA."""
    selection = "cuda or replayed_steps" if session.device == "cuda" else "test_engine_that_is_not_there"
    status, text = session.run(
        *("-m", "pytest", "tests/training/test_recipes.py", "tests/training/test_engine.py", "-q", "-rfE"),
        *("-p", "no:cacheprovider", "-k", selection),
        seconds=80,
    )
    failed = re.findall(r"^(?:FAILED|ERROR) (.*)$", text, re.MULTILINE)
    session.keep("tests", {"status": status, "summary": text.strip().splitlines()[-1:], "failed": failed})


def trained(session: Session, name: str, recipe: str, size: int | None, *words: object, **limits: Any) -> Path:
    """The run `name`, trained or gone on with until it ends or its time is over."""
    run = session.work / "runs" / name
    if (run / "run.json").is_file():
        status, text = session.run("-m", "limner", "train", "--resume", run, "--device", session.device, **limits)
    else:
        data = () if size is None else ("--data", session.data[size])
        session.work.joinpath("runs").mkdir(parents=True, exist_ok=True)
        status, text = session.run(
            *("-m", "limner", "train", recipe, *data, "--out", run, "--device", session.device, *words), **limits
        )
    if status not in (0, 130) and "is finished" not in text:
        print(f"{name}: {text.strip().splitlines()[-1:]}")
    return run


def evaluated(session: Session, model: Path, size: int, name: str) -> dict[str, Any]:
    """The metrics of a model by the session's protocol, each with its floor."""
    out = session.work / f"{name}.json"
    status, text = session.run(
        *("-m", "limner", "evaluate", model, "--data", session.data[size], "--seeds", 1, "--out", out, "--force"),
        *("--device", session.device, "--protocol", session.protocol, "--quiet"),
        threads=max(1, (os.cpu_count() or 1) // session.jobs),
    )
    if status:
        print(f"{name}: {text.strip().splitlines()[-1:]}")
        return {}
    results = json.loads(out.read_text(encoding="utf-8"))["results"]
    return {one["metric"]: one for one in results}


def cadence(images: int, measure: int = 0) -> list[str]:
    """Overrides that keep a fast training from writing more than it trains."""
    every = {"log": max(1, images // 50), "sample": max(1, images // 4), "checkpoint": max(1, images // 2)}
    keys = {**{f"{name}_images": value for name, value in every.items()}, "evaluate_images": measure}
    return [word for key, value in keys.items() for word in ("--set", f"record.{key}={value}")]


def summary(run: Path, metrics: dict[str, Any]) -> dict[str, Any]:
    """How far a run got, how long it took, what it measured; all else is in its log."""
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    logged = [line for line in lines if line["event"] == "log"]
    return {
        "images_seen": lines[-1]["images_seen"],
        "seconds": lines[-1]["seconds"],
        "images_per_second": sorted(line["images_per_second"] for line in logged)[len(logged) // 2] if logged else None,
        "metrics": metrics,
    }


def faces(session: Session, minutes: float) -> None:
    """The model that ships, and what the best and the last of its training reach."""
    seconds = 60 * minutes
    pace = 10_000 if session.device == "cuda" else 20  # images per second, roughly
    run = trained(
        *(session, "faces", "modern", 64, "--minutes", minutes),
        *(word for override in FACES for word in ("--set", override)),
        *cadence(int(pace * seconds), measure=int(pace * seconds / 10)),
        seconds=seconds * 1.5 + 60,
    )
    found = {}
    for which in ("best", "model"):
        if (run / which).is_dir():
            halve(run / which, session.work / f"faces-{which}")
            found[which] = evaluated(session, session.work / f"faces-{which}", 64, f"faces-{which}")
    if found:
        session.keep("faces", {which: summary(run, metrics) for which, metrics in found.items()})


def halve(model: Path, out: Path) -> None:
    """The model in fp16, as it would be shipped."""
    from limner.model.model import Model, save_model

    loaded = Model.load(model)
    save_model(out, loaded.generator.half(), loaded.config, loaded.known_MA)


def recipes(session: Session, wanted: Sequence[str]) -> None:
    """Every recipe for `session.images`, `session.jobs` at a time."""

    def one(name: str) -> None:
        piece = f"recipe-{name}"
        if session.known(piece) is not None or session.seconds_left < 2 * MEASURING:
            return
        size = {"dcgan32": 32, "painter": None}.get(name, 64)
        images = session.images if size else min(session.images, 200_000)
        seconds = session.seconds_left - MEASURING
        run = trained(session, name, name, size, "--images", images, *cadence(images), seconds=seconds, threads=2)
        if not (run / "model" / "config.json").is_file():
            return
        metrics = evaluated(session, run, size, piece) if size else {}
        session.run("-m", "limner", "sample", run, "--count", 24, "--columns", 12, "--out", run / "grid.png", "--force")
        session.keep(piece, summary(run, metrics))

    with ThreadPoolExecutor(session.jobs) as pool:
        list(pool.map(one, wanted))


def spectral(session: Session) -> None:
    """Recipes with spectral norm by both kinds of EMA (spectral_ema.py)."""
    out = session.work / "spectral_ema.json"
    status, text = session.run(
        *("benchmarks/spectral_ema.py", "--data", session.data[64], "--runs", session.work / "spectral"),
        *("--device", session.device, "--out", out),
        *(() if session.device == "cuda" else ("--images", session.images)),
        seconds=120,
    )
    session.keep("spectral", json.loads(out.read_text(encoding="utf-8")) if status == 0 else text[-2000:])


def large(session: Session) -> None:
    """`modern` at 128 pixels for the time that is left, but for what measuring it takes."""
    minutes = (session.seconds_left - 60) / 60
    if 128 in session.data and minutes > 0.5:
        run = trained(
            *(session, "modern128", "modern", 128, "--size", 128, "--minutes", f"{minutes:.2f}"), *cadence(1_000_000)
        )
        session.run("-m", "limner", "sample", run, "--count", 24, "--columns", 12, "--out", run / "grid.png", "--force")
        session.keep("large", summary(run, evaluated(session, run, 128, "large")))


def speed(session: Session) -> None:
    """Launched and replayed steps of every row of graphs.py, and the plain loop beside ours."""
    measured = {}
    if session.device == "cuda" and session.seconds_left > 60:
        out = session.work / "graphs.json"
        status, text = session.run("benchmarks/graphs.py", "--data", session.data[64], "--out", out)
        measured["graphs"] = json.loads(out.read_text()) if status == 0 else text[-500:]
    for name in ("dcgan", "wgan-gp"):
        if session.seconds_left > 60:
            out = session.work / f"bench-{name}.json"
            status, text = session.run("-m", "limner", "bench", name, "--out", out)
            measured[name] = json.loads(out.read_text()) if status == 0 else text[-500:]
    session.keep("speed", measured)


def collect(session: Session) -> None:
    """Write what there is into `out`, each file whole at any moment."""
    session.out.mkdir(parents=True, exist_ok=True)
    done = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in session.work.glob("done/*.json")}
    contents: dict[str, Callable[[], Iterator[tuple[str, Path]]]] = {
        "logs.zip": lambda: (
            (f"{run.name}/{name}", run / name)
            for run in session.work.glob("runs/*")
            for name in KEPT
            if (run / name).is_file()
        ),
        "grids.zip": lambda: (
            (f"{run.name}-{file.name}", file)
            for run in session.work.glob("runs/*")
            for file in [run / "grid.png", *sorted((run / "samples").glob("[0-9]*.png"))[-1:]]
            if file.is_file()
        ),
        **{
            f"faces-{which}.zip": lambda folder=session.work / f"faces-{which}": (
                (f"{folder.name}/{file.name}", file) for file in folder.glob("*")
            )
            for which in ("best", "model")
        },
    }
    for name, members in contents.items():
        beside = session.out / f".{name}"
        with zipfile.ZipFile(beside, "w", zipfile.ZIP_DEFLATED) as archive:
            for inside, file in members():
                with suppress(FileNotFoundError):
                    archive.write(file, inside)
        beside.replace(session.out / name)
    (session.out / ".results.json").write_text(json.dumps(done, indent=1), encoding="utf-8")
    (session.out / ".results.json").replace(session.out / "results.json")


def write_docs(home: Path, protocol: str) -> None:
    """Put the recipes that a session carried home into results/recipes.json and the table of docs/recipes.md."""
    from PIL import Image
    from recipes import keep_grid, keep_rows, measured, row

    from limner.runs.run import Run

    rows = {}
    with TemporaryDirectory() as folder, zipfile.ZipFile(home / "grids.zip") as grids:
        with zipfile.ZipFile(home / "logs.zip") as logs:
            logs.extractall(folder)
        for piece in json.loads((home / "results.json").read_text(encoding="utf-8")):
            if piece.startswith("recipe-"):
                name = piece.removeprefix("recipe-")
                run = Run(Path(folder) / name)
                rows[name] = row(name, run, measured(run, protocol))
                with grids.open(f"{name}-{run.log[-1]['images_seen']:09d}.png") as file:
                    grid = Image.open(file).convert("RGB")  # the last samples, which a run has whose time was over
                keep_grid(name, grid.crop((0, 0, grid.width, 3 * grid.height // 8)), run)
    keep_rows(rows)


def told(session: Session) -> None:
    """A line for each finished piece."""
    for file in sorted(session.work.glob("done/*.json")):
        found = json.loads(file.read_text(encoding="utf-8"))
        for which, one in found.items() if file.stem == "faces" else [("", found)]:
            row = one if isinstance(one, dict) else {}
            metrics = {name: round(of["value"], 3) for name, of in row.get("metrics", {}).items()}
            print(
                file.stem,
                which,
                row.get("images_seen", ""),
                row.get("images_per_second", ""),
                metrics or str(one)[:300],
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="that there are in all")
    parser.add_argument("--data", type=Path, action="append", default=[], help="prepared images; one for each size")
    parser.add_argument("--work", type=Path, default=Path("scratch/on_gpu"), help="what a second call goes on with")
    parser.add_argument("--out", type=Path, required=True, help="what is carried home")
    parser.add_argument("--docs", action="store_true", help="train nothing: put what lies in --out into the docs")
    parser.add_argument("--only", default=",".join(PIECES), help=f"pieces, in this order: {','.join(PIECES)}")
    parser.add_argument("--recipes", default=",".join(RECIPES))
    parser.add_argument("--faces-minutes", type=float, default=5.0)
    parser.add_argument("--images", type=int, default=1_000_000, help="of each recipe")
    parser.add_argument("--jobs", type=int, default=3, help="recipes at a time")
    parser.add_argument("--protocol", default="quick")
    parser.add_argument("--device", default="cuda")
    arguments = parser.parse_args()
    if arguments.docs:
        write_docs(arguments.out, arguments.protocol)
        sys.exit()
    prepared = {json.loads((path / "dataset.json").read_text())["size"]: path.resolve() for path in arguments.data}
    session = Session(
        prepared,
        arguments.work.resolve(),
        arguments.out.resolve(),
        arguments.device,
        time.monotonic() + 60 * arguments.minutes - GRACE,
        arguments.images,
        arguments.jobs,
        arguments.protocol,
        threading.Lock(),
    )
    session.work.mkdir(parents=True, exist_ok=True)
    pieces: dict[str, Callable[[], None]] = {
        "tests": lambda: tests(session),
        "faces": lambda: faces(session, arguments.faces_minutes),
        "spectral": lambda: spectral(session),
        "recipes": lambda: recipes(session, arguments.recipes.split(",")),
        "large": lambda: large(session),
        "speed": lambda: speed(session),
    }
    for piece in arguments.only.split(","):
        if session.known(piece) is None and session.seconds_left > 10:
            began = time.monotonic()
            pieces[piece]()
            print(f"{piece}: {time.monotonic() - began:.0f} s")
    told(session)
