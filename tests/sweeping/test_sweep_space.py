"""What can be varied, and how a mistake in saying so is answered."""

import pytest

from limner.core.errors import UserError
from limner.recipes.load import load_recipe
from limner.sweeping.space import Choice, Range, as_overrides, grid, read_space

RATE = "optimizer.generator.lr"


@pytest.mark.parametrize(
    ("text", "axis"),
    [
        (f"{RATE}=1e-5..1e-3,log", Range(RATE, 1e-5, 1e-3, True)),
        (f"{RATE} = 1e-5..1e-3", Range(RATE, 1e-5, 1e-3, False)),
        ("schedule.decay=0..1", Range("schedule.decay", 0.0, 1.0, False)),
        ("discriminator.width=16..64,log", Range("discriminator.width", 16, 64, True)),
        (f"{RATE}=1e-4,2e-4", Choice(RATE, (1e-4, 2e-4))),
        ("schedule.batch=32,64", Choice("schedule.batch", (32, 64))),
        ("data.flip=true,false", Choice("data.flip", (True, False))),
        ("objective.name=minimax,hinge", Choice("objective.name", ("minimax", "hinge"))),
        ("augment.colour=0.0..1.0", Range("augment.colour", 0.0, 1.0, False)),
    ],
)
def test_forms(text: str, axis: Range | Choice) -> None:
    (found,) = read_space([text], "dcgan", [])
    assert found == axis
    assert [type(value) for value in found.probes] == [type(value) for value in axis.probes]


def test_a_range_of_a_real_setting_is_real_even_where_it_is_written_in_whole_numbers() -> None:
    (axis,) = read_space(["optimizer.generator.beta1=0..0.9"], "dcgan", [])
    assert isinstance(axis, Range)
    assert type(axis.low) is float


@pytest.mark.parametrize(
    ("vary", "words"),
    [
        ([], "--vary is missing"),
        ([RATE], "not of the form"),
        ([f"{RATE}="], "not of the form"),
        (["=1,2"], "not of the form"),
        ([f"{RATE}=1e-4"], "at least two values"),
        ([f"{RATE}=1e-4,1e-4"], "each once"),
        ([f"{RATE}=1e-3..1e-4"], "LOW must be below HIGH"),
        ([f"{RATE}=0..1e-4,log"], "above 0 with log"),
        ([f"{RATE}=a..b"], "two numbers"),
        ([f"{RATE}=1..2..3"], "two numbers"),
        ([f"{RATE}=1e-4..inf"], "two numbers"),
        ([f"{RATE}=1e-4..1e-3,linear"], "not of the form"),
        ([f"{RATE}=1,2", f"{RATE}=3,4"], "given twice"),
        (["data.flip=true,false"], "in --set and in --vary"),
        (["optimizer.generator.lrr=1,2"], "did you mean"),
        ([f"{RATE}=[1],[2]"], "give numbers and words"),
        ([f"{RATE}={'[' * 5000},1"], "more than 20 tables or lists"),
        ([f"{RATE}=1,1{'0' * 5000}"], "more than 64 bits"),
        ([f"{RATE}=1..1{'0' * 400}"], "two numbers"),
        ([f"{RATE}=1..1{'0' * 5000}"], "two numbers"),
        ([f"{RATE}={'[' * 5000}..1"], "two numbers"),
        ([f"{RATE}=-1.0,1.0"], "greater than 0"),
        (["optimizer.generator.beta1=0.5..1.5"], "less than 1"),
    ],
)
def test_mistakes(vary: list[str], words: str) -> None:
    with pytest.raises(UserError, match=words) as error:
        read_space(vary, "dcgan", ["data.flip=false"])
    assert "\n" not in str(error.value)


def test_grid_has_every_combination_in_order() -> None:
    axes = read_space(["schedule.batch=32,64", "data.flip=true,false"], "dcgan", [])
    assert [tuple(point.values()) for point in grid(axes)] == [(32, True), (32, False), (64, True), (64, False)]
    with pytest.raises(UserError, match="say how many --trials"):
        grid(read_space([f"{RATE}=1e-5..1e-3"], "dcgan", []))


def test_overrides_give_the_values_back() -> None:
    point = {RATE: 3.0000000000000004e-05, "schedule.batch": 32, "data.flip": False, "objective.name": "hinge"}
    recipe = load_recipe("dcgan", as_overrides(point))
    assert recipe.optimizer.generator.lr == point[RATE]
    assert (recipe.schedule.batch, recipe.data.flip, recipe.objective.name) == (32, False, "hinge")
