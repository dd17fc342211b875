"""Foreign records in one of our topics are skipped and reported, and stop nothing."""

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from stream_scorer.codec.reading.decode import ColumnDecoder
from stream_scorer.codec.records.record import RecordCodec
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.summaries.plausible_summary import refuse_implausible
from stream_scorer.drift.monitor.work import MonitorWork
from stream_scorer.errors import RolloutError, StateError
from stream_scorer.kafka.loop.control_topic import ControlRecord
from stream_scorer.kafka.loop.work_interface import Stages
from stream_scorer.ports import BytesColumn, RawRecords
from stream_scorer.registry.sources import FileRegistry, reader_schema
from stream_scorer.rollout.log import activation_log, control_log
from stream_scorer.rollout.log.activation_log import ActivationLog
from stream_scorer.rollout.log.control_log import ControlLog
from stream_scorer.rollout.plan.control_record import Authority
from stream_scorer.settings import SCHEMAS_DIRECTORY, Settings
from stream_scorer.telemetry import Event, RecordsSkipped
from stream_scorer.terminals.follower import TerminalReading
from tests.support.drift import monitors
from tests.support.registry.hostile_schemas import field, fixed, transaction
from tests.support.rollout.scene import Writer, plan
from tests.unit.rollout.log.test_control_log import Reader, Topic, encoded

HOSTILE = {
    900: transaction(field(fixed(-2))),
    901: transaction(),
    902: "[" * 100_000,
    903: reader_schema("terminal-profile.v1").replace('"int"', '"string"', 1),
}


class Registry(FileRegistry):
    """The shipped schemas, and those that another client registered."""

    def __init__(self) -> None:
        super().__init__(SCHEMAS_DIRECTORY)

    def writer_schema(self, schema_id: int) -> str:
        if schema_id == 4_711:
            return reader_schema("rollout.v1")
        return HOSTILE.get(schema_id) or super().writer_schema(schema_id)


REGISTRY = Registry()
VALUES: list[bytes | None] = [
    None, b"", b"\0", b"text", b"\0\xff\xff\xff\xff",
    *(b"\0" + number.to_bytes(4, "big") + b"\2a\2b\2c" for number in (1, 99, *HOSTILE)),
]  # fmt: skip


def codec(name: str) -> RecordCodec:
    text = reader_schema(name)
    return RecordCodec(REGISTRY.id_for("any", text), text)


def raw(values: Sequence[bytes | None], partition: Sequence[int] | None = None) -> RawRecords:
    count = len(values)
    return RawRecords(
        values=BytesColumn.of(values),
        keys=BytesColumn.nulls(count),
        headers=None,
        partition=np.array(partition or [0] * count, np.int32),
        offset=np.arange(count, dtype=np.int64),
        timestamp=np.full(count, 1_700_000_000_000, np.int64),
    )


# -- terminals' rows -------------------------------------------------------------------------


class Rows:
    """A ``TopicFollower``'s records, given by a test."""

    topic = "terminal-profiles"

    def __init__(self, partitions: int) -> None:
        self.partitions = tuple(range(partitions))
        self.there = self.partitions
        self.coming: RawRecords | None = None

    def partitions_now(self) -> tuple[int, ...]:
        return self.there

    def poll(self, _: int, __: float) -> RawRecords | None:
        return self.coming


@pytest.fixture
def rows() -> Rows:
    return Rows(2)


@pytest.fixture
def told() -> list[Event]:
    return []


@pytest.fixture
def reading(rows: Rows, told: list[Event]) -> TerminalReading:
    decoder = ColumnDecoder(REGISTRY, reader_schema("terminal-profile.v2"), Plan())
    return TerminalReading(rows, decoder, told.append)  # type: ignore[arg-type] # what it asks of it


def row(when: int, terminal: str | None = "t", partitions: int = 0) -> bytes:
    return codec("terminal-profile.v1").encode(
        {"terminal_id": terminal, "event_time": when, "fraud": True, "partitions": partitions}
    )


