"""Terminals in a batch job: the input's own transactions with the labels of a file.

The stream's profiler tells a terminal's row when its label is settled; here a row enters the table
behind the events that it came with. An event sees no row younger than the plan's delay, so both
give it the same rows.

Which transactions have a row is the profiler's rule too (``core/profiles.py``). It knows no rings:
a transaction sent again is none of its own only while the first one's row is pending, and only
under the event time that this one had, or an earlier one.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stream_scorer.apps.batch_files import InputFile, Piece, columns_of, read_pieces, reading
from stream_scorer.apps.transaction_files import convert
from stream_scorer.core.batch import EventBatch
from stream_scorer.core.fields import string_views
from stream_scorer.core.kernels.hashing import hash_strings
from stream_scorer.core.kernels.profiles import mixed
from stream_scorer.core.kernels.store import NEVER
from stream_scorer.core.plan import Plan
from stream_scorer.core.terminals import Delayed, TerminalTable
from stream_scorer.errors import SettingsError

Int64 = NDArray[np.int64]
UInt64 = NDArray[np.uint64]
Bool = NDArray[np.bool_]

_TIME = pa.timestamp("ms")
_CUSTOMER = "customer_id"
_COLUMNS = {
    "transaction_id": pa.string(), "is_fraud": pa.bool_(), "event_time": _TIME, "label_time": _TIME,
    _CUSTOMER: pa.string(),
}  # fmt: skip
_NEEDED = ("transaction_id", "is_fraud", "event_time")
_KNOWN = ("identity", "time")
_NEVER = int(NEVER)
_ROW = np.dtype([("terminal", "<u8"), ("identity", "<u8"), ("time", "<i8"), ("fraud", "?")])


@dataclass(frozen=True, slots=True)
class _Labels:
    """Labels that were known in time.

    Attributes:
        match: uint64[n], hashes of what they belong to; see :class:`Frauds`.
        fraud: bool[n].
        known: int64[n], when they became known, ms.
    """

    match: UInt64
    fraud: Bool
    known: Int64


@dataclass(frozen=True, slots=True)
class Frauds:
    """Transactions that are frauds.

    Attributes:
        match: uint64, sorted: hashes of id, event time and, where labels name it, customer.
        by_customer: Whether they do. An id alone may come again, under another time or from
            another customer, as a transaction of its own.
    """

    match: UInt64
    by_customer: bool

    def among(self, events: EventBatch) -> Bool:
        """Return bool[n]: which events are frauds."""
        match = _match(
            events.records.column("transaction_id"), events.int64("event_time"),
            events.records.column(_CUSTOMER) if self.by_customer else None,
        )  # fmt: skip
        at = np.searchsorted(self.match, match)
        found: Bool = (at < len(self.match)) & (np.append(self.match, np.uint64(0))[at] == match)
        return found


def _match(transaction: pa.Array, event_time: Int64, customer: pa.Array | None) -> UInt64:
    hashes = hash_strings(*string_views(transaction))
    if customer is not None:
        hashes = mixed(hash_strings(*string_views(customer)), hashes)
    match: UInt64 = mixed(hashes, event_time)
    return match


def read_frauds(file: InputFile, plan: Plan) -> Frauds:
    """Return the frauds of a file of labels.

    Of several labels of a transaction the last one counts that was known before its terminal's row
    is told: event time + delay - slack. A label without a time was known at once. The file is read
    twice, so that no more is held than the frauds.

    Args:
        file: Has ``transaction_id``, ``is_fraud``, ``event_time``, perhaps ``label_time`` and
            ``customer_id``.
        plan: Gives delay and slack.

    Raises:
        SettingsError: It cannot be read, lacks a column, or a value does not fit; names it.
    """
    present = columns_of(file, list(_COLUMNS))
    for name in _NEEDED:
        if present is not None and name not in present:
            raise SettingsError(f"labels {file.name}: column {name!r} is missing", "add it")
    # Where the names are only known row by row, a row without the customer would say it.
    by_customer = present is not None and _CUSTOMER in present
    frauds = [labels.match[labels.fraud] for labels in _in_time(file, plan, by_customer)]
    suspects = np.unique(np.concatenate([np.empty(0, np.uint64), *frauds]))
    last = np.full(len(suspects), np.iinfo(np.int64).min)
    fraud = np.zeros(len(suspects), np.bool_)
    for labels in _in_time(file, plan, by_customer):
        at = np.searchsorted(suspects, labels.match)
        at[at == len(suspects)] = 0
        for row in np.flatnonzero(
            suspects[at] == labels.match if len(suspects) else np.zeros(len(at), np.bool_)
        ).tolist():
            if labels.known[row] >= last[at[row]]:
                last[at[row]], fraud[at[row]] = labels.known[row], labels.fraud[row]
    return Frauds(np.ascontiguousarray(suspects[fraud]), by_customer)


def _in_time(file: InputFile, plan: Plan, by_customer: bool) -> Iterator[_Labels]:  # noqa: FBT001 passed on
    needed = (*_NEEDED, _CUSTOMER) if by_customer else _NEEDED
    for piece in read_pieces(file, list(_COLUMNS), 0):
        columns = _converted(file, piece, needed)
        event = _ms(columns["event_time"])
        told = columns["label_time"]
        known = np.where(told.is_null().to_numpy(zero_copy_only=False), event, _ms(told))
        kept = np.flatnonzero(known <= event + plan.terminal_delay_ms - plan.terminal_slack_ms)
        customer = columns[_CUSTOMER] if by_customer else None
        match = _match(columns["transaction_id"], event, customer)
        fraud = columns["is_fraud"].to_numpy(zero_copy_only=False).astype(np.bool_)
        yield _Labels(match[kept], fraud[kept], known[kept])


def _converted(file: InputFile, piece: Piece, needed: tuple[str, ...]) -> dict[str, pa.Array]:
    if piece.faults:
        row, (what, _) = next(iter(piece.faults.items()))
        raise SettingsError(f"labels {file.name}: row {piece.first + row + 1}: {what}", "mend it")
    columns = {}
    for name, target in _COLUMNS.items():
        raw = piece.columns.get(name)
        with reading(file):
            columns[name] = pa.nulls(piece.rows, target) if raw is None else convert(raw, target)
        if name in needed and columns[name].null_count:
            row = int(np.flatnonzero(columns[name].is_null().to_numpy(zero_copy_only=False))[0])
            raise SettingsError(
                f"labels {file.name}: row {piece.first + row + 1}: column {name!r} is empty",
                "give a value",
            )
    return columns


def _ms(times: pa.Array) -> Int64:
    return np.asarray(times.cast(pa.int64()).fill_null(0).to_numpy())


class Terminals:
    """The table of a job, fed by the job's own events.

    Args:
        delayed: What the model computes of it.
        frauds: Of the labels.
        plan: Gives the slack: a row is pending until its label's cut-off and the lateness are over.

    Attributes:
        table: What the core takes.
    """

    def __init__(self, delayed: Delayed, frauds: Frauds, plan: Plan) -> None:
        self.table = TerminalTable()
        self._delayed = delayed
        self._frauds = frauds
        self._pending_ms = plan.terminal_delay_ms - plan.terminal_slack_ms + plan.lateness_ms
        # All valid events, those sent again too, move the profiler's watermark.
        self._newest = _NEVER
        # What the table holds, for the checkpoint.
        self._rows: deque[NDArray[np.void]] = deque()

    def pieces(self, event_time: Int64) -> list[slice]:
        """Return how to cut events so that none sees a row of its own piece.

        Args:
            event_time: int64[n], ms, in arrival order.
        """
        cuts, first = [], 0
        delay = self._delayed.delay_ms
        while first < len(event_time):
            rest = event_time[first:]
            wide = np.maximum.accumulate(rest) - np.minimum.accumulate(rest) >= delay
            length = int(np.argmax(wide)) if wide.any() else len(rest)
            cuts.append(slice(first, first + length))
            first += length
        return cuts

    def expect(self, newest: int) -> None:
        """Say up to which event time events come now, all earlier pieces being remembered."""
        self.table.watermark = max(self.table.watermark, newest - self._delayed.delay_ms)

    def remember(self, events: EventBatch, repeated: EventBatch, clock: Int64, newest: int) -> None:
        """Add events, and let go what no later event can see.

        Args:
            events: What was decided.
            repeated: r events that were rejected as duplicates.
            clock: int64[r], the newest time of the decided ones before each of them, ms.
            newest: Newest event time so far, ms.
        """
        before = self._newest
        self._add(self._rows_of(events))
        if len(repeated):
            self._add(self._again(self._rows_of(repeated), np.maximum(clock, before)))
        edge = newest - self._delayed.memory_ms
        self.table.evict(edge)
        while self._rows and int(self._rows[0]["time"].max(initial=edge)) <= edge:
            self._rows.popleft()

    def _rows_of(self, events: EventBatch) -> NDArray[np.void]:
        records = events.records
        terminal, customer, transaction = (
            hash_strings(*string_views(records.column(name)))
            for name in ("terminal_id", _CUSTOMER, "transaction_id")
        )
        rows = np.empty(len(events), _ROW)
        rows["terminal"] = terminal
        rows["identity"] = mixed(customer, transaction)
        rows["time"] = events.int64("event_time")
        rows["fraud"] = self._frauds.among(events)
        return rows

    def _again(self, repeated: NDArray[np.void], clock: Int64) -> NDArray[np.void]:
        """Return those that are rows of their own; see the module."""
        maybe = repeated["time"] > clock - self._pending_ms
        repeated, clock = repeated[maybe], clock[maybe]
        if not len(repeated):
            return repeated
        known: dict[int, int] = {}
        oldest = int(repeated["time"].min())
        for rows in self._rows:
            later = rows[rows["time"] >= oldest]
            later = later[np.isin(later["identity"], repeated["identity"])]
            for identity, time in zip(*(later[name].tolist() for name in _KNOWN), strict=True):
                known[identity] = max(known.get(identity, time), time)
        kept, newest = [], _NEVER
        for row, (identity, time) in enumerate(
            zip(*(repeated[name].tolist() for name in _KNOWN), strict=True)
        ):
            pending = time > max(newest, int(clock[row])) - self._pending_ms
            if pending and time > known.get(identity, _NEVER):
                known[identity] = time
                newest = max(newest, time)
                kept.append(row)
        return repeated[kept]

    def _add(self, rows: NDArray[np.void]) -> None:
        if len(rows):
            self._rows.append(rows)
            self._newest = max(self._newest, int(rows["time"].max()))
            self.table.add_hashed(
                np.ascontiguousarray(rows["terminal"]), np.ascontiguousarray(rows["time"]),
                np.ascontiguousarray(rows["fraud"]),
            )  # fmt: skip

    def dump(self) -> bytes:
        """Return the table's rows as bytes."""
        return b"".join(rows.tobytes() for rows in self._rows)

    def load(self, payload: bytes) -> None:
        """Add the rows that ``dump`` gave.

        Raises:
            ValueError: The bytes are cut off.
        """
        self._add(np.frombuffer(payload, _ROW))
