"""Settle labels: one row for each transaction, once its fraud label is final.

A row (terminal, event time e, fraud or not) leaves when the *watermark* W reaches e. W is the
newest event time of the slowest partition that is not idle, minus ``hold`` (the delay less the
slack) and the lateness. A row takes the label that counts of those known at e + hold; without one,
the plan's label policy decides. A label that arrives after its row has left changes nothing. So a
row never changes.

Under a label policy, W stays before a row until its outcome is known: :meth:`Pending.held` says
where a batch must stop. The rows that leave then take the labels before that place, which are those
that they take without the stop. An *exempt* row does not hold W: it is older than the newest event
of its own partition by the delay or more.

The state between two batches depends only on the records before them and on W: everything after W
is pending. It does not depend on the order among partitions, so a restart rebuilds it from the
records, one partition after the other.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.labelling.contract import (
    FRAUD,
    NO_LABEL,
    UNKNOWN,
    LabelPolicy,
)
from stream_scorer.core.labelling.resolve import resolve
from stream_scorer.core.terminals.columns import (
    Labels,
    PendingTransactions,
    joined_labels,
    joined_rows,
    source_hash,
)
from stream_scorer.core.terminals.labels_by_transaction import LabelsByTransaction
from stream_scorer.core.terminals.profile_kernels import advance
from stream_scorer.core.terminals.undecided import (
    NOWHERE,
    RowOutcomes,
    StopBefore,
    Undecided,
    newest_before,
)

Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]
UInt8 = NDArray[np.uint8]

NEVER = -(2**62)
"""Before every time, ms."""
IDLE_MS = 60_000
"""A partition is idle if its newest Kafka timestamp is this much before the newest of all, ms."""
_FOREVER_MS = 2**61
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
        state: uint8[n], ``GENUINE``, ``FRAUD`` or ``UNKNOWN`` of ``labelling.contract``.
        revision: int64[n], the revision whose label policy settled each; 0 without a policy.
    """

    rows: PendingTransactions
    state: UInt8
    revision: Int64

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def fraud(self) -> Bool:
        """bool[n]: whether each is a fraud."""
        return self.state == FRAUD


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
        before: int64[p + l], the newest event time of the partition before that offset, ms;
            ``NOWHERE`` for none, and for labels.
        rows: The batch's transactions that stay.
        labels: The batch's labels that stay.
    """

    settled: Settled
    clock: Clock
    counts: Counts
    first: Int64
    before: Int64
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
        delay_ms: A row that is so much older than the newest event before it in its partition is
            exempt, ms.
    """

    def __init__(
        self, partitions: int, sources: int, hold_ms: int, lateness_ms: int, *,
        by_time: bool = True, delay_ms: int = _FOREVER_MS,
    ) -> None:  # fmt: skip
        self.clock = Clock.new(partitions)
        self._delay = delay_ms
        self._replayed = np.full(partitions, NEVER)
        self._undecided: Undecided | None = None
        self._sources = sources
        self._hold = hold_ms
        self._lateness = lateness_ms
        self._by_time = by_time
        self._buckets: dict[int, _Bucket] = {}
        self._told = LabelsByTransaction()
        self._known: dict[int, int] = {}
        self._firsts: dict[int, Int64] = {}

    def __len__(self) -> int:
        """Return the number of pending rows."""
        return len(self._known)

    def begin_replay(self, before: Int64) -> None:
        """Set the newest event time of each partition before its replay: int64[p], ms."""
        self._replayed = before.copy()

    def remember(self, rows: PendingTransactions, labels: Labels) -> None:
        """Add the records of a replay; those up to the watermark are ignored."""
        watermark = self.clock.watermark
        before = newest_before(rows.partition, rows.event_time, self._replayed)
        rows = replace(rows, before=before)
        fresh, _ = self._fresh(rows.take(np.flatnonzero(rows.event_time > watermark)))
        self._store(
            fresh, self._in_time(labels.take(np.flatnonzero(labels.event_time > watermark)))
        )

    def held(
        self, rows: PendingTransactions, timestamp: Int64, row_order: Int64, known: Int64
    ) -> StopBefore | None:
        """Return where a batch must stop, as rows wait for their outcomes; None: nowhere.

        Args:
            rows: As for :meth:`fold`.
            timestamp: Likewise.
            row_order: Likewise.
            known: int64[p], outcomes before these offsets are known.
        """
        undecided = self._undecided_rows(known)
        marks, _, _ = self._marks(rows, timestamp)
        before = newest_before(rows.partition, rows.event_time, self.clock.newest.copy())
        waits = (rows.event_time > marks) & (rows.offset >= known[rows.partition])
        waits &= ~self._exempt(rows.event_time, before)
        first = np.concatenate([[undecided], np.where(waits, rows.event_time, NOWHERE)])
        first = np.minimum.accumulate(first)[:-1]
        beyond = np.flatnonzero(marks >= first)
        if not len(beyond):
            return None
        row = int(beyond[0])
        return StopBefore(int(row_order[row]), max(self.clock.watermark, int(first[row]) - 1))

    def _undecided_rows(self, known: Int64) -> int:
        """Return the smallest event time of the pending rows that wait, ms."""
        if self._undecided is None:
            self._undecided = Undecided(len(self.clock.newest))
            pieces = [piece for bucket in self._buckets.values() for piece in bucket.rows]
            if pieces:
                self._wait(joined_rows(pieces))
        return self._undecided.first_ms(known)

    def _wait(self, rows: PendingTransactions) -> None:
        """Note rows that may have to wait for their outcomes."""
        if self._undecided is not None and len(rows):
            holding = np.flatnonzero(~self._exempt(rows.event_time, rows.before))
            if len(holding):
                self._undecided.add(
                    rows.partition[holding], rows.offset[holding], rows.event_time[holding]
                )

    def _exempt(self, event_time: Int64, before: Int64) -> Bool:
        exempt: Bool = event_time <= before - self._delay
        return exempt

    def _marks(
        self, rows: PendingTransactions, timestamp: Int64
    ) -> tuple[Int64, Int64, Int64]:  # fmt: skip
        """Return the watermark after each row, and the clock's times after them."""
        before = self.clock
        newest, heard = before.newest.copy(), before.heard.copy()
        marks = np.empty(len(rows), np.int64)
        advance(
            rows.partition, rows.event_time, timestamp, newest, heard,
            self._lateness + self._hold, IDLE_MS, before.watermark, marks,
        )  # fmt: skip
        return marks, newest, heard

    def fold(
        self,
        rows: PendingTransactions,
        timestamp: Int64,
        row_order: Int64,
        labels: Labels,
        label_order: Int64,
        outcomes: RowOutcomes | None = None,
        least: int = NEVER,
    ) -> Folded:
        """Return the result of a batch, without changing the state.

        Args:
            rows: n valid transactions in the order of the merged input.
            timestamp: int64[n], their Kafka timestamps, ms.
            row_order: int64[n], their places in the merged batch, ascending.
            labels: m labels in the same order.
            label_order: int64[m], their places, ascending.
            outcomes: What was decided, and the label policies; None: no row has a policy.
            least: The watermark after the batch is at least this, ms; see :class:`StopBefore`.
        """
        before = self.clock
        marks, newest, heard = self._marks(rows, timestamp)
        after = max(int(marks[-1]) if len(marks) else before.watermark, least)
        clock = Clock(newest, heard, after)
        rows = replace(
            rows, before=newest_before(rows.partition, rows.event_time, before.newest.copy())
        )
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
        settled = self._settle(fresh, in_time, stand[open_], after, outcomes)
        stay = fresh.take(np.flatnonzero(fresh.event_time > after))
        stay_labels = in_time.take(np.flatnonzero(in_time.event_time > after))
        counts = Counts(duplicates, late_rows, late_labels, len(opened) - len(in_time))
        first, oldest = self._first(stay, stay_labels, after)
        return Folded(settled, clock, counts, first, oldest, stay, stay_labels)

    def keep(self, folded: Folded) -> None:
        """Apply the result of a batch to the state."""
        self.clock = folded.clock
        gone = folded.settled.rows
        for identity, time in zip(gone.identity.tolist(), gone.event_time.tolist(), strict=True):
            if self._known.get(identity) == time:
                del self._known[identity]
        self._drop(folded.clock.watermark)
        self._store(folded.rows, folded.labels)
        self._wait(folded.rows)

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
        self, fresh: PendingTransactions, in_time: Labels, stand: Int64, watermark: int,
        outcomes: RowOutcomes | None,
    ) -> Settled:  # fmt: skip
        """Return the rows up to the watermark, each with its state.

        Args:
            fresh: The batch's own rows.
            in_time: The batch's own labels.
            stand: int64[m], the watermark before each label; only used if labels do not name the
                event time.
            watermark: The watermark after the batch.
            outcomes: As for :meth:`fold`.
        """
        rows = [fresh, *(r for n in self._reached(watermark) for r in self._buckets[n].rows)]
        leaving = joined_rows([r.take(np.flatnonzero(r.event_time <= watermark)) for r in rows])
        order = np.lexsort((leaving.offset, leaving.partition, leaving.event_time))
        leaving = leaving.take(order)
        state, revision = np.empty(len(leaving), np.uint8), np.zeros(len(leaving), np.int64)
        policies = [(LabelPolicy.absent(), 0, np.arange(len(leaving)))]
        blocked = np.zeros(len(leaving), np.bool_)
        if outcomes is not None and len(leaving):
            policies = list(outcomes.policies(leaving.partition, leaving.offset))
            blocked = outcomes.blocked(leaving.partition, leaving.offset)
        labels, told = in_time, None
        if self._by_time:
            every = [x for n in self._reached(watermark) for x in self._buckets[n].labels]
            labels = joined_labels([in_time, *every])
            labels = labels.take(np.flatnonzero(labels.event_time <= watermark))
        else:
            told = self._told.verdicts(leaving, in_time, stand, self._hold)
        for policy, number, mine in policies:
            some = leaving.take(mine)
            found = self._resolved(some, labels, policy) if told is None else told[mine]
            settled = policy.settle(found, blocked[mine], np.full(len(mine), self._hold), risk=True)
            if policy.on:
                exempt = self._exempt(some.event_time, some.before) & (found == NO_LABEL)
                settled[exempt] = UNKNOWN
                revision[mine] = number
            state[mine] = settled
        return Settled(leaving, state, revision)

    def _resolved(self, rows: PendingTransactions, labels: Labels, policy: LabelPolicy) -> UInt8:
        """Return uint8[n]: what labels say of rows at their cut-offs; NO_LABEL without one."""
        if not len(labels) or not len(rows):
            return np.full(len(rows), NO_LABEL, np.uint8)
        ranks = dict(zip(map(source_hash, policy.sources),
                         policy.rank(policy.sources).tolist(), strict=True))  # fmt: skip
        return resolve(labels.statements(ranks), rows.match, rows.event_time + self._hold).state

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
        """Return int64[2, p + l]; see :meth:`_oldest`."""
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
        """Return int64[2, p + l]: of each partition the oldest offset, and what was before it.

        The newest event time before a row never falls from row to row of its partition.
        """
        first = np.full((2, self._sources), NOWHERE)
        for piece in pieces:
            np.minimum.at(first[0], piece.partition, piece.offset)
            if isinstance(piece, PendingTransactions):
                np.minimum.at(first[1], piece.partition, piece.before)
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
