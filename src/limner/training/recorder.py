"""Everything a training writes into its run folder, when it is due: log, TensorBoard, grids, checkpoints, model."""

import json
import math
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from limner.core.device import all_finite
from limner.core.errors import Abandoned, UserError
from limner.core.files import sweep, write_file
from limner.evaluation.results import read_metrics
from limner.images.png import generated_png, plain_png
from limner.latent.labels import face_labels
from limner.latent.latents import face_latents
from limner.model.model import BATCH, Model, save_model
from limner.reports.run_report import write_report
from limner.runs.run import CHECKPOINTS, EVENTS, FILM, LOG, MODEL, SAMPLES, Run
from limner.training.health import REMEDIES, verdict
from limner.training.schedule import Budget
from limner.training.setup import model_config
from limner.training.state import read_newest, restore, save_checkpoint
from limner.training.terminal import Terminal
from limner.training.training import Training
from limner.training.validation import Validation, forget_after

REAL_IMAGES = 20  # as report 001 shows before it trains
KNOWN_VECTORS = 4096  # attribute vectors that a conditional model carries


class Recorder:
    """Writes for one training; in a training of several processes only the main one touches the disk."""

    def __init__(
        self,
        run: Run,
        training: Training,
        budget: Budget,
        terminal: Terminal,
        stopping: Callable[[], bool] = lambda: False,
        saving: Callable[[], bool] = lambda: False,
    ) -> None:
        """`stopping`: whether a measurement is to be given up; `saving`: whether a checkpoint was requested."""
        self.run, self.budget, self.terminal = run, budget, terminal
        self.stopping, self.saving = stopping, saving
        recipe, state, modality, seed = training.recipe, training.state, training.modality, training.seed
        self.recipe, self.state, self.modality, self.engine = recipe, state, modality, training.engine
        self.config = model_config(training)
        self.seen_before = training.init.images_seen if training.init else 0
        self.latents_BZ = face_latents(seed, 0, recipe.record.grid, recipe.latent.size, recipe.latent.distribution)
        self.known_MA = modality.known(KNOWN_VECTORS)[:, : len(self.config.attribute_names)]
        self.labels_BA = torch.from_numpy(face_labels(seed, 0, recipe.record.grid, self.known_MA, {})).float()
        self.clock = time.monotonic()
        self.window = (state.images_seen, state.seconds)
        self.saved: int | None = None  # images seen at the newest whole checkpoint
        self.measurable = True
        self.unmeasured = False  # a measurement was given up
        self.validation: Validation | None = None  # made when it is first due: loading its network takes seconds
        if self.engine.is_main:
            (run.path / SAMPLES).mkdir(exist_ok=True)
            self.lines = [line for line in run.log if line["event"] == "log"]
            self.log = (run.path / LOG).open("a", encoding="utf-8")
            self.board = SummaryWriter(run.path / EVENTS, purge_step=state.images_seen or None)

    def start(self) -> None:
        """What a new run shows and keeps before its first step: real images, untrained faces, a first checkpoint."""
        if self.engine.is_main:
            real = plain_png(self.modality.real(REAL_IMAGES))
            write_file(self.run.path / SAMPLES / "real.png", real)
            self._event("start")
            self._sample(self._samples())
            self._checkpoint()
        if self.seen_before and self.recipe.record.evaluate_images:
            self._evaluate()  # fine-tuning may only make a model worse: then best/ is the one it started from
        self._restart_clock()

    def after_step(self) -> bool:
        """Write what is due; where anything is, False if a loss, gradient or weight was not finite (`all_finite`)."""
        now = time.monotonic()
        self.state.seconds += now - self.clock
        self.clock = now
        record = self.recipe.record
        dues = (record.log_images, record.sample_images, record.checkpoint_images, record.evaluate_images)
        log, sample, checkpoint, evaluate = (self._due(every) for every in dues)
        checkpoint = checkpoint or self.saving()
        if log or sample or checkpoint or evaluate:  # nothing kept may be what the run would have to return from
            means = self._means()
            keeps = sample or checkpoint or evaluate
            x = self._samples() if keeps or self.engine.is_main else None
            if log:
                self._log(means, x)
            if not self._sound(means, x if keeps else None):
                return False
        if self.engine.is_main:
            self.terminal.step(self.state.images_seen, *self._pace())
            if sample and x is not None:
                self._sample(x)
            if checkpoint:
                self._checkpoint()
        if evaluate:
            self._evaluate()
        if checkpoint or evaluate:
            self._restart_clock()
        return True

    def all_finite(self) -> bool:
        """Whether samples, weights, and every loss and gradient since the last log line are finite in every process.

        The losses of a step are those before its weights changed: they say nothing of the last weights.
        """
        return self._sound(self._means(), self._samples())

    def roll_back(self) -> None:
        """Return the state to the newest whole checkpoint.

        A run that comes no further than when it last returned goes back further, to the checkpoint before that one
        (to the oldest where there is none).
        """
        images, seconds, lr_scale = self.state.images_seen, self.state.seconds, self.state.lr_scale / 2
        before = self.state.returned_to if images <= self.state.failed_at else math.inf
        record, tensors, _ = read_newest(self.run.path / CHECKPOINTS, before)
        restore(self.state, record, tensors)
        self.state.seconds = seconds  # the time is spent all the same
        self.window, self.saved = (self.state.images_seen, self.state.seconds), self.state.images_seen
        if self.engine.is_main:
            forget_after(self.run.path, self.state.images_seen)
            self._event("rollback", from_images=images, to_images=self.state.images_seen, lr_scale=lr_scale)
            self.terminal.say(
                f"A loss, gradient or weight was not finite at {images:,} images: back to the checkpoint at "
                f"{self.state.images_seen:,}, learning rates times {lr_scale:g}."
            )

    def stop(self, reason: str) -> None:
        """The last grid, checkpoint, model and report of this sitting."""
        if self.engine.is_main:
            if reason != "diverged":
                self._sample(self._samples())
                self._checkpoint()
            self._event("stop", reason=reason)
            self.log.close()
            self.board.close()
            write_report(self.run.path)

    def resumed(self, broken: list[str]) -> None:
        """Note that the run goes on, and which checkpoints were passed over as broken."""
        self.saved = self.state.images_seen
        if self.engine.is_main:
            forget_after(self.run.path, self.state.images_seen)
            self._event("resume", broken_checkpoints=broken)
        measured = {result.images_seen for result in read_metrics(self.run.path)}
        missing = 0 < self.state.images_seen not in measured and self._due(self.recipe.record.evaluate_images)
        if self.engine.any(missing and self.engine.is_main):
            self._evaluate()
        self._restart_clock()

    def _due(self, every: int) -> bool:
        return (
            every > 0
            and self.state.images_seen // every > (self.state.images_seen - self.recipe.schedule.batch) // every
        )

    def _sound(self, means: dict[str, float], samples: Tensor | None) -> bool:
        """Whether `means`, the state's tensors and, where given, its `samples` are finite in every process."""
        finite = all(map(math.isfinite, means.values())) and all_finite(self.state.tensors().values())
        finite = finite and (samples is None or all_finite([samples]))
        return not self.engine.any(not finite)  # each process has its own statistics of batch norm

    def _means(self) -> dict[str, float]:
        """Every metric's mean since the last log line, over the processes too: the one wait for the device."""
        if not self.state.sums:
            return {}
        self.engine.average(self.state.sums.values())
        names = sorted(self.state.sums)  # a resumed run has them in another order, and shall write the same line
        sums_M2 = torch.stack([self.state.sums[name] for name in names])
        return dict(zip(names, (sums_M2[:, 0] / sums_M2[:, 1]).tolist(), strict=True))

    def _log(self, means: dict[str, float], samples: Tensor | None) -> None:
        """Write the log line of `means` and of `samples`, which the main process has, and begin the next ones."""
        self.state.sums.clear()
        if not self.engine.is_main or samples is None:
            return
        images, seconds = self.window
        self.window = (self.state.images_seen, self.state.seconds)
        line: dict[str, Any] = {
            "images_seen": self.state.images_seen,  # `verdict` wants to know
            "step": self.state.images_seen // self.recipe.schedule.batch,
            "images_per_second": round((self.state.images_seen - images) / max(self.state.seconds - seconds, 1e-9), 1),
            **means,
            **self.modality.measure(samples, means),
            **{f"lr/{name}": rate for name, rate in self.state.learning_rates.items()},
        }
        line["verdict"] = verdict([*self.lines, line], self.seen_before)
        line["remedy"] = REMEDIES[line["verdict"]]
        line = self._event("log", **line)
        self.lines.append(line)
        for name, value in line.items():
            if isinstance(value, float):
                self.board.add_scalar(name, value, self.state.images_seen)
        _, _, seconds_left = self._pace()
        self.terminal.log(line, self.budget.progress(self.state), seconds_left)

    def _event(self, event: str, **fields: Any) -> dict[str, Any]:
        line = {"event": event, "images_seen": self.state.images_seen, "seconds": round(self.state.seconds, 3)} | fields
        self.log.write(json.dumps(line) + "\n")
        self.log.flush()
        return line

    def _pace(self) -> tuple[float, float | None, float | None]:
        """Progress, images per second since the last log line, seconds left."""
        images, seconds = self.window
        spent = self.state.seconds - seconds
        rate = (self.state.images_seen - images) / spent if spent > 0 and self.state.images_seen > images else None
        if rate is None and self.lines:
            rate = self.lines[-1]["images_per_second"]
        return self.budget.progress(self.state), rate, self.budget.seconds_left(self.state, rate)

    def _model(self) -> Model:
        """The model as it is now; it shares its weights with the state."""
        config = self.config.model_copy(update={"images_seen": self.state.images_seen})
        return Model(config, self.state.averaged_generator(), self.engine.device, self.known_MA)

    def _samples(self) -> Tensor:
        """The EMA generator's output for the fixed latents."""
        model = self._model()
        batches = zip(torch.split(self.latents_BZ, BATCH), torch.split(self.labels_BA, BATCH), strict=True)
        return torch.cat([model.raw(z_BZ, y_BA, self.engine.precision) for z_BZ, y_BA in batches])

    def _sample(self, x: Tensor) -> None:
        sheet = self.modality.sheet(x, self.state.images_seen, self.lines[-1] if self.lines else {})
        about = {"recipe": self.recipe.name, "images_seen": self.state.images_seen}
        write_file(self.run.path / SAMPLES / f"{self.state.images_seen:09d}.png", generated_png(sheet, about))
        self.board.add_image("samples", np.asarray(sheet.convert("RGB")), self.state.images_seen, dataformats="HWC")
        self.terminal.show(self.modality.text(x))

    def _evaluate(self) -> None:
        if not self.measurable:
            return
        try:
            self.validation = self.validation or self.modality.validation(self.run, self.engine, self.stopping)
        except UserError as error:  # no held-out images, say: that must not end a training
            self.measurable = False
            self.terminal.say(f"Nothing is measured in this training: {error}")
            return
        try:
            value = self.validation.validate(self._model())
        except Abandoned:  # resumed, the run begins with this measurement
            self.unmeasured = True
            return
        if value is not None:
            self.terminal.say(f"{self.state.images_seen:,} images: {self.validation.metric} {value:.1f}")

    def _checkpoint(self) -> None:
        model = self._model()
        if self.state.images_seen != self.saved:  # a whole one is not put at risk by writing it again
            os.fsync(self.log.fileno())
            facts = {
                "recipe": self.recipe.model_dump(),
                "content_hash": self.modality.facts.get("content_hash"),
                "log_bytes": self.log.tell(),
            }
            save_checkpoint(self.run.path / CHECKPOINTS, self.state, self.recipe.record.keep_checkpoints, **facts)
            self.saved = self.state.images_seen
        save_model(self.run.path / MODEL, model.generator, model.config, model.known_MA)
        film = self.modality.film(sorted((self.run.path / SAMPLES).glob("[0-9]*.png"), key=lambda path: int(path.stem)))
        if film is not None:
            write_file(self.run.path / FILM, film)
        write_report(self.run.path)
        sweep(self.run.path)

    def _restart_clock(self) -> None:
        """Once the main process has written, in all processes: neither writing nor measuring is training."""
        self.engine.wait()
        self.clock = time.monotonic()
