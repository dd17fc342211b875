"""The handbook's customer features, computed from the outside: polars over the whole table.

Source: Le Borgne, Siblini, Lebichot, Bontempi, "Reproducible Machine Learning for Credit Card
Fraud Detection — Practical Handbook". A window of n days at time t is (t - n days, t]. Polars takes
in *all* rows of time t; the stream has seen only those that arrived before. So the two may differ
in a row that a later one of the same customer and second follows, and in no other.
"""

import polars as pl
import pyarrow as pa

WINDOW_DAYS = (1, 7, 30)
CUSTOMER_FEATURES = (
    "TX_AMOUNT",
    "TX_DURING_WEEKEND",
    "TX_DURING_NIGHT",
    *(f"CUSTOMER_ID_NB_TX_{days}DAY_WINDOW" for days in WINDOW_DAYS),
    *(f"CUSTOMER_ID_AVG_AMOUNT_{days}DAY_WINDOW" for days in WINDOW_DAYS),
)
_SATURDAY, _LAST_NIGHT_HOUR = 6, 6


def _frame(transactions: pa.Table) -> pl.DataFrame:
    frame = pl.from_arrow(transactions.select(["event_time", "customer_id", "amount_minor"]))
    assert isinstance(frame, pl.DataFrame)
    return frame


def customer_features(transactions: pa.Table) -> pl.DataFrame:
    """Return :data:`CUSTOMER_FEATURES` as float64 columns, row for row.

    Args:
        transactions: In time order, with the columns of the transaction schema; amounts in cents.
    """
    time, amount, one = pl.col("event_time"), pl.col("amount"), pl.col("one")

    def windowed(values: pl.Expr, days: int) -> pl.Expr:
        total = values.rolling_sum_by("event_time", f"{days}d", closed="right")
        return total.over("customer_id")

    columns = [
        amount,
        time.dt.weekday() >= _SATURDAY,
        time.dt.hour() <= _LAST_NIGHT_HOUR,
        *(windowed(one, days) for days in WINDOW_DAYS),
        *(
            windowed(pl.col("amount_minor"), days) / 100 / windowed(one, days)
            for days in WINDOW_DAYS
        ),
    ]
    frame = _frame(transactions).with_columns(amount=pl.col("amount_minor") / 100, one=pl.lit(1))
    return frame.select(
        column.cast(pl.Float64).alias(name)
        for name, column in zip(CUSTOMER_FEATURES, columns, strict=True)
    )


def followed_by_a_tie(transactions: pa.Table) -> pl.Series:
    """Return, row for row, whether a later row has the same customer and event time."""
    numbered = _frame(transactions).with_row_index("row")
    last = pl.col("row").max().over("customer_id", "event_time")
    return numbered.select(pl.col("row") < last).to_series()
