"""The command `perfkit`, also as `python -m perfkit`: Ctrl-C is obeyed while it is still loading."""

from __future__ import annotations

import sys

INTERRUPTED = 130  # as perfkit.cli.app has it, which may not be there yet


def main() -> None:
    """Run the command line; see `perfkit.cli.app`."""
    try:
        from perfkit.cli import app

        app.main(prog_name="perfkit")
    except KeyboardInterrupt:
        sys.stderr.write("perfkit: interrupted before anything was begun\n")
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
