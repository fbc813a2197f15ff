"""Options that mean the same in every command."""

from typing import Annotated

import typer

Force = Annotated[bool, typer.Option("--force", help="Overwrite existing output.")]
Device = Annotated[str, typer.Option(help="Where to compute: auto, cpu, cuda or mps.", show_default=True)]
Seed = Annotated[int, typer.Option(help="Random seed.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress on the terminal.")]
SignWith = Annotated[
    str | None,
    typer.Option(
        help="Sign every PNG with content credentials: CERTIFICATES,KEY, two files in PEM.", metavar="CERTIFICATES,KEY"
    ),
]
