"""The commands `limner explore ...`: each parses, calls one function, prints where its output is."""

from pathlib import Path
from typing import Annotated

import typer

from limner.core.console import notes
from limner.core.options import Device, Force, Quiet, Seed

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
    out: Annotated[Path, typer.Option(help="File to write: .png (a strip), .gif, .webp, .mp4 or .webm.")] = Path(
        "walk.png"
    ),
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
    seed: Seed = 0,
    judge: JudgeFolder = None,
    device: Device = "cpu",
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Add and subtract attributes and faces in the latent space, and show the terms beside the sum."""
    from limner.explore.sums import arithmetic as run

    with notes(quiet):
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


@explore_app.command()
def directions(
    model: ModelName,
    out: Annotated[Path, typer.Option(help="Folder to create.")],
    attributes: Annotated[
        str | None, typer.Option(help="Attributes, e.g. smiling,male. Default: all that the judge knows.")
    ] = None,
    samples: Annotated[int, typer.Option(help="Number of samples to learn from.")] = 4096,
    seed: Seed = 0,
    judge: JudgeFolder = None,
    device: Device = "cpu",
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Find the directions that change attributes, from the model's own samples and the judge."""
    from limner.explore.attribute_directions import SHEET
    from limner.explore.attribute_directions import directions as run

    run(
        model,
        out,
        attributes=attributes or (),
        samples=samples,
        seed=seed,
        judge=judge,
        device=device,
        force=force,
        quiet=quiet,
    )
    typer.echo(f"{out}: look at {out / SHEET}")


@explore_app.command()
def edit(
    model: ModelName,
    directions: Annotated[Path, typer.Option(help="Folder made by limner explore directions for this model.")],
    by: Annotated[str, typer.Option(help="Strength of each change, -10 to 10, e.g. smiling=2,male=-1.")],
    face: Annotated[str | None, typer.Option(help="Face to edit, SEED:INDEX; several with commas between.")] = None,
    projected: Annotated[
        Path | None, typer.Option(help="Edit all images in this folder, made by limner explore project.")
    ] = None,
    out: Annotated[Path, typer.Option(help="PNG to write.")] = Path("edited.png"),
    device: Device = "cpu",
    force: Force = False,
) -> None:
    """Change attributes of faces: each as it is, and moved along directions."""
    from limner.explore.editing import edit as run

    typer.echo(run(model, directions, by, out, face=face or (), projected=projected, device=device, force=force))


@explore_app.command()
def project(
    model: ModelName,
    images: Annotated[list[Path], typer.Argument(help="Image files, each of one face.")],
    out: Annotated[Path, typer.Option(help="Folder to create.")],
    steps: Annotated[int, typer.Option(help="Steps of gradient descent for each image.")] = 250,
    samples: Annotated[int, typer.Option(help="Number of random samples to start from the nearest of.")] = 512,
    seed: Seed = 0,
    device: Device = "cpu",
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Find the latents and attributes with which a model comes nearest to photos, so that they can be edited."""
    from limner.explore.projection import project as run

    found = run(
        model,
        [str(image) for image in images],
        out,
        steps=steps,
        samples=samples,
        seed=seed,
        device=device,
        force=force,
        quiet=quiet,
    )
    for name, distance in zip(found.names, found.distances, strict=True):
        typer.echo(f"{name}: pixel error {distance.pixels:.3f}, nearest random sample {distance.sample_pixels:.3f}")
    typer.echo(out)
