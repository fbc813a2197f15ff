"""What a training shows on a terminal."""

import io

import pytest
from rich.console import Console

from limner.training import terminal
from limner.training.terminal import STOPPING, Terminal


def test_a_training_that_is_to_stop_says_so_until_its_step_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step may take seconds, after which the line that says how to resume takes its place."""
    screen = io.StringIO()
    monkeypatch.setattr(terminal, "console", Console(file=screen, force_terminal=True, width=100))
    heard = False
    with Terminal("dcgan", "1,000 images", quiet=False, stopping=lambda: heard) as shown:
        shown.bar.refresh()
        assert STOPPING not in screen.getvalue()
        heard = True
        shown.bar.refresh()
        assert STOPPING in screen.getvalue()
        shown.bar.refresh()
        screen.truncate(screen.seek(0))
    assert STOPPING not in screen.getvalue()  # the last state of the line, which stays
