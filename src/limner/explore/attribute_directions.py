"""Directions of attributes in a model's input space: `limner explore directions`.

The judge's log odds of every attribute are regressed on the inputs of the model's own samples. For Gaussian latents the
regression gives the mean gradient (Stein 1981), and it explains most of the variance of good models. A direction raises
the log odds of its attribute and, as far as a short step can, leaves those of all others: the others are projected out
by ridge regression, because many attributes nearly go together (smiling and high cheekbones) and their exact removal
would need steps out of the space. InterFaceGAN (Shen et al. 2020) fits and projects hyperplanes to the same end.

Shapes: N samples, I inputs (latents, then attributes of a model that takes any), J attributes of the judge, D
directions.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from limner.core.arguments import checked
from limner.core.console import progress_bar
from limner.core.errors import UserError
from limner.core.files import new_folder, write_file
from limner.core.records import check_folder
from limner.data.attributes import match_attribute, names_of
from limner.explore.figures import labelled_rows
from limner.explore.points import Points, generate, open_model, sampled_points, signed_png
from limner.explore.stored import CONFIG, StoredConfig, load_stored, store
from limner.judge.judge import Judge, load_judge
from limner.latent.latents import to_support
from limner.model.model import Model

SHEET = "sheet.png"
FEWEST_SAMPLES, MOST_SAMPLES = 256, 1 << 17
PROJECTION_RIDGE = 1.0  # how much length a direction may have for leaving the others: docs/explore.md has a table
REGRESSION_RIDGE = 0.4  # times inputs for each sample: about the best for an explained variance of 0.7
STRENGTHS = range(-3, 4)
SHOWN = 2  # faces in the sheet


class DirectionsConfig(StoredConfig):
    """config.json of a folder of directions, which are called by their attributes."""

    format: Literal["limner directions"] = "limner directions"
    log_odds: tuple[float, ...]
    """Of each direction: the rise of the judge's log odds at strength 1, one standard deviation over the samples."""
    samples: int
    judge_sha256: str


@dataclass(frozen=True)
class Directions:
    """D directions of one model: what strength 1 of each adds to latents and attributes."""

    config: DirectionsConfig
    steps: Points

    @classmethod
    @checked
    def load(cls, path: str | Path, model: Model) -> Self:
        """The directions in the folder `path`, made for `model`.

        Raises UserError where there are none, they are damaged, or they belong to another model.
        """
        return cls(*load_stored(Path(path), DirectionsConfig, model, "limner explore directions"))

    @checked
    def move(self, model: Model, points: Points, strengths: Mapping[str, float]) -> Points:
        """The points moved by so much of each direction. Attributes stay between 0 and 1, latents in their space.

        Raises UserError for an attribute that has no direction here.
        """
        strength_D = torch.zeros(len(self.steps))
        for name, strength in strengths.items():
            strength_D[match_attribute(name, self.config.names)] += strength
        return Points(
            to_support(points.z_NZ + strength_D @ self.steps.z_NZ, model.config.latent_distribution),
            (points.y_NA + strength_D @ self.steps.y_NA).clamp(0, 1),
        )


@checked
def directions(
    model: str | Path | Model,
    out: str | Path,
    *,
    attributes: str | Sequence[str] = (),
    samples: int = 4096,
    seed: int = 0,
    judge: str | Path | None = None,
    device: str = "cpu",
    force: bool = False,
    quiet: bool = False,
) -> Directions:
    """Find a direction for each of the `attributes` (default: all that the judge knows), and write the folder `out`.

    The folder has the directions, how they were made, and `sheet.png`: two faces at strengths -3 to 3 of each. Strength
    1 raises the judge's log odds by one of their standard deviations over the model's samples, by the linear fit.

    Raises:
        UserError: the judge knows no such attribute, a number is out of range, there is no such model or it is not one
            of images, or `out` exists (without `force`).
    """
    out = Path(out)
    check_folder(out, force, CONFIG, DirectionsConfig, "a folder of directions")
    if not FEWEST_SAMPLES <= samples <= MOST_SAMPLES:
        raise UserError(f"samples is {samples}; it must lie between {FEWEST_SAMPLES} and {MOST_SAMPLES:,}.")
    if seed < 0:
        raise UserError(f"seed is {seed}; it must be at least 0.")
    loaded, seer = open_model(model, device), load_judge(None if judge is None else Path(judge), device)
    wanted = [match_attribute(name, seer.attribute_names) for name in names_of(attributes)]
    wanted = list(dict.fromkeys(wanted)) or list(range(len(seer.attribute_names)))

    with progress_bar("samples", samples, "images", quiet) as advance:
        x_NI, log_odds_NJ = judged_inputs(loaded, seer, samples, seed, advance)
    steps_DI, unit_D = fit_directions(x_NI, log_odds_NJ, wanted)
    Z = loaded.config.latent_size
    steps = Points(steps_DI[:, :Z].float(), steps_DI[:, Z:].float())

    with new_folder(out) as beside:
        config = store(
            beside,
            DirectionsConfig,
            loaded,
            steps,
            names=tuple(seer.attribute_names[j] for j in wanted),
            log_odds=tuple(unit_D.tolist()),
            samples=samples,
            seed=seed,
            judge_sha256=seer.config.weights_sha256,
        )
        found = Directions(config, steps)
        with progress_bar("sheet", len(wanted), "rows", quiet) as advance:
            sheet = draw_sheet(loaded, found, config.names, seed, advance)
        write_file(beside / SHEET, signed_png(sheet, loaded, "directions", seed=seed, samples=samples))
    return found


