"""Terminals in a batch job: the input's transactions with the labels of a file.

The stream's profiler publishes a terminal's row when its label is final. Here a row enters the
table after the chunk of its event. An event sees only rows that are older than the plan's delay, so
it sees the same rows in both cases.

Which transactions have a row follows the profiler's rule (``core/terminals/pending_labels.py``).
The profiler has no rings. It ignores a transaction that is sent again only while the first one's
row is pending, and only if its event time is the same or earlier.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_scorer.batch.labels import Frauds
from stream_scorer.core.events.batch import EventBatch
from stream_scorer.core.events.label_table import read_label_policy
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.events.strings import hashes_of
from stream_scorer.core.events.validation import LATEST_MS
from stream_scorer.core.kernels.store import NEVER
from stream_scorer.core.labelling.contract import FRAUD, UNKNOWN, LabelPolicy
from stream_scorer.core.terminals.history import Delayed, TerminalTable
from stream_scorer.core.terminals.profile_kernels import mixed

Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]

_KNOWN = ("identity", "time")
_NEVER = int(NEVER)
_ROW = np.dtype([("terminal", "<u8"), ("identity", "<u8"), ("time", "<i8"), ("state", "u1")])


@dataclass(frozen=True, slots=True)
class Met:
    """The labels' matches among accepted events.

    Attributes:
        frauds: Events that are frauds.
        any: Whether any label belongs to an event at all.
        unknown: Events whose rows are unknown: blocked, without a label.
    """

    frauds: int = 0
    any: bool = False
    unknown: int = 0


@dataclass(frozen=True, slots=True)
class PublishedEvents:
    """Events with what was decided about them.

    Attributes:
        events: n transactions.
        blocked: bool[n], which of them the published decision blocked; None: it is not known, so
            none is unknown.
    """

    events: EventBatch
    blocked: Bool | None


class Terminals:
    """The table of a job, filled with the job's own events.

    Args:
        delayed: The model's features that use it.
        frauds: The labels' frauds.
        plan: Contains the slack: a row is pending until its label's cut-off plus the lateness.

    Attributes:
        table: The core's table.
        met: The labels' matches among the events so far.
    """

    def __init__(self, delayed: Delayed, frauds: Frauds, plan: Plan) -> None:
        self.table = TerminalTable()
        self.met = Met()
        self._delayed = delayed
        self._frauds = frauds
        self._policy = LabelPolicy.of(read_label_policy(plan.label_policy))
        self._hold = plan.terminal_delay_ms - plan.terminal_slack_ms
        self._pending_ms = self._hold + plan.lateness_ms
        # All valid events, also duplicates, move the profiler's watermark.
        self._newest = _NEVER
        # The table's rows, for the checkpoint.
        self._rows: deque[NDArray[np.void]] = deque()

    def pieces(self, event_time: Int64, latest: int) -> list[slice]:
        """Return how to cut events into pieces so that none sees a row of the same piece.

        Args:
            event_time: int64[n], ms, in arrival order.
            latest: Events after it, ms, are rejected, as those before 1970 are. They have no row
                and see none, so they need no cut.
        """
        cuts, first = [], 0
        delay = self._delayed.delay_ms
        latest = min(latest, LATEST_MS)
        valid = (event_time >= 0) & (event_time <= latest)
        upper, lower = np.where(valid, event_time, 0), np.where(valid, event_time, latest)
        while first < len(event_time):
            newest = np.maximum.accumulate(upper[first:])
            # An event also sees rows that are exactly as old as the delay.
            wide = newest - np.minimum.accumulate(lower[first:]) >= delay
            length = int(np.argmax(wide)) if wide.any() else len(event_time) - first
            cuts.append(slice(first, first + length))
            first += length
        return cuts

    def expect(self, newest: int) -> None:
        """Set the newest event time of the next events, after all earlier pieces are remembered."""
        self.table.watermark = max(self.table.watermark, newest - self._delayed.delay_ms)

    def remember(
        self, events: PublishedEvents, repeated: PublishedEvents, clock: Int64, newest: int
    ) -> None:  # fmt: skip
        """Add events, and remove rows that no later event can see.

        Args:
            events: The decided events.
            repeated: r events that were rejected as duplicates.
            clock: int64[r], the newest time of the decided events before each of them, ms.
            newest: Newest event time so far, ms.
        """
        before = self._newest
        rows = self._rows_of(events)
        self._meet(events.events, rows["state"])
        self._add(rows)
        if len(repeated.events):
            self._add(self._again(self._rows_of(repeated), np.maximum(clock, before)))
        edge = newest - self._delayed.memory_ms
        self.table.evict(edge)
        while self._rows and int(self._rows[0]["time"].max(initial=edge)) <= edge:
            self._rows.popleft()

    def _rows_of(self, published: PublishedEvents) -> NDArray[np.void]:
        events = published.events
        records = events.records
        terminal, customer, transaction = (
            hashes_of(records.column(name))
            for name in ("terminal_id", "customer_id", "transaction_id")
        )
        rows = np.empty(len(events), _ROW)
        rows["terminal"] = terminal
        rows["identity"] = mixed(customer, transaction)
        rows["time"] = events.int64("event_time")
        state = self._frauds.among(events)
        if published.blocked is not None:
            age = np.full(len(events), self._hold)
            state = self._policy.settle(state, published.blocked, age, risk=True)
        rows["state"] = state
        return rows

    def _meet(self, events: EventBatch, state: NDArray[np.uint8]) -> None:
        frauds = self.met.frauds + int(np.count_nonzero(state == FRAUD))
        unknown = self.met.unknown + int(np.count_nonzero(state == UNKNOWN))
        heard = frauds > 0 or self.met.any or self._frauds.heard_of(events)
        self.met = Met(frauds, heard, unknown)

    def _again(self, repeated: NDArray[np.void], clock: Int64) -> NDArray[np.void]:
        """Return the duplicates that have separate rows; see the module."""
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
                np.ascontiguousarray(rows["state"]),
            )  # fmt: skip

    def labels(self) -> dict[str, int]:
        """Return counts: labels that were read, those known in time, transactions that are frauds.

        ``frauds_in_input`` counts the frauds among accepted events; ``met`` is 1 as soon as any
        label belongs to one. Under a label policy, ``outcome_column`` is 1 if the input says which
        transactions were blocked. Then ``unknown`` counts the accepted events whose rows are
        unknown. Otherwise none is.
        """
        frauds, met = self._frauds, self.met
        outcomes: dict[str, int] = {}
        if self._policy.on:
            known = frauds.labelled is not None
            outcomes = {"outcome_column": int(known), "unknown": met.unknown}
        return outcomes | {
            "read": frauds.read, "in_time": frauds.in_time, "frauds": len(frauds.match),
            "frauds_in_input": met.frauds, "met": int(met.any),
        }  # fmt: skip

    def dump(self) -> bytes:
        """Return the table's rows as bytes."""
        return b"".join(rows.tobytes() for rows in self._rows)

    def load(self, payload: bytes) -> None:
        """Add the rows that ``dump`` returned.

        Raises:
            ValueError: The bytes are truncated.
        """
        self._add(np.frombuffer(payload, _ROW))
