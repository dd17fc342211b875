"""Faults of ``run --workers``: several workers under one parent."""

import json
import resource
from pathlib import Path

import psutil

from tests.faults.suite.registry import kind
from tests.faults.suite.stage import Stage
from tests.support.faults.process import ScorerProcess, wait_until
from tests.support.faults.reference_run import Record

_FENCED = 6
_WORKERS = 2
_UNDER_ONE_PARENT = ("--workers", str(_WORKERS))
_LEFT_BYTES = 16 << 20
# Several times more memory than is left, in the largest records that the input accepts.
_LARGE_BYTES = 900_000
_LARGE_EACH = 60
# A failed allocation is an exception in Python. In C, it ends the library or makes it hang.
_WANT_OF_MEMORY = ("exit 1", "SIGABRT", "SIGSEGV", "silent")
_EXITS = "stream_scorer_worker_exits_total"
_ASSIGNED = "stream_scorer_partitions_assigned"


def _data_bytes(worker: psutil.Process) -> int:
    """Return the number of bytes that the kernel counts against RLIMIT_DATA."""
    status = Path(f"/proc/{worker.pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmData")]
    return int(line.split()[1]) << 10


def _share_alike(stage: Stage, parent: ScorerProcess) -> None:
    half = stage.partitions / _WORKERS
    wait_until(
        lambda: all(parent.metric(_ASSIGNED, worker=str(n)) == half for n in range(_WORKERS)),
        lambda: f"each worker has its share: {stage.said}",
    )


@kind("process")
def worker_out_of_memory(stage: Stage) -> None:
    """One of two workers gets no more memory, and large records come: it dies.

    A limit on its data (RLIMIT_DATA) makes an allocation fail. If the machine itself ran out of
    memory, the kernel would send SIGKILL, which other kinds test. The parent restarts the worker.
    """
    parent = stage.start(arguments=_UNDER_ONE_PARENT)
    _share_alike(stage, parent)
    number = stage.random.randrange(_WORKERS)
    victim = parent.workers()[number]
    limit = _data_bytes(victim) + _LEFT_BYTES
    victim.rlimit(resource.RLIMIT_DATA, (limit, limit))
    for partition in range(stage.partitions):
        large = Record(f"large-{partition}".encode(), b"\xff" * _LARGE_BYTES, "TOO_LARGE")
        stage.feed.insert([large] * _LARGE_EACH, partition)
    wait_until(
        lambda: parent.metric(_EXITS, worker=str(number)) is not None,
        lambda: f"it dies: {stage.said}",
    )
    assert not victim.is_running()
    said = [json.loads(line) for line in parent.said.splitlines() if '"worker_left"' in line]
    (cause,) = [line["cause"] for line in said if line["worker"] == number]
    assert cause in _WANT_OF_MEMORY, stage.said
    assert cause != "exit 1" or "MemoryError" in parent.said
    stage.fired(len(said), f"worker dead ({cause}) at a limit of {limit >> 20} MB")
    stage.fault_over()
    _share_alike(stage, parent)
    stage.finish()


@kind("group")
def two_of_one_name_under_workers(stage: Stage) -> None:
    """Two parents of one name: a worker of the first is fenced; its parent leaves with 6."""
    first = stage.start(arguments=_UNDER_ONE_PARENT)
    pids = first.workers()
    second = stage.scorer(arguments=_UNDER_ONE_PARENT)
    assert first.wait() == _FENCED, first.said
    assert "was taken over by another process" in first.said
    assert "do not restart" in first.said
    assert not any(worker.is_running() for worker in pids)
    stage.fired(1, "the first parent left with exit code 6 and a worker's line; its workers ended")
    stage.fault_over()
    _share_alike(stage, second)
    stage.finish()
