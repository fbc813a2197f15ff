"""What the benchmarks that write a page of the docs share."""

from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs"
END = "<!-- end of rows -->"


def with_rows(text: str, begin: str, table: str) -> str:
    """The text of a page with another table between the line `begin` and the mark of the rows' end."""
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(END)
    return f"{before}{begin}\n{table}\n{END}{after}"


def put_rows(page: Path, begin: str, table: str) -> None:
    """Replace what `page` has between the line `begin` and the mark of the rows' end."""
    page.write_text(with_rows(page.read_text(encoding="utf-8"), begin, table), encoding="utf-8")
