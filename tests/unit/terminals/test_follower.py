"""A scorer waits for a row's schema or for the topic's partitions, and then has every row once."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest

from stream_scorer.codec.reading.decode import ColumnDecoder
from stream_scorer.codec.records.record import RecordCodec
from stream_scorer.core.decision.observe import PartitionRings
from stream_scorer.core.events.batch import EventBatch
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.features.compile import compile_features
from stream_scorer.errors import RegistryUnavailableError, UnavailableError
from stream_scorer.ports import BytesColumn, Paused, RawRecords
from stream_scorer.registry.sources import FileRegistry, reader_schema
from stream_scorer.settings import SCHEMAS_DIRECTORY
from stream_scorer.telemetry import Event, RecordsSkipped
from stream_scorer.terminals.follower import TerminalFollower

HOUR = 3_600_000
PLAN = Plan(terminal_wait_ms=0)
FEATURES = (
    {"name": "COUNT", "kind": "count", "window": "14d", "key": "terminal_id", "delay": "7d"},
)
SCHEMA = reader_schema("terminal-profile.v2")
ELSEWHERE = 4_711
"""The id of another writer's copy of the schema."""


class Registry(FileRegistry):
    """The shipped schemas, and the rows' under another id unless the registry fails for it."""

    def __init__(self) -> None:
        super().__init__(SCHEMAS_DIRECTORY)
        self.fails = True

    def writer_schema(self, schema_id: int) -> str:
        if schema_id != ELSEWHERE:
            return super().writer_schema(schema_id)
        if self.fails:
            raise RegistryUnavailableError("registry: HTTP 500")
        return SCHEMA


class Topic:
    """A ``TopicFollower`` of one partition: each record is polled once, all at the same time."""

    topic = "terminal-profiles"
    partitions = (0,)

    def __init__(self, values: list[bytes]) -> None:
        self._coming = values
        self._marked = False
        self.answers = True

    def mark_end(self) -> None:
        self._marked = True

    @property
    def left(self) -> int:
        return len(self._coming) if self._marked else 0

    def poll(self, _: int, __: float) -> RawRecords | None:
        values, self._coming = self._coming, []
        count = len(values)
        if not count:
            return None
        return RawRecords(
            BytesColumn.of(values), BytesColumn.nulls(count), None, np.zeros(count, np.int32),
            np.arange(count), np.zeros(count, np.int64),
        )  # fmt: skip

    def partitions_now(self) -> tuple[int, ...]:
        if not self.answers:
            raise UnavailableError("kafka: no answer")
        return self.partitions

    def close(self) -> None:
        pass


REGISTRY = Registry()
OWN = REGISTRY.id_for("terminal-profiles-value", SCHEMA)


def row(terminal: str | None, schema_id: int = OWN, partitions: int = 0) -> bytes:
    return RecordCodec(schema_id, SCHEMA).encode(
        {"terminal_id": terminal, "event_time": HOUR, "fraud": True, "partitions": partitions}
    )


MARK = row(None, partitions=1)
EVENTS = EventBatch(
    pa.record_batch({"event_time": pa.array([HOUR]).cast(pa.timestamp("ms"))}),
    np.zeros(1, np.int32), np.zeros(1, np.int64), np.array([HOUR]),
)  # fmt: skip


@pytest.fixture
def told() -> list[Event]:
    return []


Follow = Callable[..., tuple[TerminalFollower, Topic]]


@pytest.fixture
def follow(told: list[Event]) -> Follow:
    def follow_topic(*values: bytes, plan: Plan = PLAN) -> tuple[TerminalFollower, Topic]:
        topic = Topic(list(values))
        compiled = compile_features(FEATURES, PLAN)
        follower = TerminalFollower(
            lambda: topic,  # type: ignore[arg-type,return-value] # what it calls
            ColumnDecoder(REGISTRY, SCHEMA, plan), plan, compiled.engine.delayed,
            PartitionRings(compiled), told.append,
        )  # fmt: skip
        return follower, topic

    REGISTRY.fails = True
    return follow_topic


@pytest.fixture(params=["catch_up", "waiting"])
def read(request: pytest.FixtureRequest) -> Callable[[TerminalFollower], None]:
    """Return a call by which a scorer reads rows."""

    def catch_up(follower: TerminalFollower) -> None:
        while not follower.catch_up():
            pass

    def waiting(follower: TerminalFollower) -> None:
        follower.waiting([EVENTS])

    return {"catch_up": catch_up, "waiting": waiting}[request.param]


def test_a_row_whose_schema_the_registry_fails_for_is_waited_for(
    follow: Follow, read: Callable[[TerminalFollower], None]
) -> None:
    follower, _ = follow(row("a"), row("b", ELSEWHERE), MARK)
    follower.begin([0])
    for _ in range(3):
        with pytest.raises(Paused, match="HTTP 500") as paused:
            read(follower)
        assert paused.value.dependency == "registry"
        assert len(follower.table) == 0
    REGISTRY.fails = False
    read(follower)
    assert len(follower.table) == 2
    assert follower.table.watermark == HOUR


