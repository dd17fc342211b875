"""The profiler's work: computes terminal profile rows from batches of transactions and labels.

What is pending is in memory. A start rebuilds it by a silent replay from the oldest offset that is
still needed, which each commit stores (docs/adr/0010-terminal-rows.md).
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pyarrow as pa

from stream_scorer.codec.reading.mapped import EventDecoder, PayloadDecoder
from stream_scorer.codec.writing.encode import Choice, ColumnEncoder, Constant
from stream_scorer.core.events.batch import RejectReason
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.events.strings import string_views
from stream_scorer.core.events.validation import reason_of, validate
from stream_scorer.core.terminals.columns import (
    Labels,
    PendingTransactions,
    joined_rows,
    labels_of,
    rows_of,
)
from stream_scorer.core.terminals.pending_labels import (
    NEVER,
    Clock,
    Folded,
    Pending,
    Settled,
)
from stream_scorer.core.terminals.undecided import NOWHERE, StopBefore
from stream_scorer.errors import RegistryUnavailableError, UnavailableError
from stream_scorer.kafka.loop.work_interface import NO_ROWS, Result, Stages
from stream_scorer.kafka.reading.replay import InputReplay, Replays
from stream_scorer.kafka.topics.partitioner import partition_of
from stream_scorer.ports import BytesColumn, Int64, Outgoing, Paused, RawRecords
from stream_scorer.telemetry import BatchCommitted, Listener, RowsSettled
from stream_scorer.terminals.hold_time import HoldTime
from stream_scorer.terminals.label_policies import LabelPolicies
from stream_scorer.terminals.mappings import FollowedMappings, Part
from stream_scorer.terminals.outcomes import DecidedOutcomes
from stream_scorer.terminals.profiler_note import ProfilerNote

_STATES: Final = ("GENUINE", "FRAUD", "UNKNOWN")
_PATIENCE_SECONDS: Final = 0.8
"""How long a batch waits for outcomes before others may do something, seconds."""
_STEP_SECONDS: Final = 0.05
_EARLIER_MS: Final = 3_600_000
"""Decisions are read from this much before the oldest transaction: clocks differ."""
_TERMINAL_BYTES_MOST = 400_000
"""Maximum size of a terminal's id in a row, which has it twice: as its key and as a field."""
_LATE, _AFTER = "delivered_late", "after_cutoff"


@dataclass(frozen=True, slots=True)
class Profiled:
    """What is needed to keep a batch."""

    folded: Folded
    rejected: dict[str, int]
    skipped: int


@dataclass(frozen=True, slots=True)
class SideInput:
    """What is needed to settle rows by the plans' label policies.

    Attributes:
        policies: The label policies of all revisions.
        open: Opens the decisions from a Kafka timestamp on, ms; called once there is a policy.
    """

    policies: LabelPolicies
    open: Callable[[int], DecidedOutcomes]


class RowEncoder:
    """Encodes rows and watermarks, each for its partition.

    Args:
        schema_id: The row schema's id.
        schema: The row schema.
        topic: The rows' topic.
        partitions: How many partitions it has.
    """

    def __init__(self, schema_id: int, schema: str, topic: str, partitions: int) -> None:
        self._encoder = ColumnEncoder(schema_id, schema)
        self._topic = topic
        self._partitions = partitions

    def encode(self, settled: Settled, watermark: int) -> Outgoing:
        """Return rows, each in its terminal's partition, followed by a watermark in each one."""
        rows = settled.rows
        count, marks = len(rows), self._partitions
        values = self._encoder.encode(
            {
                "terminal_id": rows.terminal_id,
                "event_time": rows.event_time,
                "fraud": settled.fraud,
                "state": Choice(settled.state, _STATES),
                "policy_revision": settled.revision,
                "source_partition": rows.partition,
                "source_offset": rows.offset,
            },
            count,
        )
        mark = self._encoder.encode(
            {"event_time": Constant(watermark), "partitions": Constant(marks)}, 1
        )
        keys = rows.terminal_id.cast(pa.binary()).to_pylist()
        return Outgoing(
            self._topic,
            BytesColumn.of([*values, *([mark[0]] * marks)]),
            BytesColumn.of([*keys, *([None] * marks)]),
            None,
            np.concatenate([self._of(rows), np.arange(marks)]).astype(np.int32),
        )

    def _of(self, rows: PendingTransactions) -> Int64:
        """Return int64[n], the partition of each row's terminal."""
        if not len(rows):
            return np.empty(0, np.int64)
        known = rows.terminal_id.dictionary_encode()
        of = [partition_of(key.encode(), self._partitions) for key in known.dictionary.to_pylist()]
        return np.array(of, np.int64)[np.asarray(known.indices)]


