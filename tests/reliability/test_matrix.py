"""docs/reliability.md names a test for every fault, and each of them is there."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/reliability.md").read_text(encoding="utf-8")
NAMED = re.compile(r"\[`(?P<name>test_\w+)`\]\(\.\./(?P<file>tests/[\w/]+\.py)\)")


def test_every_fault_has_a_test() -> None:
    tables = [part.splitlines()[1:] for part in PAGE.split("\n| fault | ")[1:]]
    rows = [row for table in tables for row in table[: table.index("")]]
    assert len(rows) > 40
    assert [row for row in rows if not row.startswith("|---") and not NAMED.search(row)] == []


def test_every_named_test_is_there() -> None:
    named = [(found["file"], found["name"]) for found in NAMED.finditer(PAGE)]
    there = {
        (file, node.name)
        for file in {file for file, _ in named}
        for node in ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
    }
    assert sorted(set(named) - there) == []
