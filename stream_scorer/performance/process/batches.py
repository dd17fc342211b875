"""Decodes a batch of merged records."""

import numpy as np

from stream_scorer.performance.process.columns import PerformanceColumns, Plans
from stream_scorer.performance.process.fold import PerformanceBatch
from stream_scorer.ports import Int64, RawRecords


def decode(
    raw: RawRecords, decided: int, columns: PerformanceColumns, plans: Plans
) -> PerformanceBatch:
    """Decode a batch.

    Args:
        raw: Records in the order in which they count.
        decided: Number of partitions of the decisions; those of the labels come after them.
        columns: Decodes bytes to columns.
        plans: The plans of the decisions' revisions.

    Raises:
        UnavailableError: A writer schema or the control log cannot be read now.
    """
    of_decisions = np.flatnonzero(raw.partition < decided)
    of_labels = np.flatnonzero(raw.partition >= decided)
    decisions, rows, bad = columns.decisions(_rows(raw, of_decisions), plans)
    told, told_rows, bad_labels = columns.labels(_rows(raw, of_labels), decided)
    places = of_decisions[rows]
    return PerformanceBatch(
        len(raw), decisions, places, raw.partition[places], raw.timestamp[places], told,
        of_labels[told_rows], bad + bad_labels,
    )  # fmt: skip


def _rows(raw: RawRecords, rows: Int64) -> RawRecords:
    wanted = np.zeros(len(raw), np.bool_)
    wanted[rows] = True
    return raw.where(wanted)
