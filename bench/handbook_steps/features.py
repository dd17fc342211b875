"""The customer features of all handbook rows: one pass of our engine compared with polars.

One process, one table of 183 simulated days (1,754,155 transactions), the nine features of the
shipped model. Rounds are interleaved, each starts with another contender, medians are reported.

- ``ours``: ``training.fold.fold``, the stream's own engine: validation, duplicates, rings and undo
  journals included; it starts from the Arrow table.
- the others: polars, the same columns in three ways (bench/handbook_steps/polars_features.py). It
  starts from its own frame: the conversion from Arrow is not counted.

Both use all processors.

It fails when ours takes longer than the faster of the two ways that polars documents, or when a row
differs that no other row of the same customer follows within its second. The third way, which packs
count and total into one integer by hand, is reported but not judged.
"""

import statistics
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from bench.handbook_steps.polars_features import WAYS, frame
from bench.harness.rounds import measure
from bench.harness.script import Number, Script, missed, table
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.features.compile import compile_features
from stream_scorer.simulator import simulate
from stream_scorer.training.features import CUSTOMER_FEATURES
from stream_scorer.training.fold import fold

DAYS = 183
OURS = "ours"
JUDGED = ("rolling_group_by", "rolling_sum_by")
_TOLERANCE = 1e-9
_WARM_UP_ROWS = 60_000

Features = NDArray[np.float64]


def unlike(ours: Features, theirs: Features, table: pa.Table) -> tuple[int, int]:
    """Count the rows that differ.

    Args:
        ours: float64[n, m], the engine's features.
        theirs: float64[n, m], polars'.
        table: The n transactions.

    Returns:
        How many rows differ, and how many of them are not ties: no later row of the same
        customer has the same time, so that the difference is an error.
    """
    differs = (np.abs(ours - theirs) > _TOLERANCE).any(axis=1)
    last = pl.col("row").max().over("customer_id", "event_time")
    tied = frame(table).with_row_index("row").select(pl.col("row") < last).to_series().to_numpy()
    return int(differs.sum()), int((differs & ~tied).sum())


def report(
    seconds: Mapping[str, Sequence[float]], rows: int, differing: int, unexcused: int
) -> dict[str, Any]:
    """Return the report: medians, their ratio, and what differs."""
    medians = {name: statistics.median(taken) for name, taken in seconds.items()}
    ways = {name: median for name, median in medians.items() if name != OURS}
    fastest = min(JUDGED, key=ways.__getitem__)
    return {
        "rows": rows,
        "feature_seconds": round(medians[OURS], 3),
        "polars_seconds": round(ways[fastest], 3),
        "polars_fastest": fastest,
        "polars": {name: round(median, 3) for name, median in ways.items()},
        "ours_to_polars": {name: round(medians[OURS] / median, 3) for name, median in ways.items()},
        "rows_per_second": round(rows / medians[OURS]),
        "rows_differing": differing,
        "rows_differing_unexcused": unexcused,
        "threads": pl.thread_pool_size(),
        "rounds": len(seconds[OURS]),
    }


def failures(document: Mapping[str, Any]) -> list[str]:
    """Return one line for each check that a report does not pass."""
    fastest = document["polars_fastest"]
    return missed(
        (
            f"ours takes {{:.3f}} of the time of polars' {fastest}",
            document["ours_to_polars"][fastest], "<=", 1,
        ),
        ("{} rows differ and are no ties", document["rows_differing_unexcused"], "==", 0),
    )  # fmt: skip


def main() -> int:
    script = Script(__doc__, "fewer rounds", rounds=Number(9, 3, "interleaved rounds"))
    transactions, plan = simulate(DAYS), Plan()
    features = compile_features(CUSTOMER_FEATURES, plan)
    theirs = frame(transactions)
    # Compilation on first use is not measured.
    fold(transactions.slice(0, _WARM_UP_ROWS), features, plan)
    ways = {name: partial(way, theirs) for name, way in WAYS.items()}
    ours = fold(transactions, features, plan)
    counts = [unlike(ours.features, way().to_numpy(), transactions) for way in ways.values()]
    if len(set(counts)) != 1 or len(ours.rows) != len(transactions):
        raise SystemExit(f"the ways differ from ours in {counts} rows, (all, no ties)")
    del ours
    seconds = measure(
        {OURS: lambda: fold(transactions, features, plan), **ways}, script.options.rounds
    )
    document = report(seconds, len(transactions), *counts[0])
    ratios = {OURS: 1.0, **document["ours_to_polars"]}
    return script.conclude(
        document,
        failures(document),
        table(
            f"Nine customer features of {document['rows']:,} rows",
            "contender", "seconds", "every round", "ours to it",
            rows=(
                (
                    name, f"{statistics.median(taken):.3f}",
                    " ".join(f"{one:.2f}" for one in taken), f"{ratios[name]:.2f}",
                )
                for name, taken in seconds.items()
            ),
        ),
        f"{document['rows_differing']} rows differ, {document['rows_differing_unexcused']} of them "
        f"no ties; polars {pl.__version__} on {pl.thread_pool_size()} threads",
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
