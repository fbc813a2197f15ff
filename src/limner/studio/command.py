"""The command `limner studio`: parse, call one function."""

from pathlib import Path
from typing import Annotated

import typer

from limner.core.errors import UserError
from limner.core.options import Device, SignWith


def studio_command(
    models: Annotated[
        list[str] | None, typer.Argument(help="Runs, model folders, or names of shipped models. Default: faces.")
    ] = None,
    runs: Annotated[Path | None, typer.Option(help="Folder of runs to show, and to start new ones in.")] = None,
    data: Annotated[
        list[str] | None, typer.Option(help="Folder made by limner prepare, to train on. Can be repeated.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 7860,
    public: Annotated[
        bool, typer.Option("--public", help="Allow a --host that other machines reach; the studio asks for a token.")
    ] = False,
    c2pa: SignWith = None,
    device: Device = "cpu",
) -> None:
    """Play with models in a browser: faces, morphs, runs. Also an HTTP API."""
    try:
        from limner.studio.serve import serve
    except ImportError:
        raise UserError("The studio needs FastAPI and uvicorn: pip install 'limner[studio]'.") from None
    serve(
        models or ["faces"],
        data=data or [],
        runs=runs,
        host=host,
        port=port,
        public=public,
        c2pa=c2pa,
        device=device,
    )
