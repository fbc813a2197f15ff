"""Who may speak to the studio: hosts, origins, tokens, sizes, slow clients; what is left when it ends."""

import asyncio
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from studios import connected, serving, serving_app, studio_client

from limner import cli
from limner.core.errors import UserError
from limner.studio import connections

if TYPE_CHECKING:
    from fastapi.testclient import TestClient


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "", "192.168.0.9"]
)
def test_foreign_hosts_are_refused(client: "TestClient", host: str) -> None:
    """A name that somebody points at this machine, and addresses on which the studio does not listen."""
    for path in ("/", "/api/models"):
        assert client.get(path, headers={"Host": host}).status_code == 421


@pytest.mark.parametrize("host", ["localhost", "localhost:7860", "127.0.0.1:7860", "[::1]:7860", "LOCALHOST:1"])
def test_own_hosts_are_served(client: "TestClient", host: str) -> None:
    assert client.get("/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:80"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
    ],
)
def test_pages_of_other_sites_are_refused(client: "TestClient", headers: dict[str, str]) -> None:
    assert client.get("/api/models", headers=headers).status_code == 403
    assert client.post("/api/runs/stop", headers=headers).status_code == 403


def test_a_link_to_the_page_and_the_page_itself_are_served(client: "TestClient") -> None:
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert client.get("/", headers=link).status_code == 200
    own = {"Origin": "http://localhost:7860", "Sec-Fetch-Site": "same-origin"}
    assert client.get("/api/models", headers=own).status_code == 200


def test_the_page_may_not_be_framed_nor_ask_other_hosts(client: "TestClient") -> None:
    policy = client.get("/").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "http" not in policy


TOKEN = "correct horse"


@pytest.fixture(scope="module")
def guarded(model_folder: Path) -> Iterator["TestClient"]:
    with studio_client(str(model_folder), host="0.0.0.0", token=TOKEN) as client:
        yield client


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer é".encode("latin-1")},
        {"Cookie": "limner_studio=wrong"},
        {"Cookie": "limner_studio"},
        {"Cookie": f"other={TOKEN}"},
    ],
)
def test_without_the_token_nothing_is_served(guarded: "TestClient", headers: dict[str, str]) -> None:
    for path in ("/", "/api/models", "/openapi.json", "/page/studio.js", "/?token=wrong", f"/api/models?token={TOKEN}"):
        reply = guarded.get(path, headers=headers)
        assert reply.status_code == 401
        assert "token" in reply.json()["error"]


