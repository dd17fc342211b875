"""A replay of the input in plain Python: the expected features of each decision, and the state.

It is written from docs/FEATURES.md, for the features of the shipped model ``fraud:1.0.0`` and its
plan. The input must span less than the longest window, so that nothing is evicted.
"""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.faults.verifier.payloads import Sent, transaction

_DAY_MS = 86_400_000
_LATENESS_MS = 3_600_000
_WINDOWS_MS = (_DAY_MS, 7 * _DAY_MS, 30 * _DAY_MS)
_HORIZON_MS = max(_WINDOWS_MS) + _LATENESS_MS
_CENTS = 100
_SATURDAY = 5
_LAST_NIGHT_HOUR = 6

DUPLICATE = "DUPLICATE"

_Owner = tuple[int, str]
"""Partition and customer; the partition is -1 if customers have changed partitions."""

Remembered = tuple[int, str, int, int]
"""Partition, customer, event time in ms, amount in minor units: one event of the state."""


@dataclass(slots=True)
class _Customer:
    newest: int
    times: list[int] = field(default_factory=list)
    amounts: list[int] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Due:
    """The expected outcome of an input record.

    Attributes:
        reason: The reject reason; empty for a decision.
        transaction_id: The decision's.
        features: The decision's features.
        late: Whether the decision is flagged late.
    """

    reason: str = ""
    transaction_id: str = ""
    features: tuple[float, ...] = ()
    late: bool = False


@dataclass(frozen=True, slots=True)
class History:
    """What an operator did to customers' histories.

    Attributes:
        moved: Customers changed partitions together with their histories, by ``state repartition``.
            Records are then folded in the order of sending.
        begins: By partition, the first offset that ``state rebuild`` read.
    """

    moved: bool = False
    begins: Mapping[int, int] = field(default_factory=dict)


WHOLE = History()
"""No operator changed them."""


class Replay:
    """Folds sent records, partition by partition.

    Args:
        history: What an operator did to the customers' histories.
    """

    def __init__(self, history: History = WHOLE) -> None:
        self.moved = history.moved
        self._begins = dict(history.begins)
        self._customers: dict[_Owner, _Customer] = {}
        self.due: dict[tuple[int, int], Due] = {}

    def fold(self, records: Iterable[Sent]) -> None:
        """Compute the expected outcome of each record."""
        order = sorted(records, key=lambda r: r.sequence if self.moved else r.source)
        for record in order:
            self.due[record.source] = self._one(record)

    def _begin(self, partition: int) -> None:
        """Forget all events of a partition so far."""
        del self._begins[partition]
        for at in [at for at in self._customers if at[0] == partition]:
            del self._customers[at]

    def _one(self, record: Sent) -> Due:
        if record.offset >= self._begins.get(record.partition, record.offset + 1):
            self._begin(record.partition)
        if record.reason not in {"", DUPLICATE} or record.value is None:
            return Due(record.reason)
        row = transaction(record.value)
        time, amount = row["event_time"], row["amount_minor"]
        at = (-1 if self.moved else record.partition, row["customer_id"])
        known = self._customers.get(at)
        if known is None:
            known = self._customers[at] = _Customer(time)
        if row["transaction_id"] in known.ids:
            return Due(DUPLICATE)
        late = time < known.newest - _LATENESS_MS
        # Of events with equal times, the one that arrived last is inserted last, and sees the
        # others.
        place = bisect_right(known.times, time)
        # Events older than the horizon are evicted, so that a late event does not see them.
        gone = bisect_left(known.times, known.newest - _HORIZON_MS)
        features = _features(row, known.times[gone:place], known.amounts[gone:place])
        if not late:
            known.newest = max(known.newest, time)
            known.times.insert(place, time)
            known.amounts.insert(place, amount)
            known.ids.add(row["transaction_id"])
        return Due("", row["transaction_id"], features, late)

    def remembered(self) -> Counter[Remembered]:
        """Return every event of the state."""
        return Counter(
            (partition, customer, time, amount)
            for (partition, customer), known in self._customers.items()
            for time, amount in zip(known.times, known.amounts, strict=True)
        )


def _features(
    row: dict[str, Any], times: Sequence[int], amounts: Sequence[int]
) -> tuple[float, ...]:
    """Return the features of an event; the arguments are the customer's events before it."""
    time, amount = row["event_time"], row["amount_minor"]
    moment = datetime.fromtimestamp(time / 1_000, UTC)
    counts, means = [], []
    for window in _WINDOWS_MS:
        inside = amounts[bisect_right(times, time - window) :]
        counts.append(float(len(inside) + 1))
        means.append((sum(inside) + amount) / (len(inside) + 1) / _CENTS)
    weekend = float(moment.weekday() >= _SATURDAY)
    night = float(moment.hour <= _LAST_NIGHT_HOUR)
    return (amount / _CENTS, weekend, night, *counts, *means)
