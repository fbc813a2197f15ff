"""Protocols by name and from a file, and what results say where they depart from one."""

from pathlib import Path

import pytest

from limner.core.errors import UserError
from limner.evaluation.protocol import PROTOCOLS, check_seeds, departures, load_protocol

AS_REPORT004 = {"crop": "report004", "size": 64, "real": 20_000, "fake": 20_000, "extractor": "inception"}


def test_the_protocols_of_the_field() -> None:
    report, mimicry, quick = (load_protocol(name) for name in ("report004", "celeba178-50k", "quick"))
    assert (report.crop, report.size, report.split, report.real, report.fake) == (
        "report004",
        64,
        "test",
        20_000,
        None,
    )
    assert (mimicry.crop, mimicry.split, mimicry.real, mimicry.fake) == ("centre178", "all", 50_000, 50_000)
    assert (quick.extractor, quick.fake, quick.real, quick.crop) == ("lite0", 5_000, None, None)
    assert (quick.split, load_protocol("training").split) == ("test", "val")  # what chooses does not report
    assert report.extractor == mimicry.extractor == "inception"
    assert report.seeds >= 3
    assert all(name == protocol.name and protocol.summary for name, protocol in PROTOCOLS.items())


def test_a_protocol_of_one_s_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('name = "mine"\nreal = 1000\nfake = 2000\nextractor = "judge"\nseeds = 4\n')
    mine = load_protocol(file)
    assert (mine.name, mine.real, mine.fake, mine.extractor, mine.seeds) == ("mine", 1000, 2000, "judge", 4)
    assert load_protocol(str(file)) == mine


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('name = "mine"\nfakes = 5\n', ["fakes", "fake"]),
        ('name = "mine"\nreal = 0\n', ["real", "greater than or equal to 2"]),
        ('name = "report004"\n', ["report004", "another name"]),
        ('name = "mine"\ncrop = "report4"\n', ["crop", "report4", "report004"]),
        ('name = "mine"\nseeds = 2\n', ["seeds is 2", "at least 3"]),
        ("name = \n", ["not valid TOML"]),
        ("real = 5\n", ["name"]),
    ],
)
def test_a_mistake_in_a_protocol_is_named_in_one_line(tmp_path: Path, text: str, words: list[str]) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(UserError) as raised:
        load_protocol(file)
    message = str(raised.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


def test_a_protocol_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean report004"):
        load_protocol("report04")
    with pytest.raises(UserError, match="there are quick"):
        load_protocol("zzz")
    with pytest.raises(UserError, match="cannot be read"):
        load_protocol(tmp_path / "none.toml")


def test_nothing_is_said_where_the_protocol_is_kept() -> None:
    assert departures(PROTOCOLS["report004"], **AS_REPORT004) == []
    quick = {"crop": "square", "size": 32, "real": 77, "fake": 5_000, "extractor": "lite0"}
    assert departures(PROTOCOLS["quick"], **quick) == []


@pytest.mark.parametrize(
    ("fact", "value", "words"),
    [
        ("crop", "centre178", "the crop is centre178, not report004"),
        ("size", 32, "the size is 32, not 64"),
        ("real", 2_044, "real images is 2,044, not 20,000"),
        ("fake", 5_000, "generated images is 5,000, not 20,000"),
        ("extractor", "lite0", "the extractor is lite0, not inception"),
    ],
)
def test_every_departure_is_named(fact: str, value: str | int, words: str) -> None:
    found = departures(PROTOCOLS["report004"], **{**AS_REPORT004, fact: value})
    assert any(words in sentence and sentence.startswith("Departs from report004") for sentence in found), found


def test_a_spread_needs_three_seeds() -> None:
    check_seeds(1)
    check_seeds(3)
    for seeds in (0, 2, -1):
        with pytest.raises(UserError, match=f"seeds is {seeds}"):
            check_seeds(seeds)
