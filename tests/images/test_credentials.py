"""Content credentials: signed offline, read by C2PA's own reader, broken by a change; our own mark stays."""

import io
import json
import shlex
import socket
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from png_files import png_chunks, png_of

from limner.images.marks import SYNTHETIC
from limner.images.verify import verify
from limner.model.sample import recreate, sample

c2pa = pytest.importorskip("c2pa", reason="c2pa-python is not installed (pip install 'limner[c2pa]')")

from certificates import new_key, private_pem, write_certificates  # noqa: E402


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def read(png: bytes, trusted: Path | None = None) -> dict[str, Any]:
    """What C2PA's own reader says, by default settings or with a root that is trusted."""
    settings = {} if trusted is None else {"trust": {"trust_anchors": trusted.read_text()}}
    with (
        c2pa.Context.from_dict(settings) as context,
        c2pa.Reader("image/png", io.BytesIO(png), context=context) as reader,
    ):
        said: dict[str, Any] = json.loads(reader.json())
    return said


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("kind", ["es256", "es384", "es512", "ps256", "ed25519"])
def test_a_signed_sample_is_valid_and_says_that_it_is_generated(kind: str, model_folder: Path, tmp_path: Path) -> None:
    out = sample(model_folder, tmp_path / "faces.png", count=2, c2pa=write_certificates(tmp_path, kind), quiet=True)
    said = read(out.read_bytes(), tmp_path / "root.pem")
    assert said["validation_state"] == "Trusted"
    manifest = said["manifests"][said["active_manifest"]]
    assert manifest["claim_generator_info"][0]["name"] == "Limner"
    (actions,) = (
        part["data"]["actions"] for part in manifest["assertions"] if part["label"].startswith("c2pa.actions")
    )
    assert (actions[0]["action"], actions[0]["digitalSourceType"]) == ("c2pa.created", SYNTHETIC)
    found = verify(out)
    assert found.credentials is not None
    assert (found.credentials.state, found.credentials.signer) == ("valid", "Painter")  # no list of trusted roots


def test_the_file_is_the_unsigned_one_and_a_chunk(model_folder: Path, tmp_path: Path) -> None:
    """So that our mark is in it, and `--recreate` makes the file as it was before it was signed."""
    out = sample(model_folder, tmp_path / "faces.png", count=3, c2pa=write_certificates(tmp_path), quiet=True)
    again = recreate(out, tmp_path / "again.png")
    others = [(kind, data) for kind, data in png_chunks(out.read_bytes()) if kind != b"caBX"]
    assert png_of(others) == again.read_bytes()
    assert verify(out)[:3] == verify(again)[:3]
    assert verify(again).credentials is None
    np.testing.assert_array_equal(np.asarray(Image.open(out)), np.asarray(Image.open(again)))


def test_every_single_file_is_signed_and_by_default_none(model_folder: Path, tmp_path: Path) -> None:
    spec = write_certificates(tmp_path)
    files = sorted(sample(model_folder, tmp_path / "s", count=3, single=True, c2pa=spec, quiet=True).iterdir())
    assert [read(file.read_bytes())["validation_state"] for file in files] == ["Valid"] * 3
    plain = sample(model_folder, tmp_path / "plain.png", count=1, quiet=True)
    assert b"caBX" not in plain.read_bytes()


@pytest.mark.parametrize("kind", [b"IDAT", b"tEXt"], ids=["pixels", "settings"])
def test_a_change_breaks_the_signature(kind: bytes, model_folder: Path, tmp_path: Path) -> None:
    """Though the file is a whole PNG."""
    spec = write_certificates(tmp_path)
    out = sample(model_folder, tmp_path / "faces.png", count=1, c2pa=spec, quiet=True)
    other = dict(png_chunks(sample(model_folder, tmp_path / "other.png", count=1, seed=1, quiet=True).read_bytes()))
    changed = [(name, other[name] if name == kind else data) for name, data in png_chunks(out.read_bytes())]
    out.write_bytes(png_of(changed))
    assert read(out.read_bytes())["validation_state"] == "Invalid"
    found = verify(out).credentials
    assert found is not None
    assert found.state == "broken"
    assert "assertion.dataHash.mismatch" in found.problems


