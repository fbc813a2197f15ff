"""The `limner` command, which is `python -m limner` too."""

import sys


def main() -> None:
    """Run the command line, and end its process. Ctrl-C while it loads is answered as it is later."""
    try:
        from limner.cli import main as run
    except KeyboardInterrupt:
        sys.stderr.write("limner: Interrupted.\n")
        sys.exit(130)
    from limner.core.signals import end_interrupted

    try:
        run(process_ends=True)
    except SystemExit as end:
        if end.code == 130:
            end_interrupted()
        raise


if __name__ == "__main__":
    main()
