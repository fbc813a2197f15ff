"""Sums of faces: `limner explore arithmetic`, after Radford et al. (2016, figure 7).

Each term is the mean point of samples in which the judge sees the term's attributes. Of a model without attributes
these are found among samples of any kind; one with attributes is asked for them. The judge thus chooses the terms: how
often it sees in a sum what was asked for says how far the sum can be trusted only together with one's own eyes.

Shapes: N points, T terms, Z latent, A attributes, H and W an image's height and width.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from limner.core.arguments import checked
from limner.core.console import progress_bar
from limner.core.errors import UserError
from limner.core.files import check_output, write_file
from limner.explore.expressions import Term, parse
from limner.explore.figures import sum_figure
from limner.explore.points import Points, face_points, generate, open_model, sampled_points, signed_png
from limner.judge.judge import Judge, load_judge
from limner.latent.latents import face_latents, to_support
from limner.model.model import BATCH, Model

MOST_SAMPLES = 4096  # that a term is looked for among
FEWEST = 8  # that a mean is taken over
EXAMPLES = 3  # shown of each term, as in DCGAN's figure
MOST_SUMS = 64


@checked
def arithmetic(
    model: str | Path | Model,
    expression: str,
    out: str | Path,
    *,
    count: int = 8,
    variation: float = 0.5,
    samples: int = 64,
    seed: int = 0,
    judge: str | Path | None = None,
    device: str = "cpu",
    force: bool = False,
    quiet: bool = False,
) -> Path:
    """Write a figure of the sum that `expression` states, with its terms before it: three examples and the mean.

    A term is words of attributes (`smiling female`, `no eyeglasses`) or a face SEED:INDEX, and may have a coefficient.
    Words stand for the mean of `samples` samples in which the judge sees them. The figure shows the sum itself and
    `count` - 1 faces around it, to whose latents random ones times `variation` are added.

    Raises:
        UserError: the expression cannot be read, the judge knows no such attribute or sees it in too few samples, a
            number is out of range, there is no such model or it is not one of images, or `out` cannot be written.
    """
    out = Path(out)
    check_output(out, force, (".png",))
    if not 1 <= count <= MOST_SUMS:
        raise UserError(f"count is {count}; it must lie between 1 and {MOST_SUMS}.")
    if not 0 <= variation <= 1:
        raise UserError(f"variation is {variation}; it must lie between 0 and 1.")
    if not FEWEST <= samples <= MOST_SAMPLES:
        raise UserError(f"samples is {samples}; it must lie between {FEWEST} and {MOST_SAMPLES:,}.")
    if seed < 0:
        raise UserError(f"seed is {seed}; it must be at least 0.")
    loaded, seer = open_model(model, device), load_judge(None if judge is None else Path(judge), device)
    terms = parse(expression, seer.attribute_names)
    pool = JudgedSamples(loaded, seer, seed)
    with progress_bar("arithmetic", len(terms), "terms", quiet) as advance:
        parts = []
        for term in terms:
            parts.append(term_points(loaded, term, pool, samples))
            advance(1)
    sums = around(loaded, add(terms, parts), count, variation, seed)
    columns = [
        (term, generate(loaded, part[:EXAMPLES]), generate(loaded, mean(part))[0])
        for term, part in zip(terms, parts, strict=True)
    ]
    settings = {"expression": expression, "count": count, "variation": variation, "samples": samples, "seed": seed}
    write_file(out, signed_png(sum_figure(columns, generate(loaded, sums)), loaded, "arithmetic", **settings))
    return out


class JudgedSamples:
    """Samples of a model, and which attributes the judge sees in each; generated as they are needed."""

    def __init__(self, model: Model, judge: Judge, seed: int) -> None:
        self.model, self.judge, self.seed = model, judge, seed
        self._batches: dict[tuple[tuple[str, ...], tuple[str, ...]], list[tuple[Points, NDArray[np.uint8]]]] = {}

    def take(self, requested: Mapping[int, int], count: int) -> Points:
        """The first `count` samples, or fewer, in which the judge sees the requested attributes.

        Raises UserError where it sees them in fewer than 8 of 4,096.
        """
        names = self.judge.attribute_names
        known = [position for position in requested if names[position] in self.model.config.attribute_names]
        with_, without = (tuple(names[p] for p in known if requested[p] == value) for value in (1, 0))
        batches = self._batches.setdefault((with_, without), [])
        found: list[Points] = []
        for number in range(MOST_SAMPLES // BATCH):
            if number == len(batches):
                points = sampled_points(self.model, BATCH, self.seed, number * BATCH, with_=with_, without=without)
                batches.append((points, self.judge.decide(generate(self.model, points))))
            points, seen_BA = batches[number]
            fits_B = (seen_BA[:, list(requested)] == list(requested.values())).all(axis=1)
            found.append(points[torch.from_numpy(np.flatnonzero(fits_B))])
            if sum(map(len, found)) >= count:
                break
        if sum(map(len, found)) < FEWEST:
            words = [names[position] if value else f"no {names[position]}" for position, value in requested.items()]
            raise UserError(
                f"The judge sees {' and '.join(words)} in {sum(map(len, found))} of {MOST_SAMPLES:,} samples of this "
                "model, too few for a mean: ask for less, or take a model that is conditioned on attributes."
            )
        return Points.join(found)[:count]


def term_points(model: Model, term: Term, pool: JudgedSamples, samples: int) -> Points:
    """The points whose mean is the term: one face, or samples with its attributes."""
    return face_points(model, term.face) if term.face else pool.take(term.requested, samples)


def mean(points: Points) -> Points:
    """One point, the mean of all."""
    return Points(points.z_NZ.mean(dim=0, keepdim=True), points.y_NA.mean(dim=0, keepdim=True))


def add(terms: list[Term], parts: list[Points]) -> Points:
    """The one point that the terms add up to. Attributes stay between 0 and 1, as those that the model has seen."""
    coefficient_T1 = torch.tensor([[term.coefficient] for term in terms])
    means = Points.join([mean(part) for part in parts])
    return Points(
        (coefficient_T1 * means.z_NZ).sum(dim=0, keepdim=True),
        (coefficient_T1 * means.y_NA).sum(dim=0, keepdim=True).clamp(0, 1),
    )


def around(model: Model, point: Points, count: int, variation: float, seed: int) -> Points:
    """The point, and `count` - 1 others to whose latents those of further samples, times `variation`, are added."""
    config = model.config
    z_NZ = point.z_NZ.repeat(count, 1)
    if count > 1:
        noise_NZ = face_latents(seed, MOST_SAMPLES, count - 1, config.latent_size, config.latent_distribution)
        z_NZ[1:] += variation * noise_NZ
    return Points(to_support(z_NZ, config.latent_distribution), point.y_NA.repeat(count, 1))
