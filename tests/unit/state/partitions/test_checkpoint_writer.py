"""After commits and aborts, the store's checkpoint and the input after it give the state.

The tests act as the loop: they compute batches ahead, and abort some of them.
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_scorer.kafka.loop.work_interface import Stages
from stream_scorer.state.checkpoints.ownership import Assembly
from stream_scorer.telemetry import CheckpointFailed, CheckpointWritten
from tests.support.effort import examples
from tests.support.state.checkpoint_process import LENGTH, OWNER, PARTITIONS, Process, records
from tests.support.state.stores import MemoryStore


def process_of(records: int) -> Process:
    """Return a process that has replayed a number of records of partition 0."""
    return Process(MemoryStore(), {0: records, 1: 0})


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["commit", "abort", "ahead", "abort ahead", "abort both", "crash"]),
        st.integers(0, 40), st.integers(0, 40), st.integers(0, 40),
    ),
    min_size=5, max_size=25,
)  # fmt: skip


def play(process: Process, kind: str, sizes: tuple[int, int, int]) -> None:
    first = process.compute(sizes[:2])
    if first is None:
        return
    if kind == "abort":
        process.abort(first)
        return
    if kind == "commit":
        process.commit(first)
        return
    ahead = process.compute((sizes[2], sizes[0]))
    if kind == "crash":
        return
    if kind == "abort both":
        process.abort(ahead)
        process.abort(first)
        return
    process.commit(first)
    if kind == "ahead" and ahead is not None:
        process.commit(ahead)
    else:
        process.abort(ahead)


@settings(max_examples=examples(25), deadline=None)
@given(STEPS)
def test_after_any_crash_the_state_is_a_replay(steps: list[tuple[str, int, int, int]]) -> None:
    store = MemoryStore()
    process = Process(store, dict.fromkeys(range(PARTITIONS), 0))
    for kind, *sizes in steps:
        play(process, kind, (sizes[0], sizes[1], sizes[2]))
        if kind == "crash":
            process = Process(store, process.committed)
    found = Process(store, process.committed)
    expected = Process(MemoryStore(), process.committed)
    assert expected.replayed == process.committed
    assert found.watermarks() == expected.watermarks()
    assert found.state() == expected.state()


def test_a_bucket_knows_the_newest_event_of_an_uncommitted_batch() -> None:
    """Otherwise its content, and a restore's watermark, would seem older than they are."""
    store = MemoryStore()
    process = Process(store, dict.fromkeys(range(PARTITIONS), 0))
    play(process, "commit", (30, 0, 0))
    play(process, "ahead", (30, 0, 30))
    assembly = Assembly(OWNER, 0)
    assembly.add(store.records[0])
    told = {each.watermark for each in assembly.buckets().values() if each.offset == 60}
    assert told == {process_of(60).watermarks()[0]}


def test_a_complete_cycle_bounds_the_replay() -> None:
    store = MemoryStore()
    process = Process(store, dict.fromkeys(range(PARTITIONS), 0), bytes_per_event=60_000)
    for _ in range(25):
        batch = process.compute((10, 10))
        assert batch is not None
        process.commit(batch)
    told = [each for each in process.heard if isinstance(each, CheckpointWritten)]
    age = {p: records for each in told for p, records in each.age_records.items()}
    found = Process(store, process.committed)
    assert found.replayed == age
    assert all(0 < records < 250 / 2 for records in found.replayed.values())
    assert found.state() == process.state()


def test_files_are_written_after_the_commit_and_only_then() -> None:
    store = MemoryStore(transactional=False)
    process = Process(store, dict.fromkeys(range(PARTITIONS), 0))
    batch = process.compute((10, 10))
    assert batch is not None
    assert [o.topic for o in batch[1].outgoing if o.topic == "state"] == []
    process.abort(batch)
    assert store.records == {}
    for _ in range(30):
        batch = process.compute((10, 10))
        if batch is None:
            break
        process.commit(batch)
        process.checkpoints._pool.submit(lambda: None).result()
    found = Process(store, process.committed)
    assert found.state() == process.state()
    assert all(0 < records < LENGTH for records in found.replayed.values())


