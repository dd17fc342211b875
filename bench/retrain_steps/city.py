"""A city whose frauds change their meaning on one day while every input keeps its distribution.

Amount and hour are drawn alike on all days. A transaction is suspicious by amount and hour; which
amounts these are changes on the day of the drift. So no input shows it, and only labels do. Both
kinds of amounts are equally frequent, lie between each other and occur at the same hours: else a
right new version would alert on other sums, or at other times of the day, and the guard would stop
it.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.stats import norm

DAY_MS = 86_400_000
FEATURES = (
    {"name": "AMOUNT", "kind": "passthrough", "field": "amount"},
    {"name": "HOUR", "kind": "hour", "timezone": "UTC"},
)
_BANDS = np.round(np.exp(3.5 + 0.8 * norm.ppf(np.linspace(0.77, 0.97, 9))), 2)
"""Limits of eight bands of amounts with the same probability."""
_BEFORE = np.array([True, False, False, True] * 2)
"""Which bands are suspicious before the drift; afterwards, the others are."""
_HOURS = (6, 18)
_IN_BAND, _ELSEWHERE = 0.75, 0.001
MATURITY_DAYS, REVIEW_DAYS = 7, 1
DRAWN = 0.05


@dataclass(frozen=True, slots=True)
class CityDay:
    """The transactions of a day, by time; n rows.

    Attributes:
        table: In the schema of transactions, and ``is_fraud``.
        time: int64[n], event times, ms.
        fraud: bool[n].
        drawn: bool[n], which rows are reviewed because a random draw chose them.
        known: int64[n], when the label becomes known, ms; 0 for genuine rows that are not drawn.
        features: float64[n, 2], as the bundles declare them.
    """

    table: pa.Table
    time: NDArray[np.int64]
    fraud: NDArray[np.bool_]
    drawn: NDArray[np.bool_]
    known: NDArray[np.int64]
    features: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class City:
    """The parameters of a city.

    Attributes:
        first_ms: Start of day 0, ms since the epoch.
        drift_day: First day of the other concept; None: there is none.
        rows: Transactions a day.
        customers: Number of customers.
        seed: Of the draws.
    """

    first_ms: int
    drift_day: int | None
    rows: int
    customers: int = 2_000
    seed: int = 1

    def day(self, number: int) -> CityDay:
        """Return a day; the same each time."""
        random = np.random.default_rng((self.seed, number + 1_000))
        n = self.rows
        at = np.sort(random.integers(0, DAY_MS, n))
        time = self.first_ms + number * DAY_MS + at
        amount = np.maximum(np.round(random.lognormal(3.5, 0.8, n), 2), 0.01)
        hour = at // 3_600_000
        drifted = self.drift_day is not None and number >= self.drift_day
        band = np.searchsorted(_BANDS, amount, side="right") - 1
        inside = (band >= 0) & (band < len(_BEFORE)) & (hour >= _HOURS[0]) & (hour < _HOURS[1])
        suspect = inside & (_BEFORE[np.where(inside, band, 0)] != drifted)
        fraud = random.random(n) < np.where(suspect, _IN_BAND, _ELSEWHERE)
        drawn = random.random(n) < DRAWN
        late = time + random.integers(DAY_MS, 6 * DAY_MS, n)
        early = time + DAY_MS - 3_600_000
        known = np.where(drawn, early, np.where(fraud, late, 0))
        customer = random.integers(0, self.customers, n)
        table = pa.table({
            "transaction_id": pa.array([f"{number}-{i}" for i in range(n)]),
            "event_time": pa.array(time, pa.timestamp("ms")),
            "customer_id": pa.array([f"C{i}" for i in customer.tolist()]),
            "terminal_id": pa.array([f"T{i % 500}" for i in customer.tolist()]),
            "amount_minor": pa.array(np.round(amount * 100).astype(np.int64)),
            "currency": pa.array(["EUR"] * n),
            "channel": pa.array(["POS"] * n),
            "mcc": pa.nulls(n, pa.string()),
            "country": pa.nulls(n, pa.string()),
            "card_present": pa.nulls(n, pa.bool_()),
            "device_id": pa.nulls(n, pa.string()),
            "is_fraud": pa.array(fraud),
        })  # fmt: skip
        features = np.column_stack([np.round(amount * 100) / 100, hour.astype(np.float64)])
        return CityDay(table, time, fraud, drawn, known, features)

    def date(self, number: int) -> str:
        """Return a day as a date."""
        first = datetime.fromtimestamp(self.first_ms / 1_000, UTC).date()
        return str(first + timedelta(days=number))


def labels_of(day: CityDay) -> pa.Table:
    """Return the labels of a day, in the schema of label.v2, in the order of becoming known."""
    at = np.flatnonzero(day.known)
    at = at[np.argsort(day.known[at], kind="stable")]
    fraud, drawn = day.fraud[at], day.drawn[at]
    rows = day.table.take(at)
    columns: dict[str, Any] = {
        name: rows[name] for name in ("transaction_id", "customer_id", "terminal_id", "event_time")
    }
    return pa.table(columns | {
        "is_fraud": pa.array(fraud),
        "label_time": pa.array(day.known[at], pa.timestamp("ms")),
        "source": pa.array(["bench"] * len(at)),
        "label_id": pa.array([""] * len(at)),
        "reason_code": pa.array([""] * len(at)),
        "retracts": pa.array([""] * len(at)),
        "drawn": pa.array(np.where(drawn, DRAWN, np.nan), from_pandas=True),
    })  # fmt: skip