def test_records_that_are_not_rows_are_skipped(
    reading: TerminalReading, rows: Rows, told: list[Event]
) -> None:
    marks = [row(5_000, None, 2), row(7_000, None, 2)]
    rows.coming = raw([*VALUES, row(1_000), *marks], [0] * (len(VALUES) + 1) + [0, 1])
    assert reading.step(0.0)
    assert len(reading.table) == 1
    assert reading.table.watermark == 5_000
    [skipped] = told
    assert isinstance(skipped, RecordsSkipped)
    assert (skipped.topic, skipped.records) == ("terminal_profiles", len(VALUES))
    assert (skipped.partition, skipped.offset, skipped.why) == (0, 0, "no value")


def test_a_watermark_naming_too_many_partitions_is_skipped(
    reading: TerminalReading, rows: Rows, told: list[Event]
) -> None:
    rows.coming = raw(
        [row(9_000, None, 2**31 - 1), row(5_000, None, 2), row(6_000, None, 2)], [0, 0, 1]
    )
    reading.step(0.0)
    assert reading.table.watermark == 5_000
    [skipped] = told
    assert isinstance(skipped, RecordsSkipped)
    assert "2147483647 partitions, and there are 2" in skipped.why


def test_a_topic_that_has_more_partitions_now_ends_the_reading(
    reading: TerminalReading, rows: Rows
) -> None:
    rows.coming, rows.there = raw([row(9_000, None, 3)]), (0, 1, 2)
    with pytest.raises(StateError, match="has 3 partitions now, and had 2"):
        reading.step(0.0)


def test_rows_of_any_time_end_nothing(reading: TerminalReading, rows: Rows) -> None:
    edges = [-(2**63), -1, 0, 2**62, 2**63 - 1]
    rows.coming = raw([row(when, who, 2) for when in edges for who in ("t", None)])
    reading.step(0.0)
    reading.table.evict(2**62)
    assert len(reading.table) <= len(edges)


# -- activations -----------------------------------------------------------------------------


class Activations(Reader):
    """Like ``KeptTopic``, for a caller that marks an end."""

    left = 1

    def mark_end(self, *, stable: bool = True) -> None:
        pass

    def poll(self, wait: float) -> Sequence[ControlRecord]:
        self.left = 0
        return super().poll(wait)


def test_records_that_are_not_activations_are_skipped(
    monkeypatch: pytest.MonkeyPatch, told: list[Event]
) -> None:
    topic = Topic()
    for value in VALUES[1:]:
        topic.put(value or b"")
    begun = {
        "partition": 3, "offset": 100, "revision": 7, "status": "ACTIVE", "reason": "",
        "versions": {}, "instance": "i", "at": 0,
    }  # fmt: skip
    topic.put(codec("activation.v1").encode(begun))
    monkeypatch.setattr(activation_log, "KeptTopic", lambda *_: Activations(topic))
    log = ActivationLog(Settings(), REGISTRY, told.append)
    assert log.read()
    assert log.last() == {3: 7}
    assert [getattr(each, "topic", "") for each in told] == ["activations"] * (len(VALUES) - 1)


# -- the control log -------------------------------------------------------------------------


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch, told: list[Event]) -> Callable[[Topic], ControlLog]:
    def open_log(topic: Topic) -> ControlLog:
        monkeypatch.setattr(control_log, "open_registry", lambda _: REGISTRY)
        monkeypatch.setattr(control_log, "KeptTopic", lambda *_: Reader(topic))
        return ControlLog(Settings(), told.append)

    return open_log


def commands() -> tuple[bytes, bytes]:
    """Return a plan and the step after it."""
    writer = Writer(Authority())
    found = []
    for kind, said in (("plan", plan().model_dump(mode="json")), ("step", {"stage": 1})):
        command = writer.make(kind, None, **said)
        assert writer.take(command).accepted
        found.append(encoded(command))
    return found[0], found[1]


def test_records_that_are_not_commands_change_nothing(
    opened: Callable[[Topic], ControlLog], told: list[Event]
) -> None:
    topic = Topic()
    first, second = commands()
    for value in (*VALUES, first, *VALUES, second):
        topic.put(value)  # type: ignore[arg-type] # a null value is one
    log = opened(topic)
    assert log.refresh().sequence == 2
    assert [each.accepted for each in log.log.entries].count(True) == 2
    assert len(log.log.entries) == 2 * len(VALUES) + 2
    assert len(told) == 2 * len(VALUES)
    assert {getattr(each, "topic", "") for each in told} == {"rollout"}


