"""Workers are refused on a system that would not end them together with their parent."""

import os
import sys

import pytest

from stream_scorer.processes.worker_report import ended_in_one_line, tie_to


def test_without_linux_a_worker_ends_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(SystemExit) as left:
        ended_in_one_line("worker 0", lambda: tie_to(os.getppid()))
    assert left.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "worker 0: this is darwin: only Linux kills workers" in line
