"""`limner demo`: the main job from nothing to faces, on images that Limner draws itself."""

import time
from pathlib import Path

from limner.core.arguments import checked
from limner.core.console import console
from limner.core.errors import UserError
from limner.core.files import check_place

# Enough faces to be varied, few enough to be drawn in seconds; a small network that gets somewhere in two minutes.
FACES = 4096
RECIPE = "demo"
SHIPPED = "faces"
SIZE = 32


@checked
def demo(out: str | Path, *, minutes: float = 2.0, force: bool = False) -> Path:
    """Prepare synthetic faces, train the recipe `demo` for `minutes`, sample new faces, write the report; all in `out`.

    Raises UserError where `out` holds something else, or holds a demo and `force` is not given.
    """
    out = Path(out)
    if minutes <= 0:
        raise UserError(f"--minutes is {minutes}; it must be above 0.")
    data, run, faces, shipped = out / "data", out / "run", out / "faces.png", out / "shipped.png"
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file: name another folder.")
    if not force and any(path.exists() for path in (data, run, faces, shipped)):
        raise UserError(f"There is a demo in {out} already: name another folder, or replace it with --force.")
    check_place(out)
    out.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()

    from limner.preparation.prepare import prepare

    _say(f"1. Drawing {FACES:,} faces of {SIZE} x {SIZE} with their attributes")
    packed = prepare(f"synthetic:{FACES}", data, size=SIZE, force=force)

    from limner.training.session import train

    _say(f"\n2. Training recipe {RECIPE} on them for {minutes:g} minutes (Ctrl-C saves and stops)")
    train(RECIPE, packed, run, minutes=minutes, force=force)

    from limner.model.sample import sample

    _say("\n3. Sampling new faces")
    sample(run, faces, count=64, force=force)

    _say("\n4. Sampling smiling faces from the model that comes with Limner, which was trained on CelebA")
    sample(SHIPPED, shipped, count=64, with_=["smiling"], force=force)

    _say(
        f"""
Done in {time.monotonic() - started:.0f} s. Look at
  {data / "preview.png"}   the faces it learnt from
  {faces}          faces that it made up
  {shipped}        smiling faces of the model that comes with Limner
  {run / "report.html"}     how it learnt, as a page with a slider

What next?
  limner train --resume {run} --minutes {minutes + 10:g}     the same for ten minutes more
  limner recipes                                  what else there is
  limner prepare faces:5000 faces64               faces that look real to train on, without a download
With the real CelebA (img_align_celeba.zip and its .txt or .csv files in a folder):
  limner prepare CELEBA_FOLDER celeba64
  limner train modern-attributes --data celeba64 --out runs/first --minutes 60
  limner sample runs/first --out faces.png"""
    )
    return out


def _say(text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)
