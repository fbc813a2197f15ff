"""What public functions are given: every wrong value is one line that names the argument, and nothing is done."""

import importlib
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import repeat
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Protocol, Union, get_args, get_origin, get_type_hints

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from stand_ins import make_result

import limner
from limner.core.arguments import MOST_ITEMS, checked
from limner.core.errors import UserError, brief
from limner.data.packed import PackedFaces
from limner.explore.attribute_directions import Directions, DirectionsConfig
from limner.explore.points import Points, sampled_points
from limner.explore.stored import store
from limner.features.extractor import Extractor
from limner.images.marks import Mark
from limner.judge.judge import Judge, load_judge
from limner.model.model import Model
from limner.model.sample import sample
from limner.runs.run import Run

SOURCE = Path(limner.__file__).parent
ROOT = SOURCE.parents[1]
NAN, INF = float("nan"), float("inf")
LONGEST = 300  # characters of a message

Table = dict[str, Callable[..., Any]]


# --- what is public --------------------------------------------------------------------------------------------------


def classes_of(hint: Any) -> set[type]:
    """The classes of Limner's in an annotation."""
    own = {hint} if isinstance(hint, type) and hint.__module__.startswith("limner.") else set()
    return own.union(*map(classes_of, get_args(hint)))


def methods_of(kind: type) -> Table:
    """The public methods that a class of Limner's, or one above it, defines."""
    names = {name for base in kind.__mro__ if base.__module__.startswith("limner.") for name in vars(base)}
    found = {f"{kind.__name__}.{name}": getattr(kind, name) for name in names if not name.startswith("_")}
    return {title: one for title, one in found.items() if inspect.isfunction(one) or inspect.ismethod(one)}


def with_methods(functions: Table) -> Table:
    """Functions, and the methods of all classes in their annotations, and of those in theirs; sorted by name."""
    found, left, seen = dict(functions), [*functions.values()], set()
    while left:
        hints = get_type_hints(left.pop())
        for kind in set().union(*map(classes_of, hints.values())) - seen:
            seen.add(kind)
            methods = {} if getattr(kind, "_is_protocol", False) else methods_of(kind)
            found |= methods
            left += methods.values()
    return dict(sorted(found.items()))


def documented() -> Table:
    """What the pages import by its name."""
    text = "\n".join(page.read_text() for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))])
    lines = re.findall(r"from (limner\S*) import (\w+)", text)
    return {name: getattr(importlib.import_module(module), name) for module, name in lines}


def decorated() -> Table:
    """Every function in the source that is checked, so also those that only the commands call."""
    found = {}
    for file in SOURCE.rglob("*.py"):
        if names := re.findall(r"^@checked\n(?:@.*\n)?def (\w+)", file.read_text(), re.MULTILINE):
            module = importlib.import_module(".".join(file.relative_to(SOURCE.parent).with_suffix("").parts))
            found |= {name: getattr(module, name) for name in names}
    return found


PUBLIC = with_methods(
    {name: getattr(limner, name) for name in limner.__all__}
    | {name: getattr(limner.explore, name) for name in limner.explore.__all__}
    | documented()
    | decorated()
)
PARAMETERS = {title: dict(inspect.signature(one).parameters) for title, one in PUBLIC.items()}
ARGUMENTS = [(title, name) for title, names in PARAMETERS.items() for name in names if name != "self"]


def is_checked(function: Callable[..., Any]) -> bool:
    return getattr(function, "__code__", None) is not None and function.__code__.co_qualname == "checked.<locals>.call"


def test_every_public_callable_is_checked() -> None:
    without = {title for title, one in PUBLIC.items() if {*PARAMETERS[title]} - {"self"} and not is_checked(one)}
    assert without == set()
    for expected in (*limner.__all__, *limner.explore.__all__, "load_judge", "serve", "recreate", "Judge.decide"):
        assert expected in PUBLIC
    for expected in ("Model.sample", "Model.batches", "Run.open", "PackedFaces.read", "Directions.move"):
        assert expected in PUBLIC


# --- what is right and what is wrong ----------------------------------------------------------------------------------


