"""Transactions and labels as columns, from which the rows of terminals are settled."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stream_scorer.core.events.batch import EventBatch
from stream_scorer.core.events.strings import hashes_of
from stream_scorer.core.mapping.mapping import LabelIdentity
from stream_scorer.core.terminals.profile_kernels import mixed

Int64 = NDArray[np.int64]
UInt64 = NDArray[np.uint64]
Bool = NDArray[np.bool_]

_EARLY_MS = 86_400_000
"""A label may be known this much before its transaction: many labels only have a date."""
_LATEST_MS = 2**62


OURS = LabelIdentity()
"""The fields by which labels of this project's schema name their transactions."""


@dataclass(frozen=True, slots=True)
class PendingTransactions:
    """n transactions: pending, or with a label that was just settled.

    Attributes:
        match: uint64[n], hash of the transaction id, and of customer and event time if labels
            name them.
        identity: uint64[n], hash of customer, transaction id and partition.
        event_time: int64[n], ms.
        terminal_id: n strings.
        partition: int32[n], source partition.
        offset: int64[n], source offset.
    """

    match: UInt64
    identity: UInt64
    event_time: Int64
    terminal_id: pa.Array
    partition: NDArray[np.int32]
    offset: Int64

    def __len__(self) -> int:
        return len(self.match)

    def take(self, rows: Int64) -> "PendingTransactions":
        """Return some rows, in the given order."""
        return PendingTransactions(
            self.match[rows], self.identity[rows], self.event_time[rows],
            self.terminal_id.take(pa.array(rows)), self.partition[rows], self.offset[rows],
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Labels:
    """n labels.

    Attributes:
        match: uint64[n], as :attr:`PendingTransactions.match`.
        event_time: int64[n], event times of their transactions, ms. If labels do not name them: a
            time that these are not after, until which a label is kept.
        label_time: int64[n], when they became known, ms.
        fraud: bool[n].
        partition: int32[n], source partition.
        offset: int64[n], source offset.
    """

    match: UInt64
    event_time: Int64
    label_time: Int64
    fraud: Bool
    partition: NDArray[np.int32]
    offset: Int64

    def __len__(self) -> int:
        return len(self.match)

    def take(self, rows: Int64) -> "Labels":
        """Return some labels, in the given order."""
        return Labels(
            self.match[rows], self.event_time[rows], self.label_time[rows], self.fraud[rows],
            self.partition[rows], self.offset[rows],
        )  # fmt: skip


def rows_of(events: EventBatch, identity: LabelIdentity = OURS) -> PendingTransactions:
    """Return valid transactions as pending ones.

    Args:
        events: The transactions.
        identity: The fields by which labels name them.
    """
    records = events.records
    time = events.int64("event_time")
    known = _hashes(records)
    named = known if identity.by_customer else _hash(records, "transaction_id")
    return PendingTransactions(
        _with_time(named, time, identity),
        mixed(known, events.partition.astype(np.int64)),
        time,
        records.column("terminal_id"),
        events.partition,
        events.offset,
    )


def labels_of(
    records: pa.RecordBatch,
    partition: NDArray[np.int32],
    offset: Int64,
    identity: LabelIdentity = OURS,
) -> Labels:
    """Return decoded labels as columns.

    Args:
        records: n labels; see :func:`label_times`.
        partition: int32[n], source partition.
        offset: int64[n], source offset.
        identity: The fields by which they name their transactions.
    """
    time, label_time = label_times(records, identity)
    fraud = np.asarray(records.column("is_fraud").to_numpy(zero_copy_only=False), np.bool_)
    return Labels(match_of(records, time, identity), time, label_time, fraud, partition, offset)


def label_times(records: pa.RecordBatch, identity: LabelIdentity) -> tuple[Int64, Int64]:
    """Return the event times of the labelled transactions, and when their labels became known.

    If labels do not name the event time, :func:`kept_until` replaces it.

    Args:
        records: n labels. A label without a label time is known since its transaction.
        identity: The fields by which they name their transactions.

    Returns:
        Two int64[n], ms.
    """
    known = records.column("label_time").cast(pa.int64())
    label_time = np.asarray(known.fill_null(0)).astype(np.int64)
    if not identity.by_time:
        return kept_until(label_time), label_time
    time = np.asarray(records.column("event_time").cast(pa.int64()))
    return time, np.where(np.asarray(known.is_valid()), label_time, time)


def kept_until(label_time: Int64) -> Int64:
    """Return int64[n], ms: times that the event times of labelled transactions are not after.

    Args:
        label_time: int64[n], when the labels became known, ms.
    """
    until: Int64 = np.minimum(label_time, _LATEST_MS) + _EARLY_MS
    return until


def match_of(records: pa.RecordBatch, event_time: Int64, identity: LabelIdentity) -> UInt64:
    """Return uint64[n]: hashes that are equal for a label and its transaction.

    Args:
        records: n labels or transactions.
        event_time: int64[n], ms.
        identity: The fields by which labels name their transactions, in addition to the id.
    """
    named = _hashes(records) if identity.by_customer else _hash(records, "transaction_id")
    return _with_time(named, event_time, identity)


def _with_time(named: UInt64, event_time: Int64, identity: LabelIdentity) -> UInt64:
    return mixed(named, event_time) if identity.by_time else named


def last_in_time(match: UInt64, known: Int64, wanted: UInt64, limit: Int64) -> Int64:
    """Return int64[n]: the index of the last label in time of each transaction, or -1.

    Args:
        match: uint64[m], of labels, ascending.
        known: int64[m], when they became known, ms; ascending for equal matches.
        wanted: uint64[n], of transactions.
        limit: int64[n], the latest label time that is in time for each transaction, ms.
    """
    first = np.searchsorted(match, wanted, side="left").astype(np.int64)
    low, high = first, np.searchsorted(match, wanted, side="right").astype(np.int64)
    while (left := low < high).any():
        middle = (low + high) // 2
        fits = left & (known[np.where(left, middle, 0)] <= limit)
        low, high = np.where(fits, middle + 1, low), np.where(left & ~fits, middle, high)
    return np.where(low > first, low - 1, -1)


def _hashes(records: pa.RecordBatch) -> UInt64:
    hashes: UInt64 = mixed(_hash(records, "customer_id"), _hash(records, "transaction_id"))
    return hashes


def _hash(records: pa.RecordBatch, name: str) -> UInt64:
    hashes: UInt64 = hashes_of(records.column(name))
    return hashes


def joined_rows(pieces: Sequence[PendingTransactions]) -> PendingTransactions:
    """Return the rows of one or more pieces."""
    if len(pieces) == 1:
        return pieces[0]
    return replace(
        pieces[0],
        **{
            name: np.concatenate([getattr(piece, name) for piece in pieces])
            for name in ("match", "identity", "event_time", "partition", "offset")
        },
        terminal_id=pa.concat_arrays([piece.terminal_id for piece in pieces]),
    )


def joined_labels(pieces: Sequence[Labels]) -> Labels:
    """Return the labels of one or more pieces."""
    if len(pieces) == 1:
        return pieces[0]
    names = ("match", "event_time", "label_time", "fraud", "partition", "offset")
    return Labels(*(np.concatenate([getattr(piece, name) for piece in pieces]) for name in names))
