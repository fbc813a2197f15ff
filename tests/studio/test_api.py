"""The studio's API: the faces of limner sample, files that say what they are, limits, and sentences for mistakes."""

import base64
import io
import json
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image
from studios import studio_client

from limner import cli
from limner.images.verify import verify
from limner.model.model import load
from limner.model.sample import recreate

if TYPE_CHECKING:
    from fastapi.testclient import TestClient


def png_of(url: str) -> bytes:
    assert url.startswith("data:image/png;base64,")
    return base64.b64decode(url.partition(",")[2])


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def distance(one: str, other: str) -> float:
    return float(np.abs(pixels(png_of(one)).astype(float) - pixels(png_of(other))).mean())


def test_models_are_described(client: "TestClient", conditional: str, model_folder: Path) -> None:
    of_attributes, plain = client.get("/api/models").json()
    assert (of_attributes["name"], plain["name"]) == (conditional, str(model_folder))
    assert (plain["size"], plain["attributes"]) == (32, {})
    groups = of_attributes["attributes"]
    assert groups["Image"] == ["Blurry"]
    assert sum(map(len, groups.values())) == 40
    assert {name for group in groups.values() for name in group} == set(load(conditional).config.attribute_names)


def test_the_page_and_the_models_need_no_torch(conditional: str) -> None:
    """Whose import takes longer than all the rest of the way to the first page."""
    code = """if True:
        import sys
        from fastapi.testclient import TestClient
        from limner.studio.app import create_app
        with TestClient(create_app([sys.argv[1], "faces"]), base_url="http://localhost") as client:
            for path in ("/", "/page/studio.js", "/api/models", "/api/runs"):
                assert client.get(path).status_code == 200, path
        print(sorted({"torch", "PIL", "scipy"} & set(sys.modules)))
    """
    said = subprocess.run([sys.executable, "-c", code, conditional], capture_output=True, text=True, check=True)
    assert said.stdout == "[]\n"


def test_a_model_says_whether_it_is_loaded(model_folder: Path) -> None:
    with studio_client(str(model_folder)) as client:
        assert not client.get("/api/models").json()[0]["loaded"]
        client.get("/api/faces", params={"model": str(model_folder), "count": 1})
        assert client.get("/api/models").json()[0]["loaded"]


