"""More than sixty kinds of requests that no page sends, over a real connection: each is refused, and does nothing.

Mistakes in one parameter, broken photos, wrong tokens and slow clients have tests beside this one.
"""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from stand_ins import write_run
from studios import connected, serving

SECRET = b"root:x:0:0"
ESCAPES = (
    "/etc/passwd",
    "/../../../../etc/passwd",
    "//etc/passwd",
    "/page//etc/passwd",
    "/page/../../../../../etc/passwd",
    "/page/..%2f..%2f..%2f..%2fetc%2fpasswd",
    "/page/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
    "/page/%252e%252e%252fetc%252fpasswd",
    "/page/..%5c..%5cetc%5cpasswd",
    "/page/%00",
    "/page/studio.js%00.png",
    "/page/%c0%ae%c0%ae/etc/passwd",
    "/page/.",
    "/page/",
    "/api/runs/..%2f..%2fetc/report",
    "/api/runs/%2fetc/report",
    "/api/runs/~root/report",
    "/api/runs/first/samples/..%2f..%2frun.json",
    "/api/runs/first/samples/%2fetc%2fpasswd",
    "/api/runs/first/samples/real.png",
    "/api/runs/first/samples/000000001.png%00",
    "/api/runs/first/samples/000000001.png.html",
    "/api/runs/link/report",
    "/api/runs/compare?name=first&name=..",
    "/api/runs/compare?name=first&name=%2fetc",
    "/api/faces?model=%2fetc%2fpasswd",
    "/api/faces?model=file:%2f%2f%2fetc%2fpasswd",
    "/api/faces?model=MODEL%2f..%2fsecret",
    "/api/faces?model=MODEL%00",
    "/api/faces?model=someone%2fmodel@main",  # of the Hub, which the studio was not started with
)
QUERIES = (
    "",
    "model=",
    "model=MODEL&model=MODEL&count=",
    "model=MODEL&count=1e3",
    "model=MODEL&count=-1",
    "model=MODEL&count=16;rm",
    "model=MODEL&count=%F0%9F%98%80",
    "model=MODEL&seed=0x10",
    "model=MODEL&seed=1.5",
    "model=MODEL&seed=9999999999999999999999",
    "model=MODEL&first=-0.1",
    "model=MODEL&truncation=-1",
    "model=MODEL&truncation=1e999",
    "model=MODEL&columns=99999",
    "model=MODEL&format=svg",
    "model=MODEL&with=%3Cscript%3E",
    "model=MODEL&with=" + "a," * 600,
    "model=MODEL&__proto__=1",
)
BODIES = (
    b"",
    b"null",
    b"\xff\xfe",
    b'{"model": 1}',
    b'{"model": "MODEL", "faces": {}}',
    b'{"model": "MODEL", "faces": [{"seed": 1e400}, {}]}',
    b'{"model": "MODEL", "faces": [{"point": {"latents": ["NaN"]}}, {}]}',
    b'{"model": "MODEL", "faces": [{"variation": {"amount": -1}}, {}]}',
    b'{"model": "MODEL", "faces": [{}, {}], "fps": 0}',
    b'{"model": "MODEL", "faces": [{}, {}], "frames": -5}',
    b'{"model": "MODEL", "faces": [{}, {}], "loop": "perhaps"}',
    b'{"a":' * 50_000,
)
HEADERS = (
    b"Host: evil.example",
    b"Host: 127.0.0.1.evil.example:80",
    b"Host: 10.0.0.1",
    b"Host:",
    b"Host: localhost\r\nHost: evil.example",
    b"X: y",  # no host
    b"Host: localhost\r\nOrigin: https://evil.example",
    b"Host: localhost\r\nOrigin: null",
    b"Host: localhost\r\nOrigin: file://",
    b"Host: localhost\r\nSec-Fetch-Site: cross-site",
    b"Host: localhost\r\nContent-Length: -5",
    b"Host: localhost\r\nContent-Length: 99999999999",
    b"Host: localhost\r\nContent-Length: 5\r\nContent-Length: 6",
    b"Host: localhost\r\nTransfer-Encoding: gzip",
    b"Host: localhost\r\nBroken header",
    b"Host: localhost\r\nX-\x00: y",
)
LINES = (
    b"GET /api/models",
    b"GET /api/models HTTP/1.1 and more",
    b"PUT /api/models HTTP/1.1",
    b"DELETE /api/runs/first/report HTTP/1.1",
    b"TRACE /api/models HTTP/1.1",
    b"CONNECT evil.example:443 HTTP/1.1",
    b"PATCH /api/runs HTTP/1.1",
    b"GET /" + b"a" * 100_000 + b" HTTP/1.1",
    b"GET \xff\xfe HTTP/1.1",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
    b"SSH-2.0-OpenSSH_9.6",
    b"GET /api/runs/stop HTTP/1.1",
)


def requests(model: str = "MODEL") -> dict[str, bytes]:
    """The requests by their kinds, to a studio that has this model."""
    plain = b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    made = {f"path {path}": f"GET {path}".replace("MODEL", model).encode() + plain + b"\r\n" for path in ESCAPES}
    made |= {
        f"query {query[:40]}": f"GET /api/faces?{query}".replace("MODEL", model).encode() + plain + b"\r\n"
        for query in QUERIES
    }
    made |= {
        f"body {body[:60]!r}": b"POST /api/morph%bContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
        % (plain, len(filled), filled)
        for body in BODIES
        for filled in [body.replace(b"MODEL", model.encode())]
    }
    made |= {
        f"header {lines[:50]!r}": b"GET /api/models HTTP/1.1\r\nConnection: close\r\n" + lines + b"\r\n\r\n"
        for lines in HEADERS
    }
    made |= {f"line {line[:40]!r}": line + b"\r\nHost: localhost\r\nConnection: close\r\n\r\n" for line in LINES}
    return made


def files(folder: Path) -> dict[str, bytes]:
    """All files below a folder with what is in them."""
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def studio(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path, Path]]:
    """A studio's address, its runs, and the folder of its own files."""
    runs, scratch = tmp_path_factory.mktemp("runs"), tmp_path_factory.mktemp("scratch")
    write_run(runs / "first", "dcgan", [(64, 1.0)], samples=[64])
    (runs / "first" / "samples" / "real.png").write_bytes(SECRET)
    (runs / "link").symlink_to("/etc")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(scratch))
        with serving(str(model_folder), runs=runs) as address:
            yield address, runs, scratch


def test_there_are_more_than_sixty_kinds() -> None:
    assert len(requests()) > 60


@pytest.mark.parametrize("kind", requests())
def test_it_is_refused_and_does_nothing(kind: str, studio: tuple[str, Path, Path], model_folder: Path) -> None:
    address, runs, scratch = studio
    before = files(runs)
    with connected(address) as connection:
        connection.sendall(requests(str(model_folder))[kind])
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 4"), head[:200]
    if b"application/json" in head:
        assert json.loads(body)["error"]
    assert SECRET not in body
    assert b"Traceback" not in body
    assert files(runs) == before
    assert [path for path in scratch.rglob("*") if path.is_file()] == []


def test_afterwards_it_answers_as_before(studio: tuple[str, Path, Path], model_folder: Path) -> None:
    with connected(studio[0]) as connection:
        asked = f"GET /api/faces?model={model_folder}&count=1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        connection.sendall(asked.encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 200 OK")
