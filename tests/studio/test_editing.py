"""Editing in the studio: directions, moved faces, photos that are decoded, cut and not kept."""

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image
from studios import serving

import limner
from limner.explore.attribute_directions import Directions
from limner.explore.points import Points, generate, sampled_points
from limner.images.verify import verify
from limner.model.model import Model, load
from limner.studio import editing

if TYPE_CHECKING:
    from fastapi.testclient import TestClient
    from playwright.sync_api import Browser

NAMES = ("Smiling", "Male", "Odd")
find_directions = editing.find_directions


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    """Directions that are known, and short projections."""

    def found(model: Model) -> Directions:
        config = editing.DirectionsConfig.model_construct(names=NAMES)
        Z, A = model.config.latent_size, len(model.config.attribute_names)
        return Directions(config, Points(torch.eye(3, Z), torch.zeros(3, A)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(editing, "find_directions", found)
        patch.setattr(editing, "STEPS", 5)
        patch.setattr(editing, "STARTS", 16)
        yield


def pixels(url: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))))


def test_a_face_is_moved_along_the_directions(client: "TestClient", conditional: str, tmp_path: Path) -> None:
    said = client.post("/api/directions", json={"model": conditional}).json()
    assert said == {"directions": {"Person": ["Male"], "Expression": ["Smiling"], "Other": ["Odd"]}}
    asked = {"model": conditional, "face": {"seed": 2, "index": 5}, "by": {"smiling": 2, "Odd": -1.5}}
    edited = client.post("/api/edit", json=asked).json()
    model = load(conditional)
    point = sampled_points(model, 1, 2, 5)
    point.z_NZ[0, 0] += 2
    point.z_NZ[0, 2] -= 1.5
    np.testing.assert_array_equal(pixels(edited["png"]), generate(model, point)[0])
    (tmp_path / "edited.png").write_bytes(base64.b64decode(edited["png"].partition(",")[2]))
    assert verify(tmp_path / "edited.png").settings["by"] == {"smiling": 2, "Odd": -1.5}
    # What comes back is the start of the next request.
    again = client.post("/api/edit", json={"model": conditional, "face": edited["face"], "by": {}}).json()
    assert np.abs(pixels(again["png"]).astype(float) - pixels(edited["png"])).max() <= 1


def test_directions_are_those_of_the_command(model_folder: Path, tmp_path: Path) -> None:
    model = load(model_folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(editing, "SAMPLES", 256)
        found = find_directions(model)
    expected = limner.explore.directions(model, tmp_path / "out", attributes="smiling,bald", samples=256, quiet=True)
    rows = [found.config.names.index(name) for name in expected.config.names]
    torch.testing.assert_close(found.steps.z_NZ[rows], expected.steps.z_NZ)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"by": {"sad": 1}}, "no attribute 'sad'"),
        ({"by": {"Smiling": 11}}, "by.Smiling: "),
        ({"by": {"Smiling": "much"}}, "by.Smiling: "),
        ({"face": {"point": {"latents": [0.0] * 5}}}, "The point has other sizes"),
        ({"face": {"point": {"latents": [0.0] * 5000}}}, "face.point.latents: "),
        ({"face": {"point": {"latents": [1e9]}}}, "face.point.latents.0: "),
        ({"face": {"point": {"latents": []}}}, "face.point.latents: "),
        ({"face": {"point": {"latents": [0.0] * 100, "attributes": [2.0]}}}, "face.point.attributes.0: "),
    ],
)
def test_mistakes_are_a_sentence(client: "TestClient", conditional: str, change: dict[str, object], words: str) -> None:
    reply = client.post("/api/edit", json={"model": conditional, "face": {}, "by": {}} | change)
    assert 400 <= reply.status_code < 500
    assert words in reply.json()["error"]


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    content = io.BytesIO()
    image.save(content, form, **options)
    return content.getvalue()


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_a_photo_becomes_the_nearest_face_and_is_not_kept(
    client: "TestClient", model_folder: Path, form: str, tmp_path: Path
) -> None:
    photo = Image.fromarray(load(model_folder).sample(1, 9)[0]).resize((96, 64))
    said = client.post(f"/api/project?model={model_folder}", content=encoded(photo, form)).json()
    assert pixels(said["photo"]).shape == (32, 32, 3)
    difference = np.abs(pixels(said["png"]).astype(float) - pixels(said["photo"])) / 255
    assert np.sqrt((difference**2).mean()) == pytest.approx(said["pixels"], abs=0.01)
    walk = {"model": str(model_folder), "faces": [said["face"], {}], "frames": 2}
    first = client.post("/api/morph", json=walk).json()["frames"][0]
    assert np.abs(pixels(first).astype(float) - pixels(said["png"])).max() <= 1


