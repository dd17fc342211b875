"""Reports why a worker of pytest-xdist ended before its tests were over, and where.

Without it the report names only the test. Most causes are in compiled code: a library's assertion,
a use of freed memory, or a kernel that is out of memory.
"""

import faulthandler
import subprocess
import tempfile
from io import FileIO
from pathlib import Path
from typing import Any

import pytest

from stream_scorer.processes.restart_policy import cause_of

_FILE = "crash_file"
_END_SECONDS = 10.0
_LINES_MOST = 60
_HARNESS = ("/_pytest/", "/execnet/", "/pluggy/", "/xdist/")
"""Frames of these are left out."""
_CRASHED = "Current thread"


class CrashedWorkers:
    """The controller's part: gives each worker a file, and reports what a crash has left there."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="crashed-workers-")
        self._crashed: list[tuple[str, list[str]]] = []

    def pytest_configure_node(self, node: Any) -> None:
        node.workerinput[_FILE] = str(Path(self._folder.name) / node.gateway.id)

    def pytest_testnodedown(self, node: Any, error: object | None) -> None:
        # Not with the report of a test: a crash may come before the first one or after the last.
        if error is None:
            return
        try:
            # The only way to its exit code.
            end = cause_of(node.gateway._io.popen.wait(_END_SECONDS))
        except (AttributeError, subprocess.TimeoutExpired):
            end = "it still runs"
        try:
            text = Path(node.workerinput[_FILE]).read_text(errors="replace")
        except OSError as missing:
            text = str(missing)
        self._crashed.append((f"worker {node.gateway.id}: {end}", shortened(text)))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for title, lines in self._crashed:
            terminalreporter.section(title, sep="-")
            for line in lines:
                terminalreporter.write_line(line)

    def pytest_unconfigure(self) -> None:
        self._folder.cleanup()


class Worker:
    """A worker's part: if the process crashes, its threads' stacks go to the file."""

    def __init__(self, path: str) -> None:
        self._file = FileIO(path, "w")
        faulthandler.enable(self._file)

    def pytest_unconfigure(self) -> None:
        faulthandler.disable()
        self._file.close()


def shortened(text: str) -> list[str]:
    """Return the stacks without the frames of the harness, first of the thread that crashed."""
    lines = [line for line in text.splitlines() if not any(name in line for name in _HARNESS)]
    crashed = next((n for n, line in enumerate(lines) if line.startswith(_CRASHED)), 0)
    lines = [*lines[crashed:], *lines[:crashed]]
    left = len(lines) - _LINES_MOST
    return lines[:_LINES_MOST] + ([f"{left} further lines"] if left > 0 else [])


def register(config: pytest.Config) -> None:
    """Register the part that this process has; nothing without pytest-xdist."""
    if path := getattr(config, "workerinput", {}).get(_FILE):
        config.pluginmanager.register(Worker(path))
    elif config.pluginmanager.hasplugin("dsession"):
        config.pluginmanager.register(CrashedWorkers())
