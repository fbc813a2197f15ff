"""How far a run is, from its log. A further look reads only what was appended since the last one."""

from pathlib import Path
from typing import Any, Self

from limner.core.records import parse_json
from limner.runs.run import INFO, LOG, how_ended, rows_of


class Progress:
    """What `run.json` and the log of the run at `path` say by now."""

    recipe: str | None
    images_seen: int
    seconds: float | None
    """Of training."""
    images_per_second: float | None
    verdict: str | None
    remedy: str | None
    ended: str | None
    """As `how_ended` says it."""
    _read: int
    """Bytes of the log."""
    _last_line: bytes
    """Of those; it is no longer there where the log was cut or replaced."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._forget()

    def look(self) -> Self:
        """Read what was appended to the log; all of it where it is not the log that was read before."""
        try:
            with (self.path / LOG).open("rb") as log:
                log.seek(self._read - len(self._last_line))
                if log.read(len(self._last_line)) != self._last_line:  # cut by a resume, or of a new run
                    self._forget()
                    log.seek(0)
                added = log.read()
        except FileNotFoundError:
            self._forget()
            added = b""
        whole = added[: added.rfind(b"\n") + 1]
        if whole:
            self._read += len(whole)
            self._last_line = whole[whole.rfind(b"\n", 0, -1) + 1 :]
        for row in rows_of(whole.decode(errors="replace")):
            self._add(row)
        self.recipe = self.recipe or _recipe(self.path)
        return self

    def _forget(self) -> None:
        self._read, self._last_line = 0, b""
        self.images_seen, self.ended = 0, None
        self.recipe = self.seconds = self.images_per_second = self.verdict = self.remedy = None

    def _add(self, row: dict[str, Any]) -> None:
        self.images_seen = row.get("images_seen", self.images_seen)
        self.seconds = row.get("seconds", self.seconds)
        if row.get("verdict"):
            self.verdict, self.remedy = row["verdict"], row.get("remedy")
            self.images_per_second = row.get("images_per_second")
        self.ended = how_ended([row])


def _recipe(run: Path) -> str | None:
    """The name of the recipe; `None` where `run.json` is damaged or not there."""
    try:
        info = parse_json((run / INFO).read_bytes())
    except (OSError, ValueError):
        return None
    return info.get("recipe") if isinstance(info, dict) else None
