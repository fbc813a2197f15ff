"""What every test may ask for. Tests pass without the real CelebA; with it (`../shared`), they use it."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "celeba"


@pytest.fixture(scope="session")
def real_celeba() -> Path:
    """The folder of CelebA as it is distributed; the test is skipped where it is not at hand."""
    if not (SHARED / "img_align_celeba.zip").is_file():
        pytest.skip(f"the real CelebA is not at hand ({SHARED})")
    return SHARED


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
