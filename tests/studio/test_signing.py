"""PNGs of a studio with a certificate are signed: what the page shows and saves, and what the API sends."""

import base64
import io
import json
from pathlib import Path

import pytest
from studios import studio_client

from limner.images.credentials import open_signer

c2pa = pytest.importorskip("c2pa", reason="c2pa-python is not installed (pip install 'limner[c2pa]')")

from certificates import write_certificates  # noqa: E402


def state(png: bytes) -> str:
    """What C2PA's own reader says of the signature."""
    with c2pa.Reader("image/png", io.BytesIO(png)) as reader:
        return str(json.loads(reader.json())["validation_state"])


def of_url(url: str) -> bytes:
    return base64.b64decode(url.partition(",")[2])


def test_every_png_of_generated_faces_is_signed(model_folder: Path, tmp_path: Path) -> None:
    model, face = str(model_folder), {"seed": 1, "index": 2}
    with studio_client(model, signer=open_signer(write_certificates(tmp_path))) as client:
        query = {"model": model, "count": 2}
        pngs = [
            client.get("/api/faces", params={**query, "format": "png"}).content,
            *(of_url(one["png"]) for one in client.get("/api/faces", params=query).json()["faces"]),
        ]
        around = client.post("/api/variations", json={"model": model, "face": face, "count": 1}).json()["faces"]
        walk = client.post("/api/morph", json={"model": model, "faces": [face, {}], "frames": 2}).json()["frames"]
        pngs += [of_url(around[0]["png"]), *map(of_url, walk)]
    assert [state(png) for png in pngs] == ["Valid"] * 6


def test_without_a_certificate_nothing_is(model_folder: Path) -> None:
    with studio_client(str(model_folder)) as client:
        assert b"caBX" not in client.get("/api/faces", params={"model": str(model_folder), "format": "png"}).content