def test_the_address_with_the_token_opens_the_page(guarded: "TestClient") -> None:
    assert guarded.get("/api/models", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
    reply = guarded.get("/", params={"token": TOKEN}, follow_redirects=False)
    assert (reply.status_code, reply.headers["location"]) == (303, "/")
    cookie = reply.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    guarded.cookies.set("limner_studio", f'"{TOKEN}"')
    assert guarded.get("/api/models").status_code == 200
    guarded.cookies.clear()


def test_every_address_of_this_machine_is_its_host_when_all_are_listened_on(guarded: "TestClient") -> None:
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    assert guarded.get("/", headers={"Host": "192.168.0.9:7860", **bearer}).status_code == 200
    assert guarded.get("/", headers={"Host": "evil.example", **bearer}).status_code == 421


def test_large_bodies_are_refused(client: "TestClient") -> None:
    large = b" " * (13 << 20)
    assert client.post("/api/morph", content=large).status_code == 413
    parts = (large[: 1 << 20] for _ in range(13))
    assert client.post("/api/morph", content=parts).status_code == 413  # in pieces, without a length
    assert client.get("/", headers={"Content-Length": "-1"}).status_code == 413


def test_slow_clients_are_left_and_others_served(model_folder: Path) -> None:
    import urllib.request

    with serving(str(model_folder), body_seconds=0.3) as address:
        port = int(address.rpartition(":")[2].strip("/"))
        slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
        for one in slow:
            one.sendall(b"POST /api/morph HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
        with urllib.request.urlopen(address) as reply:
            assert reply.status == 200
        for one in slow:
            one.settimeout(10)
            assert b" 408 " in one.recv(1000).splitlines()[0]
            one.close()


HEAD = b"GET /api/faces?model=MODEL&count=256 HTTP/1.1\r\nHost: localhost\r\n"


@pytest.mark.parametrize(
    ("sent", "answered"),
    [
        (b"", b""),
        (b"G", b""),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ", b""),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\nGET / HT", b"HTTP/1.1 200 OK"),  # the next one never comes
    ],
    ids=["nothing", "one letter", "half a head", "a request and a half"],
)
def test_who_does_not_send_a_whole_head_is_cut_off(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch, sent: bytes, answered: bytes
) -> None:
    monkeypatch.setattr(connections, "PATIENCE", 0.5)
    with serving(str(model_folder)) as address, connected(address) as slow:
        slow.sendall(sent)
        received = b"".join(iter(partial(slow.recv, 65536), b""))  # until the studio closes it
        assert received[: len(answered)] == answered


def test_who_sends_a_head_letter_by_letter_is_cut_off(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "PATIENCE", 0.5)
    with serving(str(model_folder)) as address, connected(address) as slow:
        sent = 0
        with suppress(ConnectionError):
            while sent < 200:
                sent += slow.send(b"G")
                time.sleep(0.05)
        assert sent < 100


def test_who_does_not_read_the_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """While somebody else reads all of it."""
    from fastapi import FastAPI, Response

    lost, app, large = set[int](), FastAPI(), bytes(30 << 20)
    app.get("/")(lambda: Response(large))
    connection_lost = connections.Connection.connection_lost

    def note(self: connections.Connection, error: Exception | None) -> None:
        lost.add(self.client[1] if self.client else 0)
        connection_lost(self, error)

    monkeypatch.setattr(connections, "PATIENCE", 3)  # more than a busy machine keeps this thread waiting
    monkeypatch.setattr(connections.Connection, "connection_lost", note)
    with serving_app(app) as address, connected(address) as slow, connected(address) as other:
        slow.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        other.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        _, _, body = b"".join(iter(partial(other.recv, 1 << 20), b"")).partition(b"\r\n\r\n")
        assert len(body) == len(large)
        end = time.monotonic() + 30
        while slow.getsockname()[1] not in lost:
            assert time.monotonic() < end
            time.sleep(0.05)


def test_who_waits_for_an_answer_is_not_cut_off(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long it takes to compute."""
    from limner.model.model import Model

    monkeypatch.setattr(connections, "PATIENCE", 0.3)
    sample = Model.sample
    monkeypatch.setattr(Model, "sample", lambda *a, **k: time.sleep(1) or sample(*a, **k))  # type: ignore[func-returns-value]
    with serving(str(model_folder)) as address, connected(address) as patient:
        patient.sendall(HEAD.replace(b"MODEL", str(model_folder).encode()).replace(b"256", b"1") + b"\r\n")
        assert patient.recv(1000).startswith(b"HTTP/1.1 200 OK")


def in_a_thread(function: Callable[[], Any]) -> Any:
    """What the function returns; the main thread may have an event loop already, that of Playwright."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


def test_the_line_is_bounded_and_who_left_is_not_served() -> None:
    from limner.studio import desk

    class Asked:
        def __init__(self, gone: bool = False) -> None:
            self.gone = gone

        async def is_disconnected(self) -> bool:
            return self.gone

    done: list[int] = []

    async def crowd() -> list[BaseException | None]:
        one = desk.Desk()
        calls = [one.run(Asked(k == 5), done.append, k) for k in range(desk.MOST_WAITING + 3)]  # type: ignore[arg-type]
        return await asyncio.gather(*calls, return_exceptions=True)

    ends = in_a_thread(lambda: asyncio.run(crowd()))
    assert [type(end) for end in ends[desk.MOST_WAITING :]] == [desk.BusyError] * 3
    assert isinstance(ends[5], desk.GoneError)
    assert done == [k for k in range(desk.MOST_WAITING) if k != 5]


def test_what_it_writes_is_in_a_folder_that_goes_when_it_ends(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    pytest.importorskip("av")
    with studio_client(str(model_folder)) as client:
        (folder,) = tmp_path.iterdir()
        asked = {"model": str(model_folder), "faces": [{"index": 1}, {"index": 2}], "frames": 4, "format": "mp4"}
        for _ in range(3):
            assert client.post("/api/morph", json=asked).status_code == 200
            assert client.get("/api/faces", params={"model": str(model_folder), "format": "zip"}).status_code == 200
        assert list(folder.iterdir()) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--host", "0.0.0.0"], "0.0.0.0 can be reached from other machines: say --public too"),
        (["--port", "0"], "port is 0"),
        (["nothing"], "nothing is no run and no model folder"),
    ],
)
def test_mistakes_of_the_command_are_one_line(
    arguments: list[str], words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["limner", "studio", *arguments])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1


def test_a_port_that_is_taken_is_one_line(model_folder: Path) -> None:
    from limner.studio.serve import serve

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=rf"Port {port} of 127\.0\.0\.1 cannot be used"):
            in_a_thread(lambda: serve(str(model_folder), port=port))


def test_without_fastapi_the_command_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "limner.studio.serve", None)
    monkeypatch.setattr(sys, "argv", ["limner", "studio"])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 2
    assert "pip install 'limner[studio]'" in capsys.readouterr().err
