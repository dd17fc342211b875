"""The command line: one small file per command group, no logic."""

import sys

__all__ = ["main"]

_INTERRUPTED = 130


def main() -> None:
    """Run the command line; an interrupt, even while it loads, shows no stack trace."""
    try:
        from stream_scorer.cli.main import main as run  # noqa: PLC0415 loading takes a second

        run()
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
