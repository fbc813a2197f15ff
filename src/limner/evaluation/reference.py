"""Features of the real images and the floors they set, computed once for a data set and kept.

Shapes: N real images of the reference, M training images, D features.
"""

import atexit
import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from limner.core.console import console
from limner.core.distributed import Engine
from limner.core.errors import UserError
from limner.core.faults import fault_line
from limner.core.files import new_folder, reserve, sha256, write_file
from limner.core.randomness import stream
from limner.core.records import parse_json
from limner.data.packed import PackedFaces
from limner.evaluation.generate import SHRUNK_PIXELS, SHRUNK_RULE, shrink_rows
from limner.evaluation.measure import NEIGHBOURS, STEPS, SUBSET, SUBSETS, measure, moments
from limner.evaluation.protocol import Protocol
from limner.evaluation.results import Floor
from limner.evaluation.work import Work
from limner.features.cache import cache_folder
from limner.features.extractor import BATCH, Extractor, extract

INFO, FEATURES, FLOORS = "reference.json", "features.npy", "floors.json"
PIXELS = "pixels"  # in the place of an extractor's name
FORMAT = 2  # of what is kept: another one is never read
FEWEST = 16  # images that a nearest-neighbour metric still makes sense of
Number = TypeVar("Number", np.float32, np.uint8)
_FLOORS = TypeAdapter(dict[str, Floor])


@dataclass(frozen=True)
class Reference:
    """Real images as an extractor sees them; the features lie in files that are mapped into memory."""

    real_rows: NDArray[np.int64]
    """Rows of the data set; N."""
    real_ND: NDArray[np.float32]
    train_rows: NDArray[np.int64]
    """Every training image, M; none where copies are not searched for in features."""
    train_MD: NDArray[np.float32]
    floors: dict[str, Floor]
    """By metric."""


