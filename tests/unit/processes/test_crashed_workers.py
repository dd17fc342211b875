"""A worker of pytest-xdist that crashes: the run reports how it ended, and where."""

import subprocess
import sys
from pathlib import Path

from tests.support.processes.crashed_workers import shortened

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


def run(folder: Path, tests: str) -> str:
    """Run tests by one worker; return the output."""
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "test_crash.py").write_text(tests)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "xdist.plugin", "--numprocesses", "1",
         "--max-worker-restart", "2"],
        cwd=folder, env={"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    return done.stdout


def test_a_crash_is_reported_with_its_cause(tmp_path: Path) -> None:
    output = run(tmp_path, CRASHES)
    for number, end in enumerate(("SIGABRT", "exit 3", "SIGKILL")):
        assert f" worker gw{number}: {end} --" in output
    # Only a crash inside of the process leaves the stacks of its threads.
    assert output.count("Current thread") == 1
    assert "line 5 in test_abort" in output
    assert "/pluggy/" not in output


def test_a_crash_before_the_first_test_is_reported(tmp_path: Path) -> None:
    output = run(tmp_path, "import os\nos.abort()\n")
    assert " worker gw0: SIGABRT --" in output
    assert "line 2 in <module>" in output


def test_the_thread_that_crashed_comes_first() -> None:
    others = ["Thread 1:", *["  File one.py"] * 70]
    lines = ["Fatal Python error: Aborted", *others, "Current thread 2:", "  File two.py"]
    found = shortened("\n".join(lines))
    assert found[:3] == ["Current thread 2:", "  File two.py", "Fatal Python error: Aborted"]
    assert (len(found), found[-1]) == (61, "14 further lines")
