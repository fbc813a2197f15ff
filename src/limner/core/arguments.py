"""One check of what a public function is given, against its annotations: a wrong type is one line, not a traceback."""

import errno
import inspect
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from limner.core.errors import UserError

P = ParamSpec("P")
R = TypeVar("R")
WORDS = {
    int: "a whole number",
    float: "a finite number",
    bool: "True or False",
    str: "a string",
    Path: "a path",
    NoneType: "None",
    Sequence: "a list of strings",
}
MOST = 60  # characters of a wrong value in a message


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Check the arguments of `function` against its annotations whenever it is called.

    numpy's numbers are taken as Python's, and one string or path where a list of them belongs as a list of one. Where
    another class belongs, only values of built-in types are refused. `function` then also raises UserError for a value
    of a wrong type and for a number that is not finite, naming the argument, and for a file name that is too long.
    """
    signature = inspect.signature(function)

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            given = signature.bind(*args, **kwargs)
        except TypeError:
            return function(*args, **kwargs)  # Python says itself what is missing or too much
        hints = get_type_hints(function)
        for name, value in given.arguments.items():
            if name in hints:
                given.arguments[name] = _fit(name, value, hints[name])
        try:
            return function(*given.args, **given.kwargs)
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            name = Path(os.fsdecode(error.filename or "")).name[:MOST]
            raise UserError(f"{name}... is too long a name for this file system: choose a shorter one.") from None

    return call


def _fit(name: str, value: Any, hint: Any) -> Any:
    kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    value = value.item() if isinstance(value, np.generic) else value
    for kind in kinds:
        if get_origin(kind) is Sequence and not isinstance(value, bytes | Mapping):
            items = (value,) if isinstance(value, str | Path) else value
            if isinstance(items, Iterable):
                return tuple(_fit(f"{name}[{place}]", item, get_args(kind)[0]) for place, item in enumerate(items))
        elif _is(value, kind):
            return value
    text = repr(value)
    text = text if len(text) <= MOST else f"{text[:MOST]}..."
    raise UserError(f"{name} is {' '.join(text.split())}; it must be {' or '.join(map(_words, kinds))}.")


def _is(value: Any, kind: Any) -> bool:
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if kind in WORDS:
        return isinstance(value, kind)
    return type(value).__module__ != "builtins" and not isinstance(value, Path)


def _words(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return " or ".join(map(repr, get_args(kind)))
    kind = get_origin(kind) or kind
    return WORDS.get(kind) or str(kind.__name__)
