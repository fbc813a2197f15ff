"""The commands `limner explore ...`: each parses, calls one function, prints where its output is."""

from pathlib import Path
from typing import Annotated

import typer

from limner.core.options import Device, Force, Quiet

explore_app = typer.Typer(
    no_args_is_help=True, help="Explore the latent space of a model: walks, sums, directions, editing, projection."
)
ModelName = Annotated[str, typer.Argument(help="A run, a model folder, or the name of a shipped model.")]
JudgeFolder = Annotated[
    Path | None, typer.Option(help="Folder made by limner judge train. Default: the judge that comes with Limner.")
]


@explore_app.command()
def interpolate(
    model: ModelName,
    faces: Annotated[str, typer.Option(help="Faces to go through, SEED:INDEX each, e.g. 0:3,0:7,1:2.")],
    out: Annotated[Path, typer.Option(help="File to write: .png (a strip), .gif, .mp4 or .webm.")] = Path("walk.png"),
    frames: Annotated[int, typer.Option(help="Number of images.")] = 60,
    loop: Annotated[bool, typer.Option("--loop", help="Return to the first face.")] = False,
    even: Annotated[bool, typer.Option("--even", help="Change the image equally from frame to frame.")] = False,
    fps: Annotated[int, typer.Option(help="Frames per second of a GIF or a video.")] = 20,
    device: Device = "cpu",
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Walk from face to face: interpolate latents and attributes."""
    from limner.explore.interpolation import interpolate as run

    written = run(
        model, faces, out, frames=frames, loop=loop, even=even, fps=fps, device=device, force=force, quiet=quiet
    )
    typer.echo(written)


@explore_app.command()
def arithmetic(
    model: ModelName,
    expression: Annotated[
        str, typer.Argument(help="Sum of attributes and faces, e.g. 'smiling female - female + male' or '0:3 + old'.")
    ],
    out: Annotated[Path, typer.Option(help="PNG to write.")] = Path("sum.png"),
    count: Annotated[int, typer.Option(help="Number of faces of the sum: itself, and others around it.")] = 8,
    variation: Annotated[float, typer.Option(help="How far the others are from the sum, 0 to 1.")] = 0.5,
    samples: Annotated[int, typer.Option(help="Number of samples that a term is the mean of.")] = 64,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    judge: JudgeFolder = None,
    device: Device = "cpu",
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Add and subtract attributes and faces in the latent space, and show the terms beside the sum."""
    from limner.explore.sums import arithmetic as run

    written = run(
        model,
        expression,
        out,
        count=count,
        variation=variation,
        samples=samples,
        seed=seed,
        judge=judge,
        device=device,
        force=force,
        quiet=quiet,
    )
    typer.echo(written)
