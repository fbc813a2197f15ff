"""Progress bars say how fast things really went."""

from rich.progress import Progress

from limner.core.console import RateColumn


def test_the_rate_counts_from_the_start() -> None:
    """Few images come in one or two portions: most of their time lies before the first."""
    now = 0.0
    progress = Progress(disable=True, get_time=lambda: now)
    progress.add_task("prepare", total=60)
    (task,) = progress.tasks
    column = RateColumn("images")
    assert column.render(task).plain == ""
    for now, count in ((2.0, 32), (2.0001, 28)):  # noqa: B007
        progress.advance(task.id, count)
    assert task.finished
    assert column.render(task).plain == "30 images/s"
    now = 60.0
    assert column.render(task).plain == "30 images/s"


def test_slow_things_have_a_rate_too() -> None:
    now = 0.0
    progress = Progress(disable=True, get_time=lambda: now)
    progress.add_task("measured", total=3)
    (task,) = progress.tasks
    now = 4.0
    progress.advance(task.id, 1)
    assert RateColumn("steps").render(task).plain == "0.2 steps/s"
