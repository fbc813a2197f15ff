"""What the benchmarks that write a page of the docs share."""

from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs"
END = "<!-- end of rows -->"


def put_rows(page: Path, begin: str, table: str) -> None:
    """Replace what `page` has between the line `begin` and the mark of the rows' end."""
    before, _, rest = page.read_text(encoding="utf-8").partition(begin)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{begin}\n{table}\n{END}{after}", encoding="utf-8")
