"""Whatever was committed or given up: what the store holds, and the input behind it, is the state.

A loop is played by hand, with batches that are computed ahead and aborts of both.
"""

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_scorer.apps.checkpoints import Checkpoints
from stream_scorer.apps.restoring import Restoration
from stream_scorer.apps.scorer import Deployment, load_model, open_codecs
from stream_scorer.apps.scoring import Scoring, ScoringWork
from stream_scorer.apps.warmth import Warmth
from stream_scorer.codec.record import RecordCodec
from stream_scorer.codec.schemas import FileRegistry, reader_schema
from stream_scorer.core.scorer import Rings
from stream_scorer.core.windows import BUCKETS
from stream_scorer.happenings import CheckpointFailed, CheckpointWritten, Happening, StateRestored
from stream_scorer.kafka.work import Result, Stages
from stream_scorer.ports import BytesColumn, RawRecords
from stream_scorer.settings import SCHEMAS_DIRECTORY, Settings
from stream_scorer.state.checkpoint import Assembly, Owner
from stream_scorer.state.schedule import Schedule
from tests.unit.state.stores import MemoryStore

OWNER = Owner("g", "transactions")
FILES = FileRegistry(SCHEMAS_DIRECTORY)
TRANSACTION = RecordCodec(1, reader_schema("transaction.v1"))
START = 1_522_540_800_000
_DAY = 86_400_000
PARTITIONS = 2
LENGTH = 300

SETTINGS = Settings()
MODEL, PLAN = load_model(SETTINGS, Deployment())
CODECS = open_codecs(SETTINGS, PLAN, FILES)


def written(partition: int, offset: int) -> bytes:
    """Return a transaction; times jump, so that some are late and some customers leave."""
    choose = random.Random(partition * 10_000 + offset)  # noqa: S311 it makes data
    late = choose.random() < 0.1
    return TRANSACTION.encode(
        {
            "transaction_id": f"{partition}-{offset if choose.random() < 0.95 else 0}",
            "event_time": START + offset * _DAY // 4 - (2 * _DAY if late else 0),
            "customer_id": f"c{partition}-{choose.randrange(40) if offset < 150 else offset % 7}",
            "terminal_id": "x", "amount_minor": offset, "currency": "EUR",
        }
    )  # fmt: skip


VALUES = {(p, o): written(p, o) for p in range(PARTITIONS) for o in range(LENGTH)}


def records(places: list[tuple[int, int]]) -> RawRecords:
    n = len(places)
    return RawRecords(
        BytesColumn.of(VALUES[place] for place in places), BytesColumn.nulls(n), None,
        np.array([p for p, _ in places], np.int32), np.array([o for _, o in places], np.int64),
        np.full(n, START + 400 * _DAY, np.int64),
    )  # fmt: skip


class Replay:
    def __init__(self, partition: int, first: int, end: int) -> None:
        self.partition, self.next_offset, self.end = partition, first, end
        self.done = False

    def step(self) -> RawRecords:
        first, self.next_offset = self.next_offset, min(self.next_offset + 37, self.end)
        self.done = self.next_offset == self.end
        return records([(self.partition, o) for o in range(first, self.next_offset)])

    def close(self) -> None:
        pass


class Input:
    def __init__(self, low: int) -> None:
        self.low = low

    def low_watermark(self, _: int) -> int:
        return self.low

    def partition_count(self) -> int:
        return PARTITIONS

    def committed(self, partitions: set[int]) -> dict[int, int]:
        return dict.fromkeys(partitions, 0)


class Process:
    """A scorer whose loop a test plays: one life between two crashes."""

    def __init__(
        self,
        store: MemoryStore,
        committed: dict[int, int],
        bytes_per_event: float = 20_000,
        low: int = 0,
    ) -> None:
        self.store = store
        self.committed = committed
        self.heard: list[Happening] = []
        rings = Rings(MODEL.features)
        opened: Any = Replay
        self.checkpoints = Checkpoints(
            store, OWNER, rings, Schedule(bytes_per_event, 0), self.heard.append
        )
        self.work = ScoringWork(
            MODEL, PLAN, CODECS, SETTINGS.kafka.topics, "0", self.heard.append, rings,
            Restoration("transactions", Input(low), OWNER, store, rings, opened), self.checkpoints,
            Warmth(MODEL, self.heard.append),
        )  # fmt: skip
        self.work.assigned(dict(committed))
        while self.work.restoring():
            self.work.restore()
        self.positions = dict(committed)

    def compute(self, sizes: tuple[int, ...]) -> tuple[RawRecords, Result[Scoring]] | None:
        places = [
            (p, o)
            for p, size in enumerate(sizes)
            for o in range(self.positions[p], min(self.positions[p] + size, LENGTH))
        ]
        if not places:
            return None
        raw = records(places)
        self.positions |= raw.next_offsets()
        return raw, self.work.compute(raw, Stages())

    def commit(self, batch: tuple[RawRecords, Result[Scoring]]) -> None:
        raw, result = batch
        for outgoing in result.outgoing:
            if outgoing.topic == "state":
                assert outgoing.partition is not None
                for partition, key, value in zip(
                    outgoing.partition.tolist(), outgoing.keys, outgoing.values, strict=True
                ):
                    self.store.records.setdefault(partition, []).append((key, value))
        self.committed |= raw.next_offsets()
        self.work.keep(result, Stages(), raw)

    def abort(self, batch: tuple[RawRecords, Result[Scoring]] | None) -> None:
        if batch is not None:
            self.work.undo(batch[1])
            for partition in set(batch[0].partition.tolist()):
                mine = batch[0].offset[batch[0].partition == partition]
                self.positions[partition] = int(mine.min())

    def state(self) -> dict[int, list[bytes]]:
        """Return every bucket, once everyone has left whose time has come."""
        for partition in range(PARTITIONS):
            self.work.rings.of(partition).evict(10**9)
        return {
            p: [self.work.rings.of(p).dump(b) for b in range(BUCKETS)] for p in range(PARTITIONS)
        }

    def watermarks(self) -> list[int]:
        return [self.work.rings.of(partition).watermark for partition in range(PARTITIONS)]

    @property
    def replayed(self) -> dict[int, int]:
        return {
            each.partition: each.end_offset - each.first_offset
            for each in self.heard
            if isinstance(each, StateRestored)
        }


def process_of(records: int) -> Process:
    """Return a process that has replayed so many records of partition 0."""
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


@settings(max_examples=25, deadline=None)
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


def test_a_bucket_knows_the_newest_event_of_a_batch_whose_commit_is_not_known_yet() -> None:
    """Else what it holds would be taken for older than it is, and a restore's watermark too."""
    store = MemoryStore()
    process = Process(store, dict.fromkeys(range(PARTITIONS), 0))
    play(process, "commit", (30, 0, 0))
    play(process, "ahead", (30, 0, 30))
    assembly = Assembly(OWNER, 0)
    assembly.add(store.records[0])
    told = {each.watermark for each in assembly.buckets().values() if each.offset == 60}
    assert told == {process_of(60).watermarks()[0]}


def test_a_whole_cycle_bounds_the_replay() -> None:
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
    store = MemoryStore(rides=False)
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
    store = MemoryStore(rides=False)
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


@pytest.mark.parametrize("rides", [True, False])
def test_what_is_flushed_needs_no_replay(rides: bool) -> None:  # noqa: FBT001 a parameter of the test
    store = MemoryStore(rides=rides)
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
