"""How an evaluation's work is done: by which processes, whether it is to be given up, and whether progress is shown."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from limner.core.console import progress_bar
from limner.core.distributed import ALONE, Engine


@dataclass(frozen=True)
class Work:
    """The processes that share the work, of which the main one has the results; whether to give up; what is shown."""

    engine: Engine = ALONE
    stopping: Callable[[], bool] = lambda: False
    quiet: bool = False

    @contextmanager
    def progress(self, label: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
        """A progress bar for one piece of work: every process does its part, or the main one all of it.

        Where one is stopping, all raise Abandoned.
        """
        with self.engine.long_work(self.stopping) as check, progress_bar(label, total, unit, self.quiet) as advance:

            def go_on(count: int) -> None:
                advance(count)
                check()

            yield go_on
