"""Recipes: what ships is valid and exact, and every mistake gets one line that names the key and the nearest one."""

from pathlib import Path

import pytest

from limner.core.errors import UserError
from limner.evaluation.protocol import load_protocol
from limner.recipes import recipe_headers, recipe_names, recipe_text
from limner.recipes.load import load_recipe
from limner.recipes.schema import Adam, Sgd
from limner.recipes.toml import read_toml, toml_value


@pytest.mark.parametrize("name", recipe_names())
def test_shipped_recipes_are_whole(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    path = tmp_path / "again.toml"
    path.write_text(recipe.to_toml())
    assert load_recipe(path) == recipe
    # A header says what to expect and how to get it.
    header = recipe_text(name).split("\nname =")[0]
    assert header.startswith("#")
    assert f"limner train {name}" in header or f"limner {name}" in header


def test_list_has_every_recipe() -> None:
    assert [header.name for header in recipe_headers()] == recipe_names()
    assert all(header.summary and header.follows for header in recipe_headers())


def test_reports_settings() -> None:
    """Report 002's rates and batch, its best pair, and 001's."""
    rates = {name: load_recipe(name).optimizer for name in ("dcgan", "dcgan-ttur", "dcgan32")}
    assert rates["dcgan"].generator == rates["dcgan"].discriminator == Adam(name="adam", lr=2e-4, beta1=0.5)
    assert (rates["dcgan-ttur"].generator.lr, rates["dcgan-ttur"].discriminator.lr) == (2e-4, 5e-5)
    assert rates["dcgan32"].generator == rates["dcgan32"].discriminator == Adam(name="adam", lr=2e-4, beta1=0.5)
    only = load_recipe("dcgan-ttur").differences(load_recipe("dcgan"))
    assert set(only) == {"name", "summary", "optimizer.discriminator.lr"}


def test_override_of_a_kind_brings_its_own_settings() -> None:
    recipe = load_recipe("dcgan", ["optimizer.discriminator.name=sgd", "optimizer.discriminator.lr=0.01"])
    assert recipe.optimizer.discriminator == Sgd(name="sgd", lr=0.01)
    assert isinstance(recipe.optimizer.generator, Adam)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("optimizer.generator.lrr=1", "optimizer.generator.lr?"),
        ("optimiser.generator.lr=1", "did you mean optimizer?"),
        ("lr=1", "did you mean optimizer.generator.lr or optimizer.discriminator.lr?"),
        ("optimizer.discriminator.momentum=0.9", "no setting optimizer.discriminator.momentum"),
        ("optimizer.discriminator.name=sgdd", "did you mean sgd?"),
        ("optimizer.generator.lr=-1", "optimizer.generator.lr = -1"),
        ("optimizer.generator.lr=nan", "optimizer.generator.lr = nan"),
        ("generator.network=styl", "choose from dcgan, dcgan32, "),
        ("generator.width=63", "generator.width = 63"),
        ("latent.distribution=gausian", "'gaussian', 'uniform' or 'spherical'"),
        ("data.size=65", "32, 64 or 128"),
        ("schedule.batch=many", "schedule.batch = 'many'"),
        ("schedule.batch.x=1", "batch is a setting, not a table"),
        ("schedule=1", "schedule = 1"),
        ("nonsense", "key=value"),
        ("=1", "key=value"),
    ],
)
def test_wrong_override(override: str, words: str) -> None:
    with pytest.raises(UserError) as caught:
        load_recipe("dcgan", [override])
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_setting_without_effect_after_a_change_of_kind() -> None:
    with pytest.raises(UserError, match=r"optimizer\.discriminator\.beta1.*there are name, lr, momentum"):
        load_recipe("dcgan", ["optimizer.discriminator.name=sgd", "optimizer.discriminator.beta1=0.1"])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"name = ", "not valid TOML"),
        (b"\xff\xfe\x00", "not a text file"),
        (b"name = 'x'", "is missing"),
        (b"#" * (2 << 20), "that is no recipe"),
    ],
)
def test_wrong_file(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=words) as caught:
        load_recipe(path)
    assert "\n" not in str(caught.value)


