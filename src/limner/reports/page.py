"""A page as one file, with its style, script and data inside it: it asks the network for nothing."""

import base64
import hashlib
import json
import math
import re
from importlib.resources import files
from typing import Any, TypeGuard

from limner.core.errors import UserError

Row = dict[str, Any]


def build_page(template: str, contents: Row) -> bytes:
    """The page that the asset `template` makes of `contents`: one file with its style, script and data inside it."""
    assets = files("limner").joinpath("assets")
    page = assets.joinpath(template).read_text(encoding="utf-8")
    for shared in ("head.html", "page.css", "page.js"):
        page = page.replace(f"{{{{{shared}}}}}", assets.joinpath(shared).read_text(encoding="utf-8"))
    return page.replace("{{csp}}", content_security_policy(page)).replace("{{data}}", safe_json(contents)).encode()


def is_number(value: object) -> TypeGuard[float]:
    """Whether `value` is a number as JSON gives them; a bool is none."""
    return type(value) in (int, float)  # as JSON gives them; a bool is no number


def safe_json(contents: Row) -> str:
    """JSON that is safe within a script element: no `<`, hence no end tag; only ASCII; null for NaN and infinity."""

    def clean(value: Any) -> Any:
        if isinstance(value, dict):
            return {str(key): clean(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [clean(item) for item in value]
        return None if is_number(value) and not math.isfinite(value) else value

    try:
        cleaned = clean(contents)
    except RecursionError:
        raise UserError("A JSON file of this run is nested too deeply: it was not written by Limner.") from None
    return json.dumps(cleaned, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def content_security_policy(template: str, scripts: str = "", others: str = "") -> str:
    """Forbid everything, above all the network, but data: images and the template's own style and script.

    `scripts` are more sources of script-src, `others` more directives.
    """

    def hashes(tag: str) -> str:
        bodies = re.findall(rf"<{tag}>(.*?)</{tag}>", template, re.DOTALL)
        digests = [base64.b64encode(hashlib.sha256(body.encode()).digest()).decode("ascii") for body in bodies]
        return " ".join(f"'sha256-{digest}'" for digest in digests)

    directives = (
        "default-src 'none'",
        "img-src data:",
        f"style-src {hashes('style')}",
        f"script-src {hashes('script')} {scripts}".strip(),
        others,
        "base-uri 'none'",
        "form-action 'none'",
    )
    return "; ".join(filter(None, directives))
