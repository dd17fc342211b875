"""What becomes of transactions and labels: one row per transaction, once its label is settled.

A row (terminal, event time e, fraud or not) leaves when the *watermark* W reaches e. W follows the
event times that were seen, ``hold`` (the delay less the slack) and the lateness behind, as of the
slowest partition that is not idle. A row takes the last label that was known at e + hold; a label
that comes when its row has left changes nothing. So a row never changes.

The state between two batches is a function of the records before them and of W alone: what is
pending is what lies after W. It needs no order among partitions, so a restart rebuilds it from the
records themselves, one partition after the other.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

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
"""A partition whose records are this much older than the newest, by Kafka's time, is idle."""
NOWHERE = 2**62
"""Behind every offset."""
_BUCKET_MS = 600_000


@dataclass(frozen=True, slots=True)
class Clock:
    """How far the input has come.

    Attributes:
        newest: int64[p], newest event time by partition of the transactions, ms; NEVER at first.
        heard: int64[p], newest Kafka timestamp likewise.
        watermark: Rows up to here are out, ms.
    """

    newest: Int64
    heard: Int64
    watermark: int = NEVER

    @classmethod
    def new(cls, partitions: int) -> "Clock":
        """Return the clock of an input of which nothing was seen."""
        never = np.full(partitions, NEVER)
        return cls(never, never.copy())


@dataclass(frozen=True, slots=True)
class Settled:
    """n rows that leave, by event time, partition and offset.

    Attributes:
        rows: The transactions.
        fraud: bool[n], what the last label in time said; False without one.
    """

    rows: PendingTransactions
    fraud: Bool

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, slots=True)
class Counts:
    """What a batch held that no row tells of.

    Attributes:
        duplicates: Transactions that were there before.
        late_rows: Transactions whose row could no longer leave.
        late_labels: Labels that came when their row had left.
        after_cutoff: Labels that became known after their row's cut-off.
    """

    duplicates: int = 0
    late_rows: int = 0
    late_labels: int = 0
    after_cutoff: int = 0


@dataclass(slots=True)
class _Bucket:
    """What is pending of ten minutes of event time."""

    rows: list[PendingTransactions] = field(default_factory=list)
    labels: list[Labels] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Folded:
    """What a batch comes to; nothing has changed yet.

    Attributes:
        settled: What leaves.
        clock: How far the input has come.
        counts: What no row tells of.
        first: int64[p + l], by source partition (those of labels behind those of transactions) the
            oldest offset of what stays pending; ``NOWHERE`` for none.
        rows: Further rows that stay.
        labels: Further labels that stay.
    """

    settled: Settled
    clock: Clock
    counts: Counts
    first: Int64
    rows: PendingTransactions
    labels: Labels


class Pending:
    """Transactions and labels whose rows have not left.

    ``fold`` changes nothing, ``keep`` does: a batch that is given up needs no undoing.

    Args:
        partitions: Of the transactions.
        sources: Of transactions and labels together.
        hold_ms: From a transaction to its cut-off: the delay less the slack.
        lateness_ms: How far the watermark stays behind the newest event, beside that.
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
        """Return how many rows are pending."""
        return len(self._known)

    def remember(self, rows: PendingTransactions, labels: Labels) -> None:
        """Take in what a replay brings; what has left before is passed over."""
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
        """Take a batch in.

        Args:
            rows: n valid transactions in the order of the merged input.
            timestamp: int64[n], their Kafka timestamps.
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
        # A label sees the watermark of the transactions before it.
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
        """Make a folded batch the state."""
        self.clock = folded.clock
        gone = folded.settled.rows
        for identity, time in zip(gone.identity.tolist(), gone.event_time.tolist(), strict=True):
            if self._known.get(identity) == time:
                del self._known[identity]
        self._drop(folded.clock.watermark)
        self._store(folded.rows, folded.labels)

    # -- what is new ------------------------------------------------------------------------

    def _fresh(self, rows: PendingTransactions) -> tuple[PendingTransactions, int]:
        """Return the rows that are no duplicates, and how many are.

        A duplicate is the same transaction of the same customer again, with the event time that it
        had or an earlier one. (A later one would need a memory of rows that have left.)
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
        """Return where the fresh rows, which are some of the rows in their order, were."""
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

        Labels that do not name their row's time are judged when the row leaves.
        """
        if not self._by_time:
            return labels
        return labels.take(np.flatnonzero(labels.label_time <= labels.event_time + self._hold))

    # -- what leaves ------------------------------------------------------------------------

    def _settle(
        self, fresh: PendingTransactions, in_time: Labels, stand: Int64, watermark: int
    ) -> Settled:
        """Return the rows up to the watermark with what the last label says of each.

        Args:
            fresh: The batch's own rows.
            in_time: The batch's own labels.
            stand: int64[m], where labels do not name their row's time: the watermark before each.
            watermark: After the batch.
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
        """Return the buckets in which something may lie up to the watermark, ascending."""
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
    """Yield each bucket's members, in their order."""
    bucket = event_time // _BUCKET_MS
    order = np.argsort(bucket, kind="stable")
    if not len(order):
        return
    for members in np.split(order, np.flatnonzero(np.diff(bucket[order])) + 1):
        yield int(bucket[members[0]]), members


