"""The `limner` command, which is `python -m limner` too."""

import sys


def main() -> None:
    """Run the command line. Ctrl-C while it loads is answered as it is later."""
    try:
        from limner.cli import main as run
    except KeyboardInterrupt:
        sys.stderr.write("limner: Interrupted.\n")
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
