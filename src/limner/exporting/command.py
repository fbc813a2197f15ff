"""The command `limner export`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


def export_command(
    model: Annotated[str, typer.Argument(help="A run, a model folder, or the name of a shipped model.")],
    to: Annotated[str, typer.Option(help="onnx: one ONNX file.")],
    out: Annotated[Path, typer.Option(help="File or folder to write.")],
    precision: Annotated[
        str | None, typer.Option(help="Of the stored weights: fp32, or fp16 for half the size. Default: fp32.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite existing output.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress on the terminal.")] = False,
) -> None:
    """Export a model for use without Limner."""
    from limner.exporting.export import export

    exported = export(model, out, to=to, precision=precision, force=force, quiet=quiet)  # type: ignore[arg-type]
    Console().print(f"{exported.path}: {exported.summary}", highlight=False, markup=False, soft_wrap=True)
