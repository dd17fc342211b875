"""Says why a worker of pytest-xdist ended in the middle of a test, and where.

Without it the report names only the test. Most causes are in compiled code: a library's assertion,
memory that was freed, or the kernel without memory.
"""

import faulthandler
import signal
import subprocess
import tempfile
from io import FileIO
from pathlib import Path
from typing import Any

import pytest

_FILE = "crash_file"
_END_SECONDS = 10.0
_LINES_MOST = 100
_HARNESS = ("/_pytest/", "/execnet/", "/pluggy/", "/xdist/")
"""Frames of these are left out."""


class CrashedWorkers:
    """The controller's part: gives each worker a file, and adds it to the report of a crash."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="crashed-workers-")

    def pytest_configure_node(self, node: Any) -> None:
        node.workerinput[_FILE] = str(self._file(node))

    def pytest_handlecrashitem(self, report: pytest.TestReport) -> None:
        node = report.node
        try:
            # The only way to its exit code.
            end = end_of(node.gateway._io.popen.wait(_END_SECONDS))
        except subprocess.TimeoutExpired:
            end = "it still runs, without an answer"
        lines = [
            line
            for line in self._file(node).read_text(errors="replace").splitlines()
            if not any(name in line for name in _HARNESS)
        ]
        report.longrepr = "\n".join([f"{report.longrepr}: {end}", *lines[:_LINES_MOST]])

    def pytest_unconfigure(self) -> None:
        self._folder.cleanup()

    def _file(self, node: Any) -> Path:
        return Path(self._folder.name) / node.gateway.id


class Worker:
    """A worker's part: if the process crashes, its threads' stacks go to the file."""

    def __init__(self, path: str) -> None:
        self._file: FileIO = FileIO(path, "w")
        faulthandler.enable(self._file)

    def pytest_unconfigure(self) -> None:
        faulthandler.disable()
        self._file.close()


def end_of(code: int) -> str:
    """Return what an exit code says.

    >>> end_of(-6), end_of(3)
    ('ended by SIGABRT', 'exit code 3')
    """
    return f"ended by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def register(config: pytest.Config) -> None:
    """Register the part that this process has; nothing without pytest-xdist."""
    if path := getattr(config, "workerinput", {}).get(_FILE):
        config.pluginmanager.register(Worker(path))
    elif config.pluginmanager.hasplugin("dsession"):
        config.pluginmanager.register(CrashedWorkers())
