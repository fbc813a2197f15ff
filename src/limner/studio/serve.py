"""`limner studio`: the server from its start to its end."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from threading import Thread

import uvicorn

from limner.core.arguments import checked
from limner.core.errors import UserError
from limner.model.shipped import find_model
from limner.studio.app import LOOPBACK, create_app, new_token
from limner.studio.shelf import Shelf

MOST_CONNECTIONS = 256


@checked
def serve(
    models: Sequence[str] = ("faces",),
    *,
    runs: str | Path | None = None,
    data: Sequence[str] = (),
    host: str = "127.0.0.1",
    port: int = 7860,
    public: bool = False,
    device: str = "cpu",
) -> None:
    """Serve the studio until Ctrl-C, and print its address.

    On an address that other machines reach, which needs `public`, every request must carry a token; the address that is
    printed has it.

    Raises UserError where there is no such model, the port is taken, or `host` needs `public`.
    """
    if host not in LOOPBACK and not public:
        raise UserError(
            f"{host} can be reached from other machines: say --public too; the studio then asks for a token."
        )
    if not 1 <= port <= 65535:
        raise UserError(f"port is {port}; it must lie between 1 and 65,535.")
    for model in models:
        find_model(Path(model))
    token = new_token() if host not in LOOPBACK else None
    folder = None if runs is None else Path(runs)
    app = create_app(models, runs=folder, data=data, host=host, token=token, device=device)
    name = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    address = f"http://{name}:{port}/" + (f"?token={token}" if token else "")
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        server_header=False,
        ws="none",
        timeout_keep_alive=10,
        timeout_graceful_shutdown=5,
        limit_concurrency=MOST_CONNECTIONS,
        proxy_headers=False,
    )
    server = _Server(config, f"The studio is at {address} (Ctrl-C ends it).")
    warnings.filterwarnings("ignore", category=UserWarning)  # the page says them where they belong
    Thread(target=_warm_up, args=(app.state.shelf, models[0]), daemon=True).start()
    try:
        server.run()
    except SystemExit:
        raise UserError(
            f"Port {port} of {host} cannot be used: is a studio running already? Choose another --port."
        ) from None


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
    """Load the first model while the page opens."""
    shelf.open(model).sample(1)
