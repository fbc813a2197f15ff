"""What a training shows while it runs: a live line on a terminal, a plain line per log line elsewhere."""

from typing import Any

from rich.progress import BarColumn, Progress, TextColumn

from limner.progress import console


class Terminal:
    """Progress of one training: share done, images/s, time left, losses, the discriminator's outputs, the verdict."""

    def __init__(self, name: str, goal: str, quiet: bool) -> None:
        self.name, self.goal, self.quiet = name, goal, quiet
        self.live = console.is_terminal and not quiet
        columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), TextColumn("{task.fields[text]}"))
        self.bar = Progress(*columns, console=console, disable=not self.live)
        self.task = self.bar.add_task(name, total=1.0, text="starting")
        self.words = ""

    def __enter__(self) -> "Terminal":
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def step(self, images: int, share: float, rate: float | None, seconds_left: float | None) -> None:
        """Move the live line."""
        if self.live:
            self.bar.update(self.task, completed=share, text=f"{_pace(images, rate, seconds_left)} {self.words}")

    def log(self, line: dict[str, Any], share: float, seconds_left: float | None) -> None:
        """Show a new log line."""
        self.words = (
            f"· loss D {line['loss/discriminator']:.2f} G {line['loss/generator']:.2f} · D(real) "
            f"{line['output/real']:.2f} D(fake) {line['output/fake']:.2f} · {line['verdict']}"
        )
        if not self.live:
            pace = _pace(line["images"], line["images_per_second"], seconds_left)
            self.say(f"{self.name} {share:4.0%} of {self.goal} · {pace} {self.words}")
        elif line["remedy"]:
            self.words += f": {line['remedy']}"

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
