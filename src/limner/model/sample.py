"""`limner sample`: new faces as a PNG grid or as single files, and the same image once more from its own metadata."""

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from limner.core.arguments import checked
from limner.core.console import progress_bar
from limner.core.errors import MachineError, UserError, one_line
from limner.core.faults import fault_line
from limner.core.files import check_output, check_place, sweep, write_file
from limner.core.version import __version__
from limner.data.attributes import names_of
from limner.images.credentials import open_signer, signing
from limner.images.grid import face_grid
from limner.images.marks import Mark
from limner.images.png import generated_png, read_signed
from limner.model.graph import GraphModel, has_graph
from limner.model.sampler import Sampler, read_sampler_config
from limner.model.shipped import find_model

MAX_GRID = 4096


class Settings(BaseModel):
    """What makes an image again; in every generated PNG."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(max_length=4096, pattern=r"^[^\x00-\x1f\x7f]*$")
    """Folder of the model, as it was given."""
    weights_sha256: str
    seed: int = Field(ge=0)
    first: int = Field(ge=0)
    count: int = Field(ge=1, le=MAX_GRID)
    columns: int = Field(ge=1, le=MAX_GRID)
    truncation: float = Field(ge=0, le=2)
    with_: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    precision: Literal["bf16", "fp32"]
    runtime: Literal["torch", "onnxruntime"] = "torch"
    """What computed the image: their last bits differ."""
    limner: str
    """Limner's version that made the image."""


@checked
def sample(
    model: str | Path,
    out: str | Path,
    *,
    count: int = 64,
    seed: int = 0,
    first: int = 0,
    columns: int | None = None,
    with_: str | Sequence[str] = (),
    without: str | Sequence[str] = (),
    truncation: float = 1.0,
    single: bool = False,
    c2pa: str | None = None,
    device: str = "cpu",
    force: bool = False,
    quiet: bool = False,
) -> Path:
    """Sample `count` faces of `seed` from `model`: one PNG grid, or with `single` a folder of one PNG a face.

    `with_` and `without` are attributes that the faces shall and shall not have, in a list or with commas between them,
    and `truncation` multiplies the latents, as in `Model.sample`. Faces are numbered; those from `first` on are
    sampled. Face k of a seed is the same whatever the count. Memory does not grow with the count of single files. Every
    PNG is signed where `c2pa` names two files, `CERTIFICATES,KEY` (`limner.images.credentials`). Warns as
    `Model.sample`.

    Raises:
        UserError: a setting is out of range, there is no model, it knows no such attribute, `c2pa` cannot sign, or
            `out` exists (without `force`).
        MachineError: the disk took only some of the single files; the message says how to get the others.
    """
    out = Path(out)
    folder = find_model(Path(model))
    signer = open_signer(c2pa)
    if single:
        if out.suffix.lower() == ".png":
            raise UserError(f"--single writes a folder of images: give one as --out, not the file {out}.")
        if out.is_dir() and any(out.iterdir()) and not force:
            raise UserError(f"{out} is not empty: choose another --out, or write into it with --force.")
        check_place(out)
    else:
        check_output(out, force, (".png",))
        if count > MAX_GRID:
            raise UserError(
                f"A grid holds at most {MAX_GRID:,} faces: for a count of {count:,}, write single files with --single."
            )
    if columns is not None and not 1 <= columns <= MAX_GRID:
        raise UserError(f"--columns is {columns}; it must be between 1 and {MAX_GRID}.")
    loaded = _load(folder, device, quick=device == "cpu")
    made_by: dict[str, Any] = {
        "model": str(model),
        "weights_sha256": loaded.config.weights_sha256,
        "seed": seed,
        "truncation": truncation,
        "with_": names_of(with_),
        "without": names_of(without),
        "precision": loaded.precision,
        "runtime": loaded.runtime,
        "limner": __version__,
    }
    labels_NA = loaded.labels(count, seed, with_=with_, without=without, first=first)
    batches = loaded.batches(count, seed, truncation=truncation, first=first, labels_NA=labels_NA)
    with signing(signer), progress_bar("sample", count, "faces", quiet) as advance:
        if single:
            _write_singles(out, batches, first, count, made_by, loaded.new_mark, advance)
        else:
            faces = []
            for batch_NHWC in batches:
                faces.append(batch_NHWC)
                advance(len(batch_NHWC))
            grid = Settings(first=first, count=count, columns=columns or math.ceil(math.sqrt(count)), **made_by)
            write_file(out, sampled_png(np.concatenate(faces), grid, loaded.new_mark()))
    return out


@checked
def recreate(image: str | Path, out: str | Path, *, model: str | Path | None = None, force: bool = False) -> Path:
    """Make an image of `limner sample` once more, from the settings in it; `model` says where the model is now.

    The file is the same to the last byte: it keeps the time and the identifier of the first one.

    Raises:
        UserError: the image does not say how it was made, or its model is not there or not the one it was made with.
    """
    out = Path(out)
    try:
        said, mark = read_signed(Path(image))
        settings = Settings.model_validate(said)
    except ValidationError as error:
        problem = error.errors()[0]
        raise UserError(
            f"{image} says how it was made, but {one_line(str(problem['loc'][0]))} is off: {problem['msg']}."
        ) from None
    check_output(out, force, (".png",))
    folder = find_model(Path(model if model is not None else settings.model))
    if read_sampler_config(folder).weights_sha256 != settings.weights_sha256:
        raise UserError(f"{image} was made with other weights than those in {folder}: name the right model.")
    faces_NHWC = _load(folder, "cpu", quick=settings.runtime == "onnxruntime").sample(
        settings.count,
        settings.seed,
        first=settings.first,
        with_=settings.with_,
        without=settings.without,
        truncation=settings.truncation,
        precision=settings.precision,
    )
    write_file(out, sampled_png(faces_NHWC, settings, mark))
    return out


def _load(folder: Path, device: str, quick: bool) -> Sampler:
    """The model in a folder, of `find_model`; where it is `quick` and has a graph, torch is not even imported."""
    if quick and has_graph(folder):
        return GraphModel.load(folder)
    from limner.model.model import Model

    return Model.load(folder, device)


def sampled_png(faces_NHWC: NDArray[np.uint8], settings: Settings, mark: Mark | None) -> bytes:
    """The grid of sampled faces, uint8 N x H x W x 3, as a PNG that says how it was made; one face is alone in it."""
    image = face_grid(faces_NHWC, settings.columns, padding=0 if settings.count == 1 else 2)
    return generated_png(image, settings.model_dump(), mark)


def _write_singles(
    out: Path,
    batches: Iterator[NDArray[np.uint8]],
    first: int,
    count: int,
    made_by: dict[str, Any],
    new_mark: Callable[[], Mark],
    advance: Callable[[int], None],
) -> None:
    digits = max(6, len(str(first + count - 1)))
    index = first
    sweep(out)
    try:
        for batch_NHWC in batches:
            out.mkdir(parents=True, exist_ok=True)
            for face_HWC in batch_NHWC:
                settings = Settings(first=index, count=1, columns=1, **made_by)
                write_file(out / f"{index:0{digits}d}.png", sampled_png(face_HWC[None], settings, new_mark()))
                index += 1
            advance(len(batch_NHWC))
    except OSError as error:
        raise MachineError(
            f"{fault_line(error)}. {index - first:,} of {count:,} faces are in {out}; for the others, repeat the "
            f"command with --first {index} --count {first + count - index} --force."
        ) from error
