"""A Protocol: everything that must be the same before two numbers may be compared.

Published distances on "CelebA 64 x 64" differ in the crop, in how many images of which split, and in the features; so
each protocol has a name, and its results say where they depart from it.
"""

import tomllib
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from limner.core.errors import UserError
from limner.preparation.crops import CROPS
from limner.recipes.toml import read_toml

MAX_BYTES = 1 << 16
MOST_SEEDS = 1000
MANY_SEEDS = 3  # a spread of fewer numbers says next to nothing


class Protocol(BaseModel):
    """How to measure. A user's own is a TOML file with these keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, max_length=64)
    summary: str = ""
    crop: str | None = None
    """Crop preset of the data set; `None`: any."""
    size: int | None = Field(default=None, ge=16)
    """Width and height of the images; `None`: any."""
    split: str = "test"
    """Split of the real images: `test` (reports), `val` (chooses), `heldout` (both), `train` or `all`."""
    real: int | None = Field(default=None, ge=2)
    """How many real images; `None`: the whole split."""
    fake: int | None = Field(default=None, ge=2)
    """How many generated images; `None`: as many as there are real ones."""
    extractor: Literal["inception", "lite0", "lite1", "judge"] = "lite0"
    seeds: int = Field(default=MANY_SEEDS, ge=1)
    """Sets of generated images; the value is their mean, the spread their standard deviation."""
    conditional: bool = True
    """Whether conditional models are also measured for each frequent attribute (seconds for each)."""
    copies_in_features: bool = True
    """Whether copies of training images are searched for in features too: all of these are compared, once for a data
    set (minutes on a CPU). In pixels copies are always searched for."""

    @property
    def heldout(self) -> str:
        """The split of images that are not for training: requested attributes come from it, and the distances that
        copies are told by."""
        return "test" if self.split in ("train", "all") else self.split


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            name="quick",
            summary="5,000 generated against all test images, one seed, features that need no download",
            fake=5_000,
            seeds=1,
            conditional=False,
        ),
        Protocol(
            name="training",
            summary="What a training measures as it goes: 2,000 generated against all images of val, one seed",
            split="val",
            fake=2_000,
            seeds=1,
            conditional=False,
            copies_in_features=False,
        ),
        Protocol(
            name="report004",
            summary="Report 004: its crop, 64 x 64, 20,000 test images and as many generated",
            crop="report004",
            size=64,
            real=20_000,
            extractor="inception",
        ),
        Protocol(
            # torch_mimicry: load_celeba_dataset reads the split "all", get_random_images draws 50,000 of it.
            name="celeba178-50k",
            summary="mimicry's: central 178 pixels, 64 x 64, 50,000 images of all splits and 50,000 generated",
            crop="centre178",
            size=64,
            split="all",
            real=50_000,
            fake=50_000,
            extractor="inception",
        ),
    )
}


def load_protocol(name_or_path: str | Path) -> Protocol:
    """A protocol by its name, or a user's own from a TOML file.

    Raises UserError for a name that is not there, and a file that cannot be read or is no protocol.
    """
    name = str(name_or_path)
    if name in PROTOCOLS:
        return PROTOCOLS[name]
    path = Path(name)
    if path.suffix != ".toml":
        near = get_close_matches(name, PROTOCOLS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(PROTOCOLS)}, or a TOML file of your own."
        raise UserError(f"There is no protocol called {name!r}; {hint}")
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"{path} is larger than {MAX_BYTES:,} bytes: that is no protocol.")
        protocol = Protocol.model_validate(read_toml(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise UserError(f"The protocol {path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise UserError(f"The protocol {path} is not a text file in UTF-8.") from None
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path} is not valid TOML: {error}.") from None
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(map(str, problem["loc"]))
        known = f"; there are {', '.join(Protocol.model_fields)}" if problem["type"] == "extra_forbidden" else ""
        raise UserError(f"In {path}, {key}: {problem['msg'].lower()}{known}.") from None
    if protocol.name in PROTOCOLS:
        raise UserError(f"{path} calls itself {protocol.name}, which is one of Limner's own: give it another name.")
    if protocol.crop not in (None, "none", *CROPS):
        raise UserError(f"In {path}, crop: there is no crop {protocol.crop!r}; there are none, {', '.join(CROPS)}.")
    check_seeds(protocol.seeds)
    return protocol


def check_seeds(seeds: int) -> None:
    """Refuse, as a UserError, a number of seeds that gives no spread worth the name."""
    if seeds != 1 and not MANY_SEEDS <= seeds <= MOST_SEEDS:
        raise UserError(
            f"seeds is {seeds}; give 1 (a value without a spread) or at least {MANY_SEEDS} (a value with its spread), "
            f"at most {MOST_SEEDS:,}."
        )


def departures(protocol: Protocol, *, crop: str, size: int, real: int, fake: int, extractor: str) -> list[str]:
    """Where an evaluation departs from the protocol whose name it bears, each in one sentence."""
    facts = (
        ("crop", crop, protocol.crop or crop),
        ("size", size, protocol.size or size),
        ("number of real images", real, protocol.real or real),
        ("number of generated images", fake, protocol.fake or real),
        ("extractor", extractor, protocol.extractor),
    )
    return [
        f"Departs from {protocol.name}: the {what} is {_plain(found)}, not {_plain(wanted)}."
        for what, found, wanted in facts
        if found != wanted
    ]


def _plain(value: str | int) -> str:
    return f"{value:,}" if isinstance(value, int) else value
