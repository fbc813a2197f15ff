"""The command `limner sweep`."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from limner.core.errors import Interrupted
from limner.core.options import Device, Quiet, Seed


def sweep_command(
    recipe: Annotated[str, typer.Argument(help="Name of a recipe (limner recipes lists them) or a TOML file.")],
    data: Annotated[Path, typer.Option(help="Folder made by limner prepare.")],
    out: Annotated[Path, typer.Option(help="Folder of the sweep; its name is that of the study in the storage.")],
    vary: Annotated[
        list[str],
        typer.Option(help="What to vary: KEY=LOW..HIGH, KEY=LOW..HIGH,log or KEY=A,B,C. Can be repeated."),
    ],
    trials: Annotated[
        int | None,
        typer.Option(help="Number of trials, whose points TPE chooses. Default: every combination of the lists."),
    ] = None,
    images: Annotated[
        int | None, typer.Option(help="Train every trial until this many images were seen. Default: the recipe's.")
    ] = None,
    seeds: Annotated[int, typer.Option(help="Number of seeds to train every point with.")] = 1,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Change a setting of all trials. Can be repeated.")
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(
            help="Database that several machines share, e.g. postgresql+psycopg://USER@HOST/DATABASE. Default: a "
            "journal in the folder of the sweep."
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with this sweep, also as one more of its workers.")
    ] = False,
    prune: Annotated[bool, typer.Option(help="End trials early that do worse than most.")] = True,
    seed: Seed = 0,
    grace: Annotated[
        int,
        typer.Option(help="Seconds without a sign of life after which a worker's trial in a database goes to another."),
    ] = 120,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Search the settings of a recipe: train many variants, and show what was found on one page."""
    from limner.sweeping.sweep import sweep

    try:
        swept = sweep(
            recipe,
            data,
            out,
            vary=vary,
            trials=trials,
            images=images,
            seeds=seeds,
            overrides=set_ or [],
            storage=storage,
            resume=resume,
            prune=prune,
            seed=seed,
            grace=grace,
            device=device,
            quiet=quiet,
        )
    except Interrupted:
        raise Interrupted(shlex.join(["limner", *sys.argv[1:], *([] if resume else ["--resume"])])) from None
    typer.echo(f"Done: look at {swept.page}")
    if swept.best is not None:
        typer.echo(f"Train the best recipe for longer with limner train {swept.best} --data {data} --out RUN")
