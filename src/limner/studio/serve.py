"""`limner studio`: the server from its start to its end."""

import logging
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from threading import Timer

import uvicorn
from fastapi import FastAPI

from limner.core.arguments import checked
from limner.core.errors import UserError
from limner.images.credentials import open_signer
from limner.model.shipped import find_model
from limner.studio.app import LOOPBACK, create_app, new_token
from limner.studio.connections import Connection
from limner.studio.shelf import Shelf

MOST_CONNECTIONS = 256
SECONDS_FOR_PAGE = 1.0
SECONDS_TO_CLOSE = 5


@checked
def serve(
    models: Sequence[str] = ("faces",),
    *,
    runs: str | Path | None = None,
    data: Sequence[str] = (),
    host: str = "127.0.0.1",
    port: int = 7860,
    public: bool = False,
    c2pa: str | None = None,
    device: str = "cpu",
) -> None:
    """Serve the studio until Ctrl-C, and print its address.

    On an address that other machines reach, which needs `public`, every request must carry a token; the address that is
    printed has it. Every PNG of generated faces is signed where `c2pa` names two files, `CERTIFICATES,KEY`.

    Raises UserError where there is no such model, the port is taken, `host` needs `public`, or `c2pa` cannot sign.
    """
    if host not in LOOPBACK and not public:
        raise UserError(
            f"{host} can be reached from other machines: say --public too; the studio then asks for a token."
        )
    if not models:
        raise UserError("models is empty; name at least one model, such as faces.")
    if not 1 <= port <= 65535:
        raise UserError(f"port is {port}; it must lie between 1 and 65,535.")
    for model in models:
        find_model(Path(model))
    token = new_token() if host not in LOOPBACK else None
    folder = None if runs is None else Path(runs)
    signer = open_signer(c2pa)
    app = create_app(models, runs=folder, data=data, host=host, token=token, signer=signer, device=device)
    name = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    address = f"http://{name}:{port}/" + (f"?token={token}" if token else "")
    server = _Server(server_config(app, host, port), f"The studio is at {address} (Ctrl-C ends it).")
    warnings.filterwarnings("ignore", category=UserWarning)  # the page says them where they belong
    warnings.filterwarnings("ignore", "coroutine", RuntimeWarning)  # of a server that is ended before it has begun
    logging.getLogger("uvicorn.error").addFilter(lambda record: "graceful shutdown" not in record.getMessage())
    warm_up = Timer(SECONDS_FOR_PAGE, _warm_up, [app.state.shelf, models[0]])
    warm_up.daemon = True
    warm_up.start()
    try:
        server.run()
    except SystemExit:
        raise UserError(
            f"Port {port} of {host} cannot be used: is a studio running already? Choose another --port."
        ) from None


def server_config(app: FastAPI, host: str, port: int) -> uvicorn.Config:
    """How the studio is served: nothing of a request is logged, and nobody is waited for without end."""
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        http=Connection,
        ws="none",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=10,
        timeout_graceful_shutdown=SECONDS_TO_CLOSE,
        limit_concurrency=MOST_CONNECTIONS,
    )


class _Server(uvicorn.Server):
    """A server that says where it is once it listens."""

    def __init__(self, config: uvicorn.Config, greeting: str) -> None:
        super().__init__(config)
        self._greeting = greeting

    async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        await super().startup(sockets)  # type: ignore[arg-type]
        if self.started:
            print(self._greeting, flush=True)


def _warm_up(shelf: Shelf, model: str) -> None:
    """Load the first model before somebody asks for its faces, but after a page that is opened at once."""
    with suppress(UserError):  # the page says what is wrong with a model
        shelf.open(model).sample(1)
