"""The labelled transactions that a model is trained on: read, put in order, folded to features.

What the stream would reject is left out here too, and counted. Rows that lie further before an
earlier one than the plan's lateness are refused, as in a batch: the stream would see other
histories than the file tells.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stream_scorer.core.events.plan import Plan
from stream_scorer.core.features.compile import FeatureSet
from stream_scorer.errors import SettingsError
from stream_scorer.simulator import SCHEMA
from stream_scorer.tables.order import refuse_disorder
from stream_scorer.tables.transactions import read_transactions
from stream_scorer.training.fold import fold

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class LabelledData:
    """What a file holds for training; a accepted rows.

    Attributes:
        table: The accepted transactions, in the order in which they were folded.
        time: int64[a], their event times, ms.
        features: float64[a, m], columns in manifest order.
        rows: Transactions of the file.
        rejected: How many of them are left out, by reason.
    """

    table: pa.Table
    time: Int64
    features: Float64
    rows: int
    rejected: dict[str, int]


def read_labelled(path: Path) -> pa.Table:
    """Read transactions with ``is_fraud``, in the order of the file.

    A column ``label_time`` may be there; a label without one counts as known at once.

    Raises:
        SettingsError: The file cannot be read, or a row does not fit; names file, row, column.
    """
    labelled = pa.schema([field for field in SCHEMA if field.name != "fraud_scenario"]).append(
        pa.field("label_time", pa.timestamp("ms", "UTC"))
    )
    defaults = dict.fromkeys(field.name for field in labelled if field.nullable)
    batches = read_transactions(path, labelled, {**defaults, "channel": "UNKNOWN"})
    return pa.Table.from_batches(batches, labelled)


def known_frauds(table: pa.Table, by: Int64) -> Mask:
    """Return bool[n], which rows were known to be frauds at the times ``by``, int64[n], ms."""
    labelled = table["label_time"].cast(pa.int64()).fill_null(np.iinfo(np.int64).min).to_numpy()
    known: Mask = table["is_fraud"].to_numpy() & (labelled <= by)
    return known


def take(
    path: Path, features: FeatureSet, plan: Plan, *, sort: bool, most_rejected: float
) -> LabelledData:
    """Read a file and fold it through the stream's rings.

    Args:
        path: Labelled transactions.
        features: What to compute.
        plan: Validation limits, lateness, the terminals' delay and slack.
        sort: Whether to put the rows in the order of their times first.
        most_rejected: Share of the rows that may be left out, 0 to 1.

    Raises:
        SettingsError: The file cannot be read, holds nothing, holds too much that is rejected, or
            is out of order; names the row or the reasons.
    """
    table = read_labelled(path)
    if not len(table):
        raise SettingsError(f"data {path}: holds no transactions", "name a file that holds some")
    if sort:
        table = _sorted(table)
    time = _times(table)
    # What the profiler publishes of a terminal's transaction holds the label of its cut-off.
    cut_off = time + plan.terminal_delay_ms - plan.terminal_slack_ms
    folded = fold(table, features, plan, known_frauds(table, cut_off))
    _refuse_rejected(path, len(table), folded.rejected, most_rejected)
    time = time[folded.rows]
    refuse_disorder(
        time, plan, lambda row: f"data {path}: row {int(folded.rows[row]) + 1}", "the data"
    )
    return LabelledData(table.take(folded.rows), time, folded.features, len(table), folded.rejected)


def _times(table: pa.Table) -> Int64:
    time: Int64 = table["event_time"].cast(pa.int64()).to_numpy()
    return time


def _sorted(table: pa.Table) -> pa.Table:
    """Return the rows by event time; those of one time keep their order, as in a batch."""
    time = _times(table)
    if (np.diff(time) >= 0).all():
        return table
    return table.take(np.argsort(time, kind="stable"))


def _refuse_rejected(path: Path, rows: int, rejected: dict[str, int], most: float) -> None:
    count = sum(rejected.values())
    if count < rows and count <= most * rows:
        return
    told = ", ".join(f"{reason} {found:,}" for reason, found in rejected.items())
    raise SettingsError(
        f"data {path}: {count:,} of {rows:,} transactions are rejected: {told}",
        f"fix them, or allow more than a share of {most:g} with --most-rejected"
        if count < rows
        else "fix them",
    )
