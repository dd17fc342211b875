"""A plugin that says how much of each part that decides the tests run, lines and branches.

It runs after pytest-cov (``make test COVERAGE=1``) and before pytest's closing line. What a test's
child process runs does not count.
"""

import io
from contextlib import suppress
from typing import Any

from coverage import Coverage
from coverage.exceptions import NoDataError

PARTS = ("core", "codec", "kafka", "state", "rollout")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print a line for each part of which something ran."""
    measured = Coverage()
    measured.load()
    for part in PARTS:
        with suppress(NoDataError):
            share = measured.report(include=[f"stream_scorer/{part}/*"], file=io.StringIO())
            terminalreporter.write_line(f"covered of stream_scorer/{part}: {share:.0f} %")
