"""All fifteen features of the handbook in polars, in two ways; exact, and row for row.

Sums are of whole cents and whole frauds in both, as ours are. A terminal's window of n days behind
a delay of 7 is what lies in the last 7 + n days without what lies in the last 7.
"""

from collections.abc import Callable

import polars as pl
import pyarrow as pa

WINDOW_DAYS = (1, 7, 30)
DELAY_DAYS = 7
NAMES = (
    "amount", "weekend", "night",
    *(f"{what}_{days}" for what in ("count", "mean", "rows", "risk") for days in WINDOW_DAYS),
)  # fmt: skip
_MINOR = 100
_SATURDAY, _LAST_NIGHT_HOUR = 6, 6
# One event in the upper bits, its amount or fraud below: one running sum gives two.
_EVENT = 1 << 40
_SPANS = (DELAY_DAYS, *(DELAY_DAYS + days for days in WINDOW_DAYS))


def frame(transactions: pa.Table) -> pl.DataFrame:
    """Return what polars needs of the labelled transactions, in its own memory layout."""
    names = ["event_time", "customer_id", "terminal_id", "amount_minor", "is_fraud"]
    made = pl.from_arrow(transactions.select(names))
    assert isinstance(made, pl.DataFrame)  # noqa: S101 a table is a frame, a column a series
    return made


def _own() -> list[pl.Expr]:
    time = pl.col("event_time")
    return [
        (pl.col("amount_minor") / _MINOR).alias("amount"),
        (time.dt.weekday() >= _SATURDAY).cast(pl.Float64).alias("weekend"),
        (time.dt.hour() <= _LAST_NIGHT_HOUR).cast(pl.Float64).alias("night"),
    ]


def _windowed(column: str, days: int, key: str, name: str) -> pl.Expr:
    return pl.col(column).rolling_sum_by("event_time", f"{days}d").over(key).alias(name)


def _risks() -> list[pl.Expr]:
    """Return counts and risks from sums over each span: ``rows_in_n`` and ``frauds_in_n``."""
    counts = {
        days: pl.col(f"rows_in_{DELAY_DAYS + days}") - pl.col(f"rows_in_{DELAY_DAYS}")
        for days in WINDOW_DAYS
    }
    return [
        *(count.cast(pl.Float64).alias(f"rows_{days}") for days, count in counts.items()),
        *(
            pl.when(count > 0)
            .then(
                (pl.col(f"frauds_in_{DELAY_DAYS + days}") - pl.col(f"frauds_in_{DELAY_DAYS}"))
                / count
            )
            .otherwise(0.0)
            .alias(f"risk_{days}")
            for days, count in counts.items()
        ),
    ]


def _by_expression(table: pl.DataFrame) -> pl.DataFrame:
    """``rolling_sum_by`` over customers and terminals, of amounts, frauds and ones."""
    customer, terminal = "customer_id", "terminal_id"
    return (
        table.lazy()
        .with_columns(one=pl.lit(1), fraud=pl.col("is_fraud").cast(pl.Int64))
        .select(
            *_own(),
            *(_windowed("one", days, customer, f"count_{days}") for days in WINDOW_DAYS),
            *(_windowed("amount_minor", days, customer, f"sum_{days}") for days in WINDOW_DAYS),
            *(_windowed("one", days, terminal, f"rows_in_{days}") for days in _SPANS),
            *(_windowed("fraud", days, terminal, f"frauds_in_{days}") for days in _SPANS),
        )
        .with_columns(
            *(
                (pl.col(f"sum_{days}") / (_MINOR * pl.col(f"count_{days}"))).alias(f"mean_{days}")
                for days in WINDOW_DAYS
            ),
            *_risks(),
        )
        .select(pl.col(name).cast(pl.Float64) for name in NAMES)
        .collect()
    )


def _by_packed_sums(table: pl.DataFrame) -> pl.DataFrame:
    """The same with two sums in one integer, and ids as categories: half the work."""
    customer, terminal = "customer", "terminal"
    return (
        table.lazy()
        .with_columns(
            paid=pl.col("amount_minor") + _EVENT,
            judged=pl.col("is_fraud").cast(pl.Int64) + _EVENT,
            customer=pl.col("customer_id").cast(pl.Categorical),
            terminal=pl.col("terminal_id").cast(pl.Categorical),
        )
        .select(
            *_own(),
            *(_windowed("paid", days, customer, f"paid_{days}") for days in WINDOW_DAYS),
            *(_windowed("judged", days, terminal, f"judged_{days}") for days in _SPANS),
        )
        .with_columns(
            *((pl.col(f"paid_{days}") // _EVENT).alias(f"count_{days}") for days in WINDOW_DAYS),
            *((pl.col(f"judged_{days}") // _EVENT).alias(f"rows_in_{days}") for days in _SPANS),
            *((pl.col(f"judged_{days}") % _EVENT).alias(f"frauds_in_{days}") for days in _SPANS),
        )
        .with_columns(
            *(
                (pl.col(f"paid_{days}") % _EVENT / (_MINOR * pl.col(f"count_{days}"))).alias(
                    f"mean_{days}"
                )
                for days in WINDOW_DAYS
            ),
            *_risks(),
        )
        .select(pl.col(name).cast(pl.Float64) for name in NAMES)
        .collect()
    )


WAYS: dict[str, Callable[[pl.DataFrame], pl.DataFrame]] = {
    "rolling_sum_by": _by_expression,
    "packed_sums": _by_packed_sums,
}
