"""The supervisor with real child processes, which follow a script and need no broker."""

import errno
import io
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import pytest

from stream_scorer.devkafka import processes
from stream_scorer.devkafka.cluster import free_ports
from stream_scorer.observability.fleet import Fleet
from stream_scorer.observability.logging import process_logger
from stream_scorer.processes.supervisor import Supervisor
from tests.support.faults.process import wait_until
from tests.support.processes.supervised_children import child

ROOT = Path(__file__).parents[3]


class Parent:
    """The supervisor as a separate process, with the workers of ``supervised_children``.

    Args:
        folder: Where workers write their process ids: ``NUMBER-START``.
        acts: Each worker's script, by number; see ``supervised_children``.
    """

    def __init__(self, folder: Path, *acts: str) -> None:
        self.folder = folder
        self.journal = folder / "journal.jsonl"
        self.port = free_ports(1)[0]
        self.log = folder / "log"
        self.process = processes.start(
            [sys.executable, "-m", "tests.support.processes.supervised_children", str(folder),
             str(self.port), *acts],
            self.log,
            environment={
                "PYTHONPATH": str(ROOT), "STREAM_SCORER_LOGGING__JOURNAL": str(self.journal),
            },
        )  # fmt: skip

    def pid(self, worker: int, start: int = 0) -> int:
        """Return the process id of a worker's n-th start, once it has written it."""
        path = self.folder / f"{worker}-{start}"
        wait_until(
            lambda: path.exists() and path.read_text().endswith("\n"),
            lambda: f"{path.name}: {self.log.read_text()}", 30,
        )  # fmt: skip
        return int(path.read_text())

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def wait_ready(self) -> None:
        def ready() -> bool:
            try:
                return self.get("/health/ready")[0] == 200
            except OSError:
                return False

        wait_until(ready, lambda: f"ready: {self.log.read_text()}", 30)

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(x) for x in self.log.read_text().splitlines() if x.startswith("{")]

    def left(self, seconds: float = 20) -> int:
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still runs: {self.log.read_text()}") from None


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[..., Parent]]:
    parents: list[Parent] = []

    def began(*acts: str) -> Parent:
        parents.append(Parent(tmp_path, *acts))
        return parents[-1]

    yield began
    for parent in parents:
        parent.process.kill()
        parent.process.wait()


def gone(pid: int) -> bool:
    return processes.started_at(pid) is None


