"""The Hugging Face Hub: folders for it, uploads, and models from it, against a server of the tests' own."""

import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import onnx
import pytest
from hub_server import HubServer, commit_id
from huggingface_hub import ModelCard, SpaceCard, constants

from limner.cli import main
from limner.core.errors import UserError
from limner.evaluation.results import Result
from limner.exporting import export as exports
from limner.exporting.card import model_card
from limner.exporting.export import export
from limner.exporting.hub import hub_files
from limner.exporting.runtime import Runtime
from limner.images.verify import verify
from limner.model.hub import is_hub_id
from limner.model.model import Model, load, save_model

Untrained = Callable[..., Model]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A Hub, which huggingface_hub takes for the real one, and a cache of its own."""
    with HubServer() as server:
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        monkeypatch.setattr(constants, "ENDPOINT", server.address)
        url = f"{server.address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        yield server
        server.shutdown()


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory, untrained: Untrained) -> Path:
    """The folder of a model with attributes."""
    model = untrained("modern-attributes")
    folder = tmp_path_factory.mktemp("models") / "asked"
    save_model(folder, model.generator, model.config, model.known_MA)
    return folder


@pytest.fixture
def hosted(server: HubServer, asked: Path) -> HubServer:
    """A Hub with that model as `someone/asked`, in one commit."""
    server.repos["someone/asked"] = [{path.name: path.read_bytes() for path in asked.iterdir()}]
    return server


def result(sha: str, metric: str = "fd_lite0", value: float = 12.345678) -> Result:
    told = json.loads((Path(exports.__file__).parents[1] / "assets/models/faces/metrics.json").read_text())
    return Result.model_validate({**told["results"][0], "metric": metric, "value": value, "model_sha256": sha})


# --- to the Hub -------------------------------------------------------------------------------------------------------


def test_a_folder_is_pushed_and_loaded_again(
    server: HubServer, asked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the command, with all its parts: the model's repository, and a Space with its page."""
    monkeypatch.setattr(exports, "load_runtime", lambda *_: Runtime("export{a as InferenceSession};", b"\x1f\x8bwasm"))
    monkeypatch.chdir(tmp_path)
    arguments = ["export", str(asked), "--to", "hub", "--out", "folder", "--repo", "someone/new", "--push", "--quiet"]
    monkeypatch.setattr(sys, "argv", ["limner", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    assert not left.value.code
    assert f"pushed to {server.address}/someone/new and" in capsys.readouterr().out

    (files,) = server.repos["someone/new"]
    assert {"model.safetensors", "config.json", "model.onnx", "README.md", "samples.png"} == files.keys()
    assert files["model.safetensors"] == (asked / "model.safetensors").read_bytes()
    onnx.checker.check_model(onnx.load_from_string(files["model.onnx"]))
    (space,) = server.repos["spaces/someone/new-page"]
    assert {"README.md", "index.html", "model.onnx", "runtime.wasm.gz"} == space.keys()
    assert b'"model":"someone/new@main"' in space["index.html"]
    assert server.sdks["spaces/someone/new-page"] == "static"
    assert set(server.validated) == {files["README.md"].decode(), space["README.md"].decode()}

    model = load(f"someone/new@{commit_id('someone/new', 0)}")
    assert np.array_equal(model.sample(2), load(asked).sample(2))
    mark, settings = verify(tmp_path / "folder" / "samples.png")[1:3]
    assert mark
    assert settings["model"] == "someone/new@main"


def test_the_card_passes_huggingface_hubs_validation(server: HubServer, asked: Path, tmp_path: Path) -> None:
    """As the client checks it, and as the server is asked to; with metrics, licence and samples."""
    config = load(asked).config
    licensed = config.model_copy(update={"licence": "CelebA: non-commercial research only (https://example.org/terms)"})
    card = model_card(licensed, (asked / "README.md").read_text(), [result("x"), result("x", "kid_lite0")], "a/b", True)
    (tmp_path / "README.md").write_text(card)
    read = ModelCard.load(tmp_path / "README.md", ignore_metadata_errors=False)
    read.validate()
    assert server.validated == [card]
    assert (read.data.license, read.data.license_name) == ("other", "celeba-non-commercial-research-only")
    assert read.data.license_link == "https://example.org/terms"
    assert (read.data.library_name, read.data.pipeline_tag) == ("limner", "unconditional-image-generation")
    assert [(one.metric_type, one.metric_value) for one in read.data.eval_results] == [
        ("fd_lite0", 12.3457),
        ("kid_lite0", 12.3457),
    ]
    assert "![Generated faces](samples.png)" in read.text
    assert "limner sample a/b@main --out" in read.text
    assert "modern-attributes: a generator of faces" in read.text


def test_the_spaces_card_passes_too(server: HubServer, asked: Path) -> None:
    files = hub_files(load(asked), asked, "a/b", b"onnx", {"index.html": b"page"})
    SpaceCard(files["space/README.md"].decode(), ignore_metadata_errors=False).validate()
    assert files["space/index.html"] == b"page"


def test_only_numbers_of_these_weights_are_told(asked: Path, tmp_path: Path) -> None:
    folder = tmp_path / "asked"
    folder.mkdir()
    for path in asked.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    own, other = result(load(asked).config.weights_sha256), result("other")
    told = json.dumps({"results": [one.model_dump(mode="json") for one in (own, other)]})
    (folder / "metrics.json").write_text(told)
    files = hub_files(load(folder), folder, "a/b", None, {})
    assert [one["model_sha256"] for one in json.loads(files["metrics.json"])] == [own.model_sha256]
    assert "model.onnx" not in files
    assert "metrics.json" not in hub_files(load(asked), asked, "a/b", None, {})


def test_what_is_derived_from_celeba_takes_its_licence_along(asked: Path) -> None:
    model = load(asked)
    assert "LICENSE" not in hub_files(model, asked, "a/b", None, {})
    model.config = model.config.model_copy(update={"licence": "CelebA: non-commercial research only"})
    assert b"Non-commercial research only" in hub_files(model, asked, "a/b", None, {})["LICENSE"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"push": True}, "say what the Hub shall call the model"),
        ({"precision": "fp16"}, "precision has no effect"),
        ({"single_file": True}, "single_file has no effect"),
    ],
)
def test_mistakes_write_nothing(options: dict[str, Any], words: str, asked: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=words):
        export(asked, tmp_path / "folder", to="hub", quiet=True, **options)
    assert list(tmp_path.iterdir()) == []


