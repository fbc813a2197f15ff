"""What ends a command with one line (a user's mistake, a request to stop, a process that is lost), or ends its work."""


class UserError(Exception):
    """Something the user gave is wrong. The message is one line: what is wrong, where, and how to mend it.

    The command line prints the message without a traceback and leaves with exit status 2.
    """


class Interrupted(Exception):
    """A training was asked to stop and did, its state saved; the message is the command that goes on with it.

    The command line leaves with exit status 130.
    """


class ProcessLost(Exception):
    """Another process of this training has ended or does not answer. The message is one line: what, and how to go on.

    The command line prints the message without a traceback and leaves with exit status 1.
    """


class MachineError(Exception):
    """The machine failed: a full disk, not enough memory. The message is one line: what, what is kept, how to go on.

    The command line prints the message without a traceback and leaves with exit status 1.
    """


class Abandoned(Exception):
    """Work was given up, for one of the processes that share it was asked to stop."""
