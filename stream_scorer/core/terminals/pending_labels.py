"""Settle labels: one row for each transaction, once its fraud label is final.

A row (terminal, event time e, fraud or not) leaves when the *watermark* W reaches e. W is the
newest event time of the slowest partition that is not idle, minus ``hold`` (the delay less the
slack) and the lateness. A row takes the last label that was known at e + hold. A label that arrives
after its row has left changes nothing. So a row never changes.

The state between two batches depends only on the records before them and on W: everything after W
is pending. It does not depend on the order among partitions, so a restart rebuilds it from the
records, one partition after the other.
"""

from bisect import bisect_right, insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.terminals.columns import (
    Labels,
    PendingTransactions,
    joined_labels,
    joined_rows,
)
from stream_scorer.core.terminals.profile_kernels import advance

Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]

NEVER = -(2**62)
"""Before every time, ms."""
IDLE_MS = 60_000
"""A partition is idle if its newest Kafka timestamp is this much before the newest of all, ms."""
NOWHERE = 2**62
"""After every offset."""
_BUCKET_MS = 600_000


@dataclass(frozen=True, slots=True)
class Clock:
    """How far the input has been read.

    Attributes:
        newest: int64[p], newest event time of the transactions of each partition, ms; NEVER at
            first.
        heard: int64[p], newest Kafka timestamp of each partition, ms; NEVER at first.
        watermark: Rows up to this event time have left, ms.
    """

    newest: Int64
    heard: Int64
    watermark: int = NEVER

    @classmethod
    def new(cls, partitions: int) -> "Clock":
        """Return the clock of an input before the first record."""
        never = np.full(partitions, NEVER)
        return cls(never, never.copy())


@dataclass(frozen=True, slots=True)
class Settled:
    """n rows that leave, in the order of event time, partition and offset.

    Attributes:
        rows: The transactions.
        fraud: bool[n], by the last label in time; False without one.
    """

    rows: PendingTransactions
    fraud: Bool

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, slots=True)
class Counts:
    """Counts of what a batch contained without an effect on a row.

    Attributes:
        duplicates: Transactions that repeat an earlier one.
        late_rows: Transactions that came after the watermark had passed their row.
        late_labels: Labels that came after their row had left.
        after_cutoff: Labels that became known after their row's cut-off.
    """

    duplicates: int = 0
    late_rows: int = 0
    late_labels: int = 0
    after_cutoff: int = 0


@dataclass(slots=True)
class _Bucket:
    """The pending transactions and labels of ten minutes of event time."""

    rows: list[PendingTransactions] = field(default_factory=list)
    labels: list[Labels] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Folded:
    """The result of a batch; the state has not changed yet.

    Attributes:
        settled: The rows that leave.
        clock: How far the input has been read.
        counts: What had no effect on a row.
        first: int64[p + l], for each source partition (those of labels after those of transactions)
            the oldest offset that stays pending; ``NOWHERE`` for none.
        rows: The batch's transactions that stay.
        labels: The batch's labels that stay.
    """

    settled: Settled
    clock: Clock
    counts: Counts
    first: Int64
    rows: PendingTransactions
    labels: Labels


