"""Commands that are ended at random moments and repeated, by the benchmark that counts them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.soak
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="this system has no /proc")
@pytest.mark.parametrize("name", ["prepare", "train", "evaluate", "sweep", "export", "label", "project"])
def test_a_command_ended_at_random_moments_leaves_what_an_undisturbed_one_leaves(name: str) -> None:
    script = [sys.executable, str(ROOT / "benchmarks/kill_commands.py"), "--only", name, "--kills", "6"]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    verdict = json.loads(done.stdout)
    assert (done.returncode, verdict["commands"][name]["faults"]) == (0, [])
    assert verdict["kills"] >= 6
    assert verdict["commands"][name]["ends_compared"] > 0
