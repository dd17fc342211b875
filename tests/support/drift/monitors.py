"""A monitor's work without a broker: topics are lists in memory."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from stream_scorer.codec.records.record import RecordCodec
from stream_scorer.drift.monitor.references import Name
from stream_scorer.drift.monitor.state_keeping import StateKeeper
from stream_scorer.drift.monitor.watch import DriftWatch
from stream_scorer.drift.monitor.work import MonitorWork, Watched
from stream_scorer.drift.operator.command import DriftAuthority
from stream_scorer.drift.state.topic import snapshot_in
from stream_scorer.kafka.loop.control_topic import ControlRecord
from stream_scorer.kafka.loop.work_interface import Result, Stages
from stream_scorer.ports import BytesColumn, RawRecords
from stream_scorer.registry.sources import FileRegistry, SchemaSource, reader_schema
from stream_scorer.settings import SCHEMAS_DIRECTORY
from stream_scorer.telemetry import Event
from tests.support.drift.synthetic import START, lookup, watch

FILES = FileRegistry(SCHEMAS_DIRECTORY)
SUMMARY = RecordCodec(13, reader_schema("summary.v4"))
EVENT = RecordCodec(16, reader_schema("drift-event.v3"))
COMMAND = RecordCodec(15, reader_schema("drift-command.v1"))
STATE = "drift-state"


class MemoryReplay:
    """A replay of records in memory, some at a time."""

    def __init__(
        self, values: Sequence[bytes | None], times: Sequence[int], first: int, end: int
    ) -> None:
        self._values, self._times = values, times
        self.partition, self.end, self.next_offset = 0, end, first

    def step(self) -> RawRecords | None:
        last = min(self.next_offset + 10, self.end)
        rows = slice(self.next_offset, last)
        part = raw(self._values[rows], self.next_offset, self._times[rows])
        self.next_offset = last
        return part

    @property
    def done(self) -> bool:
        return self.next_offset >= self.end

    def close(self) -> None:
        pass


class NoReferences:
    """References that are all known already."""

    def prepare(self, names: Sequence[Name]) -> None:
        pass


@dataclass
class Topics:
    """The topics of a monitor: what was committed to them.

    Attributes:
        summaries: Retained summaries; deleted ones are before ``oldest``.
        times: Their Kafka timestamps.
        oldest: The oldest retained offset.
        state: Keys and values of the state topic.
        events: Drift events.
        commands: Commands.
    """

    summaries: list[bytes | None] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    oldest: int = 0
    state: list[tuple[bytes | None, bytes | None]] = field(default_factory=list)
    events: list[bytes] = field(default_factory=list)
    commands: list[bytes] = field(default_factory=list)

    def commit(self, result: Result[Watched]) -> None:
        """Take the records of a transaction."""
        for out in result.outgoing:
            for key, value in zip(out.keys, out.values, strict=True):
                if out.topic == STATE:
                    self.state.append((key, value))
                else:
                    self.events.append(value or b"")

    def replay(self, first: int, end: int) -> Any:
        """Open a replay."""
        return MemoryReplay(self.summaries, self.times, first, end) if first < end else None


class CommandReader:
    """Returns the commands that were not returned yet; a new reader begins at the first one."""

    def __init__(self, topics: Topics) -> None:
        self._topics = topics
        self._at = 0

    def __call__(self) -> list[ControlRecord]:
        new = self._topics.commands[self._at :]
        first, self._at = self._at, len(self._topics.commands)
        return [ControlRecord(first + n, None, value) for n, value in enumerate(new)]

    def close(self) -> None:
        pass


def work(
    topics: Topics | None = None, told: list[Event] | None = None, *,
    registry: SchemaSource = FILES, authority: DriftAuthority | None = None,
    fresh: Callable[[], DriftWatch] = watch, mac: Any = None,
) -> MonitorWork:  # fmt: skip
    """Return a monitor's work over topics in memory.

    Args:
        topics: The topics.
        told: Gets the events.
        registry: Contains the writers' schemas.
        authority: Whose commands count.
        fresh: Makes an empty watch.
        mac: The MAC of the state's records.
    """
    held = topics or Topics()
    listener = (told if told is not None else []).append
    sealed = {} if mac is None else {"mac": mac}
    keeper = StateKeeper(
        STATE, lambda: snapshot_in(STATE, held.state, **sealed), lambda _: None, lookup,
        lambda: held.oldest, listener, **sealed,
    )  # fmt: skip
    return MonitorWork(
        fresh, NoReferences(), registry, EVENT, "drift-events", listener, held.replay, keeper,
        CommandReader(held), authority,
    )  # fmt: skip


def raw(
    values: Sequence[bytes | None], first: int = 0, times: Sequence[int] | None = None
) -> RawRecords:
    """Return records of partition 0; by default a second apart from the first window's start."""
    n = len(values)
    stamps = START + 1_000 * np.arange(first, first + n) if times is None else np.array(times)
    return RawRecords(
        values=BytesColumn.of(values), keys=BytesColumn.nulls(n), headers=None,
        partition=np.zeros(n, np.int32), offset=np.arange(first, first + n, dtype=np.int64),
        timestamp=stamps.astype(np.int64),
    )  # fmt: skip


def restored(monitor: MonitorWork, offset: int) -> MonitorWork:
    """Give a monitor its partition, and restore it up to an offset."""
    monitor.assigned({0: offset})
    while monitor.restoring():
        monitor.restore()
    return monitor


def step(monitor: MonitorWork, topics: Topics, first: int, last: int) -> Result[Watched]:
    """Compute, commit and keep the summaries [first, last); return the result."""
    batch = raw(topics.summaries[first:last], first, topics.times[first:last])
    result = monitor.compute(batch, Stages())
    topics.commit(result)
    monitor.keep(result, Stages(), batch)
    return result


def events(topics: Topics) -> list[Mapping[str, Any]]:
    """Return the drift events of topics, decoded."""
    return [EVENT.decode(value, FILES) for value in topics.events]