def test_partitions_that_cannot_be_counted_are_waited_for(
    follow: Follow, read: Callable[[TerminalFollower], None], told: list[Event]
) -> None:
    follower, topic = follow(row("a"), b"text", row(None, partitions=5), MARK)
    topic.answers = False
    follower.begin([0])
    for _ in range(3):
        with pytest.raises(Paused, match="no answer") as paused:
            read(follower)
        assert paused.value.dependency == "kafka"
    topic.answers = True
    read(follower)
    assert len(follower.table) == 1
    assert follower.table.watermark == HOUR
    skipped = [each for each in told if isinstance(each, RecordsSkipped)]
    assert sorted((each.records, each.offset) for each in skipped) == [(1, 1), (1, 2)]


class Clock:
    """Time that a test moves, in the place of the module ``time``."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return 1_600_000_000.0 + self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("stream_scorer.terminals.follower.time", made)
    return made


def events_of(clock: Clock, *needs: tuple[int, int, int], old: bool = False) -> EventBatch:
    """Return events of (partition, offset, event time of the rows that it needs)."""
    partition, offset, needed = (np.array(each) for each in zip(*needs, strict=True))
    when = needed + PLAN.terminal_delay_ms
    sent = int(clock.time() * 1_000) - (PLAN.late_decision_ms + 1 if old else 0)
    return EventBatch(
        pa.record_batch({"event_time": pa.array(when).cast(pa.timestamp("ms"))}),
        partition.astype(np.int32), offset, np.full(len(needs), sent),
    )  # fmt: skip


WAITING = Plan()
WAIT_SECONDS = WAITING.terminal_wait_ms / 1_000


def test_each_partition_waits_from_its_first_event_without_rows(
    follow: Follow, clock: Clock
) -> None:
    follower, _ = follow(MARK, plan=WAITING)
    events = events_of(
        clock, (0, 5, HOUR), (1, 7, HOUR + 1), (0, 6, HOUR + 1), (0, 7, HOUR), (1, 8, HOUR)
    )
    assert follower.waiting([events]) == {0: 6, 1: 7}
    assert follower.waiting([events_of(clock, (0, 5, HOUR))]) == {}


def test_a_live_event_waits_for_a_time_and_no_other_after_it(follow: Follow, clock: Clock) -> None:
    follower, topic = follow(MARK, plan=WAITING)
    follower._rings.of(0)
    events = events_of(clock, (0, 5, HOUR + 1))
    assert follower.waiting([events]) == {0: 5}
    clock.now += WAIT_SECONDS - 0.1
    assert follower.waiting([events]) == {0: 5}
    # Rows that arrive, but not far enough, do not prolong it.
    topic._coming = []
    clock.now += 0.1
    assert follower.waiting([events]) == {}
    follower.judge(events)
    other = events_of(clock, (1, 0, HOUR + 2), (0, 6, HOUR + 2))
    assert follower.waiting([other]) == {}


def test_a_backlog_waits_for_as_long_as_rows_arrive(follow: Follow, clock: Clock) -> None:
    follower, topic = follow(MARK, plan=WAITING)
    events = events_of(clock, (0, 5, HOUR + 3), old=True)
    for step in range(3):
        assert follower.waiting([events]) == {0: 5}
        clock.now += WAIT_SECONDS - 0.1
        assert follower.waiting([events]) == {0: 5}
        topic._coming = [
            RecordCodec(OWN, SCHEMA).encode(
                {"terminal_id": None, "event_time": HOUR + 1 + step, "partitions": 1}
            )
        ]
    assert follower.waiting([events]) == {}
    assert follower.table.watermark == HOUR + 3
    later = events_of(clock, (0, 6, HOUR + 9), old=True)
    assert follower.waiting([later]) == {0: 6}
    clock.now += WAIT_SECONDS
    assert follower.waiting([later]) == {}


@pytest.mark.parametrize("old", [False, True])
def test_a_partition_waits_on_while_others_are_decided(
    follow: Follow, clock: Clock, *, old: bool
) -> None:
    follower, _ = follow(MARK, plan=WAITING)
    events = events_of(clock, (0, 5, HOUR + 1), old=old)
    assert follower.waiting([events]) == {0: 5}
    for _ in range(9):
        clock.now += WAIT_SECONDS / 8
        assert follower.waiting([events_of(clock, (1, 0, HOUR), old=old)]) == {}
    assert follower.waiting([events]) == {}


def test_a_backlog_of_several_partitions_waits_once(follow: Follow, clock: Clock) -> None:
    follower, _ = follow(MARK, plan=WAITING)
    for partition in range(2):
        follower._rings.of(partition)
    assert follower.waiting([events_of(clock, (0, 5, HOUR + 1), old=True)]) == {0: 5}
    clock.now += WAIT_SECONDS
    for partition in range(2):
        assert follower.waiting([events_of(clock, (partition, 5, HOUR + 1), old=True)]) == {}
