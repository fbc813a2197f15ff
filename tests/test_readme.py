"""What the README and the guide say works as written."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from limner.cli import app
from limner.recipes import recipe_headers

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands() -> list[str]:
    """Every `limner ...` line of an indented block that is a command and not the form of one."""
    lines = [line for page in PAGES for line in page.read_text(encoding="utf-8").splitlines()]
    found = [line.strip().partition("#")[0].strip() for line in lines if line.startswith("    limner ")]
    return sorted({line for line in found if not re.search(r"[\[|]|\.\.\.", line)})


@pytest.mark.parametrize("line", commands())
def test_command_is_understood(line: str) -> None:
    """Commands and options exist, and values are of the right kind; nothing is run."""
    _, name, *arguments = shlex.split(line)
    group = typer.main.get_command(app)
    command = group.commands[name]  # type: ignore[attr-defined]
    if hasattr(command, "commands"):
        name, *arguments = arguments
        command = command.commands[name]
    with command.make_context(name, arguments) as context:
        assert context.params


def test_there_are_commands_to_check() -> None:
    assert len(commands()) >= 5


def test_python_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, object] = {}
    exec(example, names)
    assert names["faces"].shape == (16, 32, 32, 3)  # type: ignore[attr-defined]
    assert (tmp_path / "runs" / "a" / "report.html").is_file()


def test_recipe_table_is_complete() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for header in recipe_headers():
        assert f"| `{header.name}` | {header.follows} | {header.summary} |" in text


def test_a_spread_has_at_least_three_seeds() -> None:
    """In the table that counts them."""
    header, seeds, checked = "| row | budget |", 0, 0
    for line in (ROOT / "docs" / "modern.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if line.startswith(header):
            seeds = cells.index("seeds")
        elif seeds and "±" in line:
            assert int(cells[seeds]) >= 3, line
            checked += 1
        seeds = seeds if line.startswith("|") else 0
    assert checked


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name}: {target}"