@dataclass(frozen=True, slots=True, order=True)
class _Told:
    """A label that does not name its row's time; the newest one is the last in order.

    Attributes:
        label_time: When it became known, ms.
        partition: Source.
        offset: Source.
        fraud: What it says.
        until: It is kept until then, ms: for rows that are not after that.
    """

    label_time: int
    partition: int
    offset: int
    fraud: bool
    until: int


class _LabelsByTransaction:
    """Pending labels that do not name their row's time, by what they are of."""

    def __init__(self) -> None:
        self._labels: dict[int, list[_Told]] = {}

    def add(self, labels: Labels) -> None:
        for match, told in _told(labels):
            self._labels.setdefault(match, []).append(told)

    def verdicts(self, rows: PendingTransactions, fresh: Labels, stand: Int64, hold: int) -> Bool:
        """Return bool[n]: what the last label says of each row that leaves.

        A label counts for a row that had not left when it came, wherever a batch ended.

        Args:
            rows: n rows.
            fresh: m labels of the batch in which they leave, not added yet.
            stand: int64[m], the watermark before each of these.
            hold: From a row to its cut-off, ms.
        """
        new: dict[int, list[tuple[int, _Told]]] = {}
        for (match, told), before in zip(_told(fresh), stand.tolist(), strict=True):
            new.setdefault(match, []).append((before, told))
        found = np.zeros(len(rows), np.bool_)
        pairs = zip(rows.match.tolist(), rows.event_time.tolist(), strict=True)
        for row, (match, time) in enumerate(pairs):
            labels = [told for before, told in new.get(match, ()) if before < time]
            labels += self._labels.get(match, ())
            labels = [told for told in labels if told.label_time - hold <= time <= told.until]
            found[row] = bool(labels) and max(labels).fraud
        return found

    def forget(self, labels: Sequence[Labels], watermark: int) -> None:
        """Forget those of some labels that are kept until ``watermark`` at most."""
        gone = {
            match for each in labels for match in each.match[each.event_time <= watermark].tolist()
        }
        for match in gone & self._labels.keys():
            left = [told for told in self._labels[match] if told.until > watermark]
            if left:
                self._labels[match] = left
            else:
                del self._labels[match]


def _told(labels: Labels) -> Iterator[tuple[int, _Told]]:
    columns = (
        labels.label_time, labels.partition, labels.offset, labels.fraud, labels.event_time
    )  # fmt: skip
    rows = zip(*(column.tolist() for column in columns), strict=True)
    for match, row in zip(labels.match.tolist(), rows, strict=True):
        yield match, _Told(*row)


def _verdicts(rows: PendingTransactions, labels: Labels) -> Bool:
    """Return bool[n]: what the last label of each row says; of two known at once, the later one."""
    if not len(labels) or not len(rows):
        return np.zeros(len(rows), np.bool_)
    order = np.lexsort((labels.offset, labels.partition, labels.label_time, labels.match))
    told = labels.take(order)
    last = np.searchsorted(told.match, rows.match, side="right") - 1
    found: Bool = (last >= 0) & (told.match[last] == rows.match) & told.fraud[last]
    return found
