"""Places that cannot be written to, and a command line that must fail in one line."""

import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from endings import Ended, Full

if TYPE_CHECKING:
    from limner.data.packed import PackedFaces

ROOM = "4k"  # on a disk that is full


@pytest.fixture
def limner(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ended]:
    """Runs the command in this process; a traceback fails the test."""
    from limner.cli import main

    def run(*arguments: object) -> Ended:
        capsys.readouterr()
        monkeypatch.setattr("sys.argv", ["limner", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return Ended(stopped.value.code or 0, said.out, said.err.strip().splitlines())

    return run


def _mount(place: Path, options: str) -> bool:
    place.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:  # no such command
        return False


@pytest.fixture
def mounted() -> Iterator[list[Path]]:
    """Places where something is mounted, until the test ends."""
    places: list[Path] = []
    yield places
    for place in places:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture
def small_disk(tmp_path: Path, mounted: list[Path]) -> Callable[[str], Path]:
    """Gives a folder that is a disk of this size; the test is skipped where this user cannot mount one."""

    def make(size: str) -> Path:
        place = tmp_path / "disk"
        if not _mount(place, f"size={size}"):
            pytest.skip("this user cannot mount a small disk")
        mounted.append(place)
        return place

    return make


@pytest.fixture
def full_disk(tmp_path: Path, mounted: list[Path]) -> Iterator[Full]:
    """A disk that is full or, where this user cannot mount one, a limit on the size of files."""
    place = tmp_path / "full"
    if _mount(place, f"size={ROOM}"):
        mounted.append(place)
        yield Full(place, "no space left on device")
        return
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 12, before[1]))
    yield Full(place, "file too large")
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def read_only(tmp_path: Path, mounted: list[Path]) -> Callable[[Path], Path]:
    """Gives a view of a folder through which nothing can be written."""

    def make(folder: Path) -> Path:
        if os.geteuid() != 0:
            for path in [folder, *folder.rglob("*")]:
                path.chmod(path.stat().st_mode & ~0o222)
            return folder
        place = tmp_path / "read-only"
        place.mkdir()
        for options in (["--bind", str(folder), str(place)], ["-o", "remount,ro,bind", str(place)]):
            if subprocess.run(["mount", *options], capture_output=True, check=False).returncode:
                pytest.skip("this user can write everywhere, and cannot mount a folder read-only")
            if place not in mounted:
                mounted.append(place)
        return place

    return make


@pytest.fixture
def sets(tiny: tuple[str, ...]) -> list[str]:
    """The settings of a tiny training, as arguments."""
    return [part for setting in tiny for part in ("--set", setting)]


@pytest.fixture(scope="session")
def trained(faces32: "PackedFaces", tiny: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of 32 images with checkpoints at 0, 16 and 32: not to be changed."""
    from limner.training.session import train

    run = tmp_path_factory.mktemp("trained") / "run"
    settings = [*tiny, "record.checkpoint_images=16", "record.keep_checkpoints=3"]
    train("dcgan32", faces32, run, images=32, overrides=settings, device="cpu", quiet=True)
    return run


@pytest.fixture(scope="session")
def data(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Few drawn faces; and one of them as a picture, and a second model."""
    from PIL import Image

    from limner.preparation.prepare import prepare

    folder = tmp_path_factory.mktemp("data") / "faces"
    faces = prepare("synthetic:52", folder, size=32, heldout=32, test=16, workers=1, quiet=True)
    Image.fromarray(faces.images_NHWC[0]).save(folder / "face.png")
    shutil.copytree(model_folder, folder / "twin")
    return folder


@pytest.fixture(autouse=True, scope="session")
def cache_of_these_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache that is filled once."""
    with pytest.MonkeyPatch.context() as patch:
        cache = tmp_path_factory.mktemp("cache")
        patch.setenv("LIMNER_CACHE", str(cache))
        yield cache