def choose_rows(
    faces: PackedFaces, protocol: Protocol, samples: int | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of the real images, and of the training images for the floors: as many as there are generated images
    (`samples`, or as the protocol says), or all that are not among the real ones.

    Raises UserError where the data set has no such split, or too few images in it.
    """
    rows = np.arange(len(faces)) if protocol.split == "all" else faces.rows(protocol.split)
    real = _sample_rows(rows, protocol.real or len(rows))
    if len(real) < FEWEST:
        raise UserError(
            f"{faces.path} has only {len(real)} images in the split {protocol.split!r}: to measure against them, "
            f"hold out at least {FEWEST}, better thousands (limner prepare --heldout)."
        )
    return real, _sample_rows(np.setdiff1d(faces.rows("train"), real), samples or protocol.fake or len(real))


def load_reference(
    faces: PackedFaces, protocol: Protocol, extractor: Extractor, samples: int | None, work: Work
) -> Reference:
    """The reference of a protocol, from the cache where it is there and whole, else computed and kept there.

    Where the cache cannot be written, they are kept in a folder of this process. Several processes share what has to be
    computed; only the main one has the features and floors then. Raises UserError as `choose_rows`.
    """
    engine = work.engine
    real_rows, floor_rows = choose_rows(faces, protocol, samples)
    is_train = faces.splits[real_rows] == "train"
    train_rows = faces.rows("train") if protocol.copies_in_features and not is_train.any() else floor_rows[:0]
    about = {
        "format": FORMAT,
        "data_hash": faces.info.content_hash,
        "extractor": extractor.name,
        "extractor_sha256": extractor.weights_sha256,
        "resize": extractor.resize,
        "dimension": extractor.dimension,
    }

    def features(rows: NDArray[np.int64], what: str) -> NDArray[np.float32]:
        identity, shape = {**about, "rows": _name(rows)}, (len(rows), extractor.dimension)

        def fill(own: slice, into_ND: NDArray[np.float32], advance: Callable[[int], None]) -> None:
            extract(extractor, faces, rows[own], into_ND, advance)

        return _shared_array(identity, shape, np.float32, f"{what} images (once)", fill, work)

    real_ND, train_MD = features(real_rows, "real"), features(train_rows, "training")
    measures = {"k": NEIGHBOURS, "subset": SUBSET, "subsets": SUBSETS}
    identity = {**about, **measures, "rows": _name(real_rows), "floor": _name(floor_rows)}
    floors_kept = _is_kept(identity, engine)
    compute = not floors_kept and not len(train_rows)
    floor_MD = features(floor_rows, "training") if compute else None  # `None`: kept, or among `train_MD`

    def floors(to: Path, advance: Callable[[int], None]) -> None:
        found: dict[str, Floor] = {}
        if len(floor_rows) >= FEWEST:
            other_MD = train_MD[np.isin(train_rows, floor_rows)] if floor_MD is None else floor_MD
            measured = measure(real_ND, moments(real_ND), other_MD, extractor.name, advance)
            found = {
                metric: Floor(value=of.value, n_real=len(real_rows), n_other=len(floor_rows))
                for metric, of in measured.items()
            }
        write_file(to / FLOORS, _FLOORS.dump_json(found))

    folder = _place(identity)
    if not floors_kept:
        with work.progress("what training images score (once)", STEPS, "distances") as advance:
            if engine.is_main:
                folder = _keep(identity, lambda to: floors(to, advance), work.quiet)
    if not engine.is_main:
        return Reference(real_rows, real_ND, train_rows, train_MD, {})
    return Reference(real_rows, real_ND, train_rows, train_MD, _FLOORS.validate_json((folder / FLOORS).read_bytes()))


def load_pixels(faces: PackedFaces, split: str, work: Work) -> NDArray[np.uint8]:
    """The images of a split, shrunk to P pixels: uint8 N x P; kept, computed and returned as the reference is.

    Raises UserError where the data set has no such split.
    """
    rows = faces.rows(split)
    about = {"format": FORMAT, "data_hash": faces.info.content_hash, "extractor": PIXELS, "resize": SHRUNK_RULE}

    def fill(own: slice, into_NP: NDArray[np.uint8], advance: Callable[[int], None]) -> None:
        shrink_rows(faces, rows[own], into_NP, advance)

    identity, shape = {**about, "rows": _name(rows)}, (len(rows), SHRUNK_PIXELS)
    return _shared_array(identity, shape, np.uint8, f"{split} pixels (once)", fill, work)


def _shared_array(
    identity: dict[str, Any],
    shape: tuple[int, int],
    dtype: type[Number],
    label: str,
    fill: Callable[[slice, NDArray[Number], Callable[[int], None]], None],
    work: Work,
) -> NDArray[Number]:
    """A number of rows from the cache, mapped into memory, else computed by all processes and kept there.

    Each process has `fill` write its own part. All but the main one return no rows.
    """
    engine, no_rows = work.engine, np.empty((0, shape[1]), dtype)
    if not shape[0]:
        return no_rows

    def compute(into: NDArray[Number]) -> None:
        own = engine.span(shape[0], BATCH)
        with work.progress(label, own.stop - own.start, "images") as advance:
            fill(own, into[own], advance)
        engine.combine(into)

    def write(to: Path) -> None:
        array = np.lib.format.open_memmap(to / FEATURES, "w+", dtype, shape)
        reserve(to / FEATURES)
        compute(array)
        array.flush()

    kept = _is_kept(identity, engine)
    if engine.is_main:
        folder = _place(identity) if kept else _keep(identity, write, work.quiet)
        array: NDArray[Number] = np.load(folder / FEATURES, mmap_mode="r", allow_pickle=False)
        return array
    if not kept:
        compute(np.zeros(shape, dtype))
    return no_rows


def _is_kept(identity: dict[str, Any], engine: Engine) -> bool:
    """Whether the main process has this in its cache, whole."""
    return engine.any(engine.is_main and _is_whole(_place(identity), identity))


def _place(identity: dict[str, Any]) -> Path:
    """The folder of the cache for what is of this identity."""
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
    return cache_folder() / "references" / f"{identity['extractor']}-{key}"


def _keep(identity: dict[str, Any], make: Callable[[Path], None], quiet: bool) -> Path:
    """The folder of the cache that keeps what is of this identity from now on; `make` fills it."""
    folder = _place(identity)
    if folder.exists():
        _note(f"{folder} is damaged; its statistics are computed anew.", quiet)
    try:
        _fill(folder, identity, make)
    except OSError as error:
        _note(
            f"the cache cannot be used, {fault_line(error)}. Its statistics serve this process alone; LIMNER_CACHE in "
            "the environment names another folder.",
            quiet,
        )
        _fill(folder := _own_folder() / folder.name, identity, make)
    return folder


def _fill(folder: Path, identity: dict[str, Any], make: Callable[[Path], None]) -> None:
    with new_folder(folder, synced=False) as beside:
        make(beside)
        checksums = {file.name: sha256(file) for file in beside.iterdir()}
        write_file(beside / INFO, json.dumps({"identity": identity, "sha256": checksums}, indent=1).encode())


@cache
def _own_folder() -> Path:
    """A folder of this process, which is removed at its end."""
    folder = Path(mkdtemp(prefix="limner-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _note(sentence: str, quiet: bool) -> None:
    if not quiet:
        console.print(f"Note: {sentence}", markup=False, highlight=False, soft_wrap=True)


def _is_whole(folder: Path, identity: dict[str, Any]) -> bool:
    """Whether `folder` keeps what is of this identity, as it was written."""
    try:
        info = parse_json((folder / INFO).read_bytes())
        kept = [file for file in folder.iterdir() if file.name != INFO]
        is_this = bool(kept) and info["identity"] == identity
        return is_this and bool(info["sha256"] == {file.name: sha256(file) for file in kept})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _name(rows: NDArray[np.int64]) -> str:
    return hashlib.sha256(rows.astype("<i8").tobytes()).hexdigest()


def _sample_rows(rows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """`count` of the rows, or all where there are not so many; always the same ones, in their order."""
    return np.sort(stream(0, "reference").permutation(rows)[:count])
