"""What ends a command with one line (a user's mistake, a request to stop, a process that is lost), or ends its work."""

from reprlib import Repr
from typing import Any

MOST_SHOWN = 60  # characters of a wrong value in a message
MOST, END = 2000, 400  # characters of a message, and of its end where the middle is left out


def printable(text: str) -> str:
    """The text in one line, as a terminal may show it: what cannot be printed is escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


class _OneLineError(Exception):
    """Its message is one line, whatever was quoted in it."""

    def __init__(self, message: str) -> None:
        line = printable(message)
        super().__init__(line if len(line) <= MOST else f"{line[: MOST - END]} ... {line[-END:]}")


class UserError(_OneLineError):
    """Something the user gave is wrong. The message is one line: what is wrong, where, and how to mend it.

    The command line prints the message without a traceback and leaves with exit status 2.
    """


class Interrupted(Exception):
    """A training was asked to stop and did, its state saved; the message is the command that goes on with it.

    The command line leaves with exit status 130.
    """


class ProcessLost(_OneLineError):
    """Another process of this training has ended or does not answer. The message is one line: what, and how to go on.

    The command line prints the message without a traceback and leaves with exit status 1.
    """


class MachineError(_OneLineError):
    """The machine failed: a full disk, not enough memory. The message is one line: what, what is kept, how to go on.

    The command line prints the message without a traceback and leaves with exit status 1.
    """


class Abandoned(Exception):
    """Work was given up, for one of the processes that share it was asked to stop."""


class _Brief(Repr):
    repr_bytes = Repr.repr_str

    def repr_int(self, x: int, level: int) -> str:
        # Python refuses to write out one of more than 4,300 digits, and nobody wants to read one of 100.
        return super().repr_int(x, level) if x.bit_length() < 1000 else f"a whole number of {x.bit_length():,} bits"


def brief(value: Any) -> str:
    """A wrong value as it may stand in a message: its `repr` in one line, cut short, whatever it is."""
    short = _Brief()
    short.maxstring = short.maxother = short.maxlong = MOST_SHOWN
    return one_line(short.repr(value))


def one_line(text: str, most: int = MOST_SHOWN) -> str:
    """A name that somebody else chose as it may stand in a message: without line breaks and the like, cut short."""
    text = "".join(sign if sign.isprintable() else " " for sign in text[: 2 * most])
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[:most]}..."
