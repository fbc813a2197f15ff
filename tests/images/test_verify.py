"""limner verify: every kind of file that Limner generates says by what, when and how; nothing else does."""

import importlib.util
import json
import struct
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
import zlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin

import limner
from limner.cli import main
from limner.core.errors import UserError
from limner.images.marks import SYNTHETIC, Mark, read_xmp, xmp_packet
from limner.images.png import generated_png
from limner.images.verify import verify
from limner.model.model import load
from limner.model.sample import recreate, sample

ENDINGS = {"png": "PNG", "gif": "GIF", "webp": "WebP", "mp4": "MP4", "webm": "WebM"}


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_kind_says_what_made_it_and_when(ending: str, model_folder: Path, tmp_path: Path) -> None:
    if ending in ("mp4", "webm"):
        pytest.importorskip("av")
    before = datetime.now(UTC) - timedelta(seconds=1)
    walks = [
        limner.explore.interpolate(model_folder, "0:0,0:1", tmp_path / f"{name}.{ending}", frames=3, quiet=True)
        for name in "ab"
    ]
    first, second = (verify(walk) for walk in walks)
    assert first.kind == ENDINGS[ending]
    assert first.mark is not None
    assert second.mark is not None
    assert (first.mark.provider, first.mark.provider_version) == ("Limner", limner.__version__)
    assert (first.mark.model, first.mark.model_version) == ("dcgan32", load(model_folder).config.weights_sha256)
    assert before <= first.mark.time <= datetime.now(UTC)
    assert first.mark.id != second.mark.id
    assert first.settings == second.settings
    assert first.settings["faces"] == "0:0,0:1"


def test_a_sample_says_it_and_keeps_its_identifier_when_recreated(model_folder: Path, tmp_path: Path) -> None:
    out = sample(model_folder, tmp_path / "faces.png", count=2, seed=5, quiet=True)
    again = recreate(out, tmp_path / "again.png")
    assert verify(out).mark is not None
    assert verify(again) == verify(out)
    singles = sorted(sample(model_folder, tmp_path / "single", count=3, single=True, quiet=True).iterdir())
    assert len({verify(single).mark for single in singles}) == 3


def test_the_mark_is_in_standard_properties(model_folder: Path, tmp_path: Path) -> None:
    """Those of IPTC and XMP, as another program finds them."""
    packet = Image.open(sample(model_folder, tmp_path / "faces.png", count=1, quiet=True)).info["XML:com.adobe.xmp"]
    attributes = {key: value for element in ElementTree.fromstring(packet).iter() for key, value in element.items()}
    said = {key.rpartition("}")[2]: value for key, value in attributes.items()}
    assert said["DigitalSourceType"] == SYNTHETIC
    assert said["CreatorTool"] == f"Limner {limner.__version__}"
    assert said["AISystemUsed"] == "dcgan32"
    assert said["InstanceID"].startswith("urn:uuid:")


def test_names_with_signs_of_xml_come_back() -> None:
    mark = Mark.now("a \"b\" & <c> 'd' é", "0" * 64)
    assert read_xmp(xmp_packet(mark, {"faces": '<"&>'})) == (mark, {"faces": '<"&>'})


@pytest.mark.parametrize(
    "packet",
    [
        "",
        "<",
        "no xml",
        '<!DOCTYPE a [<!ENTITY b "c">]><a x="&b;"/>',
        "<a>" * 100_000,
        xmp_packet(),
        xmp_packet(Mark.now("a", "b")).replace("InstanceID", "Other"),
        xmp_packet(Mark.now("a", "b")).replace("CreateDate", "Other"),
    ],
)
def test_packets_of_others_have_no_mark(packet: str) -> None:
    assert read_xmp(packet)[0] is None


def test_a_file_of_an_earlier_version_has_settings_and_no_mark(tmp_path: Path) -> None:
    file = tmp_path / "old.png"
    file.write_bytes(generated_png(Image.new("RGB", (8, 8)), {"seed": 3}))
    assert verify(file)._asdict() == {"kind": "PNG", "mark": None, "settings": {"seed": 3}, "credentials": None}


def broken_files(tmp_path: Path) -> dict[str, bytes]:
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text("limner", "[1]")
    Image.new("RGB", (8, 8)).save(tmp_path / "other.png", pnginfo=chunks)
    Image.new("RGB", (8, 8)).save(tmp_path / "plain.gif")
    Image.new("RGB", (8, 8)).save(tmp_path / "plain.webp")
    good = generated_png(Image.new("RGB", (8, 8)), {"seed": 3})
    return {
        "a text": b"hello",
        "empty": b"",
        "half a PNG": good[:40],
        "settings that are a list": (tmp_path / "other.png").read_bytes(),
        "a GIF of another program": (tmp_path / "plain.gif").read_bytes(),
        "a WebP of another program": (tmp_path / "plain.webp").read_bytes(),
        "half an MP4": b"\0\0\0\x18ftypisom" + b"\0" * 100,
        "half a WebM": b"\x1aE\xdf\xa3" + b"\xff" * 100,
    }


def test_what_has_no_mark_is_one_line(tmp_path: Path) -> None:
    for name, content in broken_files(tmp_path).items():
        file = tmp_path / "file"
        file.write_bytes(content)
        with pytest.raises(UserError) as error:
            verify(file)
        assert "\n" not in str(error.value), name
    with pytest.raises(UserError, match="cannot be read"):
        verify(tmp_path / "nothing.png")


