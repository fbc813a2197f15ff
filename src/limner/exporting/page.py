"""Pages that generate in the browser, without a server and without Python.

A page of faces has the model as ONNX and onnxruntime-web, beside it or within it. Its scripts compute latents and
attributes as Limner does, so that seed and index give the same face.
"""

import base64
import re
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any
from uuid import UUID

import numpy as np

from limner.core.errors import UserError
from limner.core.version import __version__
from limner.exporting.groups import attribute_groups
from limner.exporting.runtime import Runtime
from limner.images.marks import Mark, xmp_packet
from limner.latent.latents import face_latents
from limner.model.model import Model
from limner.recipes.load import load_recipe
from limner.reports.page import content_security_policy, safe_json

INDEX, MODEL, RUNTIME = "index.html", "model.onnx", "runtime.wasm.gz"
WORKER_SCRIPTS = ("random.js", "latents.js", "attributes.js", "worker.js")
FACES_SCRIPTS = ("random.js", "latents.js", "page.js", "png.js", "generator.js", "selection.js", "app.js")
PAINTER_SCRIPTS = ("random.js", "gan.js", "painter.js")
CURVES = 40
# The page puts the time and an identifier of each file in the place of these.
BLANK_TIME, BLANK_ID = datetime(2000, 1, 1, tzinfo=UTC), UUID(int=0)


def faces_page(model: Model, name: str, onnx: bytes, runtime: Runtime, single_file: bool) -> dict[str, bytes]:
    """The files of a page that generates with `model`, by name; one file, with everything in it, if wanted.

    `name` is what people call the model, in the command that makes the same faces.
    """
    parts = {"model": (MODEL, onnx), "runtime": (RUNTIME, runtime.wasm_gz)}
    about = _about(model, name) | {
        "downloads": {part: {"file": file, "bytes": len(content)} for part, (file, content) in parts.items()}
    }
    contents = {
        "about": about,
        "worker": _worker(runtime.script),
        "files": {part: base64.b64encode(content).decode() for part, (_, content) in parts.items()}
        if single_file
        else None,
    }
    page = _build("faces", "faces that do not exist", FACES_SCRIPTS)
    reads = "'none'" if single_file else "'self'"
    policy = content_security_policy(page, "'wasm-unsafe-eval'", f"worker-src blob:; connect-src {reads}")
    index = page.replace("{{csp}}", policy).replace("{{data}}", safe_json(contents)).encode()
    return {INDEX: index} | ({} if single_file else dict(parts.values()))


def painter_page(model: Model) -> bytes:
    """A page that trains the recipe of `model`, which makes curves, from its start. It is one file.

    Raises UserError where the model's networks are not those of the recipe painter.
    """
    config, recipe = model.config, load_recipe("painter")
    if (config.generator, config.latent_size) != (recipe.generator, recipe.latent.size):
        raise UserError("The page trains the recipe painter as it comes with Limner: export a run without --set.")
    z_NZ = face_latents(0, 0, CURVES, config.latent_size, config.latent_distribution)
    optimizers = {name: getattr(recipe.optimizer, name).model_dump() for name in ("generator", "discriminator")}
    contents = {
        "settings": {
            "points": config.size,
            "latentSize": config.latent_size,
            "width": config.generator.model_dump()["width"],
            "batch": recipe.schedule.batch,
            "images": recipe.schedule.images,
            "emaHalflife": recipe.ema.halflife_images,
            "samples": CURVES,
            "optimizers": optimizers,
        },
        "recipe": config.recipe,
        "imagesSeen": config.images_seen,
        "weightsSha256": config.weights_sha256,
        "limner": __version__,
        "samples": model.raw(z_NZ, z_NZ[:, :0]).tolist(),
    }
    page = _build("painter", "a GAN learns to paint", PAINTER_SCRIPTS)
    return page.replace("{{csp}}", content_security_policy(page)).replace("{{data}}", safe_json(contents)).encode()


def _about(model: Model, name: str) -> dict[str, Any]:
    """What the page's scripts must know of the model."""
    config = model.config
    blank = Mark(model=config.recipe, model_version=config.weights_sha256, time=BLANK_TIME, id=BLANK_ID)
    return {
        "model": name,
        "recipe": config.recipe,
        "weightsSha256": config.weights_sha256,
        "licence": config.licence,
        "limner": __version__,
        "size": config.size,
        "latentSize": config.latent_size,
        "latentDistribution": config.latent_distribution,
        "attributeNames": config.attribute_names,
        "groups": attribute_groups(config.attribute_names),
        "known": base64.b64encode(np.packbits(model.known_MA).tobytes()).decode(),
        "knownCount": len(model.known_MA),
        "mark": {"packet": xmp_packet(blank), "time": BLANK_TIME.isoformat(), "id": str(BLANK_ID)},
    }


def _build(name: str, title: str, scripts: tuple[str, ...]) -> str:
    """A page with its style and scripts, without its data."""
    shared = files("limner").joinpath("assets")
    parts = {
        "head": shared.joinpath("head.html").read_text(encoding="utf-8"),
        "title": title,
        "style": "\n".join(
            [shared.joinpath("page.css").read_text(encoding="utf-8"), _asset("common.css"), _asset(f"{name}.css")]
        ),
        "body": _asset(f"{name}.html"),
        "script": "\n".join(map(_asset, scripts)),
    }
    page = _asset("frame.html")
    for part, text in parts.items():
        page = page.replace(f"{{{{{part}}}}}", text)
    return page


def _worker(runtime_script: str) -> str:
    """The worker's script: the runtime with its exports as `ort`, then ours. No module, for those need a web server."""
    body, exports = re.fullmatch(r"(.*)export\{([^}]*)\};.*", runtime_script, re.DOTALL).groups()  # type: ignore[union-attr]
    body = body.replace("import.meta.url", "location.href")
    members = [f"{public}: {private}" for private, public in re.findall(r"([\w$]+) as (\w+)", exports)]
    return "\n".join([body, f"const ort = {{ {', '.join(members)} }};", *map(_asset, WORKER_SCRIPTS)])


def _asset(name: str) -> str:
    return files("limner").joinpath("exporting", "pages", name).read_text(encoding="utf-8")