class Pending:
    """Transactions whose rows have not left, and their labels.

    ``fold`` changes nothing, and ``keep`` applies its result. So an aborted batch needs no undo.

    Args:
        partitions: Number of partitions of the transactions.
        sources: Number of partitions of transactions and labels together.
        hold_ms: Time from a transaction to its cut-off: the delay less the slack.
        lateness_ms: How much earlier than the newest event time the watermark is, in addition to
            ``hold_ms``.
        by_time: Whether labels name the event times of their transactions.
    """

    def __init__(
        self, partitions: int, sources: int, hold_ms: int, lateness_ms: int, *, by_time: bool = True
    ) -> None:
        self.clock = Clock.new(partitions)
        self._sources = sources
        self._hold = hold_ms
        self._lateness = lateness_ms
        self._by_time = by_time
        self._buckets: dict[int, _Bucket] = {}
        self._told = _LabelsByTransaction()
        self._known: dict[int, int] = {}
        self._firsts: dict[int, Int64] = {}

    def __len__(self) -> int:
        """Return the number of pending rows."""
        return len(self._known)

    def remember(self, rows: PendingTransactions, labels: Labels) -> None:
        """Add the records of a replay; those up to the watermark are ignored."""
        watermark = self.clock.watermark
        fresh, _ = self._fresh(rows.take(np.flatnonzero(rows.event_time > watermark)))
        self._store(
            fresh, self._in_time(labels.take(np.flatnonzero(labels.event_time > watermark)))
        )

    def fold(
        self,
        rows: PendingTransactions,
        timestamp: Int64,
        row_order: Int64,
        labels: Labels,
        label_order: Int64,
    ) -> Folded:
        """Return the result of a batch, without changing the state.

        Args:
            rows: n valid transactions in the order of the merged input.
            timestamp: int64[n], their Kafka timestamps, ms.
            row_order: int64[n], their places in the merged batch, ascending.
            labels: m labels in the same order.
            label_order: int64[m], their places, ascending.
        """
        before = self.clock
        newest, heard = before.newest.copy(), before.heard.copy()
        marks = np.empty(len(rows), np.int64)
        advance(
            rows.partition, rows.event_time, timestamp, newest, heard,
            self._lateness + self._hold, IDLE_MS, before.watermark, marks,
        )  # fmt: skip
        after = int(marks[-1]) if len(marks) else before.watermark
        clock = Clock(newest, heard, after)
        fresh, duplicates = self._fresh(rows)
        alive = fresh.event_time > marks[self._places(fresh, rows)]
        late_rows = len(fresh) - int(alive.sum())
        fresh = fresh.take(np.flatnonzero(alive))
        # The watermark for a label is that of the transactions before it.
        stand = np.append(before.watermark, marks)[np.searchsorted(row_order, label_order)]
        open_ = labels.event_time > stand
        late_labels = len(labels) - int(open_.sum())
        opened = labels.take(np.flatnonzero(open_))
        in_time = self._in_time(opened)
        settled = self._settle(fresh, in_time, stand[open_], after)
        stay = fresh.take(np.flatnonzero(fresh.event_time > after))
        stay_labels = in_time.take(np.flatnonzero(in_time.event_time > after))
        counts = Counts(duplicates, late_rows, late_labels, len(opened) - len(in_time))
        first = self._first(stay, stay_labels, after)
        return Folded(settled, clock, counts, first, stay, stay_labels)

    def keep(self, folded: Folded) -> None:
        """Apply the result of a batch to the state."""
        self.clock = folded.clock
        gone = folded.settled.rows
        for identity, time in zip(gone.identity.tolist(), gone.event_time.tolist(), strict=True):
            if self._known.get(identity) == time:
                del self._known[identity]
        self._drop(folded.clock.watermark)
        self._store(folded.rows, folded.labels)

    # -- what is new ------------------------------------------------------------------------

    def _fresh(self, rows: PendingTransactions) -> tuple[PendingTransactions, int]:
        """Return the rows that are not duplicates, and the number of duplicates.

        A duplicate is the same transaction of the same customer in the same partition, with the
        event time of the first one or an earlier one. (To find one with a later event time, rows
        that have left would have to be remembered.)
        """
        known, met = self._known, dict[int, int]()
        kept = []
        for row, (identity, time) in enumerate(
            zip(rows.identity.tolist(), rows.event_time.tolist(), strict=True)
        ):
            last = met.get(identity)
            if last is None:
                last = known.get(identity)
            if last is None or time > last:
                met[identity] = time
                kept.append(row)
        if len(kept) == len(rows):
            return rows, 0
        return rows.take(np.array(kept, np.int64)), len(rows) - len(kept)

    @staticmethod
    def _places(fresh: PendingTransactions, rows: PendingTransactions) -> Int64:
        """Return the indices in ``rows`` of the fresh rows, which are some of them in order."""
        if len(fresh) == len(rows):
            return np.arange(len(rows))
        # Source coordinates are unique in a batch and keep their order within a partition.
        place = {
            at: row
            for row, at in enumerate(
                zip(rows.partition.tolist(), rows.offset.tolist(), strict=True)
            )
        }
        coordinates = zip(fresh.partition.tolist(), fresh.offset.tolist(), strict=True)
        return np.array([place[at] for at in coordinates], np.int64)

    def _in_time(self, labels: Labels) -> Labels:
        """Return the labels that were known at their row's cut-off.

        If labels do not name the event time, all are returned: they are judged when the row leaves.
        """
        if not self._by_time:
            return labels
        return labels.take(np.flatnonzero(labels.label_time <= labels.event_time + self._hold))

    # -- what leaves ------------------------------------------------------------------------

    def _settle(
        self, fresh: PendingTransactions, in_time: Labels, stand: Int64, watermark: int
    ) -> Settled:
        """Return the rows up to the watermark, each with its last label.

        Args:
            fresh: The batch's own rows.
            in_time: The batch's own labels.
            stand: int64[m], the watermark before each label; only used if labels do not name the
                event time.
            watermark: The watermark after the batch.
        """
        rows = [fresh, *(r for n in self._reached(watermark) for r in self._buckets[n].rows)]
        leaving = joined_rows([r.take(np.flatnonzero(r.event_time <= watermark)) for r in rows])
        order = np.lexsort((leaving.offset, leaving.partition, leaving.event_time))
        leaving = leaving.take(order)
        if not self._by_time:
            return Settled(leaving, self._told.verdicts(leaving, in_time, stand, self._hold))
        labels = [in_time, *(x for n in self._reached(watermark) for x in self._buckets[n].labels)]
        return Settled(leaving, _verdicts(leaving, joined_labels(labels)))

    def _reached(self, watermark: int) -> list[int]:
        """Return the buckets that may have something up to the watermark, ascending."""
        edge = watermark // _BUCKET_MS
        return sorted(number for number in self._buckets if number <= edge)

    def _drop(self, watermark: int) -> None:
        for number in self._reached(watermark):
            bucket = self._buckets[number]
            rows = [r.take(np.flatnonzero(r.event_time > watermark)) for r in bucket.rows]
            labels = [x.take(np.flatnonzero(x.event_time > watermark)) for x in bucket.labels]
            if not self._by_time:
                self._told.forget(bucket.labels, watermark)
            bucket = _Bucket([r for r in rows if len(r)], [x for x in labels if len(x)])
            if bucket.rows or bucket.labels:
                self._buckets[number] = bucket
                self._firsts[number] = self._oldest((*bucket.rows, *bucket.labels))
            else:
                del self._buckets[number], self._firsts[number]

    # -- where a restart begins -------------------------------------------------------------

    def _first(self, rows: PendingTransactions, labels: Labels, watermark: int) -> Int64:
        first = self._oldest((rows, labels))
        reached = self._reached(watermark)
        for number in reached:
            pieces: list[PendingTransactions | Labels] = [*self._buckets[number].rows]
            for each in (*pieces, *self._buckets[number].labels):
                left = each.take(np.flatnonzero(each.event_time > watermark))
                first = np.minimum(first, self._oldest((left,)))
        gone = set(reached)
        stay = [oldest for number, oldest in self._firsts.items() if number not in gone]
        return np.minimum.reduce([first, *stay])

    def _oldest(self, pieces: Sequence[PendingTransactions | Labels]) -> Int64:
        first = np.full(self._sources, NOWHERE)
        for piece in pieces:
            np.minimum.at(first, piece.partition, piece.offset)
        return first

    # -- the buckets ------------------------------------------------------------------------

    def _store(self, rows: PendingTransactions, labels: Labels) -> None:
        self._known.update(zip(rows.identity.tolist(), rows.event_time.tolist(), strict=True))
        for number, members in _by_bucket(rows.event_time):
            piece = rows.take(members)
            self._bucket(number, piece).rows.append(piece)
        for number, members in _by_bucket(labels.event_time):
            told = labels.take(members)
            self._bucket(number, told).labels.append(told)
        if not self._by_time:
            self._told.add(labels)

    def _bucket(self, number: int, piece: PendingTransactions | Labels) -> _Bucket:
        oldest = self._oldest((piece,))
        known = self._firsts.get(number)
        self._firsts[number] = oldest if known is None else np.minimum(known, oldest)
        return self._buckets.setdefault(number, _Bucket())


