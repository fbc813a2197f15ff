"""Give every reader of what comes from outside many inputs that are hostile or broken; the readers are in tests/fuzz.

    python benchmarks/fuzz.py --cases 100000 [--only zip --only model] [--seed 1] [--out benchmarks/results/fuzz.json]

A reader may take an input or refuse it in one line. Each runs in a process of its own, in rounds of a thousand inputs;
counted are the inputs, those that were refused, the processor time, the slowest input and the memory that the process
took beyond what it had after the first round. Prints every fault with its input, and leaves with status 1 if there is
one. With --out, several passes with other seeds add up, and the table in docs/reliability.md is written anew.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import traceback
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from page import DOCS, put_rows

from limner.core.device import machine_facts

TESTS = Path(__file__).resolve().parents[1] / "tests"
sys.path[:0] = [str(TESTS / "fuzz"), str(TESTS)]

from readers import READERS, REFUSALS, Read, check  # noqa: E402

BEGIN = "<!-- rows: python benchmarks/fuzz.py --cases 100000 --out benchmarks/results/fuzz.json -->"
ROUND = 1000
EMPTY: dict[str, Any] = {
    "cases": 0,
    "refused": 0,
    "slowest_seconds": 0.0,
    "cpu_seconds": 0,
    "mib_grown": 0,
    "faults": [],
}
FAULTS = 3  # of a reader, after which it is given up
SHOWN, MOST_OF_INPUT = 1000, 10_000  # characters of a fault and of its input


def one_round(cases: Any, read: Read, number: int, count: int, counted: dict[str, Any]) -> str | None:
    """Give `count` inputs to a reader; the first fault, with its input."""

    def watched(case: Any) -> None:
        counted["cases"] += 1
        counted["newest"] = case
        clock = time.process_time()
        try:
            read(case)
        except REFUSALS:
            counted["refused"] += 1
            raise
        finally:
            counted["slowest_seconds"] = max(counted["slowest_seconds"], round(time.process_time() - clock, 3))

    @seed(number)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate,),  # to make an input smaller takes minutes
        report_multiple_bugs=False,
    )
    @given(cases)
    def every(case: Any) -> None:
        check(watched, case)

    try:
        every()
    except Exception as error:
        where = "".join(traceback.format_list(traceback.extract_tb(error.__traceback__)[-4:]))
        return f"{where}{type(error).__name__}: {error!s:.{SHOWN}}\nthe input: {counted['newest']!r:.{MOST_OF_INPUT}}"
    return None


def fuzz(name: str, cases_wanted: int, start: int) -> dict[str, Any]:
    """Every round of one reader."""
    torch.set_num_threads(1)
    counted = EMPTY | {"newest": None}
    faults: list[str] = []
    clock = time.process_time()
    settled = 0
    with tempfile.TemporaryDirectory(prefix=f"fuzz-{name}-") as place:
        os.environ["LIMNER_CACHE"] = str(Path(place) / "cache")
        cases, read = READERS[name].open(Path(place))
        number = 0
        while counted["cases"] < cases_wanted and len(faults) < FAULTS:
            wanted = min(ROUND, cases_wanted - counted["cases"])
            if fault := one_round(cases, read, start * 1_000_003 + number, wanted, counted):
                faults.append(fault)
            settled = settled or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            number += 1
    del counted["newest"]
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - settled) // 1024
    return {**counted, "cpu_seconds": round(time.process_time() - clock), "mib_grown": grown, "faults": faults}


def in_own_process(name: str, cases: int, start: int) -> dict[str, Any]:
    """`fuzz` in a process of its own, whose end by a signal is a fault too."""
    words = [sys.executable, "-X", "faulthandler", __file__, "--one", name, "--cases", str(cases), "--seed", str(start)]
    ended = subprocess.run(words, capture_output=True, text=True)
    if ended.returncode:
        return {**EMPTY, "faults": [f"its process ended with status {ended.returncode}: {ended.stderr[-SHOWN:]}"]}
    found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return found


def added(before: dict[str, Any] | None, found: dict[str, Any]) -> dict[str, Any]:
    """The numbers of two passes together."""
    if before is None:
        return found
    most = ("slowest_seconds", "mib_grown")
    return {key: max(before[key], value) if key in most else before[key] + value for key, value in found.items()}


def rows(table: dict[str, Any]) -> str:
    """The table of docs/reliability.md."""
    lines = ["| reader | inputs | refused in one line | CPU seconds | slowest, s | MiB grown | faults |"]
    lines.append("|---|---|---|---|---|---|---|")
    for name, of in table.items():
        numbers = (of["cases"], of["refused"], of["cpu_seconds"], of["slowest_seconds"], of["mib_grown"])
        lines.append(f"| {name} | {' | '.join(f'{number:,}' for number in numbers)} | {len(of['faults'])} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=100_000, help="for each reader")
    parser.add_argument("--only", action="append", choices=READERS, help="this reader (can be repeated)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path, help="add the numbers to this JSON file, and write the docs' table")
    parser.add_argument("--one", choices=READERS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(fuzz(asked.one, asked.cases, asked.seed)))
        return
    table: dict[str, Any] = json.loads(asked.out.read_text())["readers"] if asked.out and asked.out.exists() else {}
    with ThreadPoolExecutor(asked.processes) as pool:
        runs = {pool.submit(in_own_process, name, asked.cases, asked.seed): name for name in asked.only or READERS}
        for run in as_completed(runs):
            name, found = runs[run], run.result()
            print(
                f"{name}: {json.dumps(found | {'faults': len(found['faults'])})}",
                *found["faults"],
                sep="\n",
                flush=True,
            )
            table[name] = added(table.get(name), found)
            if asked.out:
                date, machine = f"{datetime.now(UTC):%Y-%m-%d}", machine_facts(torch.device("cpu"))
                result = {"readers": dict(sorted(table.items())), "date": date, "machine": machine}
                asked.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
                put_rows(DOCS / "reliability.md", BEGIN, rows(result["readers"]))
    sys.exit(any(of["faults"] for of in table.values()))


if __name__ == "__main__":
    main()
