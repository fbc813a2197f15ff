"""Everything a training writes into its run folder, when it is due: log, TensorBoard, grids, checkpoints, model."""

import json
import math
import os
import time
from typing import Any

import torch
from torch.utils.tensorboard import SummaryWriter

from limner.data.batches import Batches
from limner.files import sweep, write_file
from limner.latent.noise import face_latents
from limner.model import BATCH, save_model, to_pixels
from limner.pictures import generated_png, plain_png
from limner.recipe import Recipe
from limner.report import face_grid, write_report
from limner.run import CHECKPOINTS, EVENTS, LOG, MODEL, SAMPLES, Run
from limner.training.budget import Budget
from limner.training.engine import Engine
from limner.training.health import REMEDIES, Health, verdict
from limner.training.state import State, read_newest, restore, save_checkpoint
from limner.training.terminal import Terminal

REAL_PICTURES = 20  # as report 001 shows before it trains


class Recorder:
    """Writes for one training; in a training of several processes only the main one touches the disk."""

    def __init__(
        self,
        run: Run,
        recipe: Recipe,
        state: State,
        batches: Batches,
        engine: Engine,
        seed: int,
        budget: Budget,
        terminal: Terminal,
        facts: dict[str, Any],
    ) -> None:
        self.run, self.recipe, self.engine, self.budget, self.terminal = run, recipe, engine, budget, terminal
        self.facts = facts
        self.latents_BZ = face_latents(seed, 0, recipe.record.grid, recipe.latent.size, recipe.latent.distribution)
        self.batches = batches
        self.clock = time.monotonic()
        self.window = (state.images, state.seconds)
        self.saved: int | None = None  # images shown at the newest whole checkpoint
        if engine.is_main:
            (run.path / SAMPLES).mkdir(exist_ok=True)
            self.health = Health(batches.faces)
            self.lines = [line for line in run.log if line["event"] == "log"]
            self.log = (run.path / LOG).open("a", encoding="utf-8")
            self.board = SummaryWriter(run.path / EVENTS, purge_step=state.images or None)

    def start(self, state: State) -> None:
        """What a new run shows and keeps before its first step: real pictures, untrained faces, a first checkpoint."""
        if self.engine.is_main:
            rows = self.batches.rows[:: max(1, len(self.batches.rows) // REAL_PICTURES)][:REAL_PICTURES]
            real = plain_png(face_grid(self.batches.faces.images_NHWC[rows]))
            write_file(self.run.path / SAMPLES / "real.png", real)
            self._event("start", state)
            self._sample(state)
            self._checkpoint(state)

    def after_step(self, state: State) -> bool:
        """Write what is due; where anything is, False if a loss or gradient since the last log line was not finite."""
        now = time.monotonic()
        state.seconds += now - self.clock
        self.clock = now
        record = self.recipe.record
        dues = (record.log_images, record.sample_images, record.checkpoint_images)
        log, sample, checkpoint = (self._due(state, every) for every in dues)
        if log or sample or checkpoint:  # no checkpoint may hold what the run would have to return from
            sums = self._sums(state)
            if log:
                self._log(state, sums)
            if not _finite(sums):
                return False
        if self.engine.is_main:
            self.terminal.step(state.images, *self._pace(state))
            if sample:
                self._sample(state)
            if checkpoint:
                self._checkpoint(state)
        return True

    def all_finite(self, state: State) -> bool:
        """Whether every loss and gradient since the last log line was finite, in every process."""
        return _finite(self._sums(state))

    def roll_back(self, state: State) -> None:
        """Return `state` to the newest whole checkpoint."""
        images, seconds, rate_scale = state.images, state.seconds, state.rate_scale / 2
        record, tensors, _ = read_newest(self.run.path / CHECKPOINTS)
        restore(state, record, tensors)
        state.seconds = seconds  # the time is spent all the same
        self.window, self.saved = (state.images, state.seconds), state.images
        if self.engine.is_main:
            self._event("rollback", state, from_images=images, to_images=state.images, rate_scale=rate_scale)
            self.terminal.say(
                f"A loss or gradient was not finite at {images:,} images: back to the checkpoint at {state.images:,}, "
                f"rates times {rate_scale:g}."
            )

    def stop(self, state: State, reason: str) -> None:
        """The last grid, checkpoint, model and report of this sitting."""
        if self.engine.is_main:
            if reason != "diverged":
                self._sample(state)
                self._checkpoint(state)
            self._event("stop", state, reason=reason)
            self.log.close()
            self.board.close()
            write_report(self.run.path)

    def resumed(self, state: State, broken: list[str]) -> None:
        """Note that the run goes on, and which checkpoints were passed over as broken."""
        self.saved = state.images
        if self.engine.is_main:
            self._event("resume", state, broken_checkpoints=broken)

    def _due(self, state: State, every: int) -> bool:
        return state.images // every > (state.images - self.recipe.schedule.batch) // every

    def _sums(self, state: State) -> dict[str, float]:
        """Every metric's sum since the last log line, averaged over the processes: the one wait for the device."""
        if not state.sums:
            return {}
        self.engine.average(state.sums.values())
        return dict(zip(state.sums, torch.stack([*state.sums.values()]).tolist(), strict=True))

    def _log(self, state: State, sums: dict[str, float]) -> None:
        """Write the log line of `sums`, and begin the next ones."""
        state.sums.clear()
        if not self.engine.is_main:
            return
        images, seconds = self.window
        self.window = (state.images, state.seconds)
        line: dict[str, Any] = {
            "images": state.images,  # `verdict` wants to know
            "step": state.images // self.recipe.schedule.batch,
            "images_per_second": round((state.images - images) / max(state.seconds - seconds, 1e-9), 1),
            **{name: value / sums["steps"] for name, value in sums.items() if name != "steps"},
            **self.health.measure(self._faces(state)),
            "rate/generator": self.recipe.optimizer.generator.lr * state.rate_scale,
            "rate/discriminator": self.recipe.optimizer.discriminator.lr * state.rate_scale,
        }
        line["verdict"] = verdict([*self.lines, line])
        line["remedy"] = REMEDIES[line["verdict"]]
        line = self._event("log", state, **line)
        self.lines.append(line)
        for name, value in line.items():
            if isinstance(value, float):
                self.board.add_scalar(name, value, state.images)
        _, _, seconds_left = self._pace(state)
        self.terminal.log(line, self.budget.share(state), seconds_left)

    def _event(self, event: str, state: State, **fields: Any) -> dict[str, Any]:
        line = {"event": event, "images": state.images, "seconds": round(state.seconds, 3)} | fields
        self.log.write(json.dumps(line) + "\n")
        self.log.flush()
        return line

    def _pace(self, state: State) -> tuple[float, float | None, float | None]:
        """Share done, images per second since the last log line, seconds left."""
        images, seconds = self.window
        spent = state.seconds - seconds
        rate = (state.images - images) / spent if spent > 0 and state.images > images else None
        if rate is None and self.lines:
            rate = self.lines[-1]["images_per_second"]
        return self.budget.share(state), rate, self.budget.seconds_left(state, rate)

    @torch.no_grad()
    def _faces(self, state: State) -> Any:
        """The fixed latents' faces by the running mean, uint8, N x H x W x 3."""
        with self.engine.autocast():
            portions = [
                state.mean_generator(z_BZ.to(self.engine.device)) for z_BZ in torch.split(self.latents_BZ, BATCH)
            ]
        return to_pixels(torch.cat(portions))

    def _sample(self, state: State) -> None:
        faces_NHWC = self._faces(state)
        about = {"recipe": self.recipe.name, "images": state.images}
        picture = generated_png(face_grid(faces_NHWC), about)
        write_file(self.run.path / SAMPLES / f"{state.images:09d}.png", picture)
        self.board.add_images("samples", faces_NHWC, state.images, dataformats="NHWC")

    def _checkpoint(self, state: State) -> None:
        if state.images != self.saved:  # a whole one is not put at risk by writing it again
            os.fsync(self.log.fileno())
            facts = {
                "recipe": self.recipe.model_dump(),
                "content_hash": self.batches.faces.info.content_hash,
                "log_bytes": self.log.tell(),
            }
            save_checkpoint(self.run.path / CHECKPOINTS, state, self.recipe.record.keep_checkpoints, **facts)
            self.saved = state.images
        save_model(self.run.path / MODEL, state.mean_generator, {**self.facts, "images": state.images})
        write_report(self.run.path)
        sweep(self.run.path)
        self.clock = time.monotonic()  # writing is not training


def _finite(sums: dict[str, float]) -> bool:
    return all(map(math.isfinite, sums.values()))
