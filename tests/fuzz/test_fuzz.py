"""A hundred inputs for every reader, the same ones in every run; `make fuzz` gives each of them 100,000 others."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from readers import READERS, check

CASES = 100


@pytest.mark.parametrize("name", READERS)
def test_whatever_is_read_is_taken_or_refused_in_one_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = READERS[name]
    if reader.needs:
        pytest.importorskip(reader.needs, reason=f"{reader.needs} is not installed")
    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path / "cache"))
    cases, read = reader.open(tmp_path)

    @settings(
        max_examples=CASES,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate,),
    )
    @given(cases)
    def every(case: Any) -> None:
        check(read, case)

    every()
