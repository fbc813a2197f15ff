"""`limner export`: one function for every form in which a model leaves Limner."""

from pathlib import Path
from typing import Literal, NamedTuple

from limner.core.arguments import checked
from limner.core.errors import UserError
from limner.core.files import write_file
from limner.exporting.onnx import Precision, to_onnx
from limner.model.model import Model


class Exported(NamedTuple):
    """What `export` wrote: where, and one sentence about it."""

    path: Path
    summary: str


@checked
def export(
    model: str | Path,
    out: str | Path,
    *,
    to: Literal["onnx"],
    precision: Precision | None = None,
    force: bool = False,
    quiet: bool = False,
) -> Exported:
    """Export `model` (a run, a model folder, or the name of a shipped model) to `out`.

    `to="onnx"` writes one file with the generator, compared with PyTorch by onnxruntime (see `limner.exporting.onnx`);
    `precision` is that of the stored weights, fp32 by default.

    Raises:
        UserError: there is no model, it cannot be exported so, or `out` exists (without `force`).
    """
    out = Path(out)
    loaded = Model.load(model)
    return _export_onnx(loaded, out, precision or "fp32", force, quiet)


def _export_onnx(model: Model, out: Path, precision: Precision, force: bool, quiet: bool) -> Exported:
    if out.suffix != ".onnx":
        raise UserError(f"{out} does not end in .onnx: an ONNX export is a file whose name does.")
    check_new_file(out, force)
    file = to_onnx(model, precision, quiet)
    write_file(out, file.content)
    return Exported(
        out,
        f"{len(file.content) / 1e6:.1f} MB, {precision}; its images, from 0 to 1, differ from PyTorch's by "
        f"{file.largest_difference:.1g} at most, {file.mean_difference:.1g} on average",
    )


def check_new_file(out: Path, force: bool) -> None:
    """Raise UserError where the file `out` exists (without `force`) or has no folder."""
    if out.is_dir():
        raise UserError(f"{out} is a folder: give the name of a file as --out.")
    if out.exists() and not force:
        raise UserError(f"{out} exists: choose another --out, or replace it with --force.")
    if not out.parent.is_dir():
        raise UserError(f"There is no folder {out.parent} to write {out.name} into.")
