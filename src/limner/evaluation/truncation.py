"""What truncation does to a model: distance, precision and recall against it, measured and drawn.

Latents closer to the mean give better and more alike faces (Brock et al. 2019): precision rises, recall falls, and the
distance has its least value where both together are best.
"""

import io
import json
from pathlib import Path

from limner.core.console import progress_bar
from limner.core.files import write_file
from limner.evaluation.generate import generate
from limner.evaluation.measure import STEPS, measure
from limner.evaluation.metrics import metric_name
from limner.evaluation.setup import Setup
from limner.images.png import SETTINGS_KEY
from limner.model.model import Model

TRUNCATIONS = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1)
DRAWN = ("fd", "precision", "recall")


def measure_curve(model: Model, setup: Setup) -> dict[str, list[float]]:
    """The truncations, and at each the distance, precision and recall of the first seed, by the metric's name."""
    names = [metric_name(kind, setup.extractor.name) for kind in DRAWN]
    curve: dict[str, list[float]] = {"truncation": list(TRUNCATIONS), **{name: [] for name in names}}
    reference, count = setup.reference, setup.conditions.n_fake
    for truncation in TRUNCATIONS:
        with progress_bar(f"truncation {truncation:g}", count + STEPS, "images", setup.work.quiet) as advance:
            fakes = generate(
                model,
                setup.faces,
                setup.protocol.heldout,
                setup.extractor,
                None,
                count=count,
                seed=setup.seeds[0],
                truncation=truncation,
                advance=advance,
            )
            measured = measure(reference.real_ND, setup.real, fakes.features_ND, setup.extractor.name, advance)
        for name in names:
            curve[name].append(measured[name].value)
    return curve


def write_curve(out: Path, curve: dict[str, list[float]], title: str) -> None:
    """Draw a curve as a PNG; its text chunk `limner` has the numbers."""
    from matplotlib.figure import Figure

    figure = Figure((6.4, 3.6), layout="constrained")
    left = figure.subplots()
    right = left.twinx()
    (distance, precision, recall) = (name for name in curve if name != "truncation")
    lines = left.plot(curve["truncation"], curve[distance], "o-", color="black", label=distance)
    lines += right.plot(curve["truncation"], curve[precision], "s--", color="tab:blue", label=precision)
    lines += right.plot(curve["truncation"], curve[recall], "^--", color="tab:orange", label=recall)
    left.set(xlabel="truncation", ylabel=f"{distance} (lower is better)", ylim=(0, None), title=title)
    right.set(ylabel="precision, recall", ylim=(0, 1))
    figure.legend(handles=lines, loc="outside lower center", ncols=len(lines))
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=100, metadata={SETTINGS_KEY: json.dumps(curve)})
    write_file(out, content.getvalue())
