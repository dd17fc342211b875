"""Labels of a batch job: what is known of its transactions in time."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stream_scorer.core.events.batch import EventBatch
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.events.validation import LATEST_MS
from stream_scorer.core.labelling.contract import FRAUD, GENUINE, NO_LABEL
from stream_scorer.core.mapping.mapping import EventMapping, LabelIdentity
from stream_scorer.core.terminals.columns import (
    kept_until,
    label_times,
    last_in_time,
    match_of,
)
from stream_scorer.errors import SettingsError
from stream_scorer.tables.files import InputFile, columns_of, read_pieces
from stream_scorer.tables.mapped import MappedReader, misfit_of
from stream_scorer.tables.transactions import conform

Int64 = NDArray[np.int64]
UInt64 = NDArray[np.uint64]
UInt8 = NDArray[np.uint8]
Bool = NDArray[np.bool_]

_TIME = pa.timestamp("ms")
_CUSTOMER, _LABEL = "customer_id", "is_fraud"
_COLUMNS = {
    "transaction_id": pa.string(), "is_fraud": pa.bool_(), "event_time": _TIME, "label_time": _TIME,
    _CUSTOMER: pa.string(),
}  # fmt: skip
_NEEDED = ("transaction_id", "is_fraud", "event_time")
_OPTIONAL = dict.fromkeys(("label_time", _CUSTOMER))
_SAMPLE = 1 << 18
"""Number of labels, 2 MB of hashes, for the check whether they belong to the input at all."""


@dataclass(frozen=True, slots=True)
class _Labels:
    """Some labels of a file.

    Attributes:
        match: uint64[n], hashes of their transactions' identity; see :class:`Frauds`.
        fraud: bool[n].
        known: int64[n], when they became known, ms.
        in_time: bool[n], whether they were known before their terminal's row is published. If
            labels do not name the event time, this depends on the event: all with a possible time.
    """

    match: UInt64
    fraud: Bool
    known: Int64
    in_time: Bool

    def take(self, rows: Int64 | Bool) -> "_Labels":
        return _Labels(self.match[rows], self.fraud[rows], self.known[rows], self.in_time[rows])


@dataclass(frozen=True, slots=True)
class _Dated:
    """Labels of transactions, if labels do not name the event time.

    They are all labels of transactions with a fraud label; or of every transaction, if it matters
    which ones have none.

    Attributes:
        match: uint64[n], ascending; see :class:`Frauds`.
        known: int64[n], when they became known, ms; ascending for one match.
        fraud: bool[n].
        hold: From a transaction to the cut-off of its labels, ms.
    """

    match: UInt64
    known: Int64
    fraud: Bool
    hold: int

    def last(self, match: UInt64, event_time: Int64) -> UInt8:
        """Return uint8[n]: what the last label in time of each of n events says, or NO_LABEL."""
        found = np.full(len(match), NO_LABEL, np.uint8)
        if len(self.match):
            at = last_in_time(self.match, self.known, match, event_time + self.hold)
            there = (at >= 0) & (kept_until(self.known)[at] >= event_time)
            found[there] = np.where(self.fraud[at[there]], np.uint8(FRAUD), np.uint8(GENUINE))
        return found


@dataclass(frozen=True, slots=True)
class Frauds:
    """Transactions that are frauds, and possibly those that are known not to be.

    Attributes:
        match: uint64[f], sorted: hashes of id and, if labels name them, event time and customer.
        identity: The columns that labels name. The same id with another time or customer is a
            different transaction.
        sample: uint64[s], sorted: such hashes of labels, frauds or not, in time or not. The
            smallest ones, so an unbiased sample; all, if the file has no more.
        read: Number of labels of the file.
        in_time: Number of labels known in time; all, if labels do not name the event time.
        dated: Decides which of ``match`` are frauds, if labels do not name the event time.
        labelled: uint64[l], sorted: likewise the hashes of transactions with a label in time,
            frauds or not; None: a transaction without a label counts as genuine.
    """

    match: UInt64
    identity: LabelIdentity
    sample: UInt64
    read: int
    in_time: int
    dated: _Dated | None = None
    labelled: UInt64 | None = None

    def among(self, events: EventBatch) -> UInt8:
        """Return uint8[n]: ``FRAUD``, ``GENUINE`` or ``NO_LABEL`` of ``core.labelling.contract``.

        There is a ``NO_LABEL`` only if it is known which transactions have a label.
        """
        match = self._match(events)
        asked = self.match if self.labelled is None else self.labelled
        rows = np.flatnonzero(_within(asked, match))
        without = GENUINE if self.labelled is None else NO_LABEL
        found = np.full(len(match), without, np.uint8)
        if self.dated is None:
            frauds = _within(self.match, match[rows])
            found[rows] = np.where(frauds, np.uint8(FRAUD), np.uint8(GENUINE))
            return found
        last = self.dated.last(match[rows], events.int64("event_time")[rows])
        found[rows] = np.where(last == NO_LABEL, np.uint8(without), last)
        return found

    def heard_of(self, events: EventBatch) -> bool:
        """Return whether a label of the sample belongs to one of the events."""
        return bool(_within(self.sample, self._match(events)).any())

    def _match(self, events: EventBatch) -> UInt64:
        return match_of(events.records, events.int64("event_time"), self.identity)


def _within(known: UInt64, match: UInt64) -> Bool:
    at = np.searchsorted(known, match)
    found: Bool = (at < len(known)) & (np.append(known, np.uint64(0))[at] == match)
    return found


def read_frauds(file: InputFile, plan: Plan, *, every: bool = False) -> Frauds:
    """Return the frauds of a file of labels.

    Of a transaction's labels, the last one counts that was known before its terminal's row is
    published: event time + delay - slack. A label without a time was known immediately. The file is
    read twice, so that only the frauds and a sample of the others are in memory.

    Args:
        file: Has ``transaction_id``, ``is_fraud``, ``event_time``, optionally ``label_time`` and
            ``customer_id``; or the columns of the plan's mapping of labels.
        plan: Contains that mapping, delay and slack.
        every: Whether it matters which transactions have no label. Then the hashes of all labels
            are in memory, and a row with an empty ``is_fraud`` is not a label.

    Raises:
        SettingsError: It cannot be read, is empty, a column is missing, or a value does not fit.
    """
    identity = plan.label_identity if plan.labels else LabelIdentity(_names_customer(file))
    sample = np.empty(0, np.uint64)
    parts = [np.empty(0, np.uint64)]
    known = [np.empty(0, np.uint64)]
    read = in_time = 0
    for labels in _labels(file, plan, identity, empty=every):
        read += len(labels.match)
        in_time += int(np.count_nonzero(labels.in_time))
        more = labels.match
        if len(sample) == _SAMPLE:
            more = more[more < sample[-1]]
        sample = np.unique(np.concatenate([sample, more]))[:_SAMPLE]
        parts.append(labels.match[labels.fraud & labels.in_time])
        if every:
            known.append(labels.match[labels.in_time])
    if not read:
        raise SettingsError(
            f"labels {file.name}: holds no label",
            "give labels, of genuine transactions too; or leave --labels out",
        )
    frauds = np.unique(np.concatenate(parts))
    labelled = np.unique(np.concatenate(known)) if every else None
    again = _labels(file, plan, identity, empty=every)
    if not identity.by_time:
        dated = _dated(again, frauds if labelled is None else labelled, _hold(plan))
        return Frauds(frauds, identity, sample, read, in_time, dated, labelled)
    last = np.full(len(frauds), np.iinfo(np.int64).min)
    fraud = np.zeros(len(frauds), np.bool_)
    for labels in again:
        said = labels.take(labels.in_time & _within(frauds, labels.match))
        for row, at in enumerate(np.searchsorted(frauds, said.match).tolist()):
            if said.known[row] >= last[at]:
                last[at], fraud[at] = said.known[row], said.fraud[row]
    match = np.ascontiguousarray(frauds[fraud])
    return Frauds(match, identity, sample, read, in_time, None, labelled)


def _dated(pieces: Iterator[_Labels], asked: UInt64, hold: int) -> _Dated:
    said = [labels.take(labels.in_time & _within(asked, labels.match)) for labels in pieces]
    match = np.concatenate([labels.match for labels in said])
    known = np.concatenate([labels.known for labels in said])
    fraud = np.concatenate([labels.fraud for labels in said])
    # Of two labels known at the same time, the later row counts as the last.
    order = np.lexsort((np.arange(len(match)), known, match))
    return _Dated(match[order], known[order], fraud[order], hold)


def _hold(plan: Plan) -> int:
    return plan.terminal_delay_ms - plan.terminal_slack_ms


def _names_customer(file: InputFile) -> bool:
    """Return whether labels in our own columns name their customer."""
    present = columns_of(file, list(_COLUMNS))
    for name in _NEEDED:
        if present is not None and name not in present:
            raise SettingsError(f"labels {file.name}: column {name!r} is missing", "add it")
    # If the names are known only row by row, a row without the customer would be an error.
    return present is not None and _CUSTOMER in present


def _labels(
    file: InputFile, plan: Plan, identity: LabelIdentity, *, empty: bool
) -> Iterator[_Labels]:
    mapping = plan.labels
    own = _own(file, by_customer=identity.by_customer, empty=empty)
    pieces = _mapped(file, plan, mapping) if mapping else own
    for columns in pieces:
        event, known = label_times(columns, identity)
        begin = event if identity.by_time else known
        valid = (begin >= 0) & (begin <= LATEST_MS)
        in_time = valid & (known <= np.where(valid, begin, 0) + _hold(plan))
        fraud = columns[_LABEL].to_numpy(zero_copy_only=False).astype(np.bool_)
        yield _Labels(match_of(columns, event, identity), fraud, known, in_time)


def _own(file: InputFile, *, by_customer: bool, empty: bool) -> Iterator[pa.RecordBatch]:
    """Yield the labels of a file with our own columns.

    Args:
        file: The file.
        by_customer: Whether each label names its customer.
        empty: Whether a row may have no label; it is left out.
    """
    needed = {*_NEEDED, _CUSTOMER} if by_customer else {*_NEEDED}
    needed -= {_LABEL} if empty else set()
    schema = pa.schema(
        [pa.field(name, kind, name not in needed) for name, kind in _COLUMNS.items()]
    )
    for piece in read_pieces(file, list(_COLUMNS), 0):
        rows = conform(file, piece, schema, _OPTIONAL, "labels ")
        yield rows.filter(rows.column(_LABEL).is_valid()) if empty else rows


def _mapped(file: InputFile, plan: Plan, mapping: EventMapping) -> Iterator[pa.RecordBatch]:
    """Yield the labels of a file with a user's columns."""
    for piece in MappedReader(plan, mapping).pieces(file):
        if piece.faults:
            row, fault = min(piece.faults.items())
            raise misfit_of(file, piece.first + row, fault, "labels ")
        yield piece.records