def broken_uploads() -> dict[str, bytes]:
    good = encoded(Image.new("RGB", (200, 200), "red"), "PNG")
    jpeg = encoded(Image.effect_noise((200, 200), 50), "JPEG")
    bomb = good.replace(good[16:24], (100_000).to_bytes(4, "big") * 2)
    return {
        "empty": b"",
        "text": b"hello",
        "a web page": b"<!doctype html><script>alert(1)</script>",
        "SVG": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
        "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) run\n",
        "PDF": b"%PDF-1.7\n",
        "half a PNG": good[: len(good) // 2],
        "half a JPEG": jpeg[: len(jpeg) // 2],
        "a PNG without pixels": good[:33],
        "a bomb": bomb,
        "a PNG's sign alone": good[:8],
        "a JPEG's sign alone": jpeg[:3],
        "a GIF's sign alone": b"GIF89a",
        "a ZIP": b"PK\x03\x04" + b"\0" * 100,
        "a pickle": b"\x80\x04K\x01.",
        "zeros": b"\0" * 1000,
        "ones": b"\xff" * 1000,
        "a small image": encoded(Image.new("RGB", (8, 8)), "PNG"),
        "one pixel high": encoded(Image.new("RGB", (2000, 1)), "PNG"),
        "a wrong checksum": good[:40] + bytes([good[40] ^ 255]) + good[41:],
    }


@pytest.mark.parametrize("name", broken_uploads())
def test_broken_uploads_are_a_sentence(client: "TestClient", model_folder: Path, name: str) -> None:
    reply = client.post(f"/api/project?model={model_folder}", content=broken_uploads()[name])
    assert reply.status_code == 400, name
    assert reply.json()["error"].startswith("The photo cannot be projected, ")
    assert "passwd" not in reply.text


def test_a_face_is_edited_on_the_page(browser: "Browser", conditional: str, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    Image.fromarray(load(conditional).sample(1, 9)[0]).resize((96, 96)).save(photo)
    (tmp_path / "none.png").write_bytes(b"no image")
    with serving(conditional) as address:
        page = browser.new_page()
        page.set_default_timeout(30_000)
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.goto(address)
        page.get_by_role("button", name="Face 4 of seed 0").click()
        page.get_by_role("dialog").get_by_role("button", name="Edit").click()
        page.get_by_role("button", name="Find the directions").click()
        with page.expect_response("**/api/edit") as waiting:
            page.get_by_role("slider", name="Smiling").fill("2")
        expected = waiting.value.json()["png"]
        page.get_by_role("img", name="The face after the change").wait_for()
        page.wait_for_timeout(50)
        after = page.get_by_role("img", name="The face after the change").get_attribute("src")
        before = page.get_by_role("img", name="Face 0:4, as it is").get_attribute("src")
        assert after == expected != before
        with page.expect_download() as downloading:
            page.get_by_role("link", name="Download PNG").click()
        downloading.value.save_as(tmp_path / "edited.png")
        page.get_by_role("button", name="Add to morph").click()
        page.get_by_label("Or a photo").set_input_files(photo)
        page.get_by_role("img", name="The photo, cut to the face").wait_for()
        assert said == []
        page.get_by_label("Or a photo").set_input_files(tmp_path / "none.png")
        page.get_by_role("alert").get_by_text(
            "The photo cannot be projected, not an image: give a photo of a face."
        ).wait_for()
        page.get_by_role("tab", name="Morph").click()
        assert page.locator("#tray img").count() == 1
        page.close()
    assert verify(tmp_path / "edited.png").settings["by"] == {"Smiling": 2}
