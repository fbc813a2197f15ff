"""Inputs that fuzzing found and that were no line but a traceback, gigabytes of memory, or a wrong answer."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from inputs import DEEP, LONG_NUMBER
from PIL import Image
from png_files import png_chunks, png_of
from readers import READERS, check
from stand_ins import make_result


def without_palette() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.zeros((24, 24, 3), np.uint8)).convert("P").save(file, "PNG")
    return png_of(chunk for chunk in png_chunks(file.getvalue()) if chunk[0] != b"PLTE")


NPY = b"\x93NUMPY\x01\x00v\x00{'descr': '|u1', 'fortran_order': False, 'shape': (6, 40), ".ljust(128) + bytes(240)
NPY_OF_BYTES = NPY.replace(b"'fortran", b"b'fortran").replace(b"40), ", b"40)}")
STEP = {"event": "log", "images_seen": 64, "loss/generator": 1.0}
RESULT = make_result("fd_lite0", [1.0, 2.0]).model_dump(mode="json")
FOUND: dict[str, tuple[str, Any]] = {
    "a setting with a control character": ("set", ("dcgan", ["\x1b=1"])),
    "a setting with a line break": ("set", ("dcgan", ["a\nb=1"])),
    "a setting of many digits": ("set", ("dcgan", [f"schedule.batch={LONG_NUMBER}"])),
    "a setting that is not UTF-8": ("set", ("finetune", ["encoder.network={a = '\udc80'}"])),
    "a setting below a value": ("set", ("dcgan", ["optimizer.generator=3"])),
    "a recipe nested too deep": ("recipe", b"a = " + b"[" * DEEP),
    "a protocol nested too deep": ("protocol", b"a = " + b"[" * DEEP),
    "tables to sweep over": ("vary", ["schedule.batch={a = 1},2"]),
    "a list to sweep over": ("vary", ["schedule.batch=[],2"]),
    "a long word to sweep over": ("vary", [f"latent.size={'x' * 5000},2"]),
    "a number of images of many digits": ("annotations", ("list_attr_celeba.txt", LONG_NUMBER.encode() + b"\na\n")),
    "a picture without its palette": ("pictures", without_palette()),
    "an array whose header has no end": ("data", ("attributes.npy", NPY)),
    "an array whose header has a key of bytes": ("data", ("attributes.npy", NPY_OF_BYTES)),
    "statistics without a checksum": ("statistics", ("features.npy", NPY)),
    "statistics nested too deep": ("statistics", ("reference.json", b'{"a":' * DEEP)),
    "a checkpoint nested too deep": ("checkpoint", ("state.json", b"[" * DEEP)),
    "a run nested too deep": ("run", ("run.json", b"[" * DEEP)),
    "a run nested as deep as JSON may be": ("run", ("run.json", b'{"a":' * 400 + b"1" + b"}" * 400)),
    "a log with a table for a number": ("run", ("log.jsonl", json.dumps(STEP | {"images_seen": {}}).encode())),
    "a log with a list for a verdict": ("run", ("log.jsonl", json.dumps(STEP | {"verdict": []}).encode())),
    "a log with a number that no float is": ("run", ("log.jsonl", json.dumps(STEP | {"seconds": 10**400}).encode())),
    "a log with a number of 64 bits": ("run", ("log.jsonl", json.dumps(STEP | {"seconds": 1 - 2**64}).encode())),
    "a result with a negative spread": ("run", ("metrics.jsonl", json.dumps(RESULT | {"spread": -44}).encode())),
    "a result without an end": ("run", ("metrics.jsonl", json.dumps(RESULT | {"value": float("inf")}).encode())),
    "a result of too many images": ("run", ("metrics.jsonl", json.dumps(RESULT | {"images_seen": 10**400}).encode())),
    "a request with a line break in a name": ("studio", ("GET", "/api/faces?%0D%0A=1", b"")),
}


@pytest.mark.parametrize("name", FOUND)
def test_what_was_found(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, case = FOUND[name]
    if needed := READERS[reader].needs:
        pytest.importorskip(needed, reason=f"{needed} is not installed")
    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path / "cache"))
    _, read = READERS[reader].open(tmp_path)
    if name == "statistics without a checksum":
        (kept,) = (tmp_path / "cache/references").glob("*/reference.json")
        kept.write_text(json.dumps(json.loads(kept.read_bytes()) | {"sha256": {}}))
    check(read, case)
