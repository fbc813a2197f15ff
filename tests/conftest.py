"""What every test may ask for. Tests pass without the real CelebA; with it (`../shared`), they use it."""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import NDArray

from limner.core.process import usable_cores

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from limner.data.packed import PackedFaces

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "celeba"


# The files that take longest, in minutes of one core or of waiting.
LONGEST = (
    *("test_processes", "test_prepare", "test_recipes", "test_onnx", "test_keys", "test_resume", "test_shipped"),
    *("test_bench", "test_loop", "test_engine", "test_align", "test_machine", "test_damage", "test_editing"),
    *("test_validation", "test_studio_guide", "test_judge", "test_page", "test_evaluate", "test_photos", "test_label"),
    *("test_projection", "test_hub", "test_launchers", "test_sweep_postgres", "test_trainings", "test_inception"),
)


def pytest_xdist_auto_num_workers() -> int:
    """One more than the cores: a quarter of their time, tests wait for processes, browsers and clocks."""
    return usable_cores() + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, so that none of them is alone at the end (with `--no-loadscope-reorder`)."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(LONGEST)))


@pytest.fixture(scope="session")
def real_celeba() -> Path:
    """The folder of CelebA as it is distributed; the test is skipped where it is not at hand."""
    if not (SHARED / "img_align_celeba.zip").is_file():
        pytest.skip(f"the real CelebA is not at hand ({SHARED})")
    return SHARED


@pytest.fixture
def refusal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Runs `limner` with arguments that it must refuse, with exit status 2 and one line, which is returned."""
    from limner.cli import main

    def run(*arguments: str) -> str:
        monkeypatch.setattr("sys.argv", ["limner", *arguments])
        with pytest.raises(SystemExit) as stopped:
            main()
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert stopped.value.code == 2, line
        return line

    return run


@pytest.fixture(scope="session")
def browser() -> Iterator["Browser"]:
    """A headless Chromium; the test is skipped where Playwright or Chromium is not installed."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed (pip install playwright)")
    names = ("chromium", "chromium-browser", "google-chrome")
    chromium = next((path for name in names if (path := shutil.which(name))), None)
    if chromium is None:
        pytest.skip("Chromium is not installed")
    quiet = ("background-networking", "component-update", "sync")
    flags = ["--no-sandbox", "--headless", "--disable-gpu", "--no-first-run", *(f"--disable-{name}" for name in quiet)]
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=flags)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def faces32(tmp_path_factory: pytest.TempPathFactory) -> "PackedFaces":
    """213 drawn faces of 32 x 32: 173 for training, 20 `val`, 20 `test`."""
    from limner.preparation.prepare import prepare

    folder = tmp_path_factory.mktemp("data") / "faces32"
    return prepare("synthetic:213", folder, size=32, heldout=40, workers=1, quiet=True)


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real model of 32 x 32 that was never trained: its faces differ from each other."""
    from stand_ins import write_untrained

    return write_untrained(tmp_path_factory.mktemp("models") / "untrained")


@pytest.fixture(scope="session")
def pack_faces() -> Callable[..., "PackedFaces"]:
    """Makes a PackedFaces, in memory alone, of images uint8 N x H x W x 3 and the names of their splits."""
    from limner.data.packed import Counts, DatasetInfo, PackedFaces, SourceInfo

    def pack(images_NHWC: NDArray[np.uint8], splits: Sequence[str] | None = None) -> PackedFaces:
        count, size = images_NHWC.shape[:2]
        splits = splits or ["train"] * count
        info = DatasetInfo(
            limner_version="0",
            source=SourceInfo(kind="folder", name="made", licence="none"),
            size=size,
            crop=None,
            resize_filter=None,
            counts=Counts(found=count, left_out=0, rejected=0, images=count, splits=dict(Counter(splits))),
            attribute_names=("odd",),
            keep=1.0,
            heldout=None,
            test=None,
            seed=0,
            content_hash="made",
        )
        attributes_NA = np.arange(count, dtype=np.uint8)[:, None] % 2
        return PackedFaces(Path("made"), info, images_NHWC, attributes_NA, np.array(splits))

    return pack


@pytest.fixture(scope="session")
def tiny() -> tuple[str, ...]:
    """Overrides that make dcgan32 so small that a step takes milliseconds, on one thread and in fp32."""
    import torch

    torch.set_num_threads(1)
    return (
        "generator.width=64",
        "discriminator.width=8",
        "generator.init_std=0.02",
        "discriminator.init_std=0.02",
        "schedule.batch=8",
        "record.log_images=32",
        "record.sample_images=64",
        "record.checkpoint_images=64",
        "record.grid=4",
        "engine.precision=fp32",
    )
