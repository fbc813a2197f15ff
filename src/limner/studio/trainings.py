"""Trainings that the studio starts, each in a process of its own, and the runs in its folder.

A training is asked to stop by the signal of Ctrl-C, upon which it saves its state; closing the studio asks it too.
"""

import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import IO, Any

from limner.core.errors import UserError
from limner.runs.progress import Progress
from limner.runs.run import SAMPLES, is_run
from limner.studio.requests import TrainingRequest

SECONDS_TO_SAVE = 60
MOST_COMPARED = 6  # as many as there are colours of lines
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
SAMPLE = re.compile(r"[0-9]{9}\.png")


class Training:
    """One `limner train` in a process of its own, with a handle to stop it."""

    def __init__(self, name: str, arguments: Sequence[str], output: IO[bytes]) -> None:
        self.name, self._output = name, output
        command = [sys.executable, "-m", "limner", "train", *arguments, "--quiet"]
        # In a session of its own: Ctrl-C on the studio's terminal must not reach it a second time.
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )

    @property
    def runs(self) -> bool:
        """Whether it is still at work."""
        return self._process.poll() is None

    @property
    def mistake(self) -> str | None:
        """The sentence with which it ended, where it ended with one."""
        if self._process.poll() in (None, 0, 130):
            return None
        self._output.seek(0)
        lines = self._output.read()[-4000:].decode(errors="replace").strip().splitlines()
        return lines[-1].removeprefix("limner: ") if lines else "The training ended without a word."

    def stop(self) -> None:
        """Ask it to save its state and end; it does so within a step."""
        if self.runs:
            self._process.send_signal(signal.SIGINT)

    def close(self) -> None:
        """Stop it and wait until its state is saved."""
        self.stop()
        try:
            self._process.wait(SECONDS_TO_SAVE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._output.close()


class Runs:
    """The runs in one folder, and the training that the studio has started there: at most one at a time."""

    def __init__(self, folder: Path | None, data: Sequence[str], outputs: Path) -> None:
        self.folder, self.data = folder, tuple(data)
        self._outputs = outputs
        self._training: Training | None = None
        self._starting = Lock()
        self._known: dict[Path, Progress] = {}
        self._looking = Lock()

    def listing(self) -> list[dict[str, Any]]:
        """What there is to say of each run, the newest first."""
        if self.folder is None or not self.folder.is_dir():
            return []
        paths = [path for path in self.folder.iterdir() if NAME.fullmatch(path.name) and is_run(path)]
        paths.sort(key=lambda path: path.stat().st_mtime, reverse=True)
        with self._looking:
            self._known = {path: self._known.get(path) or Progress(path) for path in paths}
            return [self._facts(path, progress.look()) for path, progress in self._known.items()]

    @property
    def training(self) -> dict[str, Any] | None:
        """The training that was started last."""
        if self._training is None:
            return None
        return {"name": self._training.name, "runs": self._training.runs, "mistake": self._training.mistake}

    def path(self, name: str) -> Path:
        """The folder of a run; raises UserError where there is none of this name."""
        if self.folder is None or not NAME.fullmatch(name) or not is_run(self.folder / name):
            raise UserError(f"There is no run {name!r} here.")
        return self.folder / name

    def several(self, names: Sequence[str]) -> list[Path]:
        """The folders of runs to compare; raises UserError where they are not two at least, each once and there."""
        if not 2 <= len(set(names)) == len(names) <= MOST_COMPARED:
            raise UserError(f"Choose two to {MOST_COMPARED} runs to compare, each once.")
        return [self.path(name) for name in names]

    def start(self, request: TrainingRequest) -> None:
        """Start a training in a new folder; raises UserError where that cannot be."""
        if self.folder is None:
            raise UserError("The studio has no folder for runs: start it with limner studio --runs DIR.")
        if request.data is not None and request.data not in self.data:
            raise UserError(f"{request.data!r} is not among the studio's data: start it with limner studio --data DIR.")
        if (self.folder / request.name).exists():
            raise UserError(f"There is a run {request.name!r} already: choose another name.")
        from limner.recipes import recipe_names

        if request.recipe not in recipe_names():
            raise UserError(f"There is no recipe {request.recipe!r}; there are {', '.join(recipe_names())}.")
        self.folder.mkdir(parents=True, exist_ok=True)
        data = [] if request.data is None else ["--data", request.data]
        limits = ["--minutes", str(request.minutes), "--seed", str(request.seed)]
        self._begin(request.name, [request.recipe, *data, "--out", str(self.folder / request.name), *limits])

    def resume(self, name: str) -> None:
        """Go on with a run from where it stopped; raises UserError where there is none or another training runs."""
        self._begin(name, ["--resume", str(self.path(name))])

    def stop(self) -> None:
        """Ask the training to stop; raises UserError where the studio runs none."""
        if self._training is None or not self._training.runs:
            raise UserError("No training runs that the studio has started.")
        self._training.stop()

    def close(self) -> None:
        """Stop the training, its state saved."""
        if self._training is not None:
            self._training.close()

    def _begin(self, name: str, arguments: Sequence[str]) -> None:
        with self._starting:
            if self._training is not None:
                if self._training.runs:
                    raise UserError(f"{self._training.name} is training: stop it, or wait for its end.")
                self._training.close()
            self._training = Training(name, arguments, (self._outputs / "training.log").open("w+b"))

    def _facts(self, path: Path, progress: Progress) -> dict[str, Any]:
        training = self._training is not None and self._training.name == path.name and self._training.runs
        return {
            "name": path.name,
            "recipe": progress.recipe,
            "images_seen": progress.images_seen,
            "verdict": progress.verdict,
            "remedy": progress.remedy,
            "ended": progress.ended,
            "images_per_second": progress.images_per_second,
            "training": training,
            "samples": sorted(file.name for file in (path / SAMPLES).glob("*.png") if SAMPLE.fullmatch(file.name)),
        }