def _by_bucket(event_time: Int64) -> Iterator[tuple[int, Int64]]:
    """Yield each bucket with the indices of its members, in their order."""
    bucket = event_time // _BUCKET_MS
    order = np.argsort(bucket, kind="stable")
    if not len(order):
        return
    for members in np.split(order, np.flatnonzero(np.diff(bucket[order])) + 1):
        yield int(bucket[members[0]]), members


@dataclass(frozen=True, slots=True, order=True)
class _Told:
    """A label that does not name the event time; the newest label is the last one in order.

    Attributes:
        label_time: When it became known, ms.
        partition: Source partition.
        offset: Source offset.
        fraud: Whether the transaction was a fraud.
        until: It is kept until this event time, ms: it counts for rows that are not after it.
    """

    label_time: int
    partition: int
    offset: int
    fraud: bool
    until: int


class _LabelsByTransaction:
    """Pending labels that do not name the event time, by the hash of their transaction.

    Those of a transaction are in order. A label that became known later is kept longer, so they are
    also in the order in which they are forgotten.
    """

    def __init__(self) -> None:
        self._labels: dict[int, list[_Told]] = {}

    def add(self, labels: Labels) -> None:
        for match, told in _told(labels):
            known = self._labels.setdefault(match, [])
            if known and told < known[-1]:
                insort(known, told)
            else:
                known.append(told)

    def verdicts(self, rows: PendingTransactions, fresh: Labels, stand: Int64, hold: int) -> Bool:
        """Return bool[n]: whether each row that leaves is a fraud by its last label.

        A label counts if the row had not left when it arrived, wherever batches ended. The time
        does not grow with rows times labels: anyone can send many of both for one transaction id.

        Args:
            rows: n rows in the order of event time.
            fresh: m labels of the batch in which they leave, which are not added yet.
            stand: int64[m], the watermark before each of these labels.
            hold: Time from a row to its cut-off, ms.
        """
        # Each with the first event time for which it counts: a later row sees more labels.
        new: dict[int, list[tuple[int, _Told]]] = {}
        for (match, told), before in zip(_told(fresh), stand.tolist(), strict=True):
            new.setdefault(match, []).append((max(before + 1, told.label_time - hold), told))
        for waiting in new.values():
            waiting.sort(reverse=True)
        seen: dict[int, _Told] = {}
        found = np.zeros(len(rows), np.bool_)
        pairs = zip(rows.match.tolist(), rows.event_time.tolist(), strict=True)
        for row, (match, time) in enumerate(pairs):
            waiting = new.get(match, [])
            while waiting and waiting[-1][0] <= time:
                told = waiting.pop()[1]
                seen[match] = max(seen.get(match, told), told)
            known = self._labels.get(match, [])
            at = bisect_right(known, time + hold, key=_LABEL_TIME)
            labels = [*known[max(at - 1, 0) : at], *([seen[match]] if match in seen else [])]
            # Of all labels in time, the last one is kept longest.
            last = max(labels, default=None)
            found[row] = last is not None and last.fraud and time <= last.until
        return found

    def forget(self, labels: Sequence[Labels], watermark: int) -> None:
        """Remove those of some labels that are kept no longer than until ``watermark``."""
        gone = {
            match for each in labels for match in each.match[each.event_time <= watermark].tolist()
        }
        for match in gone & self._labels.keys():
            known = self._labels[match]
            del known[: bisect_right(known, watermark, key=_UNTIL)]
            if not known:
                del self._labels[match]


_LABEL_TIME: Final = attrgetter("label_time")
_UNTIL: Final = attrgetter("until")


def _told(labels: Labels) -> Iterator[tuple[int, _Told]]:
    columns = (
        labels.label_time, labels.partition, labels.offset, labels.fraud, labels.event_time
    )  # fmt: skip
    rows = zip(*(column.tolist() for column in columns), strict=True)
    for match, row in zip(labels.match.tolist(), rows, strict=True):
        yield match, _Told(*row)


def _verdicts(rows: PendingTransactions, labels: Labels) -> Bool:
    """Return bool[n]: the last label of each row; of equal label times the later label."""
    if not len(labels) or not len(rows):
        return np.zeros(len(rows), np.bool_)
    order = np.lexsort((labels.offset, labels.partition, labels.label_time, labels.match))
    told = labels.take(order)
    last = np.searchsorted(told.match, rows.match, side="right") - 1
    found: Bool = (last >= 0) & (told.match[last] == rows.match) & told.fraud[last]
    return found
