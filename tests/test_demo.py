"""limner demo: from nothing to faces, in one folder."""

from pathlib import Path

import pytest
from PIL import Image

from limner import demo as module
from limner.core.errors import UserError
from limner.demo import demo


def test_the_whole_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(module, "FACES", 256)
    out = demo(tmp_path / "demo", minutes=0.02)
    assert {path.name for path in out.iterdir()} == {"data", "run", "faces.png", "shipped.png"}
    assert (out / "run" / "report.html").is_file()
    sizes = {"faces.png": 8 * (32 + 2) - 2, "shipped.png": 8 * (64 + 2) - 2}
    for name, side in sizes.items():
        with Image.open(out / name) as image:
            assert image.size == (side, side)
            assert "trainedAlgorithmicMedia" in image.info["XML:com.adobe.xmp"]
    assert f"limner train --resume {out / 'run'}" in capsys.readouterr().err

    before = (out / "faces.png").read_bytes()
    with pytest.raises(UserError, match=r"There is a demo in .* already"):
        demo(out, minutes=0.02)
    assert (out / "faces.png").read_bytes() == before
