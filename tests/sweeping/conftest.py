"""What the tests of sweeps ask for."""

import pytest
from known_landscape import train


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Every training is that of a known landscape, and takes no time."""
    monkeypatch.setattr("limner.sweeping.trial.run_job", train)
    monkeypatch.setattr("limner.sweeping.worker.SECONDS_BETWEEN_LOOKS", 0.01)
    return monkeypatch
