"""Features of the real pictures and the floors they set, computed once for a data set and kept.

Shapes: N real pictures of the reference, M training pictures beside it, D features.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from limner.data.packed import PackedFaces
from limner.errors import UserError
from limner.evaluation.cache import cache_folder
from limner.evaluation.extractors import Extractor
from limner.evaluation.measures import STEPS, measure, moments
from limner.evaluation.protocol import Protocol
from limner.evaluation.results import Floor, Floors
from limner.files import new_folder, sha256, write_file
from limner.progress import console, progress_bar
from limner.randomness import stream

INFO, REAL, TRAIN = "reference.json", "real.npy", "train.npy"
PORTION = 256
MANY = 5_000  # the same for protocols that generate few pictures, so that they share what is kept
FEWEST = 16  # pictures that a nearest-neighbour metric of halves still makes sense of
_FLOORS = TypeAdapter(dict[str, Floors])


@dataclass(frozen=True)
class Reference:
    """Real pictures as an extractor sees them."""

    real_rows: NDArray[np.int64]
    """Rows of the data set; N."""
    real_ND: NDArray[np.float32]
    train_rows: NDArray[np.int64]
    """Training pictures that are not among the real ones; M."""
    train_MD: NDArray[np.float32]
    floors: dict[str, Floors]
    """By metric."""


def choose_rows(faces: PackedFaces, protocol: Protocol) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of the real pictures, and of training pictures beside them: as many, but no more than there are generated
    ones (or `MANY`, where these are fewer).

    Raises UserError where the data set has no such split, or too few pictures in it.
    """
    rows = np.arange(len(faces)) if protocol.split == "all" else faces.rows(protocol.split)
    real = _draw(rows, protocol.real or len(rows))
    if len(real) < FEWEST:
        raise UserError(
            f"{faces.path} has only {len(real)} pictures in the split {protocol.split!r}: to measure against them, "
            f"hold out at least {FEWEST}, better thousands (limner prepare --heldout)."
        )
    others = np.setdiff1d(faces.rows("train"), real)
    return real, _draw(others, min(len(real), max(MANY, protocol.fake or len(real))))


def load_reference(faces: PackedFaces, protocol: Protocol, extractor: Extractor, quiet: bool = False) -> Reference:
    """The reference of a protocol, from the cache where it is there and whole, else computed and kept there.

    Raises UserError as `choose_rows`, and where the cache cannot be written.
    """
    real_rows, train_rows = choose_rows(faces, protocol)
    identity = {
        "format": 1,
        "data_hash": faces.info.content_hash,
        "split": protocol.split,
        "real": len(real_rows),
        "train": len(train_rows),
        "extractor": extractor.name,
        "extractor_sha256": extractor.weights_sha256,
        "resize": extractor.resize,
        "dimension": extractor.dimension,
    }
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
    folder = cache_folder() / "references" / f"{extractor.name}-{key}"
    floors = _read_floors(folder, identity)
    if floors is None:
        if folder.exists() and not quiet:
            console.print(f"Note: {folder} is damaged; its statistics are computed anew.", markup=False, soft_wrap=True)
        try:
            with new_folder(folder, synced=False) as beside:
                floors = _compute(beside, faces, real_rows, train_rows, extractor, quiet)
                checksums = {file: sha256(beside / file) for file in (REAL, TRAIN)}
                info = {"identity": identity, "sha256": checksums, "floors": _FLOORS.dump_python(floors)}
                write_file(beside / INFO, json.dumps(info, indent=1).encode())
        except OSError as error:
            raise UserError(
                f"{folder} cannot be written ({error.strerror}): set LIMNER_CACHE in the environment to another folder."
            ) from None
    real_ND, train_MD = _load(folder / REAL, len(real_rows)), _load(folder / TRAIN, len(train_rows))
    return Reference(real_rows, real_ND, train_rows, train_MD, floors)


def _read_floors(folder: Path, identity: dict[str, Any]) -> dict[str, Floors] | None:
    """The floors kept in `folder`; `None` where it is not there, not of `identity`, or not as it was written."""
    try:
        info = json.loads((folder / INFO).read_bytes())
        if info["identity"] != identity:
            return None
        if any(sha256(folder / file) != info["sha256"][file] for file in (REAL, TRAIN)):
            return None
        return _FLOORS.validate_python(info["floors"])
    except (OSError, ValueError, KeyError, TypeError):  # pydantic's ValidationError is a ValueError
        return None


def _compute(
    folder: Path,
    faces: PackedFaces,
    real_rows: NDArray[np.int64],
    train_rows: NDArray[np.int64],
    extractor: Extractor,
    quiet: bool,
) -> dict[str, Floors]:
    """Write the features of both sets of rows into `folder`, and measure what real pictures score against real ones."""
    with progress_bar("real pictures (once)", len(real_rows) + len(train_rows), "pictures", quiet) as advance:
        for file, rows in ((REAL, real_rows), (TRAIN, train_rows)):
            shape = (len(rows), extractor.dimension)
            if not len(rows):  # nothing cannot be mapped into memory
                np.save(folder / file, np.empty(shape, np.float32))
                continue
            features_ND = np.lib.format.open_memmap(folder / file, "w+", np.float32, shape)
            for start in range(0, len(rows), PORTION):
                some = rows[start : start + PORTION]
                features_ND[start : start + len(some)] = extractor.features(faces.images_NHWC[some])
                advance(len(some))
            features_ND.flush()
            del features_ND
    real_ND, train_MD = _load(folder / REAL, len(real_rows)), _load(folder / TRAIN, len(train_rows))
    one, other = np.array_split(stream(0, "halves").permutation(len(real_ND)), 2)
    pairs = {"halves": (real_ND[np.sort(one)], real_ND[np.sort(other)])}
    if len(train_MD) >= FEWEST:
        pairs["training"] = (real_ND, train_MD)
    floors: dict[str, dict[str, Floor]] = {}
    with progress_bar("what real pictures score (once)", STEPS * len(pairs), "distances", quiet) as advance:
        for name, (some_ND, others_MD) in pairs.items():
            measured = measure(some_ND, moments(some_ND), others_MD, extractor.name, advance)
            for metric, (value, _) in measured.items():
                floor = Floor(value=value, n_real=len(some_ND), n_other=len(others_MD))
                floors.setdefault(metric, {})[name] = floor
    return {metric: Floors(**both) for metric, both in floors.items()}


def _load(file: Path, count: int) -> NDArray[np.float32]:
    features_ND: NDArray[np.float32] = np.load(file, mmap_mode="r" if count else None, allow_pickle=False)
    return features_ND


def _draw(rows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """`count` of the rows, or all where there are not so many; always the same ones, in their order."""
    return np.sort(stream(0, "reference").permutation(rows)[:count])
