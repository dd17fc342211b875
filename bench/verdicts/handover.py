"""Judges a handover: how long partitions paused, from the records that a group's instances left."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bench.harness.script import missed
from stream_scorer.ports import Int64

MOST_PAUSE_SECONDS = 10.0

Source = tuple[int, int]
"""Input partition and offset."""


@dataclass(slots=True)
class Phase:
    """One change of the group, or none.

    Attributes:
        name: What was done.
        begin_ms: When it was begun, ms since the epoch; it lasts until the next one.
        moved: Partitions that had to change hands.
    """

    name: str
    begin_ms: int
    moved: int = 0


@dataclass(frozen=True, slots=True)
class Partition:
    """One input partition, record by record in the order of its offsets.

    Attributes:
        arrived: int64[n], when the broker received each record, ms.
        decided: int64[n], when the broker received the decision on each, ms.
    """

    arrived: Int64
    decided: Int64

    def pauses(self) -> Int64:
        """Return int64[n]: how long each record waited without a decision before its own, ms.

        A partition pauses while a record is there and nothing is decided: from the record's
        arrival, or from the decision before it, whichever was later, to its own decision.

        >>> Partition(np.array([0, 10, 20]), np.array([5, 900, 901])).pauses().tolist()
        [5, 890, 1]
        """
        before = np.concatenate([self.arrived[:1], np.maximum.accumulate(self.decided)[:-1]])
        return np.maximum(self.decided - np.maximum(self.arrived, before), 0)

    def ages(self) -> Int64:
        """Return int64[n]: from each record's arrival to its decision, ms."""
        return self.decided - self.arrived


@dataclass(frozen=True, slots=True)
class Counted:
    """The outcomes of the input.

    Attributes:
        records: Input records.
        lost: Those without an outcome.
        duplicates: Further outcomes of a record that has one.
        partitions: By input partition, the times of the records that have an outcome.
    """

    records: int
    lost: int
    duplicates: int
    partitions: Mapping[int, Partition] = field(default_factory=dict)


def counted(arrived: Mapping[Source, int], outcomes: Iterable[tuple[Source, int]]) -> Counted:
    """Count outcomes by source coordinates and pair their times with the input's.

    Args:
        arrived: By source, when the broker received the record, ms.
        outcomes: (source, when the broker received the outcome, ms), in any order.

    Raises:
        ValueError: An outcome has a source that is not in the input.
    """
    first: dict[Source, int] = {}
    times: Counter[Source] = Counter()
    for source, at in outcomes:
        times[source] += 1
        first[source] = min(first.get(source, at), at)
    if unknown := first.keys() - arrived.keys():
        raise ValueError(f"{len(unknown)} outcomes of no input record: {sorted(unknown)[:3]}")
    partitions = {}
    for partition in sorted({partition for partition, _ in arrived}):
        mine = sorted(source for source in first if source[0] == partition)
        partitions[partition] = Partition(
            np.array([arrived[source] for source in mine], np.int64),
            np.array([first[source] for source in mine], np.int64),
        )
    doubled = sum(count - 1 for count in times.values())
    return Counted(len(arrived), len(arrived) - len(first), doubled, partitions)


def report(found: Counted, phases: Sequence[Phase], customers: int) -> dict[str, Any]:
    """Return the report: by phase, the longest pause and the greatest age of any partition."""
    rows: list[dict[str, Any]] = []
    ends = [*(phase.begin_ms for phase in phases[1:]), np.iinfo(np.int64).max]
    for phase, end in zip(phases, ends, strict=True):
        pause, age, where, decisions = 0, 0, -1, 0
        for number, partition in found.partitions.items():
            inside = (partition.decided >= phase.begin_ms) & (partition.decided < end)
            decisions += int(inside.sum())
            longest = int(partition.pauses()[inside].max(initial=0))
            if longest >= pause:
                pause, where = longest, number
            age = max(age, int(partition.ages()[inside].max(initial=0)))
        rows.append(
            {
                "phase": phase.name,
                "moved": phase.moved,
                "decisions": decisions,
                "pause_seconds": round(pause / 1_000, 2),
                "partition": where,
                "oldest_seconds": round(age / 1_000, 2),
            }
        )
    return {
        "phases": rows,
        "longest_pause_seconds": max(row["pause_seconds"] for row in rows),
        "records": found.records,
        "lost": found.lost,
        "duplicates": found.duplicates,
        "customers": customers,
    }


def failures(document: Mapping[str, Any]) -> list[str]:
    """Return one line for each thing that a report must show and does not."""
    rows = document["phases"]
    return [
        *missed(
            ("{} input records are without an outcome", document["lost"], "==", 0),
            ("{} input records are decided twice", document["duplicates"], "==", 0),
            *(
                (
                    f"{row['phase']}: partition {row['partition']} paused for {{}} s",
                    row["pause_seconds"], "<=", MOST_PAUSE_SECONDS,
                )
                for row in rows
            ),
        ),
        *(f"{row['phase']}: nothing was decided" for row in rows if not row["decisions"]),
        *(f"{row['phase']}: no partition changed hands" for row in rows[1:] if not row["moved"]),
    ]  # fmt: skip
