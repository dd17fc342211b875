"""Follows the topic of terminal profile rows in a scorer, and waits for late rows.

Rows are only added and never change. So an aborted transaction undoes nothing here, and every
scorer reads at its own pace. The watermark is the lowest one of the topic's partitions.

Rows that no event of the assigned partitions can see are evicted. A partition that is taken over
may need evicted rows, if its former owner had a lag. Then the topic is read again
(docs/adr/0017-rows-read-again.md).
"""

import time
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from stream_scorer.codec.reading.decode import ColumnDecoder
from stream_scorer.core.decision.observe import PartitionRings
from stream_scorer.core.events.batch import EventBatch
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.kernels.store import NEVER
from stream_scorer.core.labelling.states import states_of
from stream_scorer.core.terminals.history import Delayed, TerminalTable
from stream_scorer.errors import RegistryUnavailableError, StateError, UnavailableError
from stream_scorer.kafka.reading.topic_follower import TopicFollower
from stream_scorer.ports import Int64, Paused, RawRecords
from stream_scorer.telemetry import (
    DependencyBack,
    DependencyUnavailable,
    Listener,
    RecordsSkipped,
    TerminalsRead,
)

_NAME = "terminal-profiles"
_RECORDS = 20_000
_STEP_SECONDS = 0.05
_IDLE_SECONDS = 60.0
_NEVER = int(NEVER)


class TerminalReading:
    """A table of rows, and the reader of the topic that fills it.

    A record that cannot be decoded is skipped: it adds no row and moves no watermark.

    Args:
        topic: Reads the rows' topic.
        decoder: Decodes the rows.
        listener: Notified of skipped records.

    Attributes:
        polled: Records that are not added yet; None for none.
        first_marks: The first watermark of each partition that has one, ms.
    """

    def __init__(
        self,
        topic: TopicFollower,
        decoder: ColumnDecoder,
        listener: Listener = lambda _: None,
    ) -> None:
        self.topic = topic
        self._listener = listener
        self.table = TerminalTable()
        self._decoder = decoder
        self.polled: RawRecords | None = None
        self._marks = dict.fromkeys(topic.partitions, _NEVER)
        self.first_marks: dict[int, int] = {}

    @property
    def left(self) -> int:
        """Number of offsets before the noted end, and of polled records that are not added yet."""
        return self.topic.left + (0 if self.polled is None else len(self.polled))

    def step(self, wait: float) -> bool:
        """Add the records that arrive within ``wait`` seconds; return whether there were any.

        After an error, the next call adds what was polled.

        Raises:
            RegistryUnavailableError: A writer schema cannot be fetched now.
            StateError: The topic has more partitions now, so some rows are not read.
            UnavailableError: The topic is gone or may not be read; or, with records polled, the
                broker does not answer how many partitions there are.
        """
        if self.polled is None:
            self.polled = self.topic.poll(_RECORDS, wait)
        return self._add_polled()

    def step_to_end(self, wait: float) -> None:
        """As :meth:`step`, for a caller that reads to the noted end and has nothing else to do.

        Raises:
            StateError: As :meth:`step`.
            UnavailableError: As :meth:`step`; or no offset could be read for 30 s.
        """
        if self.polled is None:
            self.polled = self.topic.poll_to_end(_RECORDS, wait)
        self._add_polled()

    def _add_polled(self) -> bool:
        if self.polled is None:
            return False
        self._add(self.polled)
        self.polled = None
        return True

    def _add(self, polled: RawRecords) -> None:
        raw, decoded = polled, self._decoder.decode(polled.values)
        if len(decoded.rejections):
            raw = raw.where(_chosen(len(raw), decoded.rows))
        records = decoded.records
        terminal = records.column("terminal_id")
        when: Int64 = np.asarray(records.column("event_time").view("int64"))
        is_row = np.asarray(terminal.is_valid().to_numpy(zero_copy_only=False), np.bool_)
        marks = np.flatnonzero(~is_row)
        counts = np.asarray(records.column("partitions"), np.int64)
        if len(marks) and counts[marks].max() > len(self._marks):
            # Nothing that fails may come after the first change: these records are tried again.
            marks = self._true_marks(raw, marks, counts)
        if len(decoded.rejections):
            self._skip(polled, decoded.rejections.rows, decoded.rejections.details[0])
        rows = np.flatnonzero(is_row)
        if len(rows):
            self.table.add(terminal.take(rows), when[rows], states_of(records, "fraud")[rows])
        for partition, mark in zip(
            raw.partition[marks].tolist(), when[marks].tolist(), strict=True
        ):
            self._marks[partition] = max(self._marks[partition], mark)
            self.first_marks.setdefault(partition, mark)
        self.table.watermark = max(self.table.watermark, min(self._marks.values()))

    def _true_marks(self, raw: RawRecords, marks: Int64, counts: Int64) -> Int64:
        """Return the watermarks that do not name more partitions than the topic has.

        Raises:
            StateError: The topic has more partitions now, so some rows are not read.
            UnavailableError: The broker does not answer.
        """
        now = len(self.topic.partitions_now())
        if now > len(self._marks):
            raise StateError(
                f"topic {self.topic.topic} has {now} partitions now, and had {len(self._marks)}",
                "start again: a restart reads them all",
            )
        false = marks[counts[marks] > now]
        self._skip(raw, false, f"names {counts[false[0]]} partitions, and there are {now}")
        return marks[counts[marks] <= now]

    def _skip(self, raw: RawRecords, rows: Int64, why: str) -> None:
        first = int(rows[0])
        self._listener(
            RecordsSkipped(
                "terminal_profiles", len(rows), int(raw.partition[first]), int(raw.offset[first]),
                why,
            )
        )  # fmt: skip


