"""The labels of the parity bench's input, and the terminal profile rows that both must give.

Labels are known at any time before or after the cut-off; withdrawn in time, and too late; without a
time; and delivered after their rows were published, whatever their time. All that come too late are
fraud labels, so that using one of them would change features.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bench.parity_steps.input import AFTER_EVICTION, AGAIN, Input
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.labelling.contract import UNKNOWN
from stream_scorer.core.terminals.history import TerminalTable
from stream_scorer.ports import Int64

Bool = NDArray[np.bool_]

_DAY = 86_400_000
_AT_ONCE = -1
_FRAUDS = 0.1
_SHARES = {
    "in_time": 0.3, "at_cut_off": 0.05, "at_once": 0.05, "taken_back": 0.05, "after_cut_off": 0.05,
    "delivered_late": 0.05, "taken_back_too_late": 0.05, "none": 0.4,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Labels:
    """m labels in the order in which they are delivered.

    Attributes:
        row: int64[m], the input row that each is of.
        fraud: bool[m].
        known: int64[m], since when it is known, ms; negative: it has no time.
        before: int64[m], ascending: it is delivered right before the input row of this number.
        in_time: bool[m], whether it was known at the cut-off, and delivered before its row left.
        delivered_late: bool[m], whether it was known in time, and delivered when its row had left.
    """

    row: Int64
    fraud: Bool
    known: Int64
    before: Int64
    in_time: Bool
    delivered_late: Bool

    def __len__(self) -> int:
        return len(self.row)

    @property
    def too_late(self) -> int:
        """How many labels the profiler must count and ignore."""
        return int((~self.in_time).sum())

    def table(self, rows: Input) -> pa.Table:
        """Return m rows with the columns of the label schema."""
        source = rows.table.take(pa.array(self.row))
        known = pa.array(self.known, mask=self.known < 0).cast(pa.timestamp("ms"))
        columns = {
            name: source.column(name)
            for name in ("transaction_id", "customer_id", "terminal_id", "event_time")
        }
        columns |= {"is_fraud": pa.array(self.fraud), "label_time": known}
        return pa.table(columns | {"source": pa.nulls(len(self), pa.string())})


def label(rows: Input, plan: Plan) -> Labels:
    """Draw the labels of an input."""
    drawn = np.random.default_rng(1)
    hold = plan.terminal_delay_ms - plan.terminal_slack_ms
    time, clock = rows.time, rows.clock
    labelled = np.flatnonzero(~np.isin(rows.kind, [AFTER_EVICTION, *AGAIN]))
    kind = drawn.choice(list(_SHARES), len(labelled), p=list(_SHARES.values()))
    found: list[tuple[int, bool, int, int]] = []

    def delay(least: int, most: int) -> int:
        return int(drawn.integers(least, most, endpoint=True))

    for row, how in zip(labelled.tolist(), kind.tolist(), strict=True):
        e, fraud = int(time[row]), bool(drawn.random() < _FRAUDS)
        if how == "at_once":
            found.append((row, fraud, _AT_ONCE, e + delay(0, hold)))
        elif how == "delivered_late":
            found.append((row, True, e + delay(0, hold), e + 20 * _DAY))
        elif how != "none":
            known = e + {
                "at_cut_off": hold, "after_cut_off": hold + delay(1, plan.lateness_ms * 9 // 10),
            }.get(how, delay(0, hold // 2))  # fmt: skip
            found.append((row, fraud or how == "after_cut_off", known, known))
            if how.startswith("taken_back"):
                again = e + (
                    8 * _DAY if how == "taken_back_too_late" else delay(hold // 2 + 1, hold)
                )
                found.append((row, how == "taken_back_too_late" or not fraud, again, again))
    of, said, since, due = (np.array(column) for column in zip(*found, strict=True))
    # A label comes after its transaction, when the clock has reached its delivery.
    before = np.maximum(np.searchsorted(clock, due, side="right"), of + 1)
    left = clock[before - 1] - hold - plan.lateness_ms
    heard, past = time[of] > left, since > time[of] + hold
    # What is to come when its row has left must do so by far: where the clocks jump, and where
    # the input ends, it would not.
    late = due > time[of] + hold + plan.lateness_ms
    kept = np.flatnonzero(past | np.where(late, time[of] < left - 4 * _DAY, heard))
    kept = kept[np.argsort(before[kept], kind="stable")]
    in_time = heard & ~past
    return Labels(
        of[kept], said[kept], since[kept], before[kept], in_time[kept], (~heard & ~past)[kept]
    )


def settled(
    rows: Input, labels: Labels, plan: Plan, blocked: Bool | None = None
) -> TerminalTable:  # fmt: skip
    """Return the terminals' rows by the rule alone, all of them: nothing has left.

    Args:
        rows: The input.
        labels: Its labels.
        plan: Their delay and slack.
        blocked: bool[n], which rows were blocked: such a row without a label is unknown. None: none
            is unknown.
    """
    frauds = _frauds(rows, labels)
    own = np.array(list(_own(rows, plan)), np.int64)
    unlabelled = np.zeros(len(rows), np.uint8)
    if blocked is not None:
        unlabelled[blocked] = UNKNOWN
    fraud = np.array(
        [frauds.get(row, unlabelled[row]) for row in own.tolist()], np.uint8
    )  # fmt: skip
    terminal = rows.table.column("terminal_id").combine_chunks().cast(pa.string())
    table = TerminalTable()
    table.add(terminal.take(pa.array(own)), rows.time[own], fraud)
    table.watermark = int(rows.time.max())
    return table


def _frauds(rows: Input, labels: Labels) -> dict[int, bool]:
    """Return the last label that was known in time, by input row."""
    said: dict[int, tuple[int, bool]] = {}
    time = rows.time
    for at in np.flatnonzero(labels.in_time).tolist():
        row = int(labels.row[at])
        known = int(labels.known[at]) if labels.known[at] >= 0 else int(time[row])
        if row not in said or known >= said[row][0]:
            said[row] = known, bool(labels.fraud[at])
    return {row: fraud for row, (_, fraud) in said.items()}


def _own(rows: Input, plan: Plan) -> Iterator[int]:
    """Yield the input rows that are rows of their terminals.

    Not what comes when rows of its time have left; nor the same transaction of a customer again,
    unless under a later event time.
    """
    hold = plan.terminal_delay_ms - plan.terminal_slack_ms
    left = (rows.clock - hold - plan.lateness_ms).tolist()
    newest: dict[tuple[str, str], int] = {}
    ids = (rows.table.column(name).to_pylist() for name in ("customer_id", "transaction_id"))
    for row, (customer, transaction, time) in enumerate(zip(*ids, rows.time.tolist(), strict=True)):
        identity = customer, transaction
        if time > left[row] and time > newest.get(identity, time - 1):
            newest[identity] = time
            yield row