class Things:
    """Something right for every argument, cheap to have."""

    def __init__(self, folder: Path, model_folder: Path, faces: PackedFaces) -> None:
        self.folder, self.model_folder, self.faces = folder, model_folder, faces
        self.model = Model.load(model_folder)
        self.judge = load_judge()
        self.result = make_result("fd_lite0", [1.0])
        self.points = sampled_points(self.model, 2, 0)
        directions = folder / "directions"
        directions.mkdir()
        facts = {"names": ("Smiling",), "samples": 256, "seed": 0, "log_odds": (1.0,), "judge_sha256": ""}
        store(directions, DirectionsConfig, self.model, self.points[[0]], **facts)
        self.directions = Directions.load(directions, self.model)
        self.image = sample(model_folder, folder / "image.png", count=1, quiet=True)
        tiny = ["generator.width=64", "discriminator.width=8", "schedule.batch=8", "record.evaluate_images=0"]
        quick = ["record.grid=4", "engine.precision=fp32"]
        self.run = limner.train(
            "dcgan32", faces, folder / "run", images=8, overrides=tiny + quick, device="cpu", quiet=True
        )

    def value(self, title: str, name: str, out: Path) -> Any:
        """What is right for an argument that has no default, or must have another one to be reached."""
        special: dict[str, Any] = {
            "compare.models": [self.model_folder, self.run.path],
            "compare.out": out / "page.html",
            "export.out": out / "model.onnx",
            "interpolate.faces": "0:0,0:1",
            "load.path": self.model_folder,
            "Model.load.path": self.model_folder,
            "PackedFaces.open.path": self.faces.path,
            "Run.open.path": self.run.path,
            "load_projected.path": self.folder / "directions",
            "Directions.load.path": self.folder / "directions",
            "resume.data": self.faces,
            "sample.model": self.model_folder,
            "export.model": self.model_folder,
            "interpolate.out": out / "walk.png",
            "train.images": None,
            "recreate.out": out / "again.png",
            "Mark.now.model": "dcgan",
            "PackedFaces.read.rows": np.arange(2),
            "Judge.decide_by.features_ND": np.zeros((1, self.judge.backbone.dimension), np.float32),
            "Judge.logits.features_ND": np.zeros((1, self.judge.backbone.dimension), np.float32),
        }
        usual: dict[str, Any] = {
            "by": "smiling=1",
            "count": 2,
            "data": self.faces,
            "directions": self.folder / "directions",
            "expression": "smiling - male",
            "extractor": self.judge,
            "file": self.image,
            "image": self.image,
            "images": self.image,
            "images_NHWC": np.zeros((1, 32, 32, 3), np.uint8),
            "model": self.model,
            "out": out / "out.png",
            "other": self.result,
            "parts": [self.points],
            "points": self.points,
            "recipe": "dcgan32",
            "run": self.run.path,
            "source": "synthetic:4",
            "split": "train",
            "strengths": {"smiling": 1.0},
            "to": "onnx",
            "vary": ["optimizer.generator.lr=1e-4,2e-4"],
            "weights_sha256": "0" * 64,
            "y_BA": torch.zeros(2, 0),
            "z_BZ": torch.zeros(2, self.model.config.latent_size),
        }
        return special[f"{title}.{name}"] if f"{title}.{name}" in special else usual[name]

    def owner(self, title: str) -> list[Any]:
        """The object whose method this is."""
        owners = (self.model, self.faces, self.directions, self.judge, self.result, self.result.conditions())
        of = {type(one).__name__: one for one in owners}
        return [of[title.partition(".")[0]]] if "self" in PARAMETERS[title] else []

    def arguments(self, title: str, out: Path) -> dict[str, Any]:
        """Right values for everything that has no default."""
        also = {"resume": ["data"], "edit": ["face"]}.get(title, [])
        return {
            name: "0:0" if name == "face" else self.value(title, name, out)
            for name, one in PARAMETERS[title].items()
            if name != "self" and (one.default is one.empty or name in also)
        }


@pytest.fixture(scope="module")
def things(
    tmp_path_factory: pytest.TempPathFactory, model_folder: Path, pack_faces: Callable[..., PackedFaces]
) -> Things:
    images_NHWC = np.random.default_rng(0).integers(0, 256, (100, 32, 32, 3), np.uint8)
    faces = pack_faces(images_NHWC, ["train"] * 80 + ["val"] * 10 + ["test"] * 10)
    return Things(tmp_path_factory.mktemp("things"), model_folder, faces)