@dataclass(frozen=True, slots=True)
class Decoders:
    """Decoders of bytes to columns.

    Attributes:
        transactions: Decodes transactions by the plan's own mapping.
        labels: Decodes labels.
        parts_of: Splits transactions by the mappings that decode them; None: by the plan's only.
    """

    transactions: EventDecoder
    labels: PayloadDecoder
    parts_of: FollowedMappings | None = None


@dataclass(frozen=True, slots=True)
class _Read:
    """A decoded batch.

    Attributes:
        rows: n valid transactions.
        row_order: int64[n], their places in the batch, ascending.
        labels: m labels.
        label_order: int64[m], their places, ascending.
        rejected: Number of rejected records by reason.
        skipped: Number of records that are skipped by a mapping's conditions.
    """

    rows: PendingTransactions
    row_order: Int64
    labels: Labels
    label_order: Int64
    rejected: dict[str, int]
    skipped: int

    def nothing(self) -> "_Read":
        """Return the first zero records."""
        none = np.zeros(0, np.int64)
        return _Read(self.rows.take(none), none, self.labels.take(none), none, {}, 0)


class ProfilerWork:
    """Computes terminal profile rows for a transaction loop.

    Partition numbers from ``partitions`` on are those of the labels.

    Args:
        plan: Delay, slack, lateness, limits.
        partitions: Number of partitions of the transactions.
        sources: Number of partitions of transactions and labels together.
        decoders: Decode bytes to columns.
        rows: Encodes columns to bytes.
        notes: What the last commit stored with the offsets.
        listener: Notified of rows and replays.
        replay_of: Opens a replay of (partition, first offset, end offset).
        side: Gives what scorers decided; None: label policies have no effect.
    """

    def __init__(
        self,
        plan: Plan,
        partitions: int,
        sources: int,
        decoders: Decoders,
        rows: RowEncoder,
        notes: dict[int, bytes],
        listener: Listener,
        replay_of: Callable[[int, int, int], InputReplay],
        side: SideInput | None = None,
    ) -> None:
        self._side = side
        self._outcomes: DecidedOutcomes | None = None
        self._since: int | None = None
        self._read_to = np.zeros(partitions, np.int64)
        self._plan = plan
        self._identity = plan.label_identity
        self._partitions = partitions
        self._sources = sources
        self._decoders = decoders
        self._rows = rows
        self._listener = listener
        self._replay_of = replay_of
        hold = plan.terminal_delay_ms - plan.terminal_slack_ms
        self.pending = Pending(
            partitions, sources, hold, plan.lateness_ms, by_time=self._identity.by_time,
            delay_ms=plan.terminal_delay_ms,
        )  # fmt: skip
        self._first: dict[int, int] = {}
        self._resume(notes)
        self._replays = Replays(self._open, self._remember, listener)
        self._hold = HoldTime(listener)

    def _resume(self, notes: dict[int, bytes]) -> None:
        """Set the clock as of the last commit."""
        if not notes:
            return
        newest = np.full(self._partitions, NEVER)
        heard, before = newest.copy(), newest.copy()
        watermark = NEVER
        for partition, text in notes.items():
            note = ProfilerNote.read(text, f"partition {partition}")
            self._first[partition] = note.first
            watermark = max(watermark, note.watermark)
            if partition < self._partitions:
                newest[partition], heard[partition] = note.newest, note.heard
                if note.before is not None:
                    before[partition] = note.before
        self.pending.begin_replay(before)
        self.pending.clock = Clock(newest, heard, watermark)

    # -- the start --------------------------------------------------------------------------

    def assigned(self, offsets: dict[int, int]) -> None:
        """Take over the partitions; what is pending is rebuilt by a silent replay."""
        self._replays.begin(offsets)

    def revoked(self, partitions: tuple[int, ...]) -> None:
        """Do nothing: partitions are never revoked."""

    def close(self) -> None:
        """Close the connections of the replays, the decisions, and the rollout's topics."""
        self._replays.close()
        if self._outcomes is not None:
            self._outcomes.close()
        if self._decoders.parts_of is not None:
            self._decoders.parts_of.close()

    def restoring(self) -> bool:
        """Whether what is pending is not complete yet."""
        return self._replays.pending

    def restore(self) -> set[int]:
        """Replay some records; return the partitions that are complete.

        Raises:
            Paused: The registry or the control log is unavailable, or scorers have not decided the
                records yet.
        """
        ready, _ = self._replays.step()
        return ready

    def _open(self, partition: int, end: int) -> InputReplay | None:
        first = self._first.get(partition, end)
        return self._replay_of(partition, first, end) if first < end else None

    def _remember(self, raw: RawRecords) -> None:
        # Without a budget of look-ups: a record that was decoded before must be decoded again.
        read = self._decode(raw, budgeted=False)
        self._note_time(raw)
        self.pending.remember(read.rows, read.labels)

    # -- batches ----------------------------------------------------------------------------

    def compute(
        self, raw: RawRecords, stages: Stages, quarantined: Mapping[int, str] = NO_ROWS
    ) -> Result[Profiled]:
        """Fold a batch; nothing is changed before it is kept.

        Args:
            raw: The batch.
            stages: Its stopwatch.
            quarantined: Rows that are rejected as ``INTERNAL`` without being decoded, each with its
                failure.

        Raises:
            Paused: The registry or the control log is unavailable, or scorers have not decided the
                records yet.
        """
        self._note_time(raw)
        read = self._readable(raw, quarantined)
        stages.lap("decode")
        outcomes, held = self._followed(), None
        if outcomes is not None:
            held = self._held(read, raw, outcomes)
        if held is not None:
            raw = raw.between(0, held.taken)
            before = {row: why for row, why in quarantined.items() if row < held.taken}
            read = self._readable(raw, before) if held.taken else read.nothing()
            stages.lap("hold")
        folded = self.pending.fold(
            read.rows, raw.timestamp[read.row_order], read.row_order, read.labels,
            read.label_order, outcomes, NEVER if held is None else held.watermark,
        )  # fmt: skip
        stages.lap("settle")
        watermark = folded.clock.watermark
        outgoing: list[Outgoing] = []
        if watermark > self.pending.clock.watermark:
            outgoing.append(self._rows.encode(folded.settled, watermark))
        stages.lap("encode")
        return Result(
            outgoing, Profiled(folded, read.rejected, read.skipped), self._notes(folded, raw),
            None if held is None else raw.next_offsets(),
        )  # fmt: skip

    def _note_time(self, raw: RawRecords) -> None:
        """Keep the oldest Kafka timestamp of the records, from which decisions are read."""
        if len(raw) and (self._side is not None and self._outcomes is None):
            oldest = int(raw.timestamp.min())
            self._since = oldest if self._since is None else min(self._since, oldest)

    def _followed(self) -> DecidedOutcomes | None:
        """Return the outcomes, read on; None while no revision has a label policy.

        Raises:
            Paused: The registry, the control log or the broker is unavailable.
        """
        if self._outcomes is None:
            if self._side is None:
                return None
            try:
                if not self._side.policies.on:
                    return None
                self._outcomes = self._side.open((self._since or 0) - _EARLIER_MS)
            except UnavailableError as error:
                raise Paused("kafka", str(error)) from error
        self._outcomes.follow()
        return self._outcomes

    def _held(self, read: _Read, raw: RawRecords, outcomes: DecidedOutcomes) -> StopBefore | None:
        """Return where the batch must stop; waits a moment if nothing can be taken of it.

        Raises:
            Paused: Scorers have not decided the transactions whose rows leave next.
        """
        until = time.monotonic() + _PATIENCE_SECONDS
        times = raw.timestamp[read.row_order]
        while True:
            held = self.pending.held(read.rows, times, read.row_order, outcomes.known)
            self._hold.note(held)
            if held is None:
                return None
            if outcomes.refresh(0.0):
                continue
            if held.taken or held.watermark > self.pending.clock.watermark:
                return held
            if time.monotonic() >= until:
                raise Paused("scorers", "rows of terminals wait until scorers have decided them")
            time.sleep(_STEP_SECONDS)

    def _readable(self, raw: RawRecords, quarantined: Mapping[int, str]) -> _Read:
        """Return the batch, decoded without its quarantined rows."""
        if not quarantined:
            return self._decode(raw, budgeted=True)
        readable, kept = raw.without(quarantined)
        read = self._decode(readable, budgeted=True)
        rejected = read.rejected | {RejectReason.INTERNAL.value: len(quarantined)}
        return replace(
            read, row_order=kept[read.row_order], label_order=kept[read.label_order],
            rejected=rejected,
        )  # fmt: skip

    def _decode(self, raw: RawRecords, *, budgeted: bool) -> _Read:
        """Decode transactions and labels.

        Raises:
            Paused: The registry or the control log is unavailable, or scorers have not decided the
                records yet.
        """
        paid = np.flatnonzero(raw.partition < self._partitions)
        told = np.flatnonzero(raw.partition >= self._partitions)
        rejected: dict[str, int] = {}
        try:
            rows, of_row, skipped = self._transactions(
                _rows(raw, paid), rejected, budgeted=budgeted
            )
            decoded = self._decoders.labels.decode(_rows(raw, told).values, budgeted=budgeted)
        except RegistryUnavailableError as error:
            raise Paused("registry", str(error)) from error
        skipped += len(told) - len(decoded.rows) - len(decoded.rejections.rows)
        for reason in decoded.rejections.reasons:
            rejected[reason.value] = rejected.get(reason.value, 0) + 1
        of_label = told[decoded.rows]
        labels = labels_of(
            decoded.records, raw.partition[of_label], raw.offset[of_label], self._identity
        )
        # As for a transaction: a label from the future would be kept, and replayed, until then.
        when = labels.event_time if self._identity.by_time else labels.label_time
        ahead = when > raw.timestamp[of_label] + self._plan.ahead_ms
        if ahead.any():
            name = RejectReason.TIME_AHEAD.value
            rejected[name] = rejected.get(name, 0) + int(ahead.sum())
            sane = np.flatnonzero(~ahead)
            labels, of_label = labels.take(sane), of_label[sane]
        return _Read(rows, paid[of_row], labels, of_label, rejected, skipped)

    def _transactions(
        self, raw: RawRecords, rejected: dict[str, int], *, budgeted: bool
    ) -> tuple[PendingTransactions, Int64, int]:
        """Return valid transactions with their rows in ``raw``, and how many are skipped.

        Rejected records are counted by reason in ``rejected``.
        """
        decoders = self._decoders
        parts: Sequence[Part] = [(self._plan, decoders.transactions, np.arange(len(raw)))]
        if decoders.parts_of is not None and len(raw):
            parts = decoders.parts_of(raw)
        pieces, places, skipped = [], [], len(raw)
        for plan, decoder, mine in parts:
            events, of_event, undecodable = decoder.decode(_rows(raw, mine), budgeted=budgeted)
            skipped -= len(events) + len(undecodable.rows)
            codes = validate(events, plan)
            reasons = [reason_of(code)[0] for code in codes[codes != 0].tolist()]
            ends, _ = string_views(events.records.column("terminal_id"))
            large = (codes == 0) & (np.diff(ends) > _TERMINAL_BYTES_MOST)
            reasons += [RejectReason.TOO_LARGE] * int(large.sum())
            for reason in (*reasons, *undecodable.reasons):
                rejected[reason.value] = rejected.get(reason.value, 0) + 1
            valid = np.flatnonzero((codes == 0) & ~large)
            if len(valid) < len(events):
                events, of_event = events.take(valid), of_event[valid]
            pieces.append(rows_of(events, self._identity))
            places.append(mine[of_event])
        if len(pieces) == 1:
            return pieces[0], places[0], skipped
        place = np.concatenate(places)
        order = np.argsort(place)
        return joined_rows(pieces).take(order), place[order], skipped

    def _notes(self, folded: Folded, raw: RawRecords) -> dict[int, bytes]:
        clock, first = folded.clock, folded.first.tolist()
        following = self._outcomes is not None
        ends = raw.next_offsets()
        notes = {}
        for partition in range(self._sources):
            # If nothing is pending, nothing before the next offset is needed.
            oldest = first[partition] if first[partition] < NOWHERE else -1
            newest = heard = NEVER
            if partition < self._partitions:
                newest, heard = int(clock.newest[partition]), int(clock.heard[partition])
            if oldest < 0:
                oldest = ends.get(partition, NOWHERE)
            before = None
            if following:
                pending = int(folded.before[partition])
                before = pending if pending < NOWHERE else newest
            notes[partition] = ProfilerNote(oldest, newest, heard, clock.watermark, before).write()
        return notes

    def keep(self, result: Result[Profiled], stages: Stages, raw: RawRecords) -> BatchCommitted:
        """Make the batch a part of the state; return the event that reports the commit."""
        folded = result.delta.folded
        self.pending.keep(folded)
        if self._outcomes is not None:
            for partition, end in raw.next_offsets().items():
                if partition < self._partitions:
                    self._read_to[partition] = end
            first = folded.first[: self._partitions]
            self._outcomes.forget(np.minimum(first, self._read_to))
        counts, watermark = folded.counts, folded.clock.watermark
        self._listener(
            RowsSettled(
                rows=len(folded.settled),
                watermark_ms=None if watermark == NEVER else watermark,
                pending=len(self.pending),
                late_rows=counts.late_rows,
                late_labels={_LATE: counts.late_labels, _AFTER: counts.after_cutoff},
            )
        )
        rejected = dict(result.delta.rejected)
        if counts.duplicates:
            rejected["DUPLICATE"] = counts.duplicates
        return BatchCommitted(
            records=len(raw),
            outcomes={},
            model="",
            version="",
            rejected=rejected,
            stage_seconds=stages.seconds,
            next_offsets=raw.next_offsets(),
            skipped=result.delta.skipped,
        )

    def flush(self, partitions: set[int]) -> Sequence[Outgoing]:  # noqa: ARG002 see Work
        """Return nothing: there is no checkpoint to complete."""
        return ()

    def undo(self, result: Result[Profiled]) -> None:
        """Do nothing: a batch changes nothing before it is kept."""


def _rows(raw: RawRecords, rows: Int64) -> RawRecords:
    chosen = np.zeros(len(raw), np.bool_)
    chosen[rows] = True
    return raw.where(chosen)
