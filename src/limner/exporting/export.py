"""`limner export`: one function for every form in which a model leaves Limner."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from limner.core.arguments import checked
from limner.core.errors import UserError
from limner.core.files import check_output, new_folder, write_file
from limner.exporting.onnx import OnnxFile, Precision, to_onnx
from limner.exporting.page import INDEX, MODEL, RUNTIME, faces_page, painter_page
from limner.exporting.runtime import load_runtime
from limner.model.model import Model
from limner.model.shipped import shipped_models


class Exported(NamedTuple):
    """What `export` wrote: where, and one sentence about it."""

    path: Path
    summary: str


@checked
def export(
    model: str | Path,
    out: str | Path,
    *,
    to: Literal["onnx", "html"],
    precision: Precision | None = None,
    single_file: bool = False,
    runtime: str | Path | None = None,
    force: bool = False,
    quiet: bool = False,
) -> Exported:
    """Export `model` (a run, a model folder, or the name of a shipped model) to `out`.

    `to="onnx"` writes one file with the generator, compared with PyTorch by onnxruntime (see `limner.exporting.onnx`).
    `to="html"` writes a folder with a page that generates in the browser, or with `single_file` one page that also
    works without a web server; onnxruntime-web comes from npm, or from the folder `runtime`. A model of curves becomes
    a page that trains. `precision` is that of the stored weights: by default fp32, in pages fp16.

    Raises:
        UserError: there is no model, it cannot be exported so, an option has no effect, or `out` exists (without
            `force`).
    """
    out = Path(out)
    for given, name in ((single_file, "single_file"), (runtime is not None, "runtime")):
        if given and to == "onnx":
            raise UserError(f"{name} has no effect on an ONNX file: leave it out.")
    _check_out(out, to == "html" and not single_file, ".onnx" if to == "onnx" else ".html", force)
    loaded = Model.load(model)
    if to == "onnx":
        return _export_onnx(loaded, out, precision or "fp32", quiet)
    return _export_page(loaded, str(model), out, precision or "fp16", single_file, runtime, quiet)


def _export_onnx(model: Model, out: Path, precision: Precision, quiet: bool) -> Exported:
    file = to_onnx(model, precision, quiet)
    write_file(out, file.content)
    return Exported(out, f"{_megabytes(file.content)}, {precision}; {agreement(file)}")


def _export_page(
    model: Model, name: str, out: Path, precision: Precision, single_file: bool, runtime: str | Path | None, quiet: bool
) -> Exported:
    if model.config.kind == "curves":
        page, words = {INDEX: painter_page(model)}, "a page that trains"
    else:
        web = load_runtime(None if runtime is None else Path(runtime), quiet)
        file = to_onnx(model, precision, quiet)
        page = faces_page(model, public_name(name), file.content, web, single_file)
        words = f"{precision}; {agreement(file)}"
    if single_file:
        write_file(out, page[INDEX])
    else:
        write_files(out, page)
    return Exported(out, f"{_megabytes(*page.values())}, {words}")


def write_files(out: Path, files: Mapping[str, bytes]) -> None:
    """Write a folder with these files in one step."""
    with new_folder(out) as beside:
        for name, content in files.items():
            write_file(beside / name, content)


def public_name(model: str) -> str:
    """What the receivers of an export call the model: a shipped one's name, or that of its folder, not where it is."""
    return model if model in shipped_models() else Path(model).resolve().name


def agreement(file: OnnxFile) -> str:
    """How near the images are to those of PyTorch, in words."""
    return (
        f"its images, from 0 to 1, differ from PyTorch's by {file.largest_difference:.1g} at most, "
        f"{file.mean_difference:.1g} on average"
    )


def _check_out(out: Path, folder: bool, ending: str, force: bool) -> None:
    """Raise UserError where `out` must not or cannot be written. --force replaces no folder but one of an export."""
    if not folder:
        check_output(out, force, (ending,))
        if out.is_dir():
            raise UserError(f"{out} is a folder: give the name of a file as --out.")
    elif out.is_dir() and not any(out.iterdir()):
        return
    else:
        check_output(out, force)
        if out.exists() and not (out.is_dir() and {path.name for path in out.iterdir()} <= {INDEX, MODEL, RUNTIME}):
            raise UserError(
                f"{out} is no page that limner export wrote; --force replaces nothing else: choose another --out."
            )


def _megabytes(*contents: bytes) -> str:
    return f"{sum(map(len, contents)) / 1e6:.3g} MB"