def test_an_unreadable_command_of_ours_leaves_no_silent_gap(
    opened: Callable[[Topic], ControlLog], told: list[Event]
) -> None:
    topic = Topic()
    first, second = commands()
    topic.put(b"\0\0\0\0\x63" + first[5:])  # a schema that this process cannot get
    topic.put(second)
    with pytest.raises(RolloutError, match=r"1 was expected, and 2 came.*not a command: offset 0"):
        opened(topic).refresh()
    assert len(told) == 1


# -- summaries -------------------------------------------------------------------------------

WINDOW: dict[str, Any] = {
    "partition": 0, "start": 0, "width_ms": 3_600_000, "count": 10, "review": 2, "block": 1,
    "score_sum": 3.5, "amount_minor_sum": 25, "amount_minor_min": 1, "amount_minor_max": 4,
    "score_bins": [], "amount_bins": [],
}  # fmt: skip


def summary(**window: Any) -> bytes:
    return codec("summary.v2").encode(
        {
            "model": "m", "model_version": "1", "arm": "champion", "plan_revision": 0,
            "records": 10, "rejected": {}, "flagged": {}, "windows": [WINDOW | window],
            "sources": [
                {"partition": 0, "first_offset": 0, "next_offset": 10, "watermark": 2**47}
            ],
        }
    )  # fmt: skip


IMPLAUSIBLE: list[dict[str, Any]] = [
    {"count": 0}, {"count": -1}, {"count": 2**62}, {"review": 9, "block": 9}, {"review": -1},
    {"block": -5, "review": 7}, {"width_ms": 0}, {"width_ms": -1}, {"width_ms": 2**62},
    {"score_sum": float("nan")}, {"score_sum": float("-inf")},
    {"score_sum": float("inf")}, {"score_sum": 1e300}, {"score_sum": -50.0},
    {"amount_minor_sum": 2**63 - 1}, {"amount_minor_sum": -(2**63)}, {"amount_minor_sum": 9},
    {"amount_minor_min": 5}, {"score_bins": [11]}, {"score_bins": [-1, 5]},
    {"amount_bins": [9]}, {"amount_bins": [-2**62, 2**62, 10]}, {"amount_bins": [20, -10]},
]  # fmt: skip


@pytest.mark.parametrize("window", IMPLAUSIBLE)
def test_counts_that_no_batch_has_are_refused(window: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="summary: "):
        refuse_implausible({"windows": [WINDOW | window]})


def test_a_plausible_summary_is_accepted() -> None:
    # A score that is not a number is in no bin.
    bins = {"score_bins": [3, 6], "amount_bins": [0, 4, 6]}
    refuse_implausible({"windows": [WINDOW, WINDOW | bins]})


@pytest.mark.parametrize(
    "told",
    [
        {"records": -1}, {"records": 2**62}, {"rejected": {"MALFORMED": -1}},
        {"flagged": {"late": 2**62}},
        {"sources": [{"partition": -1, "first_offset": 0, "next_offset": 1}]},
        {"sources": [{"partition": 0, "first_offset": 5, "next_offset": 1}]},
        {"sources": [{"partition": 0, "first_offset": -5, "next_offset": 1}]},
    ],
)  # fmt: skip
def test_totals_that_no_batch_has_are_refused(told: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="summary: "):
        refuse_implausible({"windows": [WINDOW]} | told)


def monitor(told: list[Event]) -> MonitorWork:
    return monitors.work(told=told, registry=REGISTRY)


def test_records_that_are_not_summaries_are_counted_and_skipped(told: list[Event]) -> None:
    work = monitor(told)
    chance = random.Random(3)  # noqa: S311 a test's choice, no secret
    good = [summary(start=3_600_000 * hour) for hour in range(40)]
    bad = [*VALUES, *(summary(**window) for window in IMPLAUSIBLE)]
    values = [
        *good,
        *bad,
        summary(amount_minor_sum=2**60, amount_minor_max=2**62),
        summary(start=2**40),
    ]
    chance.shuffle(values)
    batch = raw(values)
    committed = work.keep(work.compute(batch, Stages()), Stages(), batch)
    assert committed.rejected == {"MALFORMED": len(bad)}
    [skipped] = [each for each in told if isinstance(each, RecordsSkipped)]
    assert (skipped.topic, skipped.records) == ("summaries", len(bad))
