"""The `limner` command: parse, call one function, print."""

import codecs
import io
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table

from limner.core.console import notes
from limner.core.errors import Interrupted, MachineError, ProcessLost, UserError
from limner.core.faults import fault_line
from limner.core.options import Device, Force, Quiet, Seed, SignWith
from limner.core.process import Output, end_process, open_missing_streams, process_count, process_rank
from limner.core.signals import ended_by_signals
from limner.explore.command import explore_app
from limner.exporting.command import export_command
from limner.images.command import verify_command
from limner.judge.command import judge_app, label_command
from limner.studio.command import studio_command
from limner.sweeping.command import sweep_command

app = typer.Typer(
    name="limner",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    help="Prepare face images, train face generators on them, and sample new faces.\n\n"
    "New here? `limner demo` runs all of these steps in minutes, without any download.",
)
console = Console()
SECONDS_FOR_MAIN = 15.0


def _show_version(wanted: bool) -> None:
    if wanted:
        from limner.core.version import __version__

        console.print(f"limner {__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def _limner(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


@app.command()
def demo(
    out: Annotated[Path, typer.Argument(help="Folder to work in.")] = Path("limner-demo"),
    minutes: Annotated[float, typer.Option(help="Minutes of training.")] = 2.0,
    force: Force = False,
) -> None:
    """Run all steps in minutes on a CPU: draw synthetic faces, train on them, sample new ones, write the report."""
    from limner.demo import demo as run_demo

    run_demo(out, minutes=minutes, force=force)


@app.command()
def checks(
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Show what this machine has, what will not work on it, and the commands that mend it."""
    from limner.checks import checks as run_checks

    raise typer.Exit(0 if run_checks(as_json) else 1)


@app.command()
def recipes(
    name: Annotated[str | None, typer.Argument(help="Show this recipe in full.", show_default=False)] = None,
) -> None:
    """List the recipes, or show one: its settings, what to expect, and the command to train it."""
    from limner.recipes import recipe_headers, recipe_names, recipe_text

    if name is None:
        table = Table("recipe", "follows", "what it is", box=None, pad_edge=False)
        for header in recipe_headers():
            table.add_row(*header)
        console.print(table)
        console.print("\nlimner recipes NAME shows one; limner train NAME --data DIR --out RUN trains it.")
    elif name in recipe_names():
        console.print(recipe_text(name), end="", highlight=False, markup=False)
    else:
        from limner.recipes.load import load_recipe

        console.print(load_recipe(name).to_toml(), end="", highlight=False, markup=False)


@app.command()
def prepare(
    source: Annotated[
        str,
        typer.Argument(
            help="CelebA as distributed (folder or zip), any folder or zip of images, synthetic:N for N drawn faces, "
            "or faces:N for N faces sampled from the model of this name."
        ),
    ],
    out: Annotated[Path, typer.Argument(help="Folder to create.")],
    size: Annotated[int, typer.Option(help="Width and height in pixels.")] = 64,
    crop: Annotated[
        str | None,
        typer.Option(
            help="Crop preset: report000, report004, centre178, ddim128 or square. Default: report004 for CelebA and "
            "with --align, square for other images."
        ),
    ] = None,
    align: Annotated[
        bool, typer.Option("--align", help="Find the faces in photos and align them as CelebA is aligned.")
    ] = False,
    faces: Annotated[
        Literal["all", "largest"] | None,
        typer.Option(help="With --align, of a photo with several faces: all or largest. Default: all."),
    ] = None,
    keep: Annotated[float, typer.Option(help="Probability that each image is used.")] = 1.0,
    heldout: Annotated[
        int | None,
        typer.Option(help="Hold out this many random images, by whole persons, instead of the source's own partition."),
    ] = None,
    test: Annotated[
        int | None,
        typer.Option(help="How many of --heldout form the test split. Default: all but 2,000, or half."),
    ] = None,
    labels: Annotated[Path | None, typer.Option(help="CSV of labels for a folder or zip of images.")] = None,
    seed: Seed = 0,
    workers: Annotated[int | None, typer.Option(help="Number of decoding processes. Default: one per core.")] = None,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Crop, resize and pack images once, so that training does not decode them again."""
    from limner.preparation.prepare import prepare as run_prepare

    with notes(quiet):
        prepared = run_prepare(
            source,
            out,
            size=size,
            crop=crop,
            align=align,
            faces=faces,
            keep=keep,
            heldout=heldout,
            test=test,
            seed=seed,
            workers=workers,
            labels=labels,
            force=force,
            quiet=quiet,
        )
    counts = prepared.info.counts
    splits = ", ".join(f"{name} {count:,}" for name, count in counts.splits.items())
    rejects = f"; {counts.rejected:,} rejected, see {out / 'rejects.csv'}" if counts.rejected else "; 0 rejected"
    _say(f"{out}: {counts.images:,} images ({splits}), {len(prepared.attribute_names)} attributes{rejects}")
    _say(f"content {prepared.info.content_hash[:16]}; look at {out / ('alignment.png' if align else 'preview.png')}")


app.command("label")(label_command)


@app.command()
def train(
    recipe: Annotated[
        str | None, typer.Argument(help="Name of a recipe (limner recipes lists them) or a TOML file.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Folder made by limner prepare; the painter needs none.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the new run.")] = None,
    init: Annotated[
        str | None,
        typer.Option(help="Start from the weights of this run, model folder or shipped model (faces): fine-tune it."),
    ] = None,
    resume: Annotated[Path | None, typer.Option(help="Resume this run exactly where it stopped.")] = None,
    images: Annotated[int | None, typer.Option(help="Train until this many images were seen.")] = None,
    epochs: Annotated[float | None, typer.Option(help="Train for this many passes over the training split.")] = None,
    minutes: Annotated[
        float | None,
        typer.Option(help="Train for this many minutes. The end follows the clock, so a resume is not exact."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change a setting, e.g. optimizer.generator.lr=1e-4. Can be repeated."),
    ] = None,
    size: Annotated[int | None, typer.Option(help="Resolution, short for --set data.size=...: 32, 64 or 128.")] = None,
    seed: Annotated[int | None, typer.Option(help="Random seed. Default: 0.")] = None,
    device: Device = "auto",
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Train a recipe on prepared faces, or resume a run. Ctrl-C saves the run and prints how to resume it."""
    from limner.training.session import resume as run_resume
    from limner.training.session import train as run_train

    overrides = [*(set_ or []), *([f"data.size={size}"] if size is not None else [])]
    budget: dict[str, Any] = {"images": images, "epochs": epochs, "minutes": minutes}
    if resume is not None:
        if out is not None or seed is not None or init is not None or force:
            raise UserError("--out, --seed, --init and --force belong to a new run: leave them out with --resume.")
        run = run_resume(resume, recipe=recipe, overrides=overrides, data=data, device=device, quiet=quiet, **budget)
    elif recipe is None or out is None:
        raise UserError("Say what to train: limner train RECIPE --data DIR --out RUN, or limner train --resume RUN.")
    else:
        run = run_train(
            recipe,
            data,
            out,
            overrides=overrides,
            seed=seed or 0,
            init=init,
            device=device,
            force=force,
            quiet=quiet,
            **budget,
        )
    if process_rank() == 0:
        _say(f"Done: look at {run.path / 'report.html'}; sample new ones with limner sample {run.path} --out new.png")


@app.command()
def sample(
    model: Annotated[
        str | None, typer.Argument(help="A run, a model folder, or faces, the model that comes with Limner.")
    ] = None,
    out: Annotated[Path, typer.Option(help="PNG to write, or with --single a folder.")] = Path("faces.png"),
    count: Annotated[int, typer.Option(help="Number of faces.")] = 64,
    seed: Annotated[int, typer.Option(help="Random seed: the same seed gives the same faces.")] = 0,
    first: Annotated[int, typer.Option(help="Index of the first face of this seed.")] = 0,
    columns: Annotated[int | None, typer.Option(help="Faces per row. Default: as square as possible.")] = None,
    with_: Annotated[
        str | None, typer.Option("--with", help="Attributes the faces should have, e.g. smiling,black_hair.")
    ] = None,
    without: Annotated[str | None, typer.Option(help="Attributes they should not have, e.g. eyeglasses.")] = None,
    truncation: Annotated[
        float, typer.Option(help="Below 1: more typical faces; 1: as trained; 0: one face for each set of attributes.")
    ] = 1.0,
    single: Annotated[bool, typer.Option("--single", help="Write one PNG per face, in a folder.")] = False,
    recreate: Annotated[Path | None, typer.Option(help="Recreate this image, which limner sample wrote.")] = None,
    c2pa: SignWith = None,
    device: Device = "cpu",
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Sample new faces. Every image is marked as synthetic and records how it was made."""
    from limner.model import sample as sampling

    with notes(quiet):
        if recreate is not None:
            path = sampling.recreate(recreate, out, model=model, force=force)
        elif model is None:
            raise UserError("Say which model to sample from: limner sample MODEL (a run, a model folder, or faces).")
        else:
            path = sampling.sample(
                model,
                out,
                count=count,
                seed=seed,
                first=first,
                columns=columns,
                with_=with_ or (),
                without=without or (),
                truncation=truncation,
                single=single,
                c2pa=c2pa,
                device=device,
                force=force,
                quiet=quiet,
            )
    _say(str(path))


RealData = Annotated[Path, typer.Option(help="Folder made by limner prepare: the real images.")]
Protocol = Annotated[str, typer.Option(help="quick, report004, celeba178-50k, training, or a TOML file of your own.")]
Samples = Annotated[int | None, typer.Option(help="Number of images to generate. Default: the protocol's.")]
Extractor = Annotated[
    str | None,
    typer.Option(help="inception (the only one that gives FID), lite0, lite1 or judge. Default: the protocol's."),
]
Weights = Annotated[Path | None, typer.Option(help="File with the extractor's weights. Default: the extractor's own.")]
Seeds = Annotated[
    int | None,
    typer.Option(
        help="Number of sampling seeds: 1, or at least 3 for a spread. Default: the protocol's; limner compare: at "
        "least 3."
    ),
]


@app.command()
def evaluate(
    model: Annotated[str, typer.Argument(help="A run, a model folder, or the name of a shipped model.")],
    data: RealData,
    protocol: Protocol = "quick",
    samples: Samples = None,
    extractor: Extractor = None,
    weights: Weights = None,
    seeds: Seeds = None,
    truncation: Annotated[float, typer.Option(help="As in limner sample.")] = 1.0,
    truncation_curve: Annotated[
        Path | None, typer.Option(help="PNG to write: distance, precision and recall against truncation.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Also write the results as JSON.")] = None,
    device: Device = "cpu",
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Evaluate a model against held-out real images; results record everything they depend on."""
    from limner.evaluation.evaluate import evaluate as run_evaluate
    from limner.evaluation.results import describe, results_table

    results = run_evaluate(
        model,
        data,
        protocol=protocol,
        samples=samples,
        extractor=extractor,
        weights=weights,
        seeds=seeds,
        truncation=truncation,
        truncation_curve=truncation_curve,
        out=out,
        device=device,
        force=force,
        quiet=quiet,
    )
    if not results:  # of several processes, the main one has them
        return
    console.print(results_table(results, console.width))
    for sentence in describe(results, warnings=quiet):  # without --quiet they were said before the measuring
        _say(sentence)


@app.command()
def compare(
    models: Annotated[list[str], typer.Argument(help="Runs, model folders, or names of shipped models.")],
    data: RealData,
    out: Annotated[Path, typer.Option(help="HTML page to write.")] = Path("compare.html"),
    protocol: Protocol = "quick",
    samples: Samples = None,
    extractor: Extractor = None,
    weights: Weights = None,
    seeds: Seeds = None,
    nearest: Annotated[
        bool, typer.Option(help="Show the nearest training images; the page then contains images of real people.")
    ] = True,
    device: Device = "cpu",
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Compare models on one page: faces from the same seeds, metrics with spreads and floors, a verdict."""
    from limner.reports.compare import compare as run_compare

    page = run_compare(
        models,
        data,
        out,
        protocol=protocol,
        samples=samples,
        extractor=extractor,
        weights=weights,
        seeds=seeds,
        nearest=nearest,
        device=device,
        force=force,
        quiet=quiet,
    )
    _say(str(page))


app.add_typer(explore_app, name="explore")
app.command("export")(export_command)
app.command("verify")(verify_command)
app.command("studio")(studio_command)
app.command("sweep")(sweep_command)

app.add_typer(judge_app, name="judge")


@app.command()
def bench(
    recipe: Annotated[str, typer.Argument(help="Recipe whose networks to measure.")] = "dcgan",
    steps: Annotated[int, typer.Option(help="Timed steps of each loop, alternating.")] = 8,
    out: Annotated[Path | None, typer.Option(help="Also write the numbers as JSON.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Change a setting, e.g. schedule.batch=16. Can be repeated.")
    ] = None,
) -> None:
    """Compare this machine's training and sampling speed with a plain PyTorch loop."""
    from limner.bench import bench as run_bench

    run_bench(recipe, steps=steps, out=out, overrides=set_ or [])


def _say(text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def main(process_ends: bool = False) -> None:
    """Run the command line; `process_ends`: the caller then ends the process, which matters where it was interrupted.

    Exit status: 0 done, 1 a fault of the machine's, 2 the user's input is wrong, 130 interrupted with the state saved.
    """
    open_missing_streams()
    codecs.register_error("spell", _spell)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="spell")
    try:
        process_rank(), process_count()
    except UserError as error:  # a launcher that does not exist
        _fail(str(error), 2)
    try:
        _run(process_ends)
    except SystemExit as end:
        if process_count() > 1:
            end_process(end.code if isinstance(end.code, int) else int(end.code is not None))
        raise


def _run(process_ends: bool) -> None:
    """Run the command that was given, and end with its status."""
    out, err = Output(sys.stdout, optional=False), Output(sys.stderr, optional=True)
    with redirect_stdout(out), redirect_stderr(err), ended_by_signals(process_ends) as signals:
        try:
            try:
                app()
            except SystemExit as end:
                if end.code == 130:  # typer ends so after a KeyboardInterrupt, without a word
                    raise KeyboardInterrupt from end
                raise
            except Exception as error:
                if signals and not isinstance(error, Interrupted):  # a library made it of the KeyboardInterrupt
                    raise KeyboardInterrupt from error
                raise
            finally:
                out.flush()
                err.flush()
        except UserError as error:
            # Every process of a training makes the same mistake. The main one says it, upon which torchrun ends the
            # others; one that is still there has a trouble of its own.
            time.sleep(SECONDS_FOR_MAIN if process_rank() else 0)
            _claim_line()
            _fail(str(error), 2)
        except ProcessLost as lost:
            from limner.core.heartbeat import end_lost

            end_lost(str(lost))
        except Interrupted as interruption:
            if process_rank():
                sys.exit(130)  # the main process says it
            _fail(f"Stopped; everything is saved. Resume with: {interruption}", 130)
        except KeyboardInterrupt:
            _fail("Interrupted.", 130)
        except MachineError as error:
            _claim_line()
            _fail(str(error), 1)
        except Exception as error:
            if (line := fault_line(error)) is None:
                raise
            _claim_line()
            _fail(f"{line}.", 1)


def _claim_line() -> None:
    """Say, where there are several processes, that this one tells why all of them end."""
    if process_count() > 1:
        from limner.core.heartbeat import claim_line

        claim_line()


def _spell(error: UnicodeError) -> tuple[str, int]:
    """Spells what the terminal's encoding does not have, so that no command fails for it when its work is done."""
    assert isinstance(error, UnicodeEncodeError)
    signs = {"±": "+/-", "–": "-", "…": "...", "×": "x", "é": "e"}
    return "".join(signs.get(sign, "?") for sign in error.object[error.start : error.end]), error.end


def _fail(message: str, status: int) -> None:
    print(f"limner: {message}", file=sys.stderr)
    sys.exit(status)
