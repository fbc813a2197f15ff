"""Memory that is freed and used again, instead of being requested from the system anew."""

import json
import subprocess
import sys

import pytest

SIZE, ROUNDS = 64 << 20, 8
# In a new process: whatever a process has done before decides what it has free.
SCRIPT = f"""
import json, resource
from pathlib import Path
from limner.core.memory import freed_memory_kept

def count_cleared():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range({ROUNDS}):
        bytearray({SIZE})  # filled with zeros, and freed
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) * resource.getpagesize()

def count_resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

cleared, resident = [count_cleared()], [count_resident()]
with freed_memory_kept():
    cleared.append(count_cleared())
    resident.append(count_resident())
resident.append(count_resident())
print(json.dumps([cleared, resident]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="pages are counted on Linux")
def test_large_blocks_reuse_memory_which_is_returned_at_the_end() -> None:
    ran = subprocess.run([sys.executable, "-c", SCRIPT], check=True, capture_output=True, text=True)
    (usual, kept), (before, while_kept, after) = json.loads(ran.stdout)
    assert usual > 0.9 * ROUNDS * SIZE
    assert kept < 2.1 * SIZE
    assert while_kept - before > 0.9 * SIZE
    assert after - before < 0.1 * SIZE
