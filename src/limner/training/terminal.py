"""What a training shows while it runs: a live line on a terminal, a plain line per log line elsewhere."""

from collections.abc import Callable, Iterator
from typing import Any

from rich.console import RenderableType
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from limner.core.console import console


class _Live(Progress):
    """The live line; above it a plot where there is one, below it that Ctrl-C was heard."""

    plot: Text | None = None
    stopping: Callable[[], bool] = staticmethod(lambda: False)  # rich asks once while it is made

    def get_renderables(self) -> Iterator[RenderableType]:
        if self.plot is not None:
            yield self.plot
        yield from super().get_renderables()
        if self.stopping() and self.live.is_started:
            yield Text(STOPPING)


# What the live line has room for.
SHOWN = {
    "loss/discriminator": "loss D",
    "loss/generator": "G",
    "loss/elbo": "loss",
    "output/real": "· D(real)",
    "output/fake": "D(fake)",
}

STOPPING = "Stops after this step, and saves. Ctrl-C again ends at once, without saving."


class Terminal:
    """Progress of one training: part done, images/s, time left, losses, the discriminator's outputs, the verdict.

    `stopping` says whether the training was asked to stop; the live line then says so until the step is done.
    """

    def __init__(self, name: str, goal: str, quiet: bool, stopping: Callable[[], bool]) -> None:
        self.name, self.goal, self.quiet = name, goal, quiet
        self.live = console.is_terminal and not quiet
        columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), TextColumn("{task.fields[text]}"))
        self.bar = _Live(*columns, console=console, disable=not self.live)
        self.bar.stopping = stopping
        self.task = self.bar.add_task(name, total=1.0, text="starting")
        self.words = ""

    def __enter__(self) -> "Terminal":
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def step(self, images: int, progress: float, rate: float | None, seconds_left: float | None) -> None:
        """Move the live line."""
        if self.live:
            self.bar.update(self.task, completed=progress, text=f"{_pace(images, rate, seconds_left)} {self.words}")

    def log(self, line: dict[str, Any], progress: float, seconds_left: float | None) -> None:
        """Show a new log line."""
        numbers = " ".join(f"{word} {line[key]:.2f}" for key, word in SHOWN.items() if key in line)
        self.words = f"· {numbers} · {line['verdict']}"
        if not self.live:
            pace = _pace(line["images_seen"], line["images_per_second"], seconds_left)
            self.say(f"{self.name} {progress:4.0%} of {self.goal} · {pace} {self.words}")
        elif line["remedy"]:
            self.words += f": {line['remedy']}"

    def show(self, plot: Text | None) -> None:
        """Show this plot above the live line from now on; it stays when the training has ended."""
        self.bar.plot = plot

    def say(self, text: str) -> None:
        """Print one line, above the live one where there is one."""
        if not self.quiet:
            self.bar.console.print(text, highlight=False, soft_wrap=True)


def duration(seconds: float) -> str:
    """Seconds as h:mm:ss or m:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _pace(images: int, rate: float | None, seconds_left: float | None) -> str:
    pace = f"{images:,} images"
    if rate is not None:
        pace += f" · {rate:,.0f} images/s"
    return pace if seconds_left is None else f"{pace} · {duration(seconds_left)} left"