class TerminalFollower:
    """Keeps a table of the rows in the topic.

    Args:
        open_topic: Opens the rows' topic, at its oldest record.
        decoder: Decodes the rows.
        plan: Gives the maximum wait of a batch, and the limit of event times.
        delayed: The windows and the delay of terminal features.
        rings: The customers' histories; their slowest partition determines which rows are evicted.
        listener: Notified of what was read, and when rows are late.
    """

    def __init__(
        self,
        open_topic: Callable[[], TopicFollower],
        decoder: ColumnDecoder,
        plan: Plan,
        delayed: Delayed,
        rings: PartitionRings,
        listener: Listener,
    ) -> None:
        self._stopping = _never
        self._open_topic = open_topic
        self._decoder = decoder
        self._listener = listener
        self._live = self._open()
        self._coming: TerminalReading | None = None
        self._taken: frozenset[int] = frozenset()
        self._wait_seconds = plan.terminal_wait_ms / 1_000
        self._ahead_ms = plan.ahead_ms
        self._delayed = delayed
        self._rings = rings
        self._late_ms = plan.late_decision_ms
        self._since: dict[int, float] = {}
        self._mark_seen = _NEVER
        self._began: float | None = None
        self._moved: dict[int, tuple[int, float]] = {}
        self._missing: dict[int, int] = {}
        self._late = False
        self._left = 0

    @property
    def table(self) -> TerminalTable:
        """The rows."""
        return self._live.table

    def give_up_when(self, stopping: Callable[[], bool]) -> None:
        """Set a function that ends a wait by returning True."""
        self._stopping = stopping

    def begin(self, partitions: Iterable[int]) -> None:
        """Make ``catch_up`` read to the end that the topic has now.

        Args:
            partitions: Partitions that were taken over.
        """
        self._forget_coming()
        self._taken |= frozenset(partitions)
        self._live.topic.mark_end()
        self._tell()

    def catch_up(self) -> bool:
        """Read some rows; return whether all rows that existed at ``begin`` are read.

        Call it when all partitions' rings are restored: they determine which rows are needed. Until
        it returns True, the table serves the partitions that were ready before.

        Raises:
            Paused: The registry or the broker is unavailable; what was polled is kept.
        """
        # A partition that waits for this is not idle, however long it takes.
        self._moved.clear()
        if self._coming is None and (needed := self._needed_again()) is not None:
            self._coming = self._open()
            self._coming.table.evict(needed)
            self._coming.topic.mark_end()
        reading = self._live if self._coming is None else self._coming
        if reading.left:
            self._read(reading, _STEP_SECONDS)
            self.evict()
        if reading.left:
            return False
        if self._coming is not None:
            self._live.topic.close()
            self._live, self._coming = self._coming, None
        self._taken = frozenset()
        return True

    def _needed_again(self) -> int | None:
        """Return the time after which evicted rows are needed again; None if none are.

        A partition without any event yet needs none: its first events will be new.
        """
        marks = [self._rings.of(p).watermark for p in self._taken & {*self._rings.partitions()}]
        edge = min((mark for mark in marks if mark != _NEVER), default=None)
        if edge is None or edge - self._delayed.memory_ms >= self.table.edge:
            return None
        return edge - self._delayed.memory_ms

    def waiting(self, batches: Sequence[EventBatch]) -> dict[int, int]:
        """Read new rows, and return the partitions that must wait for others.

        A partition waits ``terminal_wait_ms`` at most. Then its events are decided with the rows
        that are there, and their decisions are flagged; no live event waits again until the missing
        rows have arrived. Otherwise a profiler with a lag would delay every batch. Events that are
        late already, as in a backlog, wait for as long as rows arrive: it cannot make them late.

        Args:
            batches: The events of a batch, in pieces.

        Returns:
            By partition, the offset of the first record that cannot be decided yet.

        Raises:
            Paused: As :meth:`catch_up`.
        """
        self._read(self._live, 0.0)
        self._forget_missing()
        now, wall_ms = time.monotonic(), time.time() * 1_000
        if self.table.watermark != self._mark_seen:
            self._mark_seen, self._began = self.table.watermark, None
        found: dict[int, tuple[int, int]] = {}
        present: set[int] = set()
        for events in batches:
            if self._since:  # only a partition that waited is looked up in it
                present.update(np.unique(events.partition).tolist())
            short = np.flatnonzero(self._lacks_rows(events))
            if not len(short):
                continue
            partitions, first = np.unique(events.partition[short], return_index=True)
            for partition, row in zip(partitions.tolist(), short[first].tolist(), strict=True):
                at = int(events.offset[row]), int(events.timestamp[row])
                found[partition] = min(found.get(partition, at), at)
        # A partition that is not in this batch still waits, if it did.
        kept = {p: since for p, since in self._since.items() if p in found or p not in present}
        self._since = dict.fromkeys(found, now) | kept
        if found and self._began is None:
            self._began = now
        return {
            partition: offset
            for partition, (offset, timestamp) in found.items()
            if self._may_wait(partition, now, backlog=wall_ms - timestamp > self._late_ms)
        }

    def _lacks_rows(self, events: EventBatch) -> NDArray[np.bool_]:
        """Return bool[n]: events that need rows which are not there yet."""
        when = events.int64("event_time")
        # Do not wait for a time that validation refuses.
        lacking: NDArray[np.bool_] = (when - self._delayed.delay_ms > self.table.watermark) & (
            when <= events.timestamp + self._ahead_ms
        )
        return lacking

    def _may_wait(self, partition: int, now: float, *, backlog: bool) -> bool:
        if partition in self._missing:
            return False
        if backlog:
            # From when on any partition has lacked rows, since the last ones arrived.
            return self._began is None or now - self._began < self._wait_seconds
        return not self._missing and now - self._since[partition] < self._wait_seconds

    def wait(self, seconds: float) -> None:
        """Read rows until the watermark moves, for a time at most.

        Raises:
            Paused: As :meth:`catch_up`.
        """
        mark, until = self.table.watermark, time.monotonic() + seconds
        while self.table.watermark == mark and not self._stopping():
            left = until - time.monotonic()
            if left <= 0:
                break
            self._read(self._live, min(_STEP_SECONDS, left))

    def judge(self, events: EventBatch) -> None:
        """Note which partitions' events are decided without rows that they need."""
        self._judge(events, self._needed(events, np.ones(len(events), np.bool_)))

    def evict(self) -> None:
        """Evict rows that no event can see, by the slowest partition that is not idle.

        A partition without a record for a minute is idle: its next record will be new.
        """
        now = time.monotonic()
        slowest = None
        for partition in self._rings.partitions():
            mark = self._rings.of(partition).watermark
            known, since = self._moved.get(partition, (None, now))
            if mark != known:
                since = now
                self._moved[partition] = mark, now
            if now - since < _IDLE_SECONDS:
                slowest = mark if slowest is None else min(slowest, mark)
        if slowest is not None and slowest != _NEVER:
            self.table.evict(slowest - self._delayed.memory_ms)

    def close(self) -> None:
        """Close the connections."""
        self._forget_coming()
        self._live.topic.close()

    def _open(self) -> TerminalReading:
        return TerminalReading(self._open_topic(), self._decoder, self._listener)

    def _forget_coming(self) -> None:
        if self._coming is not None:
            self._coming.topic.close()
            self._coming = None

    def _needed(self, events: EventBatch, asking: NDArray[np.bool_]) -> int:
        """Return the time up to which the ``asking`` events need rows; NEVER if none does."""
        when = events.int64("event_time")
        # Do not wait for a time that validation refuses.
        sane = when[asking & (when <= events.timestamp + self._ahead_ms)]
        return int(sane.max()) - self._delayed.delay_ms if len(sane) else _NEVER

    def _short(self, needed: int) -> bool:
        return self.table.watermark < needed

    def _forget_missing(self) -> None:
        """Forget rows that have arrived, and those of partitions that are no longer assigned."""
        if self._missing:
            held = set(self._rings.partitions())
            self._missing = {
                partition: needed
                for partition, needed in self._missing.items()
                if partition in held and self._short(needed)
            }

    def _judge(self, events: EventBatch, needed: int) -> None:
        """Note which partitions' events miss rows, and report when that begins and ends.

        Only a partition's own newest events count: a slower partition's events show nothing about
        it, and a single event that was far ahead is forgotten with the next ones.
        """
        if self._missing or self._short(needed):
            for partition in np.unique(events.partition).tolist():
                of_it = self._needed(events, events.partition == partition)
                if self._short(of_it):
                    self._missing[partition] = of_it
                else:
                    self._missing.pop(partition, None)
        if not self._missing:
            if self._late:
                self._late = False
                self._listener(DependencyBack(_NAME))
            return
        if not self._late:
            self._late = True
            have = "there are none"
            if self.table.watermark != _NEVER:
                have = f"they end {(needed - self.table.watermark) / 3_600_000:.1f} h before that"
            self._listener(
                DependencyUnavailable(
                    _NAME, f"decisions are degraded: terminals' rows are needed and {have}"
                )
            )

    def _read(self, reading: TerminalReading, wait: float) -> None:
        try:
            added = reading.step(wait)
        except RegistryUnavailableError as error:
            raise Paused("registry", str(error)) from error
        except UnavailableError as error:
            if reading.polled is None:
                raise
            raise Paused("kafka", str(error)) from error
        if added or self._left != reading.left:
            self._tell()

    def _tell(self) -> None:
        self._left = (self._live if self._coming is None else self._coming).left
        watermark = self.table.watermark
        self._listener(
            TerminalsRead(len(self.table), None if watermark == _NEVER else watermark, self._left)
        )


def _chosen(count: int, rows: Int64) -> NDArray[np.bool_]:
    chosen = np.zeros(count, np.bool_)
    chosen[rows] = True
    return chosen


def _never() -> bool:
    return False