def test_a_killed_worker_is_reported_and_restarted(begin: Callable[..., Parent]) -> None:
    parent = begin("run", "run")
    parent.wait_ready()
    first, other = parent.pid(0), parent.pid(1)
    os.kill(first, signal.SIGKILL)
    second = parent.pid(0, 1)
    assert second != first
    parent.wait_ready()
    assert not gone(other)
    (line,) = parent.lines
    assert (line["event"], line["worker"], line["cause"]) == ("worker_left", 0, "SIGKILL")
    _, metrics = parent.get("/metrics")
    assert 'stream_scorer_worker_exits_total{cause="SIGKILL",worker="0"} 1.0' in metrics
    assert 'stream_scorer_ready{worker="1"} 1.0' in metrics
    parent.process.send_signal(signal.SIGTERM)
    assert parent.left() == 0
    assert gone(second)
    assert gone(other)
    kept = [json.loads(line) for line in parent.journal.read_text().splitlines()]
    assert [(each["event"], each.get("worker")) for each in kept] == [
        ("began", None), ("worker_started", 0), ("worker_started", 1), ("worker_left", 0),
        ("worker_started", 0), ("stopping", None), ("left", None),
    ]  # fmt: skip
    assert {each["process"] for each in kept} == {"supervisor"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_each_finish_what_it_has_in_hand(
    tmp_path: Path, begin: Callable[..., Parent], number: signal.Signals
) -> None:
    parent = begin("finish", "finish")
    parent.wait_ready()
    pids = [parent.pid(0), parent.pid(1)]
    parent.process.send_signal(number)
    assert parent.left() == 0
    assert all(map(gone, pids))
    assert sorted(path.name for path in tmp_path.glob("finished-*")) == ["finished-0", "finished-1"]
    assert parent.lines == []


@pytest.mark.thorough
def test_ctrl_c_reaches_the_workers_only_through_their_parent(
    tmp_path: Path, begin: Callable[..., Parent]
) -> None:
    parent = begin("finish", "finish")
    parent.wait_ready()
    os.killpg(parent.process.pid, signal.SIGINT)
    assert parent.left() == 0
    assert sorted(path.name for path in tmp_path.glob("finished-*")) == ["finished-0", "finished-1"]
    assert "Traceback" not in parent.log.read_text()


def test_a_hangup_is_forwarded_even_to_a_starting_worker(
    tmp_path: Path, begin: Callable[..., Parent]
) -> None:
    parent = begin("hear", "hear")
    pids = [parent.pid(0), parent.pid(1)]
    parent.process.send_signal(signal.SIGHUP)
    parent.wait_ready()
    assert sorted(path.name for path in tmp_path.glob("heard-*")) == ["heard-0", "heard-1"]
    assert [parent.pid(0), parent.pid(1)] == pids
    assert not any(map(gone, pids))
    parent.process.send_signal(signal.SIGTERM)
    assert parent.left() == 0
    assert parent.lines == []


def test_a_fenced_worker_is_not_restarted_and_the_others_exit(
    tmp_path: Path,
    begin: Callable[..., Parent],
) -> None:
    parent = begin("finish", "exit 6")
    other = parent.pid(0)
    assert parent.left() == 6
    assert gone(other)
    assert not (tmp_path / "1-1").exists()
    (line,) = parent.lines
    assert (line["worker"], line["cause"], line["again_in_seconds"]) == (1, "exit 6", None)
    last = json.loads(parent.journal.read_text().splitlines()[-1])
    assert (last["event"], last["exit_code"]) == ("left", 6)


@pytest.mark.thorough
def test_one_that_does_not_leave_is_killed(begin: Callable[..., Parent]) -> None:
    parent = begin("run", "deaf")
    parent.wait_ready()
    deaf = parent.pid(1)
    started = time.monotonic()
    parent.process.send_signal(signal.SIGTERM)
    assert parent.left() == 1
    assert gone(deaf)
    # shutdown_seconds is 1 there, with a grace period of 2 s.
    assert time.monotonic() - started < 10


def test_no_worker_outlives_a_parent_that_is_killed(begin: Callable[..., Parent]) -> None:
    parent = begin("run", "deaf")
    parent.wait_ready()
    pids = [parent.pid(0), parent.pid(1)]
    parent.process.kill()
    assert parent.left() == -signal.SIGKILL
    wait_until(lambda: all(map(gone, pids)), "the workers end with their parent", 5)


@pytest.mark.thorough
def test_a_worker_stopped_during_a_report_delays_no_other(begin: Callable[..., Parent]) -> None:
    parent = begin("run", "run")
    parent.wait_ready()
    stopped = parent.pid(1)
    os.kill(stopped, signal.SIGSTOP)
    os.kill(parent.pid(0), signal.SIGKILL)
    assert parent.pid(0, 1)
    parent.process.send_signal(signal.SIGTERM)
    assert parent.left() == 1
    assert gone(stopped)


@pytest.mark.thorough
def test_a_taken_port_ends_it_before_any_worker_starts(
    tmp_path: Path, begin: Callable[..., Parent]
) -> None:
    first = begin("run")
    first.wait_ready()
    second = processes.start(
        [sys.executable, "-m", "tests.support.processes.supervised_children", str(tmp_path),
         str(first.port), "run"],
        tmp_path / "second", environment={"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert second.wait(30) == 2
    assert "Address already in use" in (tmp_path / "second").read_text()
    assert not (tmp_path / "0-1").exists()
    first.process.send_signal(signal.SIGTERM)
    assert first.left() == 0


def test_one_that_cannot_be_started_is_tried_again() -> None:
    log = io.StringIO()
    tries: list[int] = []

    def start(number: int, _: Connection) -> SpawnProcess:
        tries.append(number)
        if len(tries) == 2:
            supervisor.stop()
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    fleet = Fleet(1, process_logger("supervisor", stream=log))
    supervisor = Supervisor(1, start, fleet, shutdown_seconds=1.0)
    assert supervisor.run() == 0
    told = [json.loads(line) for line in log.getvalue().splitlines()]
    assert [line["again_in_seconds"] for line in told] == [0.5, 1.0]
    assert told[0]["cause"].startswith("not started: Resource temporarily unavailable")


def test_a_worker_that_ends_during_a_stop_does_not_break_it() -> None:
    begun: list[SpawnProcess] = []

    def start(number: int, pipe: Connection) -> SpawnProcess:
        del pipe
        acts: list[Callable[[int], object]] = [time.sleep, sys.exit]
        process = get_context("spawn").Process(target=acts[number], args=(5,), daemon=True)
        process.start()
        begun.append(process)
        if number:
            process.join()
            supervisor.stop()
        return process

    log = io.StringIO()
    fleet = Fleet(2, process_logger("supervisor", stream=log))
    supervisor = Supervisor(2, start, fleet, shutdown_seconds=10.0)
    assert supervisor.run() == 5
    assert log.getvalue() == ""
    for process in begun:
        with pytest.raises(ValueError, match="process object is closed"):
            process.is_alive()


def test_a_worker_that_hangs_after_it_was_ready_is_restarted(tmp_path: Path) -> None:
    log = io.StringIO()
    starts: list[int] = []

    def start(number: int, pipe: Connection) -> SpawnProcess:
        starts.append(number)
        act = "hang" if number else "run"
        # A daemon: it ends with this process, whatever the test's result is.
        process = get_context("spawn").Process(
            target=child, args=(os.getpid(), pipe, number, 2, tmp_path, act), daemon=True
        )
        process.start()
        if starts.count(1) == 2:
            supervisor.stop()
        return process

    fleet = Fleet(2, process_logger("supervisor", stream=log), heartbeat_seconds=0.5)
    supervisor = Supervisor(2, start, fleet, shutdown_seconds=10.0)
    supervisor.run()
    (told,) = [json.loads(line) for line in log.getvalue().splitlines()]
    assert (told["event"], told["worker"], told["cause"]) == ("worker_left", 1, "silent")
    assert starts.count(0) == 1
