"""A partition's state is restored from a store and an input that a test provides."""

from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest

from stream_scorer.core.decision.observe import PartitionRings
from stream_scorer.core.events.strings import hashes_of
from stream_scorer.core.features.engines import RINGS_ENGINE
from stream_scorer.core.rings.buckets import BUCKETS
from stream_scorer.core.rings.rings import RingColumns
from stream_scorer.errors import OffsetsError, StateError, UnavailableError
from stream_scorer.missing_input import past_the_gap
from stream_scorer.models.stores.deployment import Deployment, load_model
from stream_scorer.ports import CheckpointStore, Paused
from stream_scorer.settings import Settings
from stream_scorer.state.checkpoints.formats import Bucket
from stream_scorer.state.checkpoints.ownership import Owner
from stream_scorer.state.checkpoints.rejected_segments import StoredSegment, segment
from stream_scorer.state.checkpoints.restore_rules import gone, labels_of
from stream_scorer.state.partitions.restorer import CheckpointedReplay, Restoration
from stream_scorer.state.stores.file_store import FileStore
from tests.support.state.stores import MemoryStore

OWNER = Owner("g", "t")


class Input:
    def __init__(self, *, low: int = 0, committed: int = 100, partitions: int = 4) -> None:
        self.low = low
        self.offset = committed
        self.partitions = partitions
        self.opened: list[tuple[int, int, int]] = []

    def low_watermark(self, _: int) -> int:
        return self.low

    def partition_count(self) -> int:
        return self.partitions

    def committed(self, partitions: set[int]) -> dict[int, int]:
        return dict.fromkeys(partitions, self.offset)

    def open(self, partition: int, first: int, end: int) -> Any:
        self.opened.append((partition, first, end))
        return Empty(end)


class Empty:
    """An input without records before its end."""

    def __init__(self, end: int) -> None:
        self.end = end
        self.next_offset = 0
        self.done = False
        self.closed = False

    def step(self) -> None:
        self.next_offset, self.done = self.end, True

    def close(self) -> None:
        self.closed = True


def bucket(number: int, offset: int, **changes: Any) -> Bucket:
    values: dict[str, Any] = {"partitions": 4, "engine": RINGS_ENGINE, "watermark": 7, **changes}
    return Bucket(changes.pop("partition", 0), number, offset, **{
        name: value for name, value in values.items() if name != "partition"
    })  # fmt: skip


def store_of(*buckets: Bucket) -> MemoryStore:
    store = MemoryStore()
    for each in buckets:
        store.write(each.partition, [*each.records(OWNER)])
    return store


def rings() -> PartitionRings:
    return PartitionRings(load_model(Settings(), Deployment())[0].features)


def replay(store: CheckpointStore, source: Input, offset: int = 100) -> CheckpointedReplay:
    restoration = Restoration("t", source, OWNER, store, rings(), source.open)
    restoration.expect({0})
    return restoration.open(0, offset)


def run(opened: CheckpointedReplay) -> CheckpointedReplay:
    steps = 0
    while not opened.done:
        assert opened.next_offset < opened.end or opened.end == 0
        opened.step()
        steps += 1
        assert steps < 1_000
    return opened


def whole(offset: int, **changes: Any) -> list[Bucket]:
    return [bucket(number, offset, **changes) for number in range(BUCKETS)]


def test_without_a_checkpoint_all_that_is_retained_is_replayed() -> None:
    source = Input(low=30)
    opened = run(replay(store_of(), source))
    assert source.opened == [(0, 30, 100)]
    assert opened.restored is not None
    assert (opened.restored.buckets, opened.restored.low) == (0, 30)


def test_the_replay_begins_at_the_oldest_label() -> None:
    source = Input(low=30)
    opened = run(replay(store_of(*whole(90), bucket(17, 60), bucket(5, 95)), source))
    assert source.opened == [(0, 60, 100)]
    assert opened.restored is not None
    assert opened.restored.labels[[5, 17, 18]].tolist() == [95, 60, 90]
    assert opened.restored.watermark == 7


def test_the_newest_record_of_a_bucket_counts() -> None:
    source = Input()
    run(replay(store_of(*whole(50), *whole(80)), source))
    assert source.opened == [(0, 80, 100)]


