"""Processes are ended by id and start time: no other process is ended, and none survives."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from stream_scorer.devkafka import background, processes
from stream_scorer.errors import SettingsError

# It reports that its trap is set; before that, SIGTERM would end it.
_STUBBORN = ["/bin/sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.05; done"]


def _started(pid: int) -> int:
    started = processes.started_at(pid)
    assert started is not None
    return started


def test_a_process_ignoring_sigterm_is_killed_after_the_limit(tmp_path: Path) -> None:
    output = tmp_path / "out"
    with processes.start(_STUBBORN, output, detached=True) as child:
        while "ready" not in output.read_text():
            time.sleep(0.01)
        began = time.monotonic()
        processes.end_all([(child.pid, _started(child.pid))], 0.3)
        assert 0.3 <= time.monotonic() - began < 60
        assert processes.started_at(child.pid) is None


def test_without_linux_a_process_is_only_started_detached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(SettingsError, match="this is darwin: only Linux kills a process"):
        processes.start(["/bin/true"], tmp_path / "out")
    with processes.start(["/bin/true"], tmp_path / "out", detached=True) as child:
        assert child.wait(30) == 0


def test_another_process_under_the_same_id_is_left_alone() -> None:
    with subprocess.Popen(["/bin/sleep", "60"]) as child:
        started = _started(child.pid)
        processes.end_all([(child.pid, started - 1)], 0.2)
        assert processes.started_at(child.pid) == started
        child.kill()


def test_a_state_file_of_a_process_that_is_gone_is_not_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert background.running() is None
    with subprocess.Popen(["/bin/sleep", "60"]) as child:
        started = _started(child.pid)
        background.DIRECTORY.mkdir(parents=True)
        state = background.DIRECTORY / "state.json"
        text = (
            '{"bootstrap": "h:1", "registry_url": "", "nodes": 1, "directory": "d", "processes":'
            f' [{{"name": "broker 0", "pid": {child.pid}, "started": STARTED}}]}}'
        )
        state.write_text(text.replace("STARTED", str(started)))
        found = background.running()
        assert found is not None
        assert found.bootstrap == "h:1"
        state.write_text(text.replace("STARTED", str(started - 1)))
        assert background.running() is None
        child.kill()


def test_a_broken_state_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    background.DIRECTORY.mkdir(parents=True)
    (background.DIRECTORY / "state.json").write_text("{")
    with pytest.raises(SettingsError, match=r"state\.json"):
        background.running()
