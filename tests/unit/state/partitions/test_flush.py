"""A revoked partition's checkpoint is flushed in bounded time, and not written afterwards."""

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any

import pytest

from stream_scorer.core.rings.buckets import BUCKETS
from stream_scorer.state.checkpoints.ownership import Assembly
from stream_scorer.state.partitions import checkpoint_writer
from stream_scorer.state.stores.file_store import FileStore
from stream_scorer.telemetry import CheckpointFailed, CheckpointWritten
from tests.support.state.checkpoint_process import OWNER, PARTITIONS, Process
from tests.support.state.file_systems import GOES_ON, HANGS, SlowObjects
from tests.support.state.stores import MemoryStore

PUT_SECONDS = 0.01
FLUSH_SECONDS = 0.5
_REAL_SECONDS = 600
BOTH = set(range(PARTITIONS))


@pytest.fixture(autouse=True)
def deadline(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A short deadline; puts take no time and do not hang unless a test makes them."""
    monkeypatch.setattr(checkpoint_writer, "_FLUSH_SECONDS", FLUSH_SECONDS)
    SlowObjects.store.clear()
    SlowObjects.puts.clear()
    SlowObjects.seconds = 0.0
    SlowObjects.sleep = time.sleep
    GOES_ON.set()
    HANGS.clear()
    yield
    GOES_ON.set()


def run(process: Process, batches: int, sizes: tuple[int, int] = (10, 10)) -> None:
    for _ in range(batches):
        batch = process.compute(sizes)
        assert batch is not None
        process.commit(batch)


def drained(process: Process) -> None:
    """Wait until the pool is idle."""
    process.checkpoints._pool.submit(lambda: None).result(30)


def flush(process: Process, partitions: set[int]) -> None:
    """Flush to a file store; it returns although a put hangs or fails."""
    assert process.work.flush(partitions) == ()


class Clock:
    """A clock that only advances during puts; no put ends before the flush waits for the store."""

    def __init__(self) -> None:
        self._now = 0.0
        self._awaited = threading.Event()

    def __call__(self) -> float:
        return self._now

    def sleep(self, seconds: float) -> None:
        assert self._awaited.wait(_REAL_SECONDS)
        self._now += seconds

    def wait(self, futures: Sequence[Future[Any]], timeout: float) -> Any:
        """Wait as ``concurrent.futures`` does, but by this clock instead of real time."""
        self._awaited.set()
        return wait(futures, _REAL_SECONDS if timeout > 0 else 0)


def labels(store: FileStore, partition: int) -> dict[int, int]:
    assembly = Assembly(OWNER, partition)
    for each in store.read(partition):
        assembly.add(each)
    return {number: bucket.offset for number, bucket in assembly.buckets().items()}


def test_a_slow_store_is_left_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    store, clock = FileStore("slow://deadline", OWNER), Clock()
    process = Process(store, dict.fromkeys(BOTH, 0), bytes_per_event=200_000, clock=clock)
    SlowObjects.seconds, SlowObjects.sleep = 1.0, clock.sleep
    monkeypatch.setattr(checkpoint_writer, "_FLUSH_SECONDS", 60.0)
    monkeypatch.setattr(checkpoint_writer, "wait", clock.wait)
    # Four shares of hundreds of buckets wait, and two thousand buckets are to be flushed.
    run(process, 4)
    assert SlowObjects.puts == []
    flush(process, BOTH)
    assert len(SlowObjects.puts) == 60
    drained(process)
    assert len(SlowObjects.puts) == 60
    flushed = {p: [b for b, at in labels(store, p).items() if at == 40] for p in BOTH}
    for found in flushed.values():
        # The oldest come first: both partitions' cycles began with bucket 0.
        assert found == list(range(len(found)))
        assert len(found) > 2
    assert Process(store, process.committed).state() == process.state()


def test_what_is_dumped_in_a_flush_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    process = Process(MemoryStore(), dict.fromkeys(BOTH, 0), bytes_per_event=0)
    run(process, 1, (60, 60))
    monkeypatch.setattr(checkpoint_writer, "_FLUSH_SECONDS", 60.0)
    monkeypatch.setattr(checkpoint_writer, "_FLUSH_BYTES", 20_000)
    (outgoing,) = process.work.flush(BOTH)
    sizes = [len(value or b"") for value in outgoing.values]
    assert sum(sizes[:-1]) < 20_000 <= sum(sizes)


def test_a_flush_leaves_other_partitions_to_a_later_turn() -> None:
    store = FileStore("slow://others", OWNER)
    process = Process(store, dict.fromkeys(BOTH, 0), bytes_per_event=200_000)
    SlowObjects.seconds = PUT_SECONDS
    run(process, 4)
    flush(process, {1})
    process.work.revoked((1,))
    SlowObjects.seconds = 0.0
    drained(process)
    assert len(labels(store, 0)) < BUCKETS
    for _ in range(12):
        run(process, 1, (10, 0))
        drained(process)
    assert [each for each in process.heard if isinstance(each, CheckpointFailed)] == []
    assert len(labels(store, 0)) == BUCKETS
    process.checkpoints.take(0)
    told = [each for each in process.heard if isinstance(each, CheckpointWritten)]
    assert told[-1].age_records[0] == process.positions[0] - min(labels(store, 0).values())


def test_nothing_is_written_of_a_partition_that_was_lost() -> None:
    store = FileStore("slow://lost", OWNER)
    process = Process(store, dict.fromkeys(BOTH, 0), bytes_per_event=200_000)
    SlowObjects.seconds = PUT_SECONDS
    run(process, 4)
    process.work.revoked((0, 1))
    put = len(SlowObjects.puts)
    drained(process)
    assert len(SlowObjects.puts) <= put + 1


def test_what_was_flushed_is_written_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint_writer, "_FLUSH_SECONDS", 60.0)
    store = FileStore("slow://flushed", OWNER)
    process = Process(store, dict.fromkeys(BOTH, 0), bytes_per_event=200_000)
    run(process, 1)
    flush(process, {1})
    before = labels(store, 1)
    assert len(before) == BUCKETS
    for _ in range(2):
        run(process, 1)
        drained(process)
    assert labels(store, 1) == before
    assert max(labels(store, 0).values()) > 10


def test_a_put_that_has_not_begun_at_the_deadline_never_does() -> None:
    store = FileStore("hanging://second", OWNER)
    process = Process(store, dict.fromkeys(BOTH, 0), bytes_per_event=0)
    run(process, 1)
    GOES_ON.clear()
    for partition in BOTH:
        flush(process, {partition})
    GOES_ON.set()
    drained(process)
    assert (len(labels(store, 0)), len(labels(store, 1))) == (1, 0)


def test_a_store_that_is_away_ends_the_flush() -> None:
    store = MemoryStore(transactional=False)
    process = Process(store, dict.fromkeys(BOTH, 0), bytes_per_event=0)
    run(process, 1)
    store.down = "away"
    flush(process, BOTH)
    assert [e.detail for e in process.heard if isinstance(e, CheckpointFailed)] == ["away"]


def taken_over(url: str) -> tuple[Process, Process, FileStore]:
    """Return a process that left during a hanging put, and one that wrote all buckets since."""
    old = Process(FileStore(url, OWNER), dict.fromkeys(BOTH, 0), bytes_per_event=200_000)
    GOES_ON.clear()
    run(old, 2)
    assert HANGS.wait(30)
    flush(old, BOTH)
    store = FileStore(url, OWNER)
    new = Process(store, dict(old.committed), bytes_per_event=2_000_000)
    run(new, 4)
    drained(new)
    assert set(labels(store, 0)) == set(range(BUCKETS))
    return old, new, store


def test_a_file_whose_put_hung_does_not_come_back(tmp_path: Path) -> None:
    old, new, store = taken_over(f"hangingfile://{tmp_path}")
    before = {p: labels(store, p) for p in BOTH}
    GOES_ON.set()
    drained(old)
    assert {p: labels(store, p) for p in BOTH} == before
    assert Process(store, new.committed).state() == new.state()
    assert [path.name for path in tmp_path.rglob("*.unfinished")] == []


def test_a_hanging_put_of_an_object_costs_only_a_longer_replay() -> None:
    old, new, store = taken_over("hanging://objects")
    before = {p: labels(store, p) for p in BOTH}
    GOES_ON.set()
    drained(old)
    stale = {(p, b) for p in BOTH for b, at in labels(store, p).items() if at != before[p][b]}
    assert len(stale) == 1
    assert Process(store, new.committed).state() == new.state()
    for _ in range(4):
        run(new, 1)
        drained(new)
    assert min(min(labels(store, p).values()) for p in BOTH) >= max(before[0].values())
