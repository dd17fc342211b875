"""Terminals in a batch job: the input's own transactions with the labels of a file.

The stream's profiler tells a terminal's row when its label is settled; here a row enters the table
behind the events that it came with. An event sees no row younger than the plan's delay, so both
give it the same rows.
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
from stream_scorer.core.plan import Plan
from stream_scorer.core.terminals import Delayed, TerminalTable
from stream_scorer.errors import SettingsError

Int64 = NDArray[np.int64]
UInt64 = NDArray[np.uint64]
Bool = NDArray[np.bool_]

_TIME = pa.timestamp("ms")
_COLUMNS = {
    "transaction_id": pa.string(), "is_fraud": pa.bool_(), "event_time": _TIME, "label_time": _TIME,
}  # fmt: skip
_NEEDED = ("transaction_id", "is_fraud", "event_time")
_ROW = np.dtype([("terminal", "<u8"), ("time", "<i8"), ("fraud", "?")])


@dataclass(frozen=True, slots=True)
class _Labels:
    """Labels that were known in time.

    Attributes:
        transaction: uint64[n], hashes of ids.
        fraud: bool[n].
        known: int64[n], when they became known, ms.
    """

    transaction: UInt64
    fraud: Bool
    known: Int64


def read_frauds(file: InputFile, plan: Plan) -> UInt64:
    """Return the frauds of a file of labels: sorted hashes of their transactions' ids.

    Of several labels of a transaction the last one counts that was known before its terminal's row
    is told: event time + delay - slack. A label without a time was known at once. The file is read
    twice, so that no more is held than the frauds.

    Args:
        file: Has ``transaction_id``, ``is_fraud``, ``event_time``, perhaps ``label_time``.
        plan: Gives delay and slack.

    Raises:
        SettingsError: It cannot be read, lacks a column, or a value does not fit; names it.
    """
    present = columns_of(file, list(_COLUMNS))
    for name in _NEEDED:
        if present is not None and name not in present:
            raise SettingsError(f"labels {file.name}: column {name!r} is missing", "add it")
    frauds = [labels.transaction[labels.fraud] for labels in _in_time(file, plan)]
    suspects = np.unique(np.concatenate([np.empty(0, np.uint64), *frauds]))
    last = np.full(len(suspects), np.iinfo(np.int64).min)
    fraud = np.zeros(len(suspects), np.bool_)
    for labels in _in_time(file, plan):
        at = np.searchsorted(suspects, labels.transaction)
        at[at == len(suspects)] = 0
        for row in np.flatnonzero(
            suspects[at] == labels.transaction if len(suspects) else np.zeros(len(at), np.bool_)
        ).tolist():
            if labels.known[row] >= last[at[row]]:
                last[at[row]], fraud[at[row]] = labels.known[row], labels.fraud[row]
    return np.ascontiguousarray(suspects[fraud])


def _in_time(file: InputFile, plan: Plan) -> Iterator[_Labels]:
    for piece in read_pieces(file, list(_COLUMNS), 0):
        columns = _converted(file, piece)
        event = _ms(columns["event_time"])
        told = columns["label_time"]
        known = np.where(told.is_null().to_numpy(zero_copy_only=False), event, _ms(told))
        kept = np.flatnonzero(known <= event + plan.terminal_delay_ms - plan.terminal_slack_ms)
        hashes = hash_strings(*string_views(columns["transaction_id"]))
        fraud = columns["is_fraud"].to_numpy(zero_copy_only=False).astype(np.bool_)
        yield _Labels(hashes[kept], fraud[kept], known[kept])


def _converted(file: InputFile, piece: Piece) -> dict[str, pa.Array]:
    if piece.faults:
        row, (what, _) = next(iter(piece.faults.items()))
        raise SettingsError(f"labels {file.name}: row {piece.first + row + 1}: {what}", "mend it")
    columns = {}
    for name, target in _COLUMNS.items():
        raw = piece.columns.get(name)
        with reading(file):
            columns[name] = pa.nulls(piece.rows, target) if raw is None else convert(raw, target)
        if name in _NEEDED and columns[name].null_count:
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
        frauds: uint64, sorted: hashes of the ids of transactions that are frauds.

    Attributes:
        table: What the core takes.
    """

    def __init__(self, delayed: Delayed, frauds: UInt64) -> None:
        self.table = TerminalTable()
        self._delayed = delayed
        self._frauds = frauds
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

    def remember(self, events: EventBatch, newest: int) -> None:
        """Add decided events, and let go what no later event can see.

        Args:
            events: What was decided.
            newest: Newest event time so far, ms.
        """
        ids = hash_strings(*string_views(events.records.column("transaction_id")))
        at = np.searchsorted(self._frauds, ids)
        rows = np.empty(len(events), _ROW)
        rows["terminal"] = hash_strings(*string_views(events.records.column("terminal_id")))
        rows["time"] = events.int64("event_time")
        rows["fraud"] = np.append(self._frauds, np.uint64(0))[at] == ids
        rows["fraud"] &= at < len(self._frauds)
        self._add(rows)
        edge = newest - self._delayed.memory_ms
        self.table.evict(edge)
        while self._rows and int(self._rows[0]["time"].max(initial=edge)) <= edge:
            self._rows.popleft()

    def _add(self, rows: NDArray[np.void]) -> None:
        if len(rows):
            self._rows.append(rows)
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
