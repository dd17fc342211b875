"""Transactions and labels as the columns that their rows are settled from."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stream_scorer.core.events.batch import EventBatch
from stream_scorer.core.events.strings import hashes_of
from stream_scorer.core.terminals.profile_kernels import mixed

Int64 = NDArray[np.int64]
UInt64 = NDArray[np.uint64]
Bool = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class PendingTransactions:
    """n transactions whose label is not settled, or was not before they left.

    Attributes:
        match: uint64[n], hash of customer (if labels name it), transaction id and event time.
        identity: uint64[n], hash of customer, transaction id and partition.
        event_time: int64[n], ms.
        terminal_id: n strings.
        partition: int32[n], source.
        offset: int64[n], source.
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
        event_time: int64[n], their transactions' event times, ms.
        label_time: int64[n], when they became known, ms.
        fraud: bool[n].
        partition: int32[n], source.
        offset: int64[n], source.
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


def rows_of(events: EventBatch, *, by_customer: bool = True) -> PendingTransactions:
    """Return valid transactions as rows.

    Args:
        events: The transactions.
        by_customer: Whether labels name their customer, as in :func:`labels_of`.
    """
    records = events.records
    time = events.int64("event_time")
    known = _hashes(records)
    return PendingTransactions(
        mixed(known if by_customer else _hash(records, "transaction_id"), time),
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
    *,
    by_customer: bool = True,
) -> Labels:
    """Return decoded labels; one without a time is known since its transaction.

    Args:
        records: n labels.
        partition: int32[n], source.
        offset: int64[n], source.
        by_customer: Whether they name their customer; otherwise they belong to the transactions
            with their id and event time, of whichever customer.
    """
    time = np.asarray(records.column("event_time").view(pa.int64()))
    known = records.column("label_time").view(pa.int64())
    label_time = np.where(
        np.asarray(known.is_valid()), np.asarray(known.fill_null(0)), time
    ).astype(np.int64)
    fraud = np.asarray(records.column("is_fraud").to_numpy(zero_copy_only=False), np.bool_)
    known_as = _hashes(records) if by_customer else _hash(records, "transaction_id")
    match = mixed(known_as, time)
    return Labels(match, time, label_time, fraud, partition, offset)


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
