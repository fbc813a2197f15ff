"""Studios for tests: in this process, or on a free port."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastapi import FastAPI
    from fastapi.testclient import TestClient


@contextmanager
def studio_client(*models: str, **options: Any) -> Iterator["TestClient"]:
    """A client of a studio in this process."""
    from fastapi.testclient import TestClient

    from limner.studio.app import create_app

    with TestClient(create_app(models, **options), base_url="http://localhost:7860") as client:
        yield client


@contextmanager
def serving(*models: str, **options: Any) -> Iterator[str]:
    """The address of a studio that listens on a free port."""
    from limner.studio.app import create_app

    with serving_app(create_app(models, **options)) as address:
        yield address


@contextmanager
def serving_app(app: "FastAPI") -> Iterator[str]:
    """The address of an app that is served as the studio is."""
    import uvicorn

    from limner.studio.serve import server_config

    server = uvicorn.Server(server_config(app, "127.0.0.1", 0))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join()


def connected(address: str) -> socket.socket:
    """A connection to the studio at this address."""
    connection = socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2].strip("/"))))
    connection.settimeout(20)
    return connection
