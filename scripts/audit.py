"""Look every package of the lock up in PyPI's list of known vulnerabilities; leave with status 1 where there is one.

Without a connection, or where PyPI does not answer for a package, it says so and goes on.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

LOCK = Path(__file__).resolve().parents[1] / "requirements.lock"
SECONDS = 20  # to wait for an answer
OPTIONS = ("--no-deps", "--disable-pip", "--require-hashes", "--format", "json", "--progress-spinner", "off")


def verdict(found: dict[str, list[dict[str, Any]]]) -> tuple[str, bool]:
    """What pip-audit's answer says, in lines, and whether nothing is known against the packages."""
    packages = found["dependencies"]
    looked_up = [one for one in packages if "skip_reason" not in one]
    known = [one for one in looked_up if one["vulns"]]
    lines = [f"audit: {len(looked_up)} of {len(packages)} packages looked up, {len(known)} with known vulnerabilities"]
    for one in known:
        mended = (f"{of['id']} (mended in {', '.join(of['fix_versions']) or 'no version'})" for of in one["vulns"])
        lines.append(f"{one['name']} {one['version']}: {', '.join(mended)}")
    return "\n".join(lines), not known


def main() -> None:
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(LOCK), *OPTIONS, "--timeout", str(SECONDS)]
    ended = subprocess.run(command, capture_output=True, text=True)
    try:
        lines, fine = verdict(json.loads(ended.stdout))
    except ValueError:
        reason = (ended.stderr.strip().splitlines() or ["it gave no answer"])[-1][:120]
        print(f"audit: skipped, PyPI could not be asked ({reason})")
        return
    print(lines)
    sys.exit(not fine)


if __name__ == "__main__":
    main()
