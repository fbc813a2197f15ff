"""Studios for tests: in this process, or on a free port."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
    import uvicorn

    from limner.studio.app import create_app

    config = uvicorn.Config(create_app(models, **options), port=0, log_level="warning", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join()