def test_a_store_that_fails_costs_nothing_but_a_longer_replay() -> None:
    store = MemoryStore(transactional=False)
    process = Process(store, dict.fromkeys(range(PARTITIONS), 0))
    store.down = "disk full"
    for _ in range(3):
        batch = process.compute((10, 10))
        assert batch is not None
        process.commit(batch)
        process.checkpoints._pool.submit(lambda: None).result()
    process.checkpoints.take(1)
    failures = [each.detail for each in process.heard if isinstance(each, CheckpointFailed)]
    assert failures
    assert set(failures) == {"disk full"}
    store.down = ""
    process.checkpoints._retry_at = 0.0
    batch = process.compute((10, 10))
    assert batch is not None
    process.commit(batch)
    process.checkpoints._pool.submit(lambda: None).result()
    assert store.records
    assert Process(store, process.committed).state() == process.state()


def test_a_store_that_failed_is_left_alone_for_a_while() -> None:
    store = MemoryStore(transactional=False)
    process = Process(store, dict.fromkeys(range(PARTITIONS), 0))
    now = 100.0
    process.checkpoints._clock = lambda: now
    store.down = "away"

    def failures() -> int:
        batch = process.compute((5, 5))
        assert batch is not None
        process.commit(batch)
        process.checkpoints._pool.submit(lambda: None).result()
        return len([each for each in process.heard if isinstance(each, CheckpointFailed)])

    assert [failures() for _ in range(4)] == [0, 1, 1, 1]
    now = 104.9
    assert failures() == 1
    now = 105.0
    assert [failures() for _ in range(2)] == [1, 2]


def test_a_batch_without_checkpoints_reports_none() -> None:
    process = Process(MemoryStore(), dict.fromkeys(range(PARTITIONS), 0), bytes_per_event=0)
    batch = process.compute((10, 10))
    assert batch is not None
    process.commit(batch)
    assert [each for each in process.heard if isinstance(each, CheckpointWritten)] == []


@pytest.mark.parametrize("flushed", [True, False])
def test_the_watermark_comes_back_with_the_buckets(flushed: bool) -> None:  # noqa: FBT001 a parameter of the test
    store = MemoryStore()
    process = Process(store, dict.fromkeys(range(PARTITIONS), 0), bytes_per_event=60_000)
    for _ in range(12):
        batch = process.compute((10, 10))
        assert batch is not None
        process.commit(batch)
    watermarks = [process.work.rings.of(p).watermark for p in range(PARTITIONS)]
    if flushed:
        for outgoing in process.work.flush(set(range(PARTITIONS))):
            assert outgoing.partition is not None
            for p, key, value in zip(
                outgoing.partition.tolist(), outgoing.keys, outgoing.values, strict=True
            ):
                store.records.setdefault(p, []).append((key, value))
    found = Process(store, process.committed)
    assert all((records == 0) == flushed for records in found.replayed.values())
    assert [found.work.rings.of(p).watermark for p in range(PARTITIONS)] == watermarks
    # So the same customers are evicted, and the same events are late.
    twin = Process(MemoryStore(), process.committed)
    for each in (found, twin):
        batch = each.compute((40, 40))
        assert batch is not None
        each.commit(batch)
    assert found.state() == twin.state()


@pytest.mark.parametrize("transactional", [True, False])
def test_what_is_flushed_needs_no_replay(transactional: bool) -> None:  # noqa: FBT001 a parameter of the test
    store = MemoryStore(transactional=transactional)
    process = Process(store, dict.fromkeys(range(PARTITIONS), 0))
    batch = process.compute((60, 60))
    assert batch is not None
    process.commit(batch)
    process.checkpoints._pool.submit(lambda: None).result()
    for outgoing in process.work.flush({1}):
        assert outgoing.partition is not None
        assert set(outgoing.partition.tolist()) == {1}
        store.write(1, list(zip(outgoing.keys, outgoing.values, strict=True)))  # type: ignore[arg-type]
    found = Process(store, process.committed)
    assert found.replayed == {0: 60, 1: 0}
    assert found.state() == process.state()


def test_a_partition_that_left_is_not_written() -> None:
    process = Process(MemoryStore(), dict.fromkeys(range(PARTITIONS), 0))
    process.work.revoked((1,))
    del process.positions[1]
    raw = records([(0, o) for o in range(40)])
    result = process.work.compute(raw, Stages())
    told = [o.partition for o in result.outgoing if o.topic == "state"]
    assert [set(each.tolist()) for each in told if each is not None] == [{0}]
    assert process.work.flush({1}) == ()
