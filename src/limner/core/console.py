"""Progress bars for everything that takes more than a moment: speed, part done and time left, on stderr."""

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

console = Console(stderr=True)


class RateColumn(ProgressColumn):
    """Things done per second since the start, with their name: `2,431 images/s`."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self.unit = unit

    def render(self, task: Task) -> Text:
        # Not rich's own speed: it leaves out the time before the first things are done, which may be nearly all of it.
        seconds = task.finished_time or task.elapsed
        rate = task.completed / seconds if seconds else 0.0
        number = f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"
        return Text(f"{number} {self.unit}/s" if rate else "", style="progress.data.speed")


@contextmanager
def progress_bar(label: str, total: int | None, unit: str, quiet: bool = False) -> Iterator[Callable[[int], None]]:
    """Show a bar for `total` things of kind `unit` (`None`: not known) and yield `advance(n)`, which moves it by `n`.

    On a terminal the bar lives in place; where stderr is a file, only its last state is printed. `quiet` shows nothing.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(unit),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=quiet) as bar:
        task = bar.add_task(label, total=total)
        yield lambda n: bar.advance(task, n)


@contextmanager
def notes(quiet: bool = False) -> Iterator[None]:
    """Show warnings of the library as notes of one line on stderr; none with `quiet`."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore" if quiet else "default", category=UserWarning)
        warnings.showwarning = lambda message, *_, **__: print(f"Note: {message}", file=sys.stderr)
        yield