def test_a_missing_bucket_needs_the_input_from_its_beginning() -> None:
    source = Input(low=3)
    run(replay(store_of(*whole(90)[1:]), source))
    assert source.opened == [(0, 3, 100)]


def test_a_damaged_file_stops_it_with_the_bucket_and_the_command(tmp_path: Path) -> None:
    store = FileStore(f"file://{tmp_path}", OWNER)
    for each in (bucket(3, 90), bucket(4, 90)):
        store.write(0, each.records(OWNER))
    (tmp_path / "g" / "t" / "0" / "0004").write_bytes(b"")
    with pytest.raises(StateError) as raised:
        run(replay(store, Input()))
    assert raised.value.what == "checkpoint of t partition 0: bucket 4: the file is empty"
    assert "state rebuild" in raised.value.fix


@pytest.mark.parametrize(
    ("labels", "missing"),
    [
        ({}, []),
        ({0: 5, 1: 5, 2: 9}, []),
        ({0: 5, 2: 9}, [1]),
        ({1: 5}, [0]),
        (dict.fromkeys(range(BUCKETS), 7), []),
        (dict.fromkeys(range(BUCKETS - 1), 7), []),
        (dict.fromkeys(range(1, BUCKETS), 7), [0]),
        # Bucket 0 is newer than the next one, so a second cycle has begun.
        ({0: 9, **dict.fromkeys(range(1, BUCKETS - 2), 7)}, [BUCKETS - 2, BUCKETS - 1]),
    ],
)
def test_missing_buckets_are_found_by_their_place_in_the_round(
    labels: dict[int, int], missing: list[int]
) -> None:
    assert gone(labels_of(bucket(number, label) for number, label in labels.items())) == missing


def test_with_labels_at_the_offset_nothing_is_replayed() -> None:
    source = Input(low=100)
    opened = run(replay(store_of(*whole(100)), source))
    assert source.opened == []
    assert opened.next_offset == opened.end == 100


def test_missing_undecided_input_precedes_missing_history() -> None:
    with pytest.raises(OffsetsError) as raised:
        run(replay(store_of(*whole(40)), Input(low=101)))
    assert raised.value.exit_code == 7
    assert raised.value.fix == past_the_gap("g", "t", 0)
    assert "committed offset 100 is outside the retained input, whose oldest is 101" in str(
        raised.value
    )


@pytest.mark.parametrize(
    ("buckets", "source", "what", "mend"),
    [
        (whole(101), Input(), "as of offset 101, and the group's committed offset 100", "rebuild"),
        (whole(40), Input(low=41), "needs the input from offset 40, and the oldest", "rebuild"),
        (whole(90), Input(committed=-1), "no committed offset, though buckets", "kafka.group"),
        (whole(90, engine=RINGS_ENGINE + 1), Input(), "was written by engine", "rebuild"),
        (whole(90, partitions=3), Input(), "had 3 partitions; now it has 4", "repartition"),
        ([bucket(1, 9, partition=2, partitions=2)], Input(), "had 2 partitions", "repartition"),
        (whole(9, payload=b"\x01\x00", unit="USD/2"), Input(), "holds amounts in USD/2", "rebuild"),
        (whole(9, payload=b"\x01\x00", unit="EUR/3"), Input(), "plan has EUR/2", "the plan that"),
        (
            [bucket(1, 9, payload=b"no rings")],
            Input(),
            "bucket 1: bucket: the names of its fields",
            "rebuild",
        ),
        ([bucket(1, 9, payload=b"\x01\x00")], Input(), "bucket 1: bucket: the bytes", "rebuild"),
    ],
    ids=[
        "behind",
        "deleted",
        "fresh",
        "engine",
        "partitions",
        "added",
        "currency",
        "exponent",
        "names",
        "damaged",
    ],
)
def test_inconsistent_state_stops_with_a_fix(
    buckets: list[Bucket], source: Input, what: str, mend: str
) -> None:
    with pytest.raises(StateError, match=mend) as raised:
        run(replay(store_of(*buckets), source))
    assert what in raised.value.what
    assert source.opened == []


