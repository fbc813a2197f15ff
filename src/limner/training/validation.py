"""Measuring the EMA while it trains, by a cheap protocol, and keeping the best model so far."""

from collections.abc import Callable
from pathlib import Path

from limner.core.distributed import Engine
from limner.core.files import write_file
from limner.core.records import parse_json
from limner.data.packed import PackedFaces
from limner.evaluation.evaluate import evaluate_model
from limner.evaluation.results import METRICS, append_metrics, read_metrics
from limner.evaluation.setup import EvaluationOptions, set_up
from limner.model.model import Model, save_model
from limner.runs.run import BEST, Run

PROTOCOL = "training"


class Validation:
    """Evaluates one training's EMA against the split `val`, which chooses the model in `best/`.

    Raises UserError where there are none, or too few.
    """

    def __init__(self, run: Run, faces: PackedFaces, engine: Engine, stopping: Callable[[], bool]) -> None:
        self.run = run
        self.setup = set_up(
            faces, EvaluationOptions(PROTOCOL, device=str(engine.device), quiet=True, engine=engine, stopping=stopping)
        )
        self.metric = f"fd_{self.setup.extractor.name}"

    def validate(self, model: Model) -> float | None:
        """Measure `model`, add the results to the run's metrics, and keep it in `best/` if it is the best so far.

        Returns the Fréchet distance in the main process, `None` in the others. Raises Abandoned where it was stopped.
        """
        earlier = [
            result.value
            for result in read_metrics(self.run.path)
            if result.metric == self.metric and result.conditions() == self.setup.conditions
        ]
        results = evaluate_model(model, self.setup, self.run.path.name)
        if not self.setup.work.engine.is_main:
            return None
        append_metrics(self.run.path, results)
        value = next(result.value for result in results if result.metric == self.metric)
        if value < min(earlier, default=float("inf")):
            save_model(self.run.path / BEST, model.generator, model.config, model.known_MA)
        return value


def forget_after(run: Path, images: int) -> None:
    """Take back the metrics of models that a run returned from: they had been shown more than `images`."""
    file = run / METRICS
    if file.is_file():
        lines = [line for line in file.read_text(encoding="utf-8").splitlines() if _images(line) <= images]
        write_file(file, "".join(f"{line}\n" for line in lines).encode())


def _images(line: str) -> float:
    try:
        return float(parse_json(line)["images_seen"])
    except (ValueError, KeyError, TypeError):
        return float("inf")  # half a line that a killed run left
