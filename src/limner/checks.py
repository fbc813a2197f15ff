"""`limner checks`: what this machine has, what will not work on it, and what mends that. Also for reports of bugs."""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path

from packaging.requirements import Requirement

from limner.core.arguments import checked
from limner.core.errors import UserError, one_line
from limner.core.files import check_place
from limner.core.records import check_sum, parse_json
from limner.features.cache import cache_folder
from limner.model.shipped import FOLDER as MODELS
from limner.model.shipped import shipped_models

MEND = "install Limner again: pip install --force-reinstall --no-deps limner"
LEAST_MEMORY, LEAST_DISK = 2.0, 2.0  # GiB that a training of 64 x 64 and a prepared CelebA take, about
SOURCE = "limner"
LONGEST_IMPORT = 120  # seconds
# The packages that are imported by another name. Importing mtcnn itself would need TensorFlow; Limner reads its
# weights, by joblib.
MODULES = {"c2pa-python": "c2pa", "mtcnn": "joblib"}


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    found: str
    mend: str = ""
    """What to do where it will not work; empty: it works."""
    optional: bool = False
    """Nothing but what asks for it will not work."""


@checked
def checks(as_json: bool = False) -> bool:
    """Look at everything and print it, a line each, or all of it as JSON. Returns whether everything works.

    A missing extra is no fault: only the commands that need it will not work.
    """
    found = [check for look in LOOKS for check in look()]
    works = not any(check.mend and not check.optional for check in found)
    if as_json:
        print(json.dumps({"works": works, "checks": [asdict(check) for check in found]}, indent=1))
        return works
    width = max(len(check.name) for check in found)
    for check in found:
        sign = "ok" if not check.mend else "--" if check.optional else "!!"
        words = f"{check.found}: {check.mend}" if check.mend else check.found
        print(f"{sign}  {check.name:<{width}}  {words}")
    print("\nEverything works." if works else "\nWhat has !! in front will not work until it is mended.")
    print("In a report of a bug, give this page, the command, and all that it printed.")
    return works


def _versions() -> Iterator[Check]:
    yield Check("limner", f"{version(SOURCE)}, Python {platform.python_version()}, {platform.platform(terse=True)}")


def _device() -> Iterator[Check]:
    """What torch computes on, or the first line of what it says where it cannot be imported."""
    try:
        import torch

        from limner.core.device import find_device, gains_by_bf16, machine_facts

        device = find_device("auto")
        facts = machine_facts(device)
        precision = "bf16" if gains_by_bf16(device) else "fp32"
    except Exception as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        yield Check("torch", f"cannot be used ({reason})", "pip install --force-reinstall torch")
        return
    yield Check("torch", torch.__version__)
    yield Check("device", f"{device.type}, {facts['device_name']}, {facts['threads']} threads, {precision}")


def _memory() -> Iterator[Check]:
    if "SC_AVPHYS_PAGES" not in getattr(os, "sysconf_names", {}):
        return
    free, total = (
        os.sysconf("SC_PAGE_SIZE") * os.sysconf(name) / 2**30 for name in ("SC_AVPHYS_PAGES", "SC_PHYS_PAGES")
    )
    mend = f"a training of 64 x 64 needs about {LEAST_MEMORY:g} GiB: end other programs" if total < LEAST_MEMORY else ""
    yield Check("memory", f"{total:.1f} GiB, {free:.1f} GiB of it unused", mend)


def _disk() -> Iterator[Check]:
    try:
        place, free = Path().resolve(), shutil.disk_usage(Path()).free / 2**30
    except OSError as error:
        yield Check("disk", f"this folder cannot be looked at ({error.strerror})", "change to another one")
        return
    mend = f"a prepared CelebA and a run need about {LEAST_DISK:g} GiB: free some space" if free < LEAST_DISK else ""
    yield Check("disk", f"{free:.1f} GiB free in {place}", mend)


def _cache() -> Iterator[Check]:
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        check_place(folder / "writable")
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    except OSError as error:
        found = f"{folder} cannot be read and written ({error.strerror})"
        yield Check("cache", found, "set LIMNER_CACHE in the environment to another folder")
    else:
        yield Check("cache", f"{folder}, {size / 2**20:,.0f} MiB")


def _shipped() -> Iterator[Check]:
    """The weights in the package, each against its checksum."""
    judges = sorted(MODELS.parent.glob("judge*/judge.safetensors"))
    for weights in [*(MODELS / name / "model.safetensors" for name in shipped_models()), *judges]:
        folder = weights.parent
        try:
            expected = parse_json((folder / "config.json").read_bytes())["weights_sha256"]
            check_sum(weights, expected, MEND)
        except (OSError, ValueError, KeyError, UserError):
            yield Check(folder.name, "damaged", MEND)
        else:
            yield Check(folder.name, "whole")


def extra_names() -> list[str]:
    """The extras of Limner that are not for its development."""
    return sorted({*(metadata(SOURCE).get_all("Provides-Extra") or [])} - {"dev"})


def _extras() -> Iterator[Check]:
    """The extras: which of their packages are there, in a version that Limner works with, and can be imported."""
    needed = [Requirement(line) for line in requires(SOURCE) or []]
    extras = extra_names()
    own = {
        extra: [line for line in needed if line.marker and line.marker.evaluate({"extra": extra})] for extra in extras
    }
    lacking = {extra: [why for line in lines if (why := _lacks(line))] for extra, lines in own.items()}
    whole = [line.name for extra in extras if not lacking[extra] for line in own[extra]]
    all_import = not _import_problem(whole)  # in one process, a tenth of the time
    for extra, lines in own.items():
        if lacking[extra]:
            yield Check(f"limner[{extra}]", ", ".join(lacking[extra]), f"pip install 'limner[{extra}]'", optional=True)
        elif not all_import and (problem := _import_problem([line.name for line in lines])):
            packages = " ".join(f"'{str(line).partition(';')[0]}'" for line in lines)
            yield Check(f"limner[{extra}]", problem, f"pip install --force-reinstall {packages}", optional=True)
        else:
            yield Check(f"limner[{extra}]", ", ".join(f"{line.name} {version(line.name)}" for line in lines))


def _import_problem(packages: Sequence[str]) -> str:
    """What Python says when a process of its own imports these packages; empty: nothing."""
    modules = ", ".join(MODULES.get(name, name.replace("-", "_")) for name in packages)
    try:
        command = [sys.executable, "-P", "-c", f"import {modules}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST_IMPORT, check=False)
    except subprocess.TimeoutExpired:
        return f"importing {modules} takes more than {LONGEST_IMPORT} s"
    if done.returncode == 0:
        return ""
    said = re.findall(r"^\S*Error.*", done.stderr, re.MULTILINE) or [f"status {done.returncode}"]
    return f"cannot be imported ({one_line(said[-1], 200)})"


def _lacks(requirement: Requirement) -> str:
    """What is wrong with the package of a requirement; empty: nothing."""
    try:
        there = version(requirement.name)
    except PackageNotFoundError:
        return f"{requirement.name} is not installed"
    fits = requirement.specifier.contains(there, prereleases=True)
    return "" if fits else f"{requirement.name} {there} does not fit {requirement.specifier}"


LOOKS: tuple[Callable[[], Iterator[Check]], ...] = (_versions, _device, _memory, _disk, _cache, _shipped, _extras)
