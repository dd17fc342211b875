"""Simulated transactions with their labels, encoded once and kept in a file for the producers.

A city has so many customers that the input is about a day of it: at a high rate, a day does not
pass in a second, which no real stream does. A label follows its transaction after two minutes of
the city's time, so that a short input at a low rate has labels, too.

The history comes before the schedule: the same transactions, as old as the profiler holds a row. So
each transaction of the schedule releases about one row of a terminal, as in a stream that has run
for weeks.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from bench.harness.traffic import transactions
from stream_scorer.core.events.plan import Plan
from stream_scorer.ports import BytesColumn, Int64
from stream_scorer.producing.labels import LabelEncoder, due_before
from stream_scorer.producing.transactions import TransactionEncoder
from stream_scorer.settings import Registry

_LEAST_CUSTOMERS, _MOST_CUSTOMERS = 5_000, 60_000
_A_DAY_EACH = 1.8
_LABEL_MS = 120_000
_HISTORY_MOST = 200_000
FIRST_OF_HISTORY = 100_000_000
"""Number of the history's first transaction; those of the schedule begin with 0."""

_COLUMNS = ("keys", "values", "labels", "history")


@dataclass(frozen=True, slots=True)
class Traffic:
    """n transactions, and a label of each.

    Attributes:
        keys: n customers; of a transaction and of its label.
        values: n payloads.
        labels: n payloads.
        before: int64[n], ascending: the transaction before which each label is sent; n: none.
        history: h payloads, h <= n, of the customers of the first h transactions.
    """

    keys: BytesColumn
    values: BytesColumn
    labels: BytesColumn
    before: Int64
    history: BytesColumn

    def write(self, file: Path) -> None:
        """Write it to a file (``.npz``)."""
        arrays = {
            f"{name}_{part}": getattr(getattr(self, name), part)
            for name in _COLUMNS
            for part in ("data", "offsets")
        }
        np.savez(file, before=self.before, **arrays)

    @classmethod
    def read(cls, file: Path, count: int) -> "Traffic":
        """Read the first ``count`` transactions and their labels.

        Raises:
            ValueError: The file has fewer.
        """
        with np.load(file) as found:
            if len(found["before"]) < count:
                raise ValueError(f"{file.name} has {len(found['before'])} rows, not {count}")
            keys, values, labels, history = (
                BytesColumn(found[f"{name}_data"], found[f"{name}_offsets"]) for name in _COLUMNS
            )
            return cls(
                keys.between(0, count), values.between(0, count), labels.between(0, count),
                np.minimum(found["before"][:count], count),
                history.between(0, min(count, len(history))),
            )  # fmt: skip


def customers_of(count: int) -> int:
    """Return how many customers make about ``count`` transactions a day, within bounds.

    >>> customers_of(90_000), customers_of(10), customers_of(10**7)
    (50000, 5000, 60000)
    """
    return min(max(round(count / _A_DAY_EACH), _LEAST_CUSTOMERS), _MOST_CUSTOMERS)


def make(count: int, registry: Registry) -> Traffic:
    """Simulate and encode ``count`` transactions, their labels, and the history."""
    table = transactions(count, customers_of(count)).combine_chunks()
    encode, encode_label = TransactionEncoder(registry), LabelEncoder(registry, _LABEL_MS)
    values: list[bytes] = []
    labels: list[bytes] = []
    for rows in table.to_batches():
        values += encode(rows)
        labels += encode_label(rows)
    history = [
        value
        for rows in history_of(table.slice(0, _HISTORY_MOST), Plan()).to_batches()
        for value in encode(rows)
    ]
    keys = table.column("customer_id").cast(pa.binary()).to_pylist()
    times = table.column("event_time").cast(pa.int64()).to_numpy()
    return Traffic(
        BytesColumn.of(keys), BytesColumn.of(values), BytesColumn.of(labels),
        due_before(times, _LABEL_MS), BytesColumn.of(history),
    )  # fmt: skip


def history_of(table: pa.Table, plan: Plan) -> pa.Table:
    """Return transactions under other numbers, earlier by the time that a profiler holds a row."""
    held = plan.terminal_delay_ms - plan.terminal_slack_ms + plan.lateness_ms
    times = table.column("event_time")
    earlier = pa.array(times.cast(pa.int64()).to_numpy() - held).cast(times.type)
    numbers = pa.array([str(FIRST_OF_HISTORY + row) for row in range(len(table))])
    names = table.column_names
    table = table.set_column(names.index("event_time"), table.schema.field("event_time"), earlier)
    return table.set_column(
        names.index("transaction_id"), table.schema.field("transaction_id"), numbers
    )


def labels_between(before: Int64, first: int, end: int) -> range:
    """Return the labels that are sent before one of the transactions ``first`` to ``end`` - 1.

    >>> labels_between(np.array([1, 1, 4]), 1, 4)
    range(0, 2)
    """
    at = np.searchsorted(before, [first, end], side="left")
    return range(int(at[0]), int(at[1]))


def in_order(
    before: Sequence[int], first: int, end: int, labels: range
) -> Iterator[tuple[bool, int]]:
    """Yield (whether it is a label, its number) in the order in which they are sent."""
    waiting = iter(labels)
    label = next(waiting, None)
    for number in range(first, end):
        while label is not None and before[label] <= number:
            yield True, label
            label = next(waiting, None)
        yield False, number
