"""The command `limner verify`: parse, call one function, print."""

import json
from pathlib import Path
from typing import Annotated

import typer


def verify_command(
    file: Annotated[Path, typer.Argument(help="PNG, GIF, WebP, MP4 or WebM.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Tell whether a file says that Limner generated it: by which model, when, and with which settings."""
    from limner.images.verify import verify

    found = verify(file)
    if as_json:
        mark = None if found.mark is None else found.mark.model_dump(mode="json")
        signature = None if found.credentials is None else found.credentials._asdict()
        said = {"kind": found.kind, "mark": mark, "settings": found.settings, "signature": signature}
        typer.echo(json.dumps(said, indent=1))
        return
    typer.echo(f"{file} says that Limner generated it:")
    for name, value in found.rows():
        typer.echo(f"  {name:<17} {value}")
