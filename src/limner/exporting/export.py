"""`limner export`: one function for every form in which a model leaves Limner."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from limner.core.arguments import checked
from limner.core.errors import UserError
from limner.core.files import check_output, check_place, new_folder, write_file
from limner.exporting.hub import SPACE, hub_files
from limner.exporting.hub import push as push_folder
from limner.exporting.onnx import OnnxFile, Precision, generator_graph, to_onnx
from limner.exporting.page import INDEX, MODEL, RUNTIME, faces_page, painter_page
from limner.exporting.runtime import load_runtime
from limner.model.hub import is_hub_id, require_hub
from limner.model.model import CONFIG, Model
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
    to: Literal["onnx", "html", "hub"],
    precision: Precision | None = None,
    single_file: bool = False,
    runtime: str | Path | None = None,
    repo: str | None = None,
    push: bool = False,
    force: bool = False,
    quiet: bool = False,
) -> Exported:
    """Export `model` (a run, a model folder, the name of a shipped model, or one on the Hub) to `out`.

    `to="onnx"` writes one file with the generator, compared with PyTorch by onnxruntime (see `limner.exporting.onnx`).
    `to="html"` writes a folder with a page that generates in the browser, or with `single_file` one page that also
    works without a web server; onnxruntime-web comes from npm, or from the folder `runtime`. A model of curves becomes
    a page that trains. `to="hub"` writes a folder for the Hugging Face Hub: the model, its ONNX file, card and samples,
    and below `space` its page; `repo` (USER/NAME) is what the Hub shall call it, and `push` uploads it there.
    `precision` is that of the stored weights: by default fp32, in pages fp16.

    Raises:
        UserError: there is no model, it cannot be exported so, an option has no effect, `out` exists (without `force`),
            or the Hub refuses.
    """
    out = Path(out)
    _check_options(
        to,
        {
            "single_file": (single_file, ("html",)),
            "runtime": (runtime is not None, ("html", "hub")),
            "precision": (precision is not None, ("onnx", "html")),
            "repo": (repo is not None, ("hub",)),
            "push": (push, ("hub",)),
        },
    )
    if push and repo is None:
        raise UserError("To push, say what the Hub shall call the model: repo USER/NAME.")
    _check_out(out, to != "onnx" and not single_file, ".onnx" if to == "onnx" else ".html", force)
    loaded = Model.load(model)
    web = None if runtime is None else Path(runtime)
    if to == "onnx":
        return _export_onnx(loaded, out, precision or "fp32", quiet)
    if to == "html":
        return _export_page(loaded, str(model), out, precision or "fp16", single_file, web, quiet)
    return _export_hub(loaded, Path(model), out, repo, push, web, quiet)


def _export_onnx(model: Model, out: Path, precision: Precision, quiet: bool) -> Exported:
    file = to_onnx(model, precision, quiet)
    write_file(out, file.content)
    return Exported(out, f"{_megabytes(file.content)}, {precision}; {agreement(file)}")


def _export_page(
    model: Model, name: str, out: Path, precision: Precision, single_file: bool, runtime: Path | None, quiet: bool
) -> Exported:
    if model.config.kind == "curves":
        page, words = {INDEX: painter_page(model)}, "a page that trains"
    else:
        web = load_runtime(runtime, quiet)
        file = to_onnx(model, precision, quiet)
        page = faces_page(model, public_name(name), file.content, web, single_file)
        words = f"{precision}; {agreement(file)}"
    if single_file:
        write_file(out, page[INDEX])
    else:
        write_files(out, page)
    return Exported(out, f"{_megabytes(*page.values())}, {words}")


def _export_hub(
    model: Model, path: Path, out: Path, repo: str | None, to_push: bool, runtime: Path | None, quiet: bool
) -> Exported:
    require_hub()
    name = repo or f"USER/{public_name(str(path))}"
    if model.config.kind == "curves":
        onnx, page = None, {INDEX: painter_page(model)}
    else:
        web = load_runtime(runtime, quiet)
        graph = generator_graph(model)
        onnx, half = (to_onnx(model, precision, quiet, graph).content for precision in get_args(Precision))
        page = faces_page(model, f"{name}@main", half, web, single_file=False)
    files = hub_files(model, path, name, onnx, page)
    write_files(out, files)
    pushed = push_folder(out, name) if to_push else []
    words = f"pushed to {' and '.join(pushed)}" if pushed else f"ready to upload; the page is in {SPACE}"
    return Exported(out, f"{len(files)} files, {_megabytes(*files.values())}, {words}")


def write_files(out: Path, files: Mapping[str, bytes]) -> None:
    """Write a folder with these files in one step."""
    with new_folder(out) as beside:
        for name, content in files.items():
            (beside / name).parent.mkdir(exist_ok=True)
            write_file(beside / name, content)


def public_name(model: str) -> str:
    """What the receivers of an export call the model: its name here or on the Hub, or its folder's, not where it is."""
    return model if model in shipped_models() or is_hub_id(model) else Path(model).resolve().name


def agreement(file: OnnxFile) -> str:
    """How near the images are to those of PyTorch, in words."""
    return (
        f"its images, from 0 to 1, differ from PyTorch's by {file.largest_difference:.1g} at most, "
        f"{file.mean_difference:.1g} on average"
    )


def _check_options(to: str, options: Mapping[str, tuple[bool, Sequence[str]]]) -> None:
    """Raise UserError for an option that is given and has no effect; `options` are: given, and where it has one."""
    for name, (given, effective) in options.items():
        if given and to not in effective:
            raise UserError(f"{name} has no effect with to={to}: leave it out.")


def _check_out(out: Path, folder: bool, ending: str, force: bool) -> None:
    """Raise UserError where `out` must not or cannot be written. --force replaces no folder but one of an export."""
    if not folder:
        check_output(out, force, (ending,))
        if out.is_dir():
            raise UserError(f"{out} is a folder: give the name of a file as --out.")
    elif out.is_dir() and not any(out.iterdir()):
        check_place(out)
    else:
        check_output(out, force)
        if out.exists() and not (out.is_dir() and {path.name for path in out.iterdir()} <= {INDEX, MODEL, RUNTIME}):
            raise UserError(
                f"{out} is no page that limner export wrote; --force replaces nothing else: choose another --out."
            )


def _is_export(out: Path) -> bool:
    names = {path.name for path in out.iterdir()} if out.is_dir() else set()
    is_page = {INDEX} <= names <= {INDEX, MODEL, RUNTIME}
    return is_page or {SPACE, CONFIG} <= names


def _megabytes(*contents: bytes) -> str:
    return f"{sum(map(len, contents)) / 1e6:.3g} MB"
