"""Write requirements.lock anew: what is installed in the environment that runs this, with the hashes of its files.

    python -m venv new && new/bin/pip install torch setuptools -e '.[dev]' && new/bin/python scripts/lock.py

Every file of a version is allowed, for other systems and versions of Python; the hashes are those that PyPI states.
torch is not in it: which of its builds fits depends on the machine, and each has other dependencies.
"""

from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import distributions
from pathlib import Path

import requests
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import Version

LOCK = Path(__file__).resolve().parents[1] / "requirements.lock"
INDEX = "https://pypi.org/simple"
APART = {"limner", "pip", "torch"}
HEADER = "# Written by scripts/lock.py. Everything but torch, which make installs by its version alone.\n"


def version_of(file: str) -> Version | None:
    """The version that is in the name of a wheel or of an archive of sources."""
    try:
        return (parse_wheel_filename if file.endswith(".whl") else parse_sdist_filename)(file)[1]
    except (InvalidWheelFilename, InvalidSdistFilename):
        return None


def hashes(name: str, version: str) -> list[str]:
    """sha256 of every file of this version (PEP 691)."""
    answer = requests.get(f"{INDEX}/{name}/", headers={"Accept": "application/vnd.pypi.simple.v1+json"}, timeout=60)
    answer.raise_for_status()
    found = [of["hashes"]["sha256"] for of in answer.json()["files"] if version_of(of["filename"]) == Version(version)]
    assert found, f"{INDEX} has no file of {name} {version}"
    return sorted(found)


def main() -> None:
    installed = {canonicalize_name(one.metadata["Name"]): one.version for one in distributions()}
    wanted = sorted(installed.keys() - APART)
    with ThreadPoolExecutor(8) as pool:
        found = pool.map(lambda name: hashes(name, installed[name]), wanted)
        blocks = [
            f"{name}=={installed[name]}" + "".join(f" \\\n    --hash=sha256:{one}" for one in of)
            for name, of in zip(wanted, found, strict=True)
        ]
    LOCK.write_text(HEADER + "\n".join(blocks) + "\n", encoding="utf-8")
    print(f"{LOCK}: {len(wanted)} packages")


if __name__ == "__main__":
    main()
