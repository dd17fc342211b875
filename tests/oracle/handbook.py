"""The handbook's features, computed independently: by polars, from the entire table.

Source: Le Borgne, Siblini, Lebichot, Bontempi, "Reproducible Machine Learning for Credit Card Fraud
Detection — Practical Handbook". A window of n days at time t is (t - n days, t]. Polars includes
*all* rows of time t, but the stream has seen only those that arrived earlier. So the two may
differ, but only in rows before another row of the same customer and second. A terminal's window of
n days with a delay of 7 is its window of 7 + n days minus that of 7 days. No tie is in it.
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
DELAY_DAYS = 7
TERMINAL_FEATURES = tuple(
    f"TERMINAL_ID_{what}_{days}DAY_WINDOW" for what in ("NB_TX", "RISK") for days in WINDOW_DAYS
)
_SATURDAY, _LAST_NIGHT_HOUR = 6, 6


def _frame(transactions: pa.Table) -> pl.DataFrame:
    frame = pl.from_arrow(transactions.select(["event_time", "customer_id", "amount_minor"]))
    assert isinstance(frame, pl.DataFrame)
    return frame


def customer_features(transactions: pa.Table) -> pl.DataFrame:
    """Return :data:`CUSTOMER_FEATURES` as float64 columns, row by row.

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


def terminal_features(transactions: pa.Table) -> pl.DataFrame:
    """Return :data:`TERMINAL_FEATURES` as float64 columns, row by row.

    Args:
        transactions: In time order, with ``event_time``, ``terminal_id`` and ``is_fraud``.
    """
    frame = pl.from_arrow(transactions.select(["event_time", "terminal_id", "is_fraud"]))
    assert isinstance(frame, pl.DataFrame)

    def behind_the_delay(values: pl.Expr, days: int) -> pl.Expr:
        def last(days: int) -> pl.Expr:
            total = values.rolling_sum_by("event_time", f"{days}d", closed="right")
            return total.over("terminal_id")

        return last(DELAY_DAYS + days) - last(DELAY_DAYS)

    fraud = pl.col("is_fraud").cast(pl.Int64)
    counts = [behind_the_delay(pl.col("one"), days) for days in WINDOW_DAYS]
    risks = [
        (behind_the_delay(fraud, days) / count).fill_nan(0.0)
        for days, count in zip(WINDOW_DAYS, counts, strict=True)
    ]
    return frame.with_columns(one=pl.lit(1)).select(
        column.cast(pl.Float64).alias(name)
        for name, column in zip(TERMINAL_FEATURES, [*counts, *risks], strict=True)
    )


def handbook_features(transactions: pa.Table) -> pl.DataFrame:
    """Return all fifteen features, row by row."""
    parts = [customer_features(transactions), terminal_features(transactions)]
    return pl.concat(parts, how="horizontal")


def followed_by_a_tie(transactions: pa.Table) -> pl.Series:
    """Return, row by row, whether a later row has the same customer and event time."""
    numbered = _frame(transactions).with_row_index("row")
    last = pl.col("row").max().over("customer_id", "event_time")
    return numbered.select(pl.col("row") < last).to_series()
