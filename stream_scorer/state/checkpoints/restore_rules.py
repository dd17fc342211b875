"""Consistency checks for a restore of a partition.

A partition's state at offset N is its buckets, plus the input from the oldest label to N, folded
into those buckets that do not contain it yet. This requires that no input in between is missing,
and that reader and writer use the same engine version. If a check fails, the process stops and
names the command that fixes it, because a decision on a wrong history looks like any other.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.rings.buckets import BUCKETS
from stream_scorer.errors import OffsetsError, StateError
from stream_scorer.missing_input import past_the_gap
from stream_scorer.state.checkpoints.formats import Bucket, UnknownFormatError
from stream_scorer.state.checkpoints.schedule import UNWRITTEN

Int64 = NDArray[np.int64]
REBUILD = "with every scorer of the group stopped: stream-scorer state rebuild"
"""The command that fixes a damaged checkpoint."""
_REPARTITION = "with every scorer of the group stopped: stream-scorer state repartition"


@dataclass(frozen=True, slots=True)
class Takeover:
    """A partition that a process takes over.

    Attributes:
        topic: The input.
        partition: Its partition.
        partitions: How many partitions the input has now.
        offset: Where live reading begins.
        fresh: Whether the group had no committed offset for it.
        low: The oldest retained offset.
        engine: This process's version of the rules by which features are computed.
        unit: This process's unit of amounts; empty if it does not matter.
        group: The consumer group of the offset.
    """

    topic: str
    partition: int
    partitions: int
    offset: int
    fresh: bool
    low: int
    engine: int
    unit: str = ""
    group: str = field(kw_only=True)

    @property
    def name(self) -> str:
        """Its name in error messages."""
        return f"checkpoint of {self.topic} partition {self.partition}"


def labels_of(buckets: Iterable[Bucket]) -> Int64:
    """Return int64[BUCKETS]: each bucket's offset; -1 for a missing bucket."""
    labels = np.full(BUCKETS, UNWRITTEN, np.int64)
    for bucket in buckets:
        labels[bucket.bucket] = bucket.offset
    return labels


def gone(labels: Int64) -> list[int]:
    """Return the buckets that were written once but no longer exist.

    Buckets are written in order, round after round. During the first round, the existing buckets
    come before the missing ones, and none is older than the one before it. Any other pattern shows
    that a bucket is gone. Missing buckets at the end cannot be detected unless an older bucket
    comes after a newer one. After a failed write in the first round, a file store looks as if
    buckets were gone, until the write is retried.

    Args:
        labels: int64[BUCKETS], offset of each bucket; -1 for a missing bucket.

    >>> labels = np.full(BUCKETS, UNWRITTEN, np.int64)
    >>> labels[[0, 1, 3]] = 7, 7, 9
    >>> gone(labels)
    [2]
    """
    there = np.flatnonzero(labels != UNWRITTEN)
    if not len(there):
        return []
    second_round = bool((np.diff(labels[there]) < 0).any())
    end = BUCKETS if second_round else int(there[-1])
    return np.flatnonzero(labels[:end] == UNWRITTEN).tolist()


def replay_start(labels: Int64, low: int) -> int:
    """Return where the replay begins; a bucket without a record needs all retained input."""
    return max(int(labels.min()), low)


def refuse_misfit(taken: Takeover, buckets: Mapping[int, Bucket]) -> None:
    """Check that the buckets, the input and the group's offset fit together.

    Raises:
        OffsetsError: Input that the group has not decided is no longer retained.
        StateError: They do not fit; the message names the command that resolves it.
    """
    for bucket in buckets.values():
        refuse_layout(taken, bucket.partitions)
        where = f"{taken.name}: bucket {bucket.bucket}"
        if bucket.engine != taken.engine:
            raise StateError(
                f"{where} was written by engine {bucket.engine}, and this is {taken.engine}",
                f"run the version that wrote it, or, {REBUILD}",
            )
        if bucket.payload and bucket.unit and taken.unit not in ("", bucket.unit):
            raise StateError(
                f"{where} holds amounts in {bucket.unit} (currency/exponent), and the plan has "
                f"{taken.unit}",
                f"run the plan that it was kept by, or, {REBUILD}",
            )
        if taken.fresh:
            raise StateError(
                f"{taken.name}: the group has no committed offset, though buckets up to offset "
                f"{bucket.offset} exist",
                "find out who deleted the group's offsets and set them back; to start from zero, "
                f"give kafka.group another name, or set the offsets and, {REBUILD}",
            )
        if bucket.offset > taken.offset:
            raise StateError(
                f"{where} is as of offset {bucket.offset}, and the group's committed offset "
                f"{taken.offset} is before it",
                f"set the offsets forward again, or, to decide those records again, {REBUILD}",
            )
        if taken.offset < taken.low:
            # Undecided input is gone, not only history.
            raise OffsetsError(
                f"{taken.name}: the group's committed offset {taken.offset} is outside the "
                f"retained input, whose oldest is {taken.low}",
                past_the_gap(taken.group, taken.topic, taken.partition),
            )
        if bucket.offset < taken.low:
            raise StateError(
                f"{where} needs the input from offset {bucket.offset}, and the oldest retained is "
                f"{taken.low}",
                f"{REBUILD} from what is retained; its history is then incomplete",
            )


def refuse_rejected(taken: Takeover, end: int) -> None:
    """Check that all rejections come before the group's offset, as both are committed together.

    Args:
        taken: The partition that is taken over.
        end: The last rejected offset + 1; 0 without rejections.

    Raises:
        StateError: They do not: the offset was set back, or no longer exists.
    """
    if end and taken.fresh:
        raise StateError(
            f"{taken.name}: the group has no committed offset, though records up to offset "
            f"{end - 1} were rejected",
            "find out who deleted the group's offsets and set them back; to start from zero, give "
            f"kafka.group another name, or set the offsets and, {REBUILD}",
        )
    if end > taken.offset:
        raise StateError(
            f"{taken.name}: offset {end - 1} was rejected, and the group's committed offset "
            f"{taken.offset} is before it",
            f"set the offsets forward again, or, to decide those records again, {REBUILD}",
        )


def refuse_layout(taken: Takeover, partitions: int) -> None:
    """Check that the input had the same number of partitions when a bucket was written.

    Raises:
        StateError: It had not: customers have moved between partitions since.
    """
    if partitions != taken.partitions:
        raise StateError(
            f"{taken.name}: was written when the input had {partitions} partitions; now it has "
            f"{taken.partitions}",
            _REPARTITION,
        )


def damaged(taken: Takeover, error: object) -> StateError:
    """Return the error for a record or a payload that cannot be read."""
    fix = REBUILD
    if isinstance(error, UnknownFormatError):
        fix = f"run the version that wrote it, or a later one, or, {REBUILD}"
    return StateError(f"{taken.name}: {error}", fix)
