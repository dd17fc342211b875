"""All fifteen features of the handbook in polars, in two ways; exact, and row by row.

Sums are of whole cents and of numbers of frauds in both, as in ours. A terminal's window of n days
with a delay of 7 is the last 7 + n days minus the last 7.
"""

from collections.abc import Callable

import polars as pl
import pyarrow as pa

from bench.handbook_steps.polars_features import EVENT, MINOR, WINDOW_DAYS, event_features
from bench.handbook_steps.polars_features import frame as customer_frame

DELAY_DAYS = 7
NAMES = (
    "amount", "weekend", "night",
    *(f"{what}_{days}" for what in ("count", "mean", "rows", "risk") for days in WINDOW_DAYS),
)  # fmt: skip
_SPANS = (DELAY_DAYS, *(DELAY_DAYS + days for days in WINDOW_DAYS))


def frame(transactions: pa.Table) -> pl.DataFrame:
    """Return what polars needs of the labelled transactions, in its own memory layout."""
    return customer_frame(transactions, "terminal_id", "is_fraud")


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
            *event_features(),
            *(_windowed("one", days, customer, f"count_{days}") for days in WINDOW_DAYS),
            *(_windowed("amount_minor", days, customer, f"sum_{days}") for days in WINDOW_DAYS),
            *(_windowed("one", days, terminal, f"rows_in_{days}") for days in _SPANS),
            *(_windowed("fraud", days, terminal, f"frauds_in_{days}") for days in _SPANS),
        )
        .with_columns(
            *(
                (pl.col(f"sum_{days}") / (MINOR * pl.col(f"count_{days}"))).alias(f"mean_{days}")
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
            paid=pl.col("amount_minor") + EVENT,
            judged=pl.col("is_fraud").cast(pl.Int64) + EVENT,
            customer=pl.col("customer_id").cast(pl.Categorical),
            terminal=pl.col("terminal_id").cast(pl.Categorical),
        )
        .select(
            *event_features(),
            *(_windowed("paid", days, customer, f"paid_{days}") for days in WINDOW_DAYS),
            *(_windowed("judged", days, terminal, f"judged_{days}") for days in _SPANS),
        )
        .with_columns(
            *((pl.col(f"paid_{days}") // EVENT).alias(f"count_{days}") for days in WINDOW_DAYS),
            *((pl.col(f"judged_{days}") // EVENT).alias(f"rows_in_{days}") for days in _SPANS),
            *((pl.col(f"judged_{days}") % EVENT).alias(f"frauds_in_{days}") for days in _SPANS),
        )
        .with_columns(
            *(
                (pl.col(f"paid_{days}") % EVENT / (MINOR * pl.col(f"count_{days}"))).alias(
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
