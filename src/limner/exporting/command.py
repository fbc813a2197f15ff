"""The command `limner export`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from limner.core.options import Force, Quiet


def export_command(
    model: Annotated[
        str,
        typer.Argument(help="A run, a model folder, the name of a shipped model, or USER/NAME@REVISION of the Hub."),
    ],
    to: Annotated[
        str,
        typer.Option(
            help="onnx: a file. html: a page that generates in the browser. hub: a folder for the Hugging Face Hub."
        ),
    ],
    out: Annotated[Path, typer.Option(help="File or folder to write.")],
    precision: Annotated[
        str | None,
        typer.Option(help="Of the stored weights: fp32, or fp16 for half the size. Default: fp32; in pages fp16."),
    ] = None,
    single_file: Annotated[
        bool, typer.Option("--single-file", help="html: one page, which also works without a web server.")
    ] = False,
    runtime: Annotated[
        Path | None, typer.Option(help="html: folder with the files of onnxruntime-web. Default: fetch them from npm.")
    ] = None,
    repo: Annotated[str | None, typer.Option(help="hub: what the Hub shall call the model, USER/NAME.")] = None,
    push: Annotated[bool, typer.Option("--push", help="hub: also upload the folder, and its page as a Space.")] = False,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Export a model for use without Limner."""
    from limner.exporting.export import export

    exported = export(
        model,
        out,
        to=to,  # type: ignore[arg-type]
        precision=precision,  # type: ignore[arg-type]
        single_file=single_file,
        runtime=runtime,
        repo=repo,
        push=push,
        force=force,
        quiet=quiet,
    )
    Console().print(f"{exported.path}: {exported.summary}", highlight=False, markup=False, soft_wrap=True)
