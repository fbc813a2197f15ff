"""Models from the Hugging Face Hub, named USER/NAME@REVISION.

Only the two files of a model are fetched, all from the one commit that the revision stands for, into the cache that
huggingface_hub keeps. Their sizes are bounded, and what came is compared with the Hub's checksum. `Model.load` compares
the weights with the checksum in config.json as well.
"""

import hashlib
import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from limner.core.console import progress_bar
from limner.core.errors import UserError
from limner.core.files import sha256

HUB_ID = re.compile(r"([\w-][\w.-]*/[\w-][\w.-]*)@([\w-][\w./-]*)")
COMMIT = re.compile(r"[0-9a-f]{40}")
MOST_BYTES = 2 << 30
SHA256 = 64  # hexadecimal digits


class _Remote(NamedTuple):
    name: str
    size: int
    checksum: str
    """sha256 of a file that the Hub stores as a large one; of others the name that git gives their content."""


def is_hub_id(name: str) -> bool:
    """Whether `name` is of the form USER/NAME@REVISION."""
    return HUB_ID.fullmatch(name) is not None


def require_hub() -> None:
    """Raise UserError where huggingface_hub is not installed."""
    if find_spec("huggingface_hub") is None:
        raise UserError("The Hugging Face Hub needs huggingface_hub: pip install 'limner[hub]'.")


def fetch_model(hub_id: str, files: Sequence[str]) -> Path:
    """The folder with these files of a model on the Hub; those that are in the cache are not fetched again.

    A revision is a branch, a tag or a commit; with a commit whose files are in the cache, no connection is needed.
    Raises UserError where huggingface_hub is missing, there is no such model, revision or file, a file is larger than
    2 GiB or not what the Hub says it is, or the Hub cannot be reached.
    """
    require_hub()
    from huggingface_hub import errors, hf_hub_download, try_to_load_from_cache
    from huggingface_hub.utils.tqdm import disable_progress_bars, enable_progress_bars

    found = HUB_ID.fullmatch(hub_id)
    assert found, hub_id
    repo, revision = found.groups()
    if COMMIT.fullmatch(revision):
        cached = [try_to_load_from_cache(repo, name, revision=revision) for name in files]
        if all(isinstance(path, str) for path in cached):
            return Path(str(cached[0])).parent
    disable_progress_bars()
    try:
        commit, remotes = _look_up(repo, revision, files)
        with progress_bar(f"Fetching {hub_id}", sum(one.size for one in remotes), "bytes") as advance:
            for one in remotes:
                path = Path(hf_hub_download(repo, one.name, revision=commit))
                checksum = sha256(path) if len(one.checksum) == SHA256 else _git_name(path)
                if checksum != one.checksum:
                    path.resolve().unlink()
                    path.unlink(missing_ok=True)
                    raise UserError(f"{one.name} of {hub_id} has another checksum than the Hub states: try again.")
                advance(one.size)
        return path.parent
    except errors.GatedRepoError:
        reason = "its owner grants access first, on the Hub"
    except errors.RepositoryNotFoundError:
        reason = "there is no such model, or it is private (hf auth login)"
    except errors.RevisionNotFoundError:
        reason = f"it has no revision {revision}"
    except errors.RemoteEntryNotFoundError:
        reason = f"it is no model of Limner: it does not have {' and '.join(files)}"
    except errors.HfHubHTTPError as error:
        reason = f"the Hub answered {error.response.status_code}"
    except errors.HFValidationError as error:
        reason = str(error).splitlines()[0].rstrip(".")
    except (errors.HTTPError, OSError):  # type: ignore[attr-defined]  # of the library that huggingface_hub asks with
        reason = "no connection, or it broke off"
    finally:
        enable_progress_bars()
    raise UserError(f"{hub_id} could not be fetched: {reason}.")


def _look_up(repo: str, revision: str, files: Sequence[str]) -> tuple[str, list[_Remote]]:
    """The commit that a revision stands for, and what the Hub states of the files there."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    commit, remotes = revision, []
    for name in files:
        stated = get_hf_file_metadata(hf_hub_url(repo, name, revision=commit))
        if stated.commit_hash is None or stated.size is None or stated.etag is None:
            raise UserError(f"{repo} could not be fetched: what answers is not the Hub.")
        if stated.size > MOST_BYTES:
            raise UserError(
                f"{name} of {repo} has {stated.size:,} bytes, no model of Limner has more than {MOST_BYTES:,}."
            )
        commit = stated.commit_hash
        remotes.append(_Remote(name, stated.size, stated.etag))
    return commit, remotes


def _git_name(path: Path) -> str:
    """The name that git gives a file by its content: the sha1 of a header and of all bytes."""
    header = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: header).hexdigest()
