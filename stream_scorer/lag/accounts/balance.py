"""Which offsets without an output are skips, which are not records, and which are missing."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from stream_scorer.lag.accounts.ledger import Int64, Run, SettledOffsets


@dataclass(frozen=True, slots=True)
class CommittedRanges:
    """One transaction of a scorer, by its summary.

    Attributes:
        ranges: First and next input offset by partition.
        skipped: Its records that are not transactions, and so have no output.
        exact: Whether the ranges are all of the transaction; otherwise some of the skips may be
            outside of them.
    """

    ranges: Mapping[int, Run]
    skipped: int
    exact: bool = True


@dataclass(frozen=True, slots=True)
class PartitionBalance:
    """What became of the offsets of one partition: ``offsets`` is the sum of the others.

    Attributes:
        offsets: Number of settled offsets.
        decided: With a decision.
        rejected: With a dead letter.
        skipped: Records that are not transactions.
        gaps: Not a record: transaction markers, aborted and unreadable records.
        missing: Records without an output.
    """

    offsets: int = 0
    decided: int = 0
    rejected: int = 0
    skipped: int = 0
    gaps: int = 0
    missing: int = 0


Records = Callable[[Mapping[int, Sequence[Run]]], Mapping[int, Int64]]
"""Returns the offsets of runs at which a read-committed reader gets a record, by partition."""


def balance(
    settled: Mapping[int, SettledOffsets], commits: Sequence[CommittedRanges], records: Records
) -> tuple[dict[int, PartitionBalance], int]:
    """Return what became of all settled offsets, by partition.

    If the number of offsets without an output is that of the skips, nothing is read. Otherwise
    their input is: an offset without a record is a gap.

    Args:
        settled: By partition.
        commits: The transactions whose ranges are settled.
        records: Reads the input.

    Returns:
        The balances, and the number of skips that fit to no record without an output: those records
        were skipped and have an output.
    """
    absent = {partition: each.absent for partition, each in settled.items() if each.absent}
    counts = {p: sum(after - first for first, after in runs) for p, runs in absent.items()}
    if sum(counts.values()) == sum(each.skipped for each in commits):
        given, skipped, left = counts, counts, 0
    else:
        found = records(absent) if absent else {}
        given = {partition: len(offsets) for partition, offsets in found.items()}
        skipped, left = _skips(found, commits)
    return {p: _balance(p, each, counts, given, skipped) for p, each in settled.items()}, left


def _balance(
    partition: int,
    settled: SettledOffsets,
    counts: Mapping[int, int],
    given: Mapping[int, int],
    skipped: Mapping[int, int],
) -> PartitionBalance:
    absent, real = counts.get(partition, 0), given.get(partition, 0)
    skips = skipped.get(partition, 0)
    return PartitionBalance(
        settled.decided + settled.rejected + absent,
        settled.decided,
        settled.rejected,
        skips,
        absent - real,
        real - skips,
    )


def _skips(
    found: Mapping[int, Int64], commits: Sequence[CommittedRanges]
) -> tuple[dict[int, int], int]:
    """Return the skips by partition, and those that fit to no record.

    A summary does not name the partition of a skip. Within one transaction the records without an
    output are skips until their number is reached.
    """
    skipped = dict.fromkeys(found, 0)
    surplus = 0
    for commit in commits:
        left = commit.skipped
        for partition, (first, after) in commit.ranges.items():
            offsets = found.get(partition)
            if offsets is None or not left:
                continue
            inside = int(np.count_nonzero((offsets >= first) & (offsets < after)))
            skipped[partition] += min(inside, left)
            left -= min(inside, left)
        surplus += left if commit.exact else 0
    return skipped, surplus