def test_a_push_that_fails_leaves_the_folder(server: HubServer, untrained: Untrained, tmp_path: Path) -> None:
    """Nothing answers any more. The painter has no ONNX file, and its page needs no runtime."""
    painter = untrained("painter")
    save_model(tmp_path / "painter", painter.generator, painter.config)
    server.shutdown()
    server.server_close()
    with pytest.raises(UserError, match=r"is complete, but could not be pushed to a/b \(no connection") as error:
        export(tmp_path / "painter", tmp_path / "folder", to="hub", repo="a/b", push=True, quiet=True)
    assert "\n" not in str(error.value)
    assert (tmp_path / "folder" / "space" / "index.html").is_file()


# --- from the Hub -----------------------------------------------------------------------------------------------------


def test_a_revision_is_the_model_of_its_commit(hosted: HubServer, untrained: Untrained, tmp_path: Path) -> None:
    other = untrained("demo")
    save_model(tmp_path / "other", other.generator, other.config)
    hosted.repos["someone/asked"].append({path.name: path.read_bytes() for path in (tmp_path / "other").iterdir()})
    first = commit_id("someone/asked", 0)
    assert load(f"someone/asked@{first}").config.recipe == "modern-attributes"
    assert load("someone/asked@main").config.recipe == "demo"
    before = len(hosted.asked)
    assert load(f"someone/asked@{first}").config.recipe == "modern-attributes"
    assert len(hosted.asked) == before  # a commit cannot change: the cache has it, and no connection is needed


def test_the_commands_take_a_hub_id(hosted: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "faces.png"
    monkeypatch.setattr(sys, "argv", ["limner", "sample", "someone/asked@main", "--out", str(out), "--count", "4"])
    with pytest.raises(SystemExit) as left:
        main()
    assert not left.value.code
    assert verify(out).settings["model"] == "someone/asked@main"


def remove(name: str) -> Callable[[HubServer], Any]:
    return lambda server: server.repos["someone/asked"][0].pop(name)


def put(name: str, content: bytes) -> Callable[[HubServer], Any]:
    return lambda server: server.repos["someone/asked"][0].update({name: content})


def change(of: Callable[[bytes], bytes]) -> Callable[[HubServer], Any]:
    return lambda server: setattr(server, "change", of)


@pytest.mark.parametrize(
    ("name", "harm", "words"),
    [
        (
            "someone/asked@main",
            change(lambda content: content if content.startswith(b"{") else content[:-1] + b"x"),
            "model.safetensors of someone/asked@main has another checksum than the Hub states",
        ),
        (
            "someone/asked@main",
            change(lambda content: content.replace(b'"licence"', b'"license"')),
            "config.json of someone/asked@main has another checksum than the Hub states",
        ),
        ("someone/asked@main", change(lambda content: content[:1000]), "broke off"),
        ("someone/asked@main", put("config.json", b'{"architectures": ["BertModel"]}'), "config.json cannot be used"),
        ("someone/asked@main", put("model.safetensors", b"{}" * 9000), "checksum is not the one that was kept"),
        ("someone/asked@main", remove("config.json"), "is no model of Limner"),
        ("someone/asked@main", lambda server: setattr(server, "stated_size", 3 << 40), "3,298,534,883,328 bytes, no"),
        ("someone/asked@v9", lambda _: None, "no revision v9"),
        ("someone/other@main", lambda _: None, "no such model, or it is private"),
        ("someone/asked", lambda _: None, "no run and no model folder.*USER/NAME@REVISION"),
    ],
)
def test_a_bad_model_is_one_line_and_status_2(
    name: str,
    harm: Callable[[HubServer], Any],
    words: str,
    hosted: HubServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A changed file, a truncated one, a foreign model, a huge one, and names of nothing."""
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _: None)
    harm(hosted)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["limner", "sample", name, "--out", "faces.png", "--quiet"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("limner: ")]
    assert len(said) == 1
    assert re.search(words, said[0])
    assert not (tmp_path / "faces.png").exists()


def test_a_changed_file_is_fetched_anew(hosted: HubServer) -> None:
    hosted.change = lambda content: content[:-1] + b"x"
    with pytest.raises(UserError, match="another checksum"):
        load("someone/asked@main")
    hosted.change = bytes
    assert load("someone/asked@main").config.recipe == "modern-attributes"


def test_without_a_connection(server: HubServer) -> None:
    server.shutdown()
    server.server_close()
    with pytest.raises(UserError, match=r"^someone/asked@main could not be fetched: no connection"):
        load("someone/asked@main")


def test_without_huggingface_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match=r"pip install 'limner\[hub\]'"):
        load("someone/asked@main")


@pytest.mark.parametrize("name", ["runs/first", "a/b@", "@main", "a@b", "../x/y@main", "a/../b@c", "/a/b@main"])
def test_paths_are_no_hub_ids(name: str) -> None:
    assert not is_hub_id(name)
