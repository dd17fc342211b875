"""A batch of a rollout's topics, taken apart, and what of it waits for labels."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.decision.routing import Routing
from stream_scorer.core.mapping.minor_units import in_units
from stream_scorer.ports import Int64, RawRecords
from stream_scorer.rollout.controller.columns import EvidenceColumns, SourceColumns, Timings
from stream_scorer.rollout.evidence.bucket_counts import Decisions, Placed, Shadowed
from stream_scorer.rollout.evidence.label_rows import NO_OUTCOME, LabelColumns, PendingDecisions

Call = tuple[str, float | None, int]
"""Of a summary: arm, seconds that its rows took, and how many they are."""


@dataclass(frozen=True, slots=True)
class Numbers:
    """Which partitions the merged source numbers how.

    Attributes:
        topics: The topics in the order of their numbers: decisions, shadow scores, summaries,
            labels.
        counts: Partitions of each.
    """

    topics: tuple[str, str, str, str]
    counts: tuple[int, int, int, int]

    def split(self, raw: RawRecords) -> list[Int64]:
        """Return the rows of each topic."""
        ends = np.cumsum(self.counts)
        of = np.searchsorted(ends, raw.partition, "right")
        return [np.flatnonzero(of == topic) for topic in range(len(self.topics))]

    @property
    def first_label(self) -> int:
        """The number of the first partition of labels."""
        return sum(self.counts[:3])


@dataclass(frozen=True, slots=True, eq=False)
class ControllerBatch:
    """A decoded batch; all places are those of its records, ascending.

    Attributes:
        size: Records.
        decisions: n decisions.
        decided: Their transactions.
        partition: int32[n], the decisions' own.
        timestamp: int64[n], theirs, ms.
        shadows: What shadows scored.
        shadowed: Their transactions.
        told: m labels.
        told_at: int64[m], their places.
        timings: Of summaries.
        unreadable: Records that were none of these.
    """

    size: int
    decisions: Decisions
    decided: SourceColumns
    partition: NDArray[np.int32]
    timestamp: Int64
    shadows: Shadowed
    shadowed: SourceColumns
    told: LabelColumns
    told_at: Int64
    timings: Sequence[Timings]
    unreadable: int


def decode(
    raw: RawRecords,
    numbers: Numbers,
    columns: EvidenceColumns,
    routings: Callable[[int], Mapping[int, Routing]],
    minor_per_unit: int,
) -> ControllerBatch:
    """Take a batch apart.

    Args:
        raw: Records in the order in which they count.
        numbers: Which partition is whose.
        columns: Bytes to columns.
        routings: Returns the known revisions, up to the given one at least.
        minor_per_unit: Minor units in a unit of the currency.

    Raises:
        ModelError: A version decided that has no feature of the amount.
        RegistryUnavailableError: A writer schema cannot be had just now.
    """
    decided, shadowed, summed, labelled = numbers.split(raw)
    decisions, source, bad = columns.decisions(_rows(raw, decided), routings, minor_per_unit)
    shadows, shadow_source, bad_shadows = columns.shadows(_rows(raw, shadowed), routings)
    timings, bad_timings = columns.timings(_rows(raw, summed))
    told, told_at, bad_labels = columns.labels(_rows(raw, labelled), numbers.first_label)
    source = _placed_in(source, decided)
    return ControllerBatch(
        len(raw), decisions, source, raw.partition[source.row], raw.timestamp[source.row],
        shadows, _placed_in(shadow_source, shadowed), told, labelled[told_at],
        [replace(each, row=int(summed[each.row])) for each in timings],
        bad + bad_shadows + bad_timings + bad_labels,
    )  # fmt: skip


def rows_asked(calls: Sequence[Call], arm: str, seconds: Mapping[str, float]) -> int:
    """Return for how many rows an arm's model was asked, where chance had sent them there.

    A summary tells how long its own rows took; those of the same call tell the same, to the
    microsecond. Rows of an override took another call. Where the model failed, the champion stood
    in; those rows were asked for, too. A summary too long for one record tells only in the last.

    Args:
        calls: Of one transaction, in order.
        arm: Whose.
        seconds: By stage, of the whole transaction.
    """
    own = {seconds.get(f"score:{arm}"), seconds.get("score:fallback")} - {None}
    rows = before = 0
    for whose, took, count in calls:
        if took is None:
            before += count
            continue
        if whose == arm and took in own:
            rows += before + count
        before = 0
    return rows


def waiting(
    decisions: Decisions, source: SourceColumns, rows: slice, placed: Placed, mine: Int64, unit: int
) -> PendingDecisions:
    """Return the decisions that a pair waits for."""
    n = len(mine)
    return PendingDecisions(
        source.key[rows][mine], source.event_time[rows][mine], source.partition[rows][mine],
        source.offset[rows][mine], placed.side[mine], placed.pair[mine],
        in_units(decisions.amount_minor[mine], unit), decisions.outcome[mine],
        np.full(n, NO_OUTCOME, np.uint8),
    )  # fmt: skip


def waiting_in_shadow(
    shadows: Shadowed, source: SourceColumns, rows: slice, placed: Placed, mine: Int64, unit: int
) -> PendingDecisions:
    """Return what champion and shadow both scored."""
    return PendingDecisions(
        source.key[rows][mine], source.event_time[rows][mine], source.partition[rows][mine],
        source.offset[rows][mine], placed.side[mine], placed.pair[mine],
        in_units(shadows.amount_minor[mine], unit), shadows.decided[mine], shadows.outcome[mine],
    )  # fmt: skip


def span(places: Int64, at: int, stop: int) -> slice:
    """Return which of ascending places lie from ``at`` up to ``stop``."""
    begin, end = np.searchsorted(places, [at, stop]).tolist()
    return slice(begin, end)


def _placed_in(source: SourceColumns, rows: Int64) -> SourceColumns:
    """Return a source with its places in the whole batch."""
    return SourceColumns(
        rows[source.row], source.key, source.event_time, source.partition, source.offset
    )


def _rows(raw: RawRecords, rows: Int64) -> RawRecords:
    chosen: NDArray[np.bool_] = np.zeros(len(raw), np.bool_)
    chosen[rows] = True
    return raw.where(chosen)
