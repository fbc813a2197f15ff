"""Every command of docs/studio.md does what the page says."""

import io
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
import urllib.request
from fnmatch import fnmatch
from pathlib import Path

import pytest
from PIL import Image
from several_processes import free_port
from studios import serving

import limner
from limner import cli
from limner.studio import editing

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "studio.md").read_text(encoding="utf-8")
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
LINES = [line.strip() for line in PAGE.splitlines() if line.startswith("    ")]
COMMANDS = [line for line in LINES if line.startswith("limner ")]
REQUESTS = [line for line in LINES if line.startswith("curl ")]


@pytest.mark.parametrize("line", COMMANDS)
def test_command_serves(line: str, model_folder: Path, tmp_path: Path) -> None:
    """In a process of its own, on a port of its own, with an untrained model in the place of those that are named."""
    options = line.removeprefix("limner studio").partition(" --")
    arguments = shlex.split(f"{options[1]}{options[2]}".replace("--port 7861", ""))
    command = [sys.executable, "-m", "limner", "studio", str(model_folder), *arguments, "--port", str(free_port())]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path, env=os.environ)
    try:
        assert process.stdout is not None
        said = process.stdout.readline()
        found = re.search(r"http://\S+", said)
        assert found, said
        assert ("?token=" in found[0]) == ("--public" in line)
        with urllib.request.build_opener(urllib.request.HTTPCookieProcessor()).open(found[0]) as reply:
            assert b"Limner" in reply.read()
    finally:
        process.terminate()
        process.wait(30)


def test_requests_are_answered_with_what_they_ask_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """With shorter searches, for speed."""
    for name, value in (("SAMPLES", 256), ("STEPS", 2), ("STARTS", 8)):
        monkeypatch.setattr(editing, name, value)
    photo = io.BytesIO()
    Image.fromarray(limner.load("faces").sample(1)[0]).save(photo, "JPEG")
    with serving("faces") as address:
        for line in REQUESTS:
            url, *options = shlex.split(line)[1:]
            request = urllib.request.Request(url.replace("http://127.0.0.1:7860/", address))
            if "--json" in options:
                request.data = options[options.index("--json") + 1].encode()
                request.add_header("Content-Type", "application/json")
            if "--data-binary" in options:
                request.data = photo.getvalue()
            with urllib.request.urlopen(request) as reply:
                content = reply.read()
            if "--output" in options:
                name = options[options.index("--output") + 1]
                assert Image.open(io.BytesIO(content)).format == name.rpartition(".")[2].upper()
            else:
                assert json.loads(content).keys() & {"faces", "png"}


def test_the_image_of_docker_starts_the_studio() -> None:
    """As far as can be told without building it: its command is understood, and what it copies is there."""
    import typer

    (entry,) = re.findall(r"^ENTRYPOINT (.*)$", DOCKERFILE, re.MULTILINE)
    _, name, *arguments = json.loads(entry)
    command = typer.main.get_command(cli.app).commands[name]  # type: ignore[attr-defined]
    with command.make_context(name, arguments) as context:
        assert (context.params["host"], context.params["public"]) == ("0.0.0.0", True)


def test_the_image_of_docker_is_made_of_what_is_there() -> None:
    """The files that it names and that pip needs of those that it copies, what they install, its version of Python."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (lock,) = re.findall(r"--requirement (\S+)", DOCKERFILE)
    installed = (ROOT / lock).read_text(encoding="utf-8")
    for wanted in project["optional-dependencies"]["studio"]:
        assert f"\n{re.split('[<>=]', wanted)[0]}==" in installed
    (version,) = re.findall(r"^FROM python:3\.(\d+)-slim$", DOCKERFILE, re.MULTILINE)
    assert int(version) >= int(project["requires-python"].removeprefix(">=3."))
    assert re.findall(r"^(?:COPY|ADD) (.*)$", DOCKERFILE, re.MULTILINE) == [". ."]
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    needed = [
        lock,
        *re.findall(r"--constraint (\S+)", DOCKERFILE),
        "pyproject.toml",
        "src",
        project["readme"],
        "LICENSES",
    ]
    for name in needed:
        assert (ROOT / name).exists(), name
        assert not any(fnmatch(name, pattern.strip("/")) for pattern in ignored), name
    assert re.search(r"^USER (?!root)", DOCKERFILE, re.MULTILINE)


def test_the_table_names_every_request_of_the_api() -> None:
    from limner.studio.app import create_app

    for path in create_app().openapi()["paths"]:
        if "{sample}" not in path:
            assert f"{path.replace('{name}', 'NAME')}`" in PAGE, path
