"""Write docs/licences.md anew from what is installed: `make check` has installed what the lock says."""

from pathlib import Path

from dependencies import packages

PAGE = Path(__file__).resolve().parents[1] / "docs" / "licences.md"
BEGIN, END = "<!-- rows: python scripts/licences.py -->", "<!-- end of rows -->"


def rows() -> str:
    """The table of the page. Raises ValueError where the licence of a package is not known."""
    table = ["| package | version | licence, as it says | needed by |", "|---|---|---|---|"]
    for one in packages():
        if not one.licence:
            raise ValueError(f"{one.name} does not say its licence: look it up and add it to dependencies.py")
        table.append(f"| {one.name} | {one.version} | {one.licence} | {one.extra or 'limner'} |")
    return "\n".join(table)


def page(text: str) -> str:
    """The page with the table of this environment."""
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n{rows()}\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
