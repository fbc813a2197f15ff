"""The studio's server: the page, the API, and what guards them."""

import secrets
import socket
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from limner.core.errors import UserError, printable
from limner.core.faults import fault_line
from limner.core.version import __version__
from limner.images.credentials import Signer
from limner.studio.api import faces_api, runs_api
from limner.studio.desk import BusyError, Desk, GoneError
from limner.studio.guard import BODY_SECONDS, Guard
from limner.studio.shelf import Shelf
from limner.studio.trainings import Runs

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}


def create_app(
    models: Sequence[str] = ("faces",),
    *,
    runs: Path | None = None,
    data: Sequence[str] = (),
    host: str = "127.0.0.1",
    token: str | None = None,
    signer: Signer | None = None,
    device: str = "cpu",
    body_seconds: float = BODY_SECONDS,
) -> FastAPI:
    """The studio as an ASGI application.

    `models` are runs, model folders or names of shipped models; `runs` is where runs are shown and started, on the
    prepared `data`. With a `token` every request must carry it. A `signer` signs the PNGs of generated faces. What the
    studio writes is in a folder of its own, which goes when it ends.
    """
    scratch = tempfile.TemporaryDirectory(prefix="limner-studio-")
    shelf, desk = Shelf(models, runs, device), Desk(signer)
    trainings = Runs(runs, data, Path(scratch.name))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await run_in_threadpool(trainings.close)
            scratch.cleanup()

    app = FastAPI(
        title="Limner studio",
        version=__version__,
        description='Faces of the studio\'s models over HTTP. Errors are JSON: {"error": a sentence}.',
        lifespan=lifespan,
        docs_url=None,  # these pages ask another host for their scripts
        redoc_url=None,
    )
    app.include_router(faces_api(shelf, desk))
    app.include_router(runs_api(trainings, desk))
    app.state.shelf = shelf
    _add_page(app)
    _add_errors(app)
    hosts = LOOPBACK if host in LOOPBACK else LOOPBACK | {host.lower(), socket.gethostname().lower()}
    app.add_middleware(Guard, hosts=hosts, token=token, body_seconds=body_seconds)
    return app


def new_token() -> str:
    """A token that cannot be guessed."""
    return secrets.token_urlsafe(24)


def _add_page(app: FastAPI) -> None:
    """Serve the page's files from memory: no path of a request is opened."""
    page, assets = files("limner").joinpath("studio", "page"), files("limner").joinpath("assets")
    sources = {file.name: file.read_bytes() for file in page.iterdir() if Path(file.name).suffix in TYPES}
    sources["page.css"] = assets.joinpath("page.css").read_bytes()

    @app.get("/", include_in_schema=False)
    def index() -> Response:
        return Response(sources["index.html"], media_type="text/html")

    @app.get("/page/{name}", include_in_schema=False)
    def part(name: str) -> Response:
        if name not in sources:
            raise HTTPException(404)
        return Response(sources[name], media_type=TYPES[Path(name).suffix])


def _add_errors(app: FastAPI) -> None:
    """Answer every mistake with one sentence."""

    def sentence(status: int, text: str) -> JSONResponse:
        return JSONResponse({"error": printable(text)}, status)

    @app.exception_handler(UserError)
    def user_error(_: Request, error: UserError) -> Response:
        return sentence(400, str(error))

    @app.exception_handler(RequestValidationError)
    def invalid(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:]) or "the request"
        return sentence(422, f"{where}: {first['msg']}.")

    @app.exception_handler(HTTPException)
    def http_error(_: Request, error: HTTPException) -> Response:
        return sentence(error.status_code, f"{error.detail}: /openapi.json lists what there is.")

    @app.exception_handler(BusyError)
    def busy(_: Request, __: BusyError) -> Response:
        return JSONResponse({"error": "The studio is busy: try again in a moment."}, 503, {"Retry-After": "5"})

    @app.exception_handler(GoneError)
    def gone(_: Request, __: GoneError) -> Response:
        return Response(status_code=499)

    def refused(_: Request, error: Exception) -> Response:
        if (line := fault_line(error)) is None:
            raise error
        return sentence(503, f"{line}.")

    for kind in (OSError, MemoryError, RuntimeError):
        app.add_exception_handler(kind, refused)

    @app.exception_handler(Exception)
    def fault(_: Request, __: Exception) -> Response:
        return sentence(500, "Something went wrong in the studio; its terminal says what.")