DEEP, LONG = "[" * 50_000, "1" + "0" * 5000


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ([f"generator.width={DEEP}"], "more than 20 tables or lists"),
        (["generator.width=" + "[1," * 30 + "]" * 30], "more than 20 tables or lists"),
        ([f"schedule.images={LONG}"], "whole number of more than 64 bits"),
        (["schedule.images=9223372036854775808"], "whole number of more than 64 bits"),
        ([f"optimizer.generator.lr={LONG}"], "whole number of more than 64 bits"),
        (["a." * 5000 + "b=1"], "no such setting"),
        (["optimizer." + "a." * 5000 + "b=1"], "no such setting"),
        (["generator." + "x" * 5000 + "=1"], "there is no setting generator.xxx"),
        (["generator.width=" + "x" * 5000], "generator.width = 'xxx"),
        (["generator.network=" + "x" * 5000], "generator.network = 'xxx"),
        (["a\nb=1"], "there is no setting a b"),
        (["optimizer.generator=3"], "optimizer.generator = 3"),
        (["optimizer.generator.name=sgd", "optimizer.generator=3"], "optimizer.generator = 3"),
        (["optimizer.generator.name=sgd", "optimizer=3"], "optimizer"),
        (["generator.network=dcgan", "generator=[]"], "generator"),
        (["objective.name=[1]"], "objective.name = [1]"),
    ],
)
def test_an_override_that_is_too_much_or_replaces_a_table_is_one_short_line(overrides: list[str], words: str) -> None:
    with pytest.raises(UserError) as caught:
        load_recipe("dcgan", overrides)
    message = str(caught.value)
    assert words in message
    assert message.isprintable()
    assert len(message) < 300


@pytest.mark.parametrize(
    "content",
    [
        f"name = {DEEP}",
        "a." * 5000 + "b = 1",
        f"[{'a.' * 5000}b]",
        f"name = {LONG}",
        f"[data]\nsizes = [[1], [{2**63}]]",
        "[[a]]\nb = " + "{a=" * 50 + "1" + "}" * 50,
    ],
    ids=["lists", "dotted keys", "tables", "5,001 digits", "64 bits", "inline tables"],
)
def test_toml_that_is_too_much_is_one_line_in_recipes_and_protocols(tmp_path: Path, content: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(content)
    for read in (load_recipe, load_protocol):
        with pytest.raises(UserError, match=r"mine\.toml is not valid TOML: (more than 20|a whole number)") as caught:
            read(path)
        assert len(str(caught.value).splitlines()) == 1


def test_the_deepest_and_the_largest_that_are_read() -> None:
    assert read_toml("a = " + "[" * 18 + "]" * 18)
    assert read_toml(f"a = {2**63 - 1}\nb = {-(2**63)}") == {"a": 2**63 - 1, "b": -(2**63)}
    assert toml_value("words") == "words"
    assert toml_value("true") is True


def test_wrong_name() -> None:
    with pytest.raises(UserError, match="did you mean dcgan-ttur"):
        load_recipe("dcgan-tur")
    with pytest.raises(UserError, match=r"mine\.toml cannot be read"):
        load_recipe("mine.toml")


def test_differences_name_the_key() -> None:
    ours, theirs = load_recipe("dcgan", ["schedule.batch=32"]), load_recipe("dcgan")
    assert ours.differences(theirs) == {"schedule.batch": (32, 64)}


def test_learning_rates_fall_linearly_over_the_last_part_of_the_run() -> None:
    schedule = load_recipe("dcgan32", ["schedule.decay=0.25"]).schedule
    assert [schedule.lr_factor(progress) for progress in (0, 0.5, 0.75, 0.875, 0.95, 1)] == pytest.approx(
        [1, 1, 1, 0.5, 0.2, 0]
    )
    steady = load_recipe("dcgan32").schedule
    assert {steady.lr_factor(progress) for progress in (0, 0.5, 1)} == {1}