def test_a_damaged_manifest_is_broken(model_folder: Path, tmp_path: Path) -> None:
    out = sample(model_folder, tmp_path / "faces.png", count=1, c2pa=write_certificates(tmp_path), quiet=True)
    parts = list(png_chunks(out.read_bytes()))
    out.write_bytes(png_of((kind, data[: len(data) // 2] if kind == b"caBX" else data) for kind, data in parts))
    found = verify(out).credentials
    assert found is not None
    assert found.state == "broken"


def test_the_command_signs_and_tells(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from limner.cli import main

    spec, out = write_certificates(tmp_path), str(tmp_path / "faces.png")
    for arguments in (
        ["sample", str(model_folder), "--count", "1", "--c2pa", spec, "--out", out, "-q"],
        ["verify", out],
        ["verify", out, "--json"],
    ):
        monkeypatch.setattr(sys, "argv", ["limner", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        assert not left.value.code
    said = capsys.readouterr().out
    assert "signature         holds; signed by Painter, for whose certificate nobody vouches here" in said
    assert json.loads(said[said.index("{\n") :])["signature"]["state"] == "valid"
    monkeypatch.setitem(sys.modules, "c2pa", None)
    found = verify(out).credentials
    assert found is not None
    assert "pip install 'limner[c2pa]'" in found.words()


def spoil_key(folder: Path) -> None:
    (folder / "key.pem").write_bytes(private_pem(new_key("es256")))


def encrypt_key(folder: Path) -> None:
    (folder / "key.pem").write_bytes(private_pem(new_key("es256"), b"secret"))


def empty(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(b"-----BEGIN") and None


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def expire(folder: Path) -> None:
    write_certificates(folder, lasts=timedelta(days=-1))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (remove("chain.pem"), "chain.pem cannot be read: No such file"),
        (remove("key.pem"), "key.pem cannot be read: No such file"),
        (empty("chain.pem"), "chain.pem holds no certificate in PEM"),
        (empty("key.pem"), "key.pem holds no private key in PEM"),
        (spoil_key, "key.pem is not the key of the first certificate"),
        (encrypt_key, "without a password"),
        (expire, "chain.pem cannot sign"),
    ],
    ids=["no certificate", "no key", "broken certificate", "broken key", "another key", "encrypted", "expired"],
)
def test_what_cannot_sign_is_one_line_and_writes_nothing(
    spoil: Callable[[Path], None], words: str, model_folder: Path, tmp_path: Path, refusal: Callable[..., str]
) -> None:
    spec = write_certificates(tmp_path)
    spoil(tmp_path)
    out = tmp_path / "faces.png"
    assert words in refusal("sample", str(model_folder), "--c2pa", spec, "--out", str(out))
    assert words in refusal("studio", str(model_folder), "--c2pa", spec)
    assert not out.exists()


def test_two_files_are_asked_for(
    model_folder: Path, refusal: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "give two files, CERTIFICATES,KEY" in refusal("sample", str(model_folder), "--c2pa", "one.pem")
    monkeypatch.setitem(sys.modules, "c2pa", None)
    assert "pip install 'limner[c2pa]'" in refusal("sample", str(model_folder), "--c2pa", "a.pem,b.pem")


def test_the_commands_of_the_docs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from limner.cli import main

    page = (Path(__file__).resolve().parents[2] / "docs" / "sample.md").read_text(encoding="utf-8")
    lines = page.partition("### Content credentials")[2].splitlines()
    commands = [line.strip() for line in lines if line.startswith("    limner ")]
    write_certificates(tmp_path)
    monkeypatch.chdir(tmp_path)
    for command in commands[:2]:
        monkeypatch.setattr(sys, "argv", shlex.split(command))
        with pytest.raises(SystemExit) as left:
            main()
        assert not left.value.code, command
    assert "holds; signed by Painter" in capsys.readouterr().out
