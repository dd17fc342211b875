"""The command line: one small file per command group, no logic."""

from stream_scorer.cli.main import main

__all__ = ["main"]
