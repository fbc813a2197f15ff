"""Write docs/licences.md anew from what is installed: `make check` has installed what the lock says."""

import sys
from pathlib import Path

from dependencies import packages

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

from page import DOCS, put_rows

PAGE = DOCS / "licences.md"
BEGIN = "<!-- rows: python scripts/licences.py -->"


def rows() -> str:
    """The table of the page. Raises ValueError where the licence of a package is not known."""
    table = ["| package | version | licence, as it says | needed by |", "|---|---|---|---|"]
    for one in packages():
        if not one.licence:
            raise ValueError(f"{one.name} does not say its licence: look it up and add it to dependencies.py")
        table.append(f"| {one.name} | {one.version} | {one.licence} | {one.extra or 'limner'} |")
    return "\n".join(table)


if __name__ == "__main__":
    put_rows(PAGE, BEGIN, rows())
