"""The lines that make the same images without the studio."""

import shlex

from limner.studio.requests import Face, FacesRequest, MorphRequest


def command_line(request: FacesRequest) -> str:
    """The `limner sample` that makes the same image."""
    words = ["limner", "sample", request.model, "--count", str(request.count), "--seed", str(request.seed)]
    for option, value, default in (
        ("--first", request.first, 0),
        ("--columns", request.columns, None),
        ("--with", request.with_, ""),
        ("--without", request.without, ""),
        ("--truncation", request.truncation, 1.0),
    ):
        if value != default:
            words += [option, str(value)]
    return shlex.join([*words, "--out", "faces.png"])


def python_lines(request: FacesRequest) -> str:
    """The same in Python."""
    arguments = [str(request.count), f"seed={request.seed}"]
    for name, value, default in (
        ("first", request.first, 0),
        ("with_", request.with_, ""),
        ("without", request.without, ""),
        ("truncation", request.truncation, 1.0),
    ):
        if value != default:
            arguments.append(f"{name}={value!r}")
    return f"import limner\nfaces = limner.load({request.model!r}).sample({', '.join(arguments)})"


def walk_line(request: MorphRequest) -> str | None:
    """The `limner explore interpolate` that makes the same walk; `None` where the faces need more than a number."""
    if any(face != Face(seed=face.seed, index=face.index) for face in request.faces):
        return None
    through = ",".join(f"{face.seed}:{face.index}" for face in request.faces)
    words = ["limner", "explore", "interpolate", request.model, "--faces", through, "--frames", str(request.frames)]
    return shlex.join([*words, *(["--loop"] if request.loop else []), "--out", "walk.mp4"])
