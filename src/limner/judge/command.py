"""The commands `limner label` and `limner judge train`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from limner.core.options import Force, Quiet, Seed

judge_app = typer.Typer(no_args_is_help=True, help="The attribute judge that `limner label` and `limner evaluate` use.")


@judge_app.command("train")
def judge_train(
    data: Annotated[Path, typer.Argument(help="Folder made by limner prepare, with attributes.")],
    out: Annotated[Path, typer.Option(help="Folder of the new judge.")],
    seed: Seed = 0,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Train an attribute judge on the training split and measure it on the test split."""
    from limner.judge.train import train_judge

    judge = train_judge(data, out, seed=seed, force=force, quiet=quiet)
    accuracies = [value for value in judge.balanced_accuracy.values() if value is not None]
    _say(f"{out}: balanced accuracy {sum(accuracies) / len(accuracies):.3f} over {len(accuracies)} attributes")


def label_command(
    data: Annotated[Path, typer.Argument(help="Folder made by limner prepare.")],
    out: Annotated[Path, typer.Option(help="Folder to create, with the same images and their attributes.")],
    judge: Annotated[
        Path | None, typer.Option(help="Folder of a judge. Default: the shipped one for this size.", show_default=False)
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace the attributes that the images have.")] = False,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Label prepared images with the attributes that the judge sees, so that conditional recipes can train on them."""
    from limner.judge.label import describe, label

    faces = label(data, out, judge=judge, replace=replace, force=force, quiet=quiet)
    _say(f"{out}: {len(faces):,} images, {len(faces.attribute_names)} attributes")
    for sentence in describe(faces):
        _say(sentence)


def _say(text: str) -> None:
    Console().print(text, highlight=False, markup=False, soft_wrap=True)