def judged_inputs(
    model: Model, judge: Judge, samples: int, seed: int, advance: Callable[[int], None]
) -> tuple[Tensor, Tensor]:
    """The inputs of a model's samples, float64 N x I, and the judge's log odds of their images, float64 N x J."""
    points = sampled_points(model, samples, seed)
    log_odds: list[NDArray[np.float32]] = []
    for some in points.batches():
        log_odds.append(judge.log_odds(generate(model, some)))
        advance(len(some))
    x_NI = torch.cat([points.z_NZ, points.y_NA], dim=1)
    return x_NI.double(), torch.from_numpy(np.concatenate(log_odds)).double()


def fit_directions(x_NI: Tensor, log_odds_NJ: Tensor, wanted: Sequence[int]) -> tuple[Tensor, Tensor]:
    """The steps D x I that raise the wanted log odds by one standard deviation, and these D deviations.

    With gradients G (I x J, in standard deviations of inputs and of log odds), the step for attribute a minimises
    |G' step - e_a|^2 + ridge |step|^2, and is then scaled to G_a' step = 1.
    """
    deviation_I, unit_J = x_NI.std(dim=0), log_odds_NJ.std(dim=0).clamp(min=1e-6)
    x_NI = (x_NI - x_NI.mean(dim=0)) / deviation_I.clamp(min=1e-6)
    y_NJ = (log_odds_NJ - log_odds_NJ.mean(dim=0)) / unit_J
    N, inputs = x_NI.shape
    G_IJ = _ridge_solve(x_NI.T @ x_NI / N, x_NI.T @ y_NJ / N, REGRESSION_RIDGE * inputs / N)
    steps_IJ = G_IJ @ _ridge_solve(G_IJ.T @ G_IJ, torch.eye(len(unit_J), dtype=G_IJ.dtype), PROJECTION_RIDGE)
    steps_IJ = steps_IJ / (G_IJ * steps_IJ).sum(dim=0)
    return (deviation_I[:, None] * steps_IJ).T[wanted], unit_J[wanted]


def _ridge_solve(A_KK: Tensor, B_KL: Tensor, ridge: float) -> Tensor:
    solved_KL: Tensor = torch.linalg.solve(A_KK + ridge * torch.eye(len(A_KK), dtype=A_KK.dtype), B_KL)
    return solved_KL


def draw_sheet(
    model: Model, found: Directions, names: Sequence[str], seed: int, advance: Callable[[int], None] = lambda _: None
) -> Image.Image:
    """Two samples at strengths -3 to 3 of the named directions, a row for each, with the unit in log odds."""
    points = sampled_points(model, SHOWN, seed)
    rows = []
    for name in names:
        moved = [found.move(model, points[[k]], {name: s}) for k in range(SHOWN) for s in STRENGTHS]
        unit = found.config.log_odds[found.config.names.index(name)]
        rows.append((f"{name.replace('_', ' ')} ({unit:.1f})", generate(model, Points.join(moved))))
        advance(1)
    return labelled_rows(rows, [f"{strength:+d}" if strength else "0" for strength in STRENGTHS] * SHOWN)
