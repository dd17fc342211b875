"""A worker of pytest-xdist that crashes: the report says how it ended, and where."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
CONFTEST = """
import pytest
from tests.support.processes import crashed_workers

@pytest.hookimpl(trylast=True)
def pytest_configure(config):
    crashed_workers.register(config)
"""
CRASHES = """
import os, signal

def test_abort():
    os.abort()

def test_kill():
    os.kill(os.getpid(), signal.SIGKILL)

def test_leave():
    os._exit(3)
"""


def test_a_crash_is_reported_with_its_cause(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_crash.py").write_text(CRASHES)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "xdist.plugin", "--numprocesses", "1"],
        cwd=tmp_path, env={"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    ends = {"abort": "ended by SIGABRT", "kill": "ended by SIGKILL", "leave": "exit code 3"}
    for test, end in ends.items():
        assert f"crashed while running 'test_crash.py::test_{test}': {end}\n" in done.stdout
    # Only a crash inside of the process leaves the stacks of its threads.
    assert done.stdout.count("Fatal Python error: Aborted") == 1
    assert "line 5 in test_abort" in done.stdout
    assert "pluggy" not in done.stdout.partition("FAILURES")[2]