# Each value with the kinds of annotation that it fits; where none of an argument's kinds is among them, it is wrong.
VALUES: list[tuple[Any, set[Any]]] = [
    (None, {NoneType}),
    (True, {bool}),
    (1, {int, float}),
    (2.5, {float}),
    (2**63, {float}),
    (10**400, set()),
    (-(10**5000), set()),
    (NAN, set()),
    (INF, set()),
    (-INF, set()),
    (np.float32("nan"), set()),
    (np.float64(2.5), {float}),
    (1j, set()),
    ("3", {str, Sequence}),
    ("a\0b", set()),
    ("\ud800", set()),
    ("x" * 100_000, set()),
    ("x\n" * 100_000, set()),
    (Path("a\0b"), set()),
    (b"here", set()),
    ([], {Sequence}),
    ([1], set()),
    (["a", None], set()),
    (["a\0b"], set()),
    ([["a"]], set()),
    ([10**5000], set()),
    (repeat("a"), set()),
    ({"a": 1}, {Mapping}),
    ({"a": "b"}, set()),
    ({"a": NAN}, set()),
    ({1: 1}, set()),
    (np.array([1, 2]), {np.ndarray}),
    (np.array(1), set()),
    (np.array("auto"), set()),
    (np.zeros(10**6), set()),
    (torch.tensor(1), set()),
    (torch.zeros(2), set()),
    (object(), set()),
    (int, set()),
    (len, set()),
]
ARRAYS = [
    np.zeros((2, 2)),
    np.zeros((2, 2), object),
    np.zeros((2, 2), bool),
    np.array(1, np.uint8),
    np.zeros((1, 1, 1, 1, 1), np.float32),
    np.zeros((1, 8, 8, 1), np.uint8),
    np.zeros((1, 0, 8, 3), np.uint8),
    np.zeros((3, 7), np.uint8),
    np.zeros((3, 7), np.float32),
    np.array([10**6]),
    np.array([-1000]),
]
ZERO_FITS = {"seed", "first", "heldout", "truncation", "variation"}
LARGE_FITS = {"seed", "first", "grace", "heldout"}  # the last is compared with the images, which are counted first
EMPTY_FITS = {"overrides", "with_", "without", "attributes", "data"}


def kinds_of(hint: Any) -> list[Any]:
    kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    return [get_origin(kind) or kind for kind in kinds]


def wrong_values(title: str, name: str) -> Iterator[Any]:
    """What does not fit an argument: by its type, or because it is out of range."""
    kinds = kinds_of(get_type_hints(PUBLIC[title])[name])
    yield from (value for value, fits in VALUES if not fits.intersection(kinds))
    if {int, float}.intersection(kinds):
        yield from [-1] if name in ZERO_FITS else [-1, 0]
    if int in kinds and name not in LARGE_FITS:
        yield 2**62
    if Sequence in kinds and name not in EMPTY_FITS:
        yield []
    if np.ndarray in kinds:
        yield from ARRAYS
    if torch.Tensor in kinds:
        yield from [torch.zeros(2, 3, 4), torch.zeros(2, 3), torch.zeros(3, 0), torch.zeros(3, 100)]
    if Literal in kinds or name == "precision":
        yield from ["fp8", "AUTO", ""]


def refused(function: Callable[..., Any], arguments: Mapping[str, Any], name: str, value: Any) -> str:
    """The message with which a function refuses one wrong value among right ones."""
    try:
        function(**{**arguments, name: value})
    except UserError as error:
        message = str(error)
    else:
        pytest.fail(f"{name} = {brief(value)} is taken")
    assert len(message.splitlines()) == 1
    assert message.isprintable()
    assert len(message) < LONGEST
    return message


