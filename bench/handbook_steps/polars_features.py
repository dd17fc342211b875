"""The handbook's nine customer features in polars, in three ways; exact, and row by row.

Amounts are added as whole cents in all of them, as in ours. A window of n days at time t is
(t - n days, t]; unlike ours it contains all rows of time t, also those later in the table.
"""

from collections.abc import Callable

import polars as pl
import pyarrow as pa

WINDOW_DAYS = (1, 7, 30)
MINOR = 100
_SATURDAY, _LAST_NIGHT_HOUR = 6, 6
# One event in the upper bits, its amount below: one running sum gives a window's count and total.
EVENT = 1 << 40


def frame(transactions: pa.Table, *further: str) -> pl.DataFrame:
    """Return the columns that polars needs, in its own memory layout.

    Args:
        transactions: A simulated table.
        further: Columns in addition to event time, customer and amount.
    """
    names = ["event_time", "customer_id", "amount_minor", *further]
    made = pl.from_arrow(transactions.select(names))
    assert isinstance(made, pl.DataFrame)  # noqa: S101 a table is a frame, a column a series
    return made


def event_features() -> list[pl.Expr]:
    """Return the features of the event alone."""
    time = pl.col("event_time")
    return [
        (pl.col("amount_minor") / MINOR).alias("amount"),
        (time.dt.weekday() >= _SATURDAY).cast(pl.Float64).alias("weekend"),
        (time.dt.hour() <= _LAST_NIGHT_HOUR).cast(pl.Float64).alias("night"),
    ]


def _by_group(table: pl.DataFrame) -> pl.DataFrame:
    """``DataFrame.rolling`` with a group: the way that the documentation shows."""
    ordered = table.with_row_index("row").sort("customer_id", "event_time", "row")
    windows = [
        ordered.rolling("event_time", period=f"{days}d", group_by="customer_id").agg(
            pl.len().cast(pl.Float64).alias(f"count_{days}"),
            (pl.col("amount_minor").sum() / (MINOR * pl.len())).alias(f"mean_{days}"),
        )
        for days in WINDOW_DAYS
    ]
    # The groups come in an unspecified order, the same each time.
    beside = [windows[0], *(one.drop("customer_id", "event_time") for one in windows[1:])]
    found = pl.concat(beside, how="horizontal").sort("customer_id", "event_time")
    own = ordered.select("row", *event_features())
    return _in_order(pl.concat([own, found], how="horizontal").sort("row"))


def _by_expression(table: pl.DataFrame) -> pl.DataFrame:
    """``rolling_sum_by`` over the customers, of amounts and of ones."""

    def windowed(column: str, days: int) -> pl.Expr:
        return pl.col(column).rolling_sum_by("event_time", f"{days}d").over("customer_id")

    lazy = (
        table.lazy()
        .with_columns(one=pl.lit(1))
        .select(
            *event_features(),
            *(
                windowed("one", days).cast(pl.Float64).alias(f"count_{days}")
                for days in WINDOW_DAYS
            ),
            *(windowed("amount_minor", days).alias(f"sum_{days}") for days in WINDOW_DAYS),
        )
    )
    return _in_order(
        lazy.with_columns(
            (pl.col(f"sum_{days}") / (MINOR * pl.col(f"count_{days}"))).alias(f"mean_{days}")
            for days in WINDOW_DAYS
        ).collect()
    )


def _by_packed_sums(table: pl.DataFrame) -> pl.DataFrame:
    """The same with count and total in one integer, and customers as categories: half the work."""
    windowed = (
        pl.col("event").rolling_sum_by("event_time", f"{days}d").over("customer").alias(f"{days}")
        for days in WINDOW_DAYS
    )
    lazy = (
        table.lazy()
        .with_columns(
            event=pl.col("amount_minor") + EVENT,
            customer=pl.col("customer_id").cast(pl.Categorical),
        )
        .select(*event_features(), *windowed)
        .with_columns(
            (pl.col(f"{days}") // EVENT).cast(pl.Float64).alias(f"count_{days}")
            for days in WINDOW_DAYS
        )
        .with_columns(
            (pl.col(f"{days}") % EVENT / (MINOR * pl.col(f"count_{days}"))).alias(f"mean_{days}")
            for days in WINDOW_DAYS
        )
    )
    return _in_order(lazy.collect())


def _in_order(made: pl.DataFrame) -> pl.DataFrame:
    counts = [f"count_{days}" for days in WINDOW_DAYS]
    return made.select(
        "amount", "weekend", "night", *counts, *(f"mean_{days}" for days in WINDOW_DAYS)
    )


WAYS: dict[str, Callable[[pl.DataFrame], pl.DataFrame]] = {
    "rolling_group_by": _by_group,
    "rolling_sum_by": _by_expression,
    "packed_sums": _by_packed_sums,
}