def test_an_image_saved_anew_says_that_this_proves_nothing(model_folder: Path, tmp_path: Path) -> None:
    out = sample(model_folder, tmp_path / "faces.png", count=1, quiet=True)
    Image.open(out).save(tmp_path / "anew.png")
    with pytest.raises(UserError, match=r"no mark of Limner\. That proves nothing"):
        verify(tmp_path / "anew.png")


def test_command(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = sample(model_folder, tmp_path / "faces.png", count=1, seed=8, quiet=True)
    said = []
    for options in ([], ["--json"]):
        monkeypatch.setattr(sys, "argv", ["limner", "verify", str(out), *options])
        with pytest.raises(SystemExit) as left:
            main()
        assert not left.value.code
        said.append(capsys.readouterr().out)
    assert "trainedAlgorithmicMedia" in said[0]
    assert '"seed": 8' in said[0]
    assert json.loads(said[1])["mark"]["provider"] == "Limner"


def chunk(name: bytes, length: int) -> bytes:
    """The beginning of a chunk of a PNG that says it is so long."""
    return struct.pack(">I4s", length, name)


def large_files(folder: Path, walk: Callable[[str], Path]) -> dict[str, bool]:
    """Files of 10 GiB with hardly anything in them, and whether they say that Limner generated them."""
    png = generated_png(Image.new("RGB", (8, 8)), {"seed": 3}, Mark.now("a", "b" * 64))
    start, rest = png[:33], png[33:]  # the signature and the first chunk
    gif, webp = walk("gif").read_bytes(), walk("webp").read_bytes()
    xmp = webp.index(b"XMP ")
    contents = {
        "long.png": (png, b"", True),
        "unknown.png": (start + chunk(b"abCd", 2**31 - 1), b"", False),
        "text.png": (start + chunk(b"tEXt", 2**31 - 1) + b"limner\0", b"", False),
        "itxt.png": (start + chunk(b"iTXt", 2**31 - 1) + b"limner\0", b"", False),
        "signed.png": (png + chunk(b"caBX", 2**31 - 1), b"", True),
        "many.png": (start + (chunk(b"abCd", 0) + zlib.crc32(b"abCd").to_bytes(4)) * 300_000 + rest, b"", True),
        "long.gif": (gif, b"", True),
        "comment.gif": (gif[: gif.index(b"!\xfe")] + b"!\xfe" + (b"\xff" + b"a" * 255) * 50_000, b"", False),
        "long.webp": (webp, b"", True),
        "behind.webp": (webp[:12] + b"JUNK" + struct.pack("<I", 2**32 - 2), webp[xmp:], True),
        "packet.webp": (webp[:12] + b"XMP " + struct.pack("<I", 2**32 - 1) + b"a" * 99, b"", False),
        "zeros.webp": (webp[:12], b"", False),
        "zeros.mp4": (b"\0\0\0\x18ftypisom" + b"\0" * 12, b"", False),
        "box.mp4": (b"\0\0\0\x18ftypisommp42isom" + b"\0\0\0\1moov" + struct.pack(">Q", 9 * 2**30), b"", False),
        "zeros.webm": (b"\x1aE\xdf\xa3", b"", False),
    }
    for ending in ("mp4", "webm"):
        if importlib.util.find_spec("av"):
            contents[f"long.{ending}"] = (walk(ending).read_bytes(), b"", True)
    for name, (content, behind, _) in contents.items():
        with (folder / name).open("wb") as file:
            file.write(content)
            if behind:
                file.seek(len(content) + 2**32 - 2)
                file.write(behind)
            file.truncate(10 * 2**30)
    return {name: marked for name, (_, _, marked) in contents.items()}


ALL = r"""
import re, sys
from pathlib import Path
from limner.core.errors import UserError
from limner.images.png import read_signed
from limner.images.verify import verify
small = Path(sys.argv[1])

def peak():  # in kilobytes; getrusage would give that of the parent where it was larger
    return int(re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())[1])

for file in [small.with_suffix(ending) for ending in sys.argv[3].split()]:
    verify(file)  # imports what there is to import
before = peak()
for name in sys.argv[4:]:
    try:
        said = verify(Path(sys.argv[2]) / name).settings
    except UserError as error:
        assert len(str(error).splitlines()) == 1
        said = None
    if name.endswith(".png"):
        try:
            assert read_signed(Path(sys.argv[2]) / name)[0] == said
        except UserError:
            assert said is None
    print(name, said is not None, peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="files with holes, and kilobytes of memory, are Linux's")
def test_a_file_of_10_gib_takes_no_memory(model_folder: Path, tmp_path: Path) -> None:
    """Nor do chunks that claim gigabytes, in any kind of file; --recreate reads as verify does."""

    def walk(ending: str) -> Path:
        out = tmp_path / f"walk.{ending}"
        return limner.explore.interpolate(model_folder, "0:0,0:1", out, frames=3, quiet=True)

    large = tmp_path / "large"
    large.mkdir()
    marked = large_files(large, walk)
    walk("png")
    endings = [".png", ".gif", ".webp", *([".mp4", ".webm"] if "long.mp4" in marked else [])]
    names = [name for name in marked if Path(name).suffix in endings]
    call = [sys.executable, "-c", ALL, str(tmp_path / "walk"), str(large), " ".join(endings), *names]
    ended = subprocess.run(call, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    rows = [line.split() for line in ended.stdout.splitlines()]
    assert {name: said == "True" for name, said, _ in rows} == {name: marked[name] for name in names}
    assert all(int(kilobytes) < 150_000 for _, _, kilobytes in rows), ended.stdout