@pytest.mark.parametrize(("title", "name"), [(title, name) for title, name in ARGUMENTS if is_checked(PUBLIC[title])])
def test_a_wrong_value_is_one_line_and_nothing_is_done(
    title: str, name: str, things: Things, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("uvicorn.Server.run", lambda server: pytest.fail("it serves"))
    arguments = things.arguments(title, tmp_path)

    def called(**given: Any) -> Any:
        return PUBLIC[title](*things.owner(title), **given)

    for value in wrong_values(title, name):
        message = refused(called, arguments, name, value)
        if not isinstance(value, list) or value:
            assert re.search(rf"\b{name}\b", message), message
    assert list(tmp_path.iterdir()) == []


def test_a_function_that_does_not_check_is_found() -> None:
    def unchecked(count: int) -> None:
        pass

    def deep(count: int) -> float:
        return count / 0

    with pytest.raises(pytest.fail.Exception, match="count = 'x' is taken"):
        refused(unchecked, {}, "count", "x")
    with pytest.raises(ZeroDivisionError):
        refused(deep, {}, "count", 1)
    assert not is_checked(unchecked)
    assert is_checked(checked(unchecked))


# --- the check itself -------------------------------------------------------------------------------------------------


def test_what_fits_is_taken() -> None:
    @checked
    def told(
        count: int | None = None,
        share: float = 0.0,
        on: bool = False,
        words: str | Sequence[str] = (),
        path: Path = Path(),
        choice: Literal["a", 1] = "a",
        strengths: Mapping[str, float] = {},
        x_NA: NDArray[np.uint8] | None = None,
    ) -> tuple[Any, ...]:
        return count, share, on, words, path, choice, strengths, x_NA

    x_NA = np.zeros((2, 0), np.uint8)
    given = told(np.int64(3), np.float32(0.5), np.bool_(True), ["a", np.str_("b")], Path("here"), 1, {"a": 2}, x_NA)
    assert given[:-1] == (3, 0.5, True, ("a", "b"), Path("here"), 1, {"a": 2})
    assert given[-1] is x_NA
    assert [type(value) for value in given[:3]] == [int, float, bool]
    assert told(words="a,b")[3] == "a,b"
    assert told(2, 1)[:2] == (2, 1)
    assert told(2**63 - 1, 10**300)[:2] == (2**63 - 1, 10**300)
    assert told(-(2**63))[0] == -(2**63)
    assert len(told(words=["a"] * MOST_ITEMS)[3]) == MOST_ITEMS
    with pytest.raises(UserError, match="choice is True"):
        told(choice=True)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="unexpected keyword argument 'cuont'"):
        told(cuont=3)  # type: ignore[call-arg]


def test_what_looks_like_another_class_fits_where_that_is_a_protocol() -> None:
    class Looks:
        name, dimension, weights_sha256, resize = "", 1, "", ""

        def features(self, images_NHWC: NDArray[np.uint8]) -> NDArray[np.float32]:
            return np.zeros((len(images_NHWC), 1), np.float32)

    @checked
    def told(extractor: str | Extractor) -> object:
        return extractor

    assert isinstance(told(Looks()), Looks)
    assert issubclass(Extractor, Protocol)  # type: ignore[arg-type]


def test_a_value_in_a_message_is_short_whatever_it_is() -> None:
    class Broken:
        def __repr__(self) -> str:
            raise ValueError

    nested: list[Any] = []
    for _ in range(sys.getrecursionlimit() * 2):
        nested = [nested]
    for value in (Broken(), nested, 10**10_000, [10**10_000], "\n\x1b[31m" * 9999, b"\0" * 10**6, np.zeros(10**6)):
        assert len(brief(value)) <= 63
        assert brief(value).isprintable()
    assert brief("a") == "'a'"
    assert brief(12) == "12"


def test_one_string_is_a_list_of_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no setting a, or it has no effect here"):
        limner.train("dcgan", None, tmp_path / "run", overrides="a=1")
    with pytest.raises(UserError, match="at least two"):
        limner.compare("faces", "nowhere", tmp_path / "page.html")


def test_numbers_out_of_range(model_folder: Path) -> None:
    model = limner.load(model_folder)
    for options, words in (({"count": 0}, "count is 0"), ({"seed": -1}, "seed is -1"), ({"first": -1}, "first is -1")):
        for function in (model.sample, model.labels, model.batches):
            with pytest.raises(UserError, match=words):
                function(**{"count": 2, **options})
    with pytest.raises(UserError, match=r"truncation is 2\.5"):
        model.batches(1, truncation=2.5)
    with pytest.raises(UserError, match=r"labels_NA has the shape \(1, 40\); it must be \(2, 0\)"):
        model.batches(2, labels_NA=np.zeros((1, 40), np.uint8))


def test_a_device_that_is_not_there(model_folder: Path) -> None:
    with pytest.raises(UserError, match="choose from auto, cpu, cuda, mps"):
        limner.load(model_folder, device="gpu")
    assert limner.load(model_folder, device="auto").device.type in ("cpu", "cuda", "mps")


def test_classes_of_the_table_are_those_that_users_hold() -> None:
    owners = {title.partition(".")[0] for title in PUBLIC if "." in title}
    assert {kind.__name__ for kind in (Model, PackedFaces, Run, Judge, Directions, Points, Mark)} <= owners
