"""What the tests of this folder say of a command and of a disk."""

from pathlib import Path
from typing import NamedTuple


class Ended(NamedTuple):
    """How a command ended: its status, what it printed, and the lines on stderr."""

    status: object
    out: str
    lines: list[str]

    @property
    def line(self) -> str:
        """The only line on stderr."""
        (line,) = self.lines
        return line


class Full(NamedTuple):
    """A folder to which little can be written, and what the system says then."""

    place: Path
    reason: str