@pytest.mark.parametrize(
    ("offset", "committed", "what"),
    [
        (100, 100, "offset 100 was rejected, and the group's committed offset 100 is before it"),
        (5, -1, "the group has no committed offset, though records up to offset 5 were rejected"),
    ],
    ids=["set back", "deleted"],
)
def test_rejections_must_be_before_the_committed_offset(
    offset: int, committed: int, what: str
) -> None:
    store, source = store_of(), Input(committed=committed)
    kept = StoredSegment.of(segment(0, np.array([offset]), ["EMPTY"]))
    store.write(0, [(OWNER.rejected_key(0, offset), kept.value)])
    with pytest.raises(StateError, match="stream-scorer state rebuild") as raised:
        run(replay(store, source))
    assert what in raised.value.what
    assert source.opened == []


def test_a_damaged_segment_stops_with_a_fix() -> None:
    store = store_of()
    value = StoredSegment.of(segment(0, np.array([7]), ["EMPTY"])).value
    store.write(0, [(OWNER.rejected_key(0, 7), value[:-1] + b"?")])
    with pytest.raises(StateError, match="rejections from offset 7: the checksum"):
        run(replay(store, Input()))


def test_rejections_are_in_the_topic_even_with_buckets_in_files(tmp_path: Path) -> None:
    topic, source = MemoryStore(), Input()
    kept = StoredSegment.of(segment(0, np.array([7, 9]), ["EMPTY", "FRAMING"]))
    topic.write(0, [(OWNER.rejected_key(0, 7), kept.value)])
    files = FileStore(f"file://{tmp_path}", OWNER)
    restoration = Restoration("t", source, OWNER, files, rings(), source.open, rejections=topic)
    restoration.expect({0})
    opened = run(restoration.open(0, 100))
    assert opened.restored is not None
    assert opened.restored.rejected.segments == (kept,)


def test_the_unit_of_an_empty_bucket_stops_no_start() -> None:
    assert run(replay(store_of(*whole(90, unit="USD/2")), Input())).restored is not None


def test_a_store_that_is_down_pauses_and_is_asked_again() -> None:
    store = store_of(*whole(90))
    source = Input()
    opened = replay(store, source)
    opened.step()
    store.down = "no answer"
    for _ in range(2):
        with pytest.raises(Paused, match="no answer"):
            opened.step()
    store.down = ""
    assert run(opened).restored is not None
    assert source.opened == [(0, 90, 100)]


def test_closing_lets_go_of_the_input() -> None:
    source = Input()
    opened = replay(store_of(), source)
    while opened._input is None:
        opened.step()
    held: Any = opened._input
    opened.close()
    assert held.closed


def test_loaded_rings_are_those_that_were_dumped() -> None:
    filled = rings().of(0)
    ids = [f"c{number}" for number in range(300)]
    import pyarrow as pa  # noqa: PLC0415 used here alone

    n = len(ids)
    width = len(filled._program.operations)
    customers = pa.array(ids)
    columns = RingColumns(
        customers, hashes_of(customers), np.arange(n).astype(np.uint64), np.arange(n) + 1_000,
        np.arange(n), np.empty((len(filled.fields), n), np.int64),
    )  # fmt: skip
    journal = filled.fold(
        np.arange(n), columns, np.zeros(n, np.bool_), np.zeros(n, np.uint8), np.zeros((n, width))
    )
    filled.release(journal)
    buckets = [bucket(b, 100, payload=filled.dump(b)) for b in range(BUCKETS)]
    source = Input()
    target = rings()
    restoration = Restoration("t", source, OWNER, store_of(*buckets), target, source.open)
    restoration.expect({0})
    run(restoration.open(0, 100))
    assert [target.of(0).dump(b) for b in range(BUCKETS)] == [b.payload for b in buckets]


def test_partitions_that_come_together_sample_the_store_once() -> None:
    store = store_of()
    source = Input(partitions=3)
    restoration = Restoration("t", source, OWNER, store, rings(), source.open)
    restoration.expect({0, 1, 2})
    for partition in range(3):
        run(restoration.open(partition, 100))
    assert store.samples == 1
    restoration.expect({0})
    run(restoration.open(0, 100))
    assert store.samples == 2


def test_a_sample_that_was_not_answered_is_asked_for_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = store_of(bucket(1, 9, partition=2, partitions=2))
    opened = replay(store, Input())

    def silent() -> NoReturn:
        raise UnavailableError("no answer")

    with monkeypatch.context() as patched:
        patched.setattr(store, "sample", silent)
        with pytest.raises(Paused, match="no answer"):
            opened.step()
    with pytest.raises(StateError, match="had 2 partitions"):
        run(opened)
