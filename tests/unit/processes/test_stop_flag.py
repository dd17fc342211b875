"""A signal requests a graceful stop; a second one ends the process immediately."""

import os
import signal
import subprocess
import sys

import pytest

from stream_scorer.processes.stop_flag import StopRequest


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_it_is_asked_for_and_afterwards_what_it_was(number: signal.Signals, code: int) -> None:
    before = signal.getsignal(number)
    with StopRequest() as stop:
        assert (stop(), stop.name) == (False, "")
        os.kill(os.getpid(), number)
        assert (stop(), stop.name, stop.exit_code) == (True, number.name, code)
    assert signal.getsignal(number) is before


def test_a_second_signal_ends_it_immediately() -> None:
    program = (
        "import os, signal\n"
        "from stream_scorer.processes.stop_flag import StopRequest\n"
        "with StopRequest() as stop:\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    assert stop()\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    print('goes on')\n"
    )
    done = subprocess.run(  # noqa: S603 our own program
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (-signal.SIGINT, "")
