"""Where Limner keeps what it can make or fetch again: weights, reference statistics, the runtime of exported pages."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pooch
from requests import RequestException

from limner.core.console import progress_bar
from limner.core.errors import UserError
from limner.core.files import sha256


def cache_folder() -> Path:
    """The environment's `LIMNER_CACHE`, or the folder that this system keeps caches in."""
    return Path(os.environ.get("LIMNER_CACHE") or pooch.os_cache("limner"))


class Remote(NamedTuple):
    """A file that can be fetched."""

    what: str
    """The name that people know it by."""
    name: str
    url: str
    size: int
    """In bytes."""
    sha256: str


def find_file(remote: Remote) -> Path | None:
    """The file in the cache folder, if it is there and its checksum is right. Uses no network."""
    path = cache_folder() / remote.name
    return path if path.is_file() and sha256(path) == remote.sha256 else None


def fetch_file(remote: Remote, otherwise: str, quiet: bool = False) -> Path:
    """The file in the cache folder, fetched unless it is there. A broken download leaves nothing.

    Raises UserError, which ends with what else the user can do (`otherwise`), where it cannot be fetched.
    """
    if path := find_file(remote):
        return path
    folder, what = cache_folder(), remote.what
    pooch.get_logger().setLevel("WARNING")  # else it tells of every download in lines of its own
    try:
        with progress_bar(f"Fetching {what}", remote.size, "bytes", quiet) as advance:
            fetch = pooch.HTTPDownloader(progressbar=_PoochBar(advance), chunk_size=1 << 16)
            return Path(pooch.retrieve(remote.url, f"sha256:{remote.sha256}", remote.name, folder, downloader=fetch))
    except RequestException as error:
        answer = error.response
        reason = "no connection, or it broke off" if answer is None else f"the server answered {answer.status_code}"
    except ValueError:
        reason = "what came has another checksum"
    except OSError as error:
        reason = f"{folder} cannot be written, {error.strerror}"
    raise UserError(
        f"{what} is not on this machine and could not be fetched ({reason}): try again with a connection, {otherwise}."
    )


class _PoochBar:
    """Moves our bar as pooch asks. At the end pooch resets it and sets it to the file's size."""

    total = 0

    def __init__(self, advance: Callable[[int], None]) -> None:
        self._advance, self._done = advance, 0

    def update(self, count: int) -> None:
        self._advance(count)
        self._done += count

    def reset(self) -> None:
        self.update(-self._done)

    def close(self) -> None:
        pass
