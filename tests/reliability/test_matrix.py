"""docs/reliability.md names a test for every fault, and each of them is there."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/reliability.md").read_text(encoding="utf-8")
NAMED = re.compile(r"\[`(?P<name>test_\w+)`\]\(\.\./(?P<file>tests/[\w/]+\.py)\)")


def test_every_fault_has_a_test() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith(("| fault", "| command"))]
    assert len(rows) > 30
    assert [row for row in rows if not NAMED.search(row) and "benchmarks/" not in row and not row[2:3].isdigit()] == []


def test_every_named_test_is_there() -> None:
    named = [(found["file"], found["name"]) for found in NAMED.finditer(PAGE)]
    there = {
        (file, node.name)
        for file in {file for file, _ in named}
        for node in ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
    }
    assert sorted(set(named) - there) == []
