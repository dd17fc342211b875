"""Decodes a batch of a rollout's topics, and selects the decisions that wait for labels."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.decision.routing import Routing
from stream_scorer.core.events.batch import Outcome
from stream_scorer.core.events.explore_table import ExploreTable
from stream_scorer.core.exploring.planned import is_planned
from stream_scorer.core.labelling.contract import Statements
from stream_scorer.core.mapping.minor_units import in_units
from stream_scorer.ports import Int64, RawRecords
from stream_scorer.rollout.controller.columns import EvidenceColumns, SourceColumns, Timings
from stream_scorer.rollout.evidence.bucket_counts import Decisions, Placed, Shadowed
from stream_scorer.rollout.evidence.label_rows import NO_OUTCOME, PendingDecisions
from stream_scorer.rollout.evidence.verdicts import Trial

UInt8 = NDArray[np.uint8]
Float64 = NDArray[np.float64]
Bool = NDArray[np.bool_]
Call = tuple[str, float | None, int]
"""Of a summary: arm, duration of its model call in seconds, and number of decisions."""


@dataclass(frozen=True, slots=True)
class Numbers:
    """How the merged source numbers the partitions of its topics.

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
    """A decoded batch. Places are row numbers of its records, ascending.

    Attributes:
        size: Number of records.
        decisions: n decisions.
        decided: Their transactions.
        partition: int32[n], partitions of the decisions' records.
        timestamp: int64[n], Kafka timestamps of the decisions' records, ms.
        shadows: Shadow scores.
        shadowed: Their transactions.
        told: m statements of labels.
        told_at: int64[m], their places.
        timings: The summaries' timings.
        unreadable: Number of records that could not be decoded.
    """

    size: int
    decisions: Decisions
    decided: SourceColumns
    partition: NDArray[np.int32]
    timestamp: Int64
    shadows: Shadowed
    shadowed: SourceColumns
    told: Statements
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
    """Decode a batch.

    Args:
        raw: Records in the order in which they count.
        numbers: Numbering of the partitions.
        columns: Decodes bytes to columns.
        routings: Returns the known revisions, up to the given one at least.
        minor_per_unit: Minor units in a unit of the currency.

    Raises:
        ModelError: A deciding version has no feature of the amount.
        RegistryUnavailableError: A writer schema cannot be fetched now.
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
    """Return for how many rows of an arm's buckets its model was called.

    Each summary has the duration of the model call for its rows; summaries of the same call have
    the same duration, to the microsecond. Rows of an override belong to another call. If the model
    failed, the champion decided instead; these rows count, too. If a summary has several records,
    only the last one has the duration.

    Args:
        calls: Of one Kafka transaction, in order.
        arm: The arm.
        seconds: Durations of the Kafka transaction, by stage.
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
    decisions: Decisions, source: SourceColumns, rows: slice, placed: Placed, mine: Int64,
    trial: Trial,
) -> PendingDecisions:  # fmt: skip
    """Return the decisions at ``mine``, which wait for labels."""
    none = np.full(len(decisions), NO_OUTCOME, np.uint8)
    return _waiting(decisions, decisions.outcome, none, source, rows, placed, mine, trial)


def waiting_in_shadow(
    shadows: Shadowed, source: SourceColumns, rows: slice, placed: Placed, mine: Int64,
    trial: Trial,
) -> PendingDecisions:  # fmt: skip
    """Return the transactions at ``mine`` that champion and shadow both scored, likewise."""
    return _waiting(shadows, shadows.decided, shadows.outcome, source, rows, placed, mine, trial)


def _waiting(
    found: Decisions | Shadowed, policy_outcome: UInt8, shadow: UInt8, source: SourceColumns,
    rows: slice, placed: Placed, mine: Int64, trial: Trial,
) -> PendingDecisions:  # fmt: skip
    amount, chance, policy_outcome = (
        found.amount_minor[mine],
        found.chance[mine],
        policy_outcome[mine],
    )
    inside = inside_estimand(amount, policy_outcome == Outcome.BLOCK, chance, trial.explore)
    return PendingDecisions(
        source.key[rows][mine], source.event_time[rows][mine], source.partition[rows][mine],
        source.offset[rows][mine], placed.side[mine], placed.pair[mine],
        in_units(amount, trial.minor_per_unit), found.published[mine], shadow[mine],
        policy_outcome, np.where(inside, chance, 1.0), inside,
    )  # fmt: skip


def inside_estimand(
    amount_minor: Int64, block: Bool, chance: Float64, explore: ExploreTable | None
) -> Bool:
    """Return bool[n]: which decisions belong to what a rollout is judged by.

    Amounts above the largest one that may be let through are outside, whatever was decided: else an
    arm would not be charged for blocking them. So are decisions whose probability is not one of the
    plan's: another client wrote them, and any weight would be its choice.

    Args:
        amount_minor: int64[n].
        block: bool[n], whether the policy says BLOCK.
        chance: float64[n], probability of the published outcome, given that of the policy.
        explore: The plan's table; None: it lets nothing through.
    """
    known = is_planned(chance, block, explore)
    return known if explore is None else known & (amount_minor <= explore.most_minor)


def span(places: Int64, at: int, stop: int) -> slice:
    """Return the slice of ascending places from ``at`` to ``stop`` - 1."""
    begin, end = np.searchsorted(places, [at, stop]).tolist()
    return slice(begin, end)


def _placed_in(source: SourceColumns, rows: Int64) -> SourceColumns:
    """Return a source with its places in the complete batch."""
    return SourceColumns(
        rows[source.row], source.key, source.event_time, source.partition, source.offset
    )


def _rows(raw: RawRecords, rows: Int64) -> RawRecords:
    chosen: NDArray[np.bool_] = np.zeros(len(raw), np.bool_)
    chosen[rows] = True
    return raw.where(chosen)
