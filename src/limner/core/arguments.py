"""One check of what a public function is given, against its annotations: a wrong value is one line, not a traceback."""

import errno
import inspect
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, wraps
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from limner.core.errors import MOST_SHOWN, UserError, brief

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
    Mapping: "a dict",
}
BITS = 64  # of a whole number: what files and other libraries can hold
MOST_CHARACTERS, MOST_OF_LIST = 4096, 1 << 16  # of a path or another string; of one that may be a list with commas
MOST_ITEMS = 10_000  # of a list: one that never ends would fill the memory
SHAPE = re.compile("_([A-Z0-9]+)$")  # in a name, such as images_NHWC


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Check the arguments of `function` against its annotations whenever it is called.

    numpy's numbers are taken as Python's, and one string or path where a list of them belongs as a list of one.
    `function` then also raises UserError, naming the argument, for a value of a wrong type, a number that is not finite
    or has more than 64 bits, text that is very long or that no file can be called, an array whose dimensions are not
    those in its name, and for a file name that is too long.
    """
    signature = inspect.signature(function)
    hints = cache(lambda: get_type_hints(function))  # not before the module is whole

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            given = signature.bind(*args, **kwargs)
        except TypeError:
            return function(*args, **kwargs)  # Python says itself what is missing or too much
        for name, value in given.arguments.items():
            if name in hints():
                given.arguments[name] = _fit(name, value, hints()[name])
        try:
            return function(*given.args, **given.kwargs)
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            name = Path(os.fsdecode(error.filename or "")).name[:MOST_SHOWN]
            raise UserError(f"{name}... is too long a name for this file system: choose a shorter one.") from None

    return call


def _fit(name: str, value: Any, hint: Any) -> Any:
    """The value as one of the kinds in the annotation `hint`."""
    kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    value = value.item() if isinstance(value, np.generic) else value
    for kind in kinds:
        if get_origin(kind) is Sequence and (items := _items(name, value)) is not None:
            return tuple(_fit(f"{name}[{place}]", item, get_args(kind)[0]) for place, item in enumerate(items))
        if get_origin(kind) is Mapping and isinstance(value, Mapping):
            of_keys, of_values = get_args(kind)
            return {
                _fit(f"a key of {name}", key, of_keys): _fit(f"{name}[{brief(key)}]", item, of_values)
                for key, item in value.items()
            }
        if _is(value, kind):
            _check_limits(name, value, kinds)
            return value
    raise UserError(f"{name} is {brief(value)}; it must be {' or '.join(map(_words, kinds))}.")


def _items(name: str, value: Any) -> Iterator[Any] | None:
    """What is in a list, a single string or path being a list of one; `None` where `value` is no list."""
    if isinstance(value, bytes | Mapping):
        return None
    try:
        items = iter([value] if isinstance(value, str | Path) else value)
    except TypeError:
        return None

    def bounded() -> Iterator[Any]:
        for place, item in enumerate(items):
            if place == MOST_ITEMS:
                raise UserError(f"{name} has more items; it must be a list of at most {MOST_ITEMS:,}.")
            yield item

    return bounded()


def _is(value: Any, kind: Any) -> bool:
    origin = get_origin(kind) or kind
    if origin is Literal:
        return any(type(value) is type(choice) and value == choice for choice in get_args(kind))
    if origin is float:  # a comparison, for NaN is not below, and a whole number may be too large to be one
        return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
    if origin is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if origin is np.ndarray:
        return isinstance(value, np.ndarray) and np.issubdtype(value.dtype, _dtype(kind))
    if origin is Callable:
        return callable(value)
    return isinstance(value, origin) if isinstance(origin, type) and origin is not Sequence else origin is Any


def _check_limits(name: str, value: Any, kinds: Sequence[Any]) -> None:
    """Raise UserError where a value of the right type is none that could be used."""
    if isinstance(value, int) and float not in kinds and not -(1 << BITS - 1) <= value < 1 << BITS - 1:
        raise UserError(f"{name} is {brief(value)}; it must lie between -2**{BITS - 1} and 2**{BITS - 1} - 1.")
    if isinstance(value, str | Path):
        most = MOST_OF_LIST if any(get_origin(kind) is Sequence for kind in kinds) else MOST_CHARACTERS
        if len(text := str(value)) > most:
            raise UserError(f"{name} is {brief(text)}, {len(text):,} characters; it must be at most {most:,}.")
        if not _is_plain(text):
            raise UserError(f"{name} is {brief(text)}; it must be text without NUL that UTF-8 can encode.")
    if (shape := getattr(value, "shape", None)) is not None and (letters := SHAPE.search(name)):
        sizes = dict(zip(letters[1], shape, strict=False))
        if len(shape) != len(letters[1]) or sizes.get("C", 3) != 3 or 0 in (sizes.get("H"), sizes.get("W")):
            words = " x ".join(letters[1]).replace("C", "3")
            raise UserError(f"{name} has the shape {brief(tuple(shape))}; it must be {words}.")


def _is_plain(text: str) -> bool:
    """Whether the system takes it, as the name of a file or otherwise."""
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


def _words(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return " or ".join(map(repr, get_args(kind)))
    origin = get_origin(kind) or kind
    if origin is np.ndarray:
        return f"an array of {_dtype(kind).__name__}"
    return WORDS.get(origin) or f"a {getattr(origin, '__name__', origin)}"


def _dtype(kind: Any) -> Any:
    """The numbers of an `NDArray[...]`."""
    return get_args(get_args(kind)[1])[0]
