"""The HTTP API: models; faces, variations, walks, edits, projections; runs. `/openapi.json` describes it."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse, HTMLResponse, Response

from limner.core.errors import UserError
from limner.runs.run import SAMPLES
from limner.studio.desk import Desk
from limner.studio.directions import DirectionsShelf
from limner.studio.requests import (
    EditRequest,
    FaceRequest,
    FacesRequest,
    ModelRequest,
    MorphRequest,
    TrainingRequest,
    VariationsRequest,
)
from limner.studio.sampler import Sampler
from limner.studio.shelf import Shelf
from limner.studio.trainings import SAMPLE, Runs

TYPES = {
    "png": "image/png",
    "zip": "application/zip",
    "gif": "image/gif",
    "webp": "image/webp",
    "mp4": "video/mp4",
    "webm": "video/webm",
}
PHOTO = {"requestBody": {"required": True, "content": {"image/*": {"schema": {"type": "string", "format": "binary"}}}}}
# A report carries a policy of its own; the frame it is shown in may run its script and do nothing else.
REPORT_HEADERS = {"Content-Security-Policy": "sandbox allow-scripts; frame-ancestors 'self'"}


def faces_api(shelf: Shelf, desk: Desk) -> APIRouter:
    """What is made with the models of `shelf`, one request at a time."""
    api = APIRouter(prefix="/api", tags=["faces"])
    sampler, all_directions = Sampler(), DirectionsShelf()

    @api.get("/models")
    def models() -> list[dict[str, Any]]:
        """The models: name, recipe, resolution, attributes in groups; whether they are loaded."""
        return [shelf.describe(name) for name in shelf.names()]

    @api.get("/faces", response_model=None)
    async def faces(request: Request, wanted: Annotated[FacesRequest, Query()]) -> Response | dict[str, Any]:
        """Sample faces: as JSON with a PNG each, as one PNG, or as a ZIP of PNGs."""
        from limner.studio import faces as making

        def make() -> Response | dict[str, Any]:
            model = shelf.open(wanted.model)
            faces_NHWC = sampler.sample(model, wanted)
            if wanted.format == "json":
                return making.faces_json(model, faces_NHWC, wanted)
            pack = making.faces_png if wanted.format == "png" else making.faces_zip
            return _file(pack(model, faces_NHWC, wanted), "faces", wanted.format)

        return await desk.run(request, make)

    @api.post("/variations")
    async def variations(request: Request, wanted: VariationsRequest) -> dict[str, Any]:
        """Faces around a face."""
        from limner.studio import faces as making

        return await desk.run(request, lambda: making.variations(shelf.open(wanted.model), wanted))

    @api.post("/nearest")
    async def nearest(request: Request, wanted: FaceRequest) -> dict[str, Any]:
        """The training image nearest to a face, of the model of a run whose data are on this machine."""
        from limner.studio.neighbours import nearest_training

        return await desk.run(request, lambda: nearest_training(shelf.open(wanted.model), wanted.model, wanted.face))

    @api.post("/morph", response_model=None)
    async def morph(request: Request, wanted: MorphRequest) -> Response | dict[str, Any]:
        """Walk through two to eight faces: frames as JSON, or a PNG, GIF, WebP, MP4 or WebM."""
        from limner.studio import faces as making

        made = await desk.run(request, lambda: making.morph(shelf.open(wanted.model), wanted))
        return _file(made, "walk", wanted.format) if isinstance(made, bytes) else made

    @api.post("/directions")
    async def directions(request: Request, wanted: ModelRequest) -> dict[str, Any]:
        """The attributes along which faces of a model can be moved; found at the first request, which takes a while."""
        from limner.studio import editing

        return await desk.run(request, lambda: editing.describe(all_directions.of(shelf.open(wanted.model))))

    @api.post("/edit")
    async def edit(request: Request, wanted: EditRequest) -> dict[str, Any]:
        """A face moved along directions. Strength 1 is one standard deviation of the judge's log odds."""
        from limner.studio import editing

        def make() -> dict[str, Any]:
            model = shelf.open(wanted.model)
            return editing.edit(model, all_directions.of(model), wanted)

        return await desk.run(request, make)

    @api.post("/project", openapi_extra=PHOTO)
    async def project(request: Request, model: Annotated[str, Query(max_length=1000)]) -> dict[str, Any]:
        """The face of a model that comes nearest to a photo, the body of the request; nothing of it is kept."""
        from limner.studio import editing

        photo = await request.body()
        return await desk.run(request, lambda: editing.project(shelf.open(model), photo))

    return api


def runs_api(runs: Runs, desk: Desk) -> APIRouter:
    """The runs in the studio's folder, and the training that it has started."""
    api = APIRouter(prefix="/api/runs", tags=["runs"])

    @api.get("")
    def listing() -> dict[str, Any]:
        """The runs, the data and recipes to train with, and the training that was started last."""
        from limner.recipes import recipe_names

        return {
            "enabled": runs.folder is not None,
            "runs": runs.listing(),
            "data": runs.data,
            "recipes": recipe_names(),
            "training": runs.training,
        }

    @api.post("", status_code=202)
    async def start(wanted: TrainingRequest) -> dict[str, Any]:
        """Start a training."""
        await run_in_threadpool(runs.start, wanted)
        return {"training": runs.training}

    @api.post("/stop", status_code=202)
    async def stop() -> dict[str, Any]:
        """Ask the training to save its state and stop."""
        runs.stop()
        return {"training": runs.training}

    @api.post("/{name}/resume", status_code=202)
    async def resume(name: str) -> dict[str, Any]:
        """Go on with a run from where it stopped."""
        await run_in_threadpool(runs.resume, name)
        return {"training": runs.training}

    @api.get("/compare", response_class=HTMLResponse)
    async def compare(request: Request, name: Annotated[list[str], Query(max_length=100)]) -> Response:
        """Runs side by side, each a `name`: curves over one another, what was measured of them, a verdict."""
        from limner.reports.runs_page import runs_page

        return HTMLResponse(await desk.run(request, runs_page, runs.several(name)), headers=REPORT_HEADERS)

    @api.get("/{name}/report", response_class=FileResponse)
    async def report(request: Request, name: str) -> Response:
        """The report of a run: grids over time, curves, verdicts."""
        from limner.reports.run_report import write_report

        page = await desk.run(request, write_report, runs.path(name))
        return FileResponse(page, media_type="text/html", headers=REPORT_HEADERS)

    @api.get("/{name}/samples/{sample}", response_class=FileResponse)
    def sample(name: str, sample: str) -> Response:
        """A grid of samples, as the training wrote it."""
        file = runs.path(name) / SAMPLES / sample
        if not SAMPLE.fullmatch(sample) or not file.is_file():
            raise UserError(f"The run {name} has no grid {sample!r}.")
        return FileResponse(file, media_type="image/png")

    return api


def _file(content: bytes, name: str, ending: str) -> Response:
    return Response(
        content, media_type=TYPES[ending], headers={"Content-Disposition": f'attachment; filename="{name}.{ending}"'}
    )
