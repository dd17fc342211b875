"""Transactions and labels as columns, from which the rows of terminals are settled."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from stream_scorer.core.events.batch import EventBatch
from stream_scorer.core.events.strings import hashes_of
from stream_scorer.core.labelling.contract import Statements
from stream_scorer.core.labelling.states import states_of
from stream_scorer.core.mapping.mapping import LabelIdentity
from stream_scorer.core.terminals.profile_kernels import mixed

Int64 = NDArray[np.int64]
UInt64 = NDArray[np.uint64]
UInt8 = NDArray[np.uint8]
Bool = NDArray[np.bool_]

_NEVER = -(2**62)
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
        before: int64[n], the newest event time before each one in its partition, ms; a time before
            every other one if not given.
    """

    match: UInt64
    identity: UInt64
    event_time: Int64
    terminal_id: pa.Array
    partition: NDArray[np.int32]
    offset: Int64
    before: Int64 = field(default_factory=lambda: np.zeros(0, np.int64))

    def __post_init__(self) -> None:
        if len(self.before) < len(self.match):
            object.__setattr__(self, "before", np.full(len(self.match), _NEVER))

    def __len__(self) -> int:
        return len(self.match)

    def take(self, rows: Int64) -> "PendingTransactions":
        """Return some rows, in the given order."""
        return PendingTransactions(
            self.match[rows], self.identity[rows], self.event_time[rows],
            self.terminal_id.take(pa.array(rows)), self.partition[rows], self.offset[rows],
            self.before[rows],
        )  # fmt: skip


def _none() -> UInt64:
    return np.zeros(0, np.uint64)


@dataclass(frozen=True, slots=True)
class Labels:
    """n labels.

    Attributes:
        match: uint64[n], as :attr:`PendingTransactions.match`.
        event_time: int64[n], event times of their transactions, ms. If labels do not name them: a
            time that these are not after, until which a label is kept.
        label_time: int64[n], when they became known, ms.
        state: uint8[n], what they say; see ``labelling.contract``. A bool[n], fraud or genuine,
            will do.
        partition: int32[n], source partition.
        offset: int64[n], source offset.
        source: uint64[n], hash of who says it, see :func:`source_hash`; zeros if not given.
        label_id: uint64[n], hash of source and label id; 0 without an id. Zeros if not given.
        retracts: uint64[n], hash of source and the id of the retracted label; 0 if a label retracts
            nothing. Zeros if not given.
    """

    match: UInt64
    event_time: Int64
    label_time: Int64
    state: UInt8
    partition: NDArray[np.int32]
    offset: Int64
    source: UInt64 = field(default_factory=_none)
    label_id: UInt64 = field(default_factory=_none)
    retracts: UInt64 = field(default_factory=_none)

    def __post_init__(self) -> None:
        for name in ("source", "label_id", "retracts"):
            if len(getattr(self, name)) < len(self.match):
                object.__setattr__(self, name, np.zeros(len(self.match), np.uint64))
        if self.state.dtype != np.uint8:
            object.__setattr__(self, "state", self.state.astype(np.uint8))

    def __len__(self) -> int:
        return len(self.match)

    def take(self, rows: Int64) -> "Labels":
        """Return some labels, in the given order."""
        return Labels(*(getattr(self, each.name)[rows] for each in fields(self)))

    def statements(self, ranks: Mapping[int, int]) -> Statements:
        """Return the labels as statements; no row of a terminal depends on a draw.

        Args:
            ranks: Rank by the hash of a source; others have rank 0.
        """
        rank = np.zeros(len(self), np.uint8)
        for source, number in ranks.items():
            rank[self.source == np.uint64(source)] = number
        return Statements(
            self.match, self.event_time, self.label_time, self.state, rank, self.label_id,
            self.retracts, np.full(len(self), np.nan), self.partition, self.offset,
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
    source = _optional_hash(records, "source")
    return Labels(
        match_of(records, time, identity), time, label_time, states_of(records), partition, offset,
        source, _named(records, "label_id", source), _named(records, "retracts", source),
    )  # fmt: skip


def source_hash(name: str) -> int:
    """Return the hash by which :attr:`Labels.source` names a source."""
    return int(hashes_of(pa.array([name], pa.string()))[0])


def _optional_hash(records: pa.RecordBatch, name: str) -> UInt64:
    """Return uint64[n]: hashes of a column of texts; 0 for null or empty, or without the column."""
    if name not in records.schema.names:
        return np.zeros(len(records), np.uint64)
    texts = records.column(name)
    if texts.null_count == len(texts):
        return np.zeros(len(records), np.uint64)
    found: UInt64 = hashes_of(pc.fill_null(texts, ""))
    empty = np.asarray(pc.equal(pc.fill_null(texts, ""), "").to_numpy(zero_copy_only=False))
    return np.where(empty, np.uint64(0), found)


def _named(records: pa.RecordBatch, name: str, source: UInt64) -> UInt64:
    """Return uint64[n]: hashes of source and label id; 0 without an id."""
    known = _optional_hash(records, name)
    if not known.any():
        return known
    made: UInt64 = mixed(source, known)
    return np.where(known == 0, np.uint64(0), np.maximum(made, np.uint64(1)))


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
            for name in ("match", "identity", "event_time", "partition", "offset", "before")
        },
        terminal_id=pa.concat_arrays([piece.terminal_id for piece in pieces]),
    )


def joined_labels(pieces: Sequence[Labels]) -> Labels:
    """Return the labels of one or more pieces."""
    if len(pieces) == 1:
        return pieces[0]
    columns: list[Any] = [
        np.concatenate([getattr(piece, each.name) for piece in pieces]) for each in fields(Labels)
    ]
    return Labels(*columns)
