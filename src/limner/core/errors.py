"""What ends a command with one line (a user's mistake, a request to stop, a process that is lost), or ends its work."""

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