def test_a_broken_model_is_told_beside_the_others(conditional: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with studio_client(str(tmp_path), conditional) as client:
        broken, whole = client.get("/api/models").json()
    assert "cannot be used" in broken["problem"]
    assert "problem" not in whole


def test_faces_are_those_of_limner_sample(client: "TestClient", conditional: str) -> None:
    query = {"model": conditional, "count": 3, "seed": 7, "first": 2, "with": "smiling", "truncation": 0.8}
    said = client.get("/api/faces", params=query).json()
    expected = load(conditional).sample(3, 7, first=2, with_="smiling", truncation=0.8)
    assert [face["index"] for face in said["faces"]] == [2, 3, 4]
    for face, expected_HWC in zip(said["faces"], expected, strict=True):
        np.testing.assert_array_equal(pixels(png_of(face["png"])), expected_HWC)
    names: dict[str, Any] = {}
    exec(said["python"], names)
    np.testing.assert_array_equal(names["faces"], expected)


def test_the_command_makes_the_same_image(
    client: "TestClient", conditional: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = {"model": conditional, "count": 5, "without": "male,young", "columns": 3}
    downloaded = client.get("/api/faces", params={**query, "format": "png"})
    assert downloaded.headers["content-disposition"] == 'attachment; filename="faces.png"'
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", shlex.split(client.get("/api/faces", params=query).json()["command"]))
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert not left.value.code
    np.testing.assert_array_equal(pixels((tmp_path / "faces.png").read_bytes()), pixels(downloaded.content))


def test_files_are_verified_and_recreated_to_the_last_byte(
    client: "TestClient", conditional: str, tmp_path: Path
) -> None:
    query = {"model": conditional, "count": 3, "seed": 4, "with": "bald"}
    archive = zipfile.ZipFile(io.BytesIO(client.get("/api/faces", params={**query, "format": "zip"}).content))
    assert archive.namelist() == ["000000.png", "000001.png", "000002.png"]
    files = {
        "grid.png": client.get("/api/faces", params={**query, "format": "png"}).content,
        "one.png": png_of(client.get("/api/faces", params=query).json()["faces"][1]["png"]),
        "of zip.png": archive.read("000002.png"),
    }
    identifiers = set()
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        found = verify(tmp_path / name)
        assert found.mark is not None
        identifiers.add(found.mark.id)
        assert recreate(tmp_path / name, tmp_path / "again.png", force=True).read_bytes() == content, name
    assert len(identifiers) == len(files)


def test_variations_are_nearer_the_smaller_the_amount(client: "TestClient", conditional: str) -> None:
    face = {"seed": 3, "index": 1, "with": "smiling", "truncation": 0.9}
    query = {"model": conditional, "seed": 3, "first": 1, "count": 1, "with": "smiling", "truncation": 0.9}
    itself = client.get("/api/faces", params=query).json()["faces"][0]["png"]
    means = []
    for amount in (0, 0.2, 1):
        asked = {"model": conditional, "face": face, "amount": amount, "count": 6}
        around = client.post("/api/variations", json=asked).json()["faces"]
        assert [near["face"]["variation"]["index"] for near in around] == list(range(6))
        means.append(np.mean([distance(near["png"], itself) for near in around]))
    assert means[0] < 0.5  # a rounding
    assert means[1] > 1
    assert means[2] > 2 * means[1]


def test_a_variation_can_be_gone_on_from(client: "TestClient", conditional: str) -> None:
    """As it came from the studio, a face is the start of the next request."""
    asked = {"model": conditional, "face": {"seed": 1, "index": 2}, "count": 2}
    first, second = client.post("/api/variations", json=asked).json()["faces"]
    walk = {"model": conditional, "faces": [first["face"], second["face"]], "frames": 3}
    frames = client.post("/api/morph", json=walk).json()["frames"]
    assert distance(frames[0], first["png"]) < 0.5
    assert distance(frames[2], second["png"]) < 0.5


@pytest.mark.parametrize("ending", ["png", "gif", "webp", "mp4", "webm"])
def test_a_walk_is_saved_with_its_mark(client: "TestClient", model_folder: Path, tmp_path: Path, ending: str) -> None:
    if ending in ("mp4", "webm"):
        pytest.importorskip("av")
    asked = {"model": str(model_folder), "faces": [{"seed": 0, "index": k} for k in range(3)], "frames": 5}
    reply = client.post("/api/morph", json={**asked, "format": ending})
    assert reply.status_code == 200
    (tmp_path / "walk").write_bytes(reply.content)
    found = verify(tmp_path / "walk")
    assert found.mark is not None
    assert found.settings["frames"] == 5
    said = client.post("/api/morph", json=asked).json()
    assert "--faces 0:0,0:1,0:2 --frames 5" in said["command"]
    assert len({identity(frame, tmp_path) for frame in said["frames"]}) == 5


def identity(frame: str, tmp_path: Path) -> object:
    (tmp_path / "frame.png").write_bytes(png_of(frame))
    return verify(tmp_path / "frame.png").mark


def test_a_rare_request_is_told(client: "TestClient", conditional: str) -> None:
    rare = ",".join(load(conditional).config.attribute_names[:20])
    note = client.get("/api/faces", params={"model": conditional, "count": 1, "with": rare}).json()["note"]
    assert "rarer than 1 in 10,000" in note


def test_the_nearest_training_image_of_a_run(tmp_path: Path, faces32: Any, model_folder: Path) -> None:
    """A model of a run whose training images hold the very face, mirrored."""
    from limner.data.packed import PackedFaces
    from limner.studio.neighbours import nearest_training
    from limner.studio.requests import Face

    model = load(model_folder)
    copied = model.sample(1, 3, first=2)[0][:, ::-1]
    images_NHWC = np.array(faces32.images_NHWC)
    (rows,) = np.nonzero(faces32.splits == "train")
    images_NHWC[rows[5]] = copied
    (tmp_path / "recipe.toml").write_text("")
    info = {"data": {"path": str(tmp_path)}, "seed": 0, "budget": {}, "machine": {}, "torch": "", "processes": 1}
    (tmp_path / "run.json").write_text(json.dumps(info))
    changed = PackedFaces(tmp_path, faces32.info, images_NHWC, faces32.attributes_NA, faces32.splits)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PackedFaces, "open", lambda _: changed)
        found = nearest_training(model, str(tmp_path), Face(seed=3, index=2))
    np.testing.assert_array_equal(pixels(png_of(found["png"])), copied)
    assert found["rms"] < 1
    assert found["count"] == len(rows)


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"count": 0}, 422, "count: Input should be greater than or equal to 1."),
        ({"count": 257}, 422, "count: Input should be less than or equal to 256."),
        ({"count": "many"}, 422, "count: "),
        ({"seed": -1}, 422, "seed: "),
        ({"seed": 10**30}, 422, "seed: "),
        ({"first": 10**9}, 422, "first: "),
        ({"truncation": "nan"}, 422, "truncation: "),
        ({"truncation": "inf"}, 422, "truncation: "),
        ({"truncation": 3}, 422, "truncation: "),
        ({"columns": 0}, 422, "columns: "),
        ({"format": "exe"}, 422, "format: "),
        ({"with": "x" * 2000}, 422, "with: "),
        ({"with": "sad"}, 400, "no attribute 'sad'; the nearest is"),
        ({"with": "male", "without": "male"}, 400, "requested with and without"),
        ({"model": "../../etc/passwd"}, 400, "There is no model '../../etc/passwd' here"),
        ({"model": "/"}, 400, "There is no model"),
        ({"model": "faces"}, 400, "There is no model 'faces' here"),
        ({"model": "\0"}, 400, "There is no model"),
        ({"unknown": 1}, 422, "unknown: "),
    ],
)
def test_mistakes_are_a_sentence(
    client: "TestClient", conditional: str, change: dict[str, Any], status: int, words: str
) -> None:
    reply = client.get("/api/faces", params={"model": conditional, **change})
    assert (reply.status_code, reply.headers["content-type"]) == (status, "application/json")
    assert words in reply.json()["error"]
    assert "\n" not in reply.json()["error"]


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("/api/morph", b""),
        ("/api/morph", b"{"),
        ("/api/morph", b"[]"),
        ("/api/morph", b'"' + b"x" * 1000),
        ("/api/morph", b"[" * 100_000),
        ("/api/morph", b'{"model": "MODEL", "faces": [{}]}'),
        ("/api/morph", b'{"model": "MODEL", "faces": [{},{},{},{},{},{},{},{},{}]}'),
        ("/api/morph", b'{"model": "MODEL", "faces": [{},{}], "frames": 100000}'),
        ("/api/morph", b'{"model": "MODEL", "faces": [{},{},{}], "frames": 2}'),
        ("/api/morph", b'{"model": "MODEL", "faces": [{},{}], "format": "../x"}'),
        ("/api/morph", b'{"model": "MODEL", "faces": [{},{"truncation": NaN}]}'),
        ("/api/variations", b'{"model": "MODEL", "face": {}, "amount": 2}'),
        ("/api/variations", b'{"model": "MODEL", "face": {}, "count": 65}'),
        ("/api/variations", b'{"model": "MODEL", "face": {"index": "0:3"}}'),
        ("/api/nearest", b'{"model": "MODEL", "face": {}}'),
        ("/api/runs", b'{"recipe": "painter", "name": "../x"}'),
        ("/api/runs", b'{"recipe": "painter", "name": "x"}'),
        ("/api/runs/stop", b"{}"),
        ("/api/runs/..%2f..%2fetc/resume", b"{}"),
        ("/api/nothing", b"{}"),
    ],
)
def test_broken_bodies_are_a_sentence(client: "TestClient", conditional: str, path: str, content: bytes) -> None:
    content = content.replace(b"MODEL", conditional.encode())
    reply = client.post(path, content=content, headers={"Content-Type": "application/json"})
    assert 400 <= reply.status_code < 500
    assert reply.json()["error"]


@pytest.mark.parametrize(
    "path", ["/page/../app.py", "/page/..%2fapp.py", "/page/%2e%2e/guard.py", "/page/index.htm", "/x"]
)
def test_only_the_page_s_own_files_are_served(client: "TestClient", path: str) -> None:
    assert client.get(path).status_code == 404


def test_the_api_is_described(client: "TestClient") -> None:
    described = client.get("/openapi.json").json()
    assert {"/api/models", "/api/faces", "/api/variations", "/api/nearest", "/api/morph", "/api/runs"} <= set(
        described["paths"]
    )
    assert all(way.get("description") for ways in described["paths"].values() for way in ways.values())
    assert client.get("/docs").status_code == 404  # it would ask another host for its scripts


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), MemoryError()])
def test_what_the_machine_refuses_is_one_sentence(
    error: Exception, client: "TestClient", conditional: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr("limner.model.model.Model.raw", refused)
    answer = client.get("/api/faces", params={"model": conditional, "count": 1, "seed": 12345})
    assert answer.status_code == 503
    assert answer.json()["error"].startswith(("no space left on device", "there is not enough memory"))
    assert client.get("/api/models").status_code == 200
