"""What public functions are given: wrong types and numbers that are none are one line, from every function alike."""

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np
import pytest

import limner
from limner import bench, demo
from limner.core.arguments import checked
from limner.core.errors import UserError
from limner.judge.train import train_judge
from limner.model import sample as sampling
from limner.model.model import Model

FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{name: getattr(limner, name) for name in limner.__all__},
    **{f"explore.{name}": getattr(limner.explore, name) for name in limner.explore.__all__},
    "sampling.sample": sampling.sample,
    "sampling.recreate": sampling.recreate,
    "Model.load": Model.load,
    "Model.sample": Model.sample,
    "Model.labels": Model.labels,
    "Model.batches": Model.batches,
    "demo": demo.demo,
    "bench": bench.bench,
    "train_judge": train_judge,
}
NAN, INF = float("nan"), float("inf")
WRONG: dict[Any, list[Any]] = {
    int: [2.5, "3", True, NAN, np.float64(2.5), [1], np.array([1, 2])],
    float: ["1", NAN, INF, -INF, True, np.float32("nan"), [0.5], 1j],
    bool: ["yes", 1, 0.0, []],
    str: [3, b"cpu", ["cpu"]],
    Path: [3, 1.5, b"here", ["here"]],
    Sequence: [3, True, [3], ["a", None], b"a", {"a": 1}],
    Literal: ["fp8", 16],
}


def wrong_values(hint: Any) -> list[Any]:
    """Values that fit none of the kinds in an annotation; none where it has no plain kind."""
    kinds = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    kinds = [get_origin(kind) or kind for kind in kinds]
    plain = [kind for kind in kinds if kind in WRONG]
    values = WRONG[Sequence if Sequence in plain else plain[-1]] if plain else []
    return values if type(None) in kinds or not plain else [*values, None]


def wrong_arguments() -> list[Any]:
    return [
        pytest.param(title, name, values, id=f"{title}-{name}")
        for title, function in FUNCTIONS.items()
        for name, hint in get_type_hints(function).items()
        if name != "return" and (values := wrong_values(hint))
    ]


@pytest.mark.parametrize(("title", "name", "values"), wrong_arguments())
def test_a_wrong_type_is_one_line_that_names_the_argument(title: str, name: str, values: list[Any]) -> None:
    function = FUNCTIONS[title]
    parameters = inspect.signature(function).parameters.values()
    # What has no default gets a value that fits its type, and would fail only later.
    fitting: dict[str, Any] = {"count": 1, "to": "onnx"}
    needed = {p.name: fitting.get(p.name, "nowhere") for p in parameters if p.default is p.empty}
    if "self" in needed:
        needed["self"] = limner.load("faces")  # type: ignore[assignment]
    for value in values:
        with pytest.raises(UserError, match=rf"^{name}(\[\d\])? is .*; it must be .*\.$"):
            function(**{**needed, name: value})


def test_every_argument_with_a_plain_type_is_among_them() -> None:
    walked = {(title, name) for title, name, _ in (one.values for one in wrong_arguments())}
    for argument in ("count", "seed", "first", "truncation", "with_", "without", "precision"):
        assert ("Model.sample", argument) in walked
    for title, argument in (
        ("compare", "models"),
        ("train", "overrides"),
        ("resume", "minutes"),
        ("evaluate", "seeds"),
        ("prepare", "keep"),
        ("load", "device"),
    ):
        assert (title, argument) in walked


def test_what_fits_is_taken() -> None:
    @checked
    def told(
        count: int | None = None,
        share: float = 0.0,
        on: bool = False,
        words: str | Sequence[str] = (),
        path: Path = Path(),
    ) -> tuple[Any, ...]:
        return count, share, on, words, path

    given = told(np.int64(3), np.float32(0.5), np.bool_(True), ["a", np.str_("b")], Path("here"))
    assert given == (3, 0.5, True, ("a", "b"), Path("here"))
    assert [type(value) for value in given[:3]] == [int, float, bool]
    assert told(words="a,b")[3] == "a,b"
    assert told(2, 1)[:2] == (2, 1)
    with pytest.raises(TypeError, match="unexpected keyword argument 'cuont'"):
        told(cuont=3)  # type: ignore[call-arg]


def test_one_string_is_a_list_of_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no setting a, or it has no effect here"):
        limner.train("dcgan", None, tmp_path / "run", overrides="a=1")
    with pytest.raises(UserError, match="at least two"):
        limner.compare("faces", "nowhere", tmp_path / "page.html")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"count": 0}, "count is 0"),
        ({"count": -1}, "count is -1"),
        ({"seed": -1}, "seed is -1"),
        ({"first": -1}, "first is -1"),
    ],
)
def test_numbers_out_of_range(options: dict[str, int], words: str) -> None:
    model = limner.load("faces")
    for function in (model.sample, model.labels, model.batches):
        with pytest.raises(UserError, match=words):
            function(**{"count": 2, **options})
    with pytest.raises(UserError, match=r"truncation is 2\.5"):
        model.batches(1, truncation=2.5)
    with pytest.raises(UserError, match=r"labels_NA has the shape \(1, 40\); it must be \(2, 40\)"):
        model.batches(2, labels_NA=np.zeros((1, 40), np.uint8))


def test_a_device_that_is_not_there() -> None:
    with pytest.raises(UserError, match="choose from auto, cpu, cuda, mps"):
        limner.load("faces", device="gpu")
    assert limner.load("faces", device="auto").device.type in ("cpu", "cuda", "mps")
