"""Photos brought into a model: `limner explore project`, and the folder that it leaves.

Shapes: N images, D features, Z latent, A attributes, H and W an image's height and width.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from limner.core.arguments import checked
from limner.core.console import progress_bar
from limner.core.errors import UserError
from limner.core.files import new_folder, write_file
from limner.core.records import check_folder
from limner.explore.inversion import invert, passes
from limner.explore.points import Points, open_model, signed_png
from limner.explore.stored import CONFIG, StoredConfig, load_stored, store
from limner.explore.targets import read_targets
from limner.images.grid import face_grid
from limner.images.png import plain_png
from limner.model.model import Model

IMAGES, TARGETS = "projected.png", "targets.png"
MOST_STEPS, MOST_SAMPLES, MOST_IMAGES = 10_000, 10_000, 1000


class Projection(BaseModel):
    """How far the model's nearest image is from one that was projected."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pixels: float
    """Root mean square difference, 0 to 1."""
    perceptual: float
    """Squared distance of the normalised maps of lite0's first blocks."""
    sample_pixels: float
    """`pixels` of the nearest of the random samples that it started from."""


class ProjectedConfig(StoredConfig):
    """config.json of a folder of projected images, which are called by their file names."""

    format: Literal["limner projected"] = "limner projected"
    distances: tuple[Projection, ...]
    steps: int
    samples: int


@checked
def project(
    model: str | Path | Model,
    images: str | Path | Sequence[str],
    out: str | Path,
    *,
    steps: int = 250,
    samples: int = 512,
    seed: int = 0,
    device: str = "cpu",
    force: bool = False,
    quiet: bool = False,
) -> ProjectedConfig:
    """Find the latents and attributes with which `model` comes nearest to each image file, and write the folder `out`.

    The search starts from the nearest of `samples` random samples and takes `steps` steps of gradient descent on pixels
    and a perceptual distance; several images take less time each. The largest face of a photo is found and aligned as
    the model's training images (`limner.explore.targets`), for which the extra `align` is needed.
    The folder has the points, the images that the model gives there (`projected.png`), the images they should be
    (`targets.png`: not synthetic), and the distances reached.

    Raises:
        UserError: an image cannot be read or has no face, a number is out of range, there is no such model or it is not
            one of images, or `out` exists (without `force`).
    """
    out = Path(out)
    files = [Path(file) for file in ([images] if isinstance(images, str | Path) else images)]
    check_folder(out, force, CONFIG, ProjectedConfig, "a folder of projected images")
    for name, value, most in (("steps", steps, MOST_STEPS), ("samples", samples, MOST_SAMPLES)):
        if not 1 <= value <= most:
            raise UserError(f"{name} is {value}; it must lie between 1 and {most:,}.")
    if seed < 0:
        raise UserError(f"seed is {seed}; it must be at least 0.")
    if not 1 <= len(files) <= MOST_IMAGES:
        raise UserError(f"There are {len(files)} images to project; give between 1 and {MOST_IMAGES:,}.")
    loaded = open_model(model, device)
    targets_NHWC = read_targets(files, loaded)
    with progress_bar("project", samples + len(files) * passes(steps), "passes", quiet) as advance:
        found = invert(loaded, targets_NHWC, steps=steps, samples=samples, seed=seed, advance=advance)
    numbers = zip(found.pixels_N, found.perceptual_N, found.sample_pixels_N, strict=True)
    with new_folder(out) as beside:
        config = store(
            beside,
            ProjectedConfig,
            loaded,
            found.points,
            names=tuple(file.name for file in files),
            distances=tuple(
                Projection(pixels=pixels, perceptual=maps, sample_pixels=least) for pixels, maps, least in numbers
            ),
            steps=steps,
            samples=samples,
            seed=seed,
        )
        settings = {"steps": steps, "samples": samples, "seed": seed}
        write_file(beside / IMAGES, signed_png(face_grid(found.images_NHWC), loaded, "project", **settings))
        write_file(beside / TARGETS, plain_png(face_grid(targets_NHWC)))
    return config


@checked
def load_projected(path: str | Path, model: Model) -> Points:
    """The points in a folder that `project` wrote with `model`.

    Raises UserError where there is none, it is damaged, or belongs to another model.
    """
    return load_stored(Path(path), ProjectedConfig, model, "limner explore project")[1]
