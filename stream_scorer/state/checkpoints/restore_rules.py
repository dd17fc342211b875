"""What a restore may stand on: the rules that a partition's buckets must keep, or it stops.

A partition's state at offset N is its buckets, and the input from the oldest label to N folded
into those buckets that do not know it yet. That holds only if nothing between is missing, and if
who reads means the same as who wrote; where it may not hold, the process stops with the command
that resolves it, because a decision on a wrong history looks like any other.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.rings.rings import BUCKETS
from stream_scorer.errors import OffsetsError, StateError
from stream_scorer.missing_input import past_the_gap
from stream_scorer.state.checkpoints.formats import Bucket, UnknownFormatError
from stream_scorer.state.checkpoints.schedule import UNWRITTEN

Int64 = NDArray[np.int64]
REBUILD = "with every scorer of the group stopped: stream-scorer state rebuild"
"""What mends a checkpoint that is damaged."""
_REPARTITION = "with every scorer of the group stopped: stream-scorer state repartition"


@dataclass(frozen=True, slots=True)
class Takeover:
    """A partition that comes to a process.

    Attributes:
        topic: The input.
        partition: Its partition.
        partitions: How many partitions the input has now.
        offset: Where live reading begins.
        fresh: Whether the group had no committed offset for it.
        low: The oldest retained offset.
        engine: Version of the meaning of features here.
        unit: What amounts are counted in here; empty where that does not matter.
        group: The consumer group whose offset that is.
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
        """What errors call it."""
        return f"checkpoint of {self.topic} partition {self.partition}"


def labels_of(buckets: Iterable[Bucket]) -> Int64:
    """Return int64[BUCKETS]: each bucket's offset; -1 where there is none."""
    labels = np.full(BUCKETS, UNWRITTEN, np.int64)
    for bucket in buckets:
        labels[bucket.bucket] = bucket.offset
    return labels


def gone(labels: Int64) -> list[int]:
    """Return the buckets that were written once and are not there any more.

    Buckets are written in order, round after round. So before the first round is over those that
    exist stand before those that do not, and none is older than the one before it. Anything else
    shows that a bucket is gone. Only of the last ones it cannot be told, while no older bucket
    stands behind a newer one. A file store that failed in the first round looks as if some were
    gone, until it is tried again.

    Args:
        labels: int64[BUCKETS], offset of each bucket; -1 where there is none.

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
    """Return where the replay begins; a bucket without a record needs all that is retained."""
    return max(int(labels.min()), low)


def refuse_misfit(taken: Takeover, buckets: Mapping[int, Bucket]) -> None:
    """Check that the buckets, the input and the group's offset fit together.

    Raises:
        OffsetsError: Input that the group has not decided is retained no more.
        StateError: They do not; names the command that resolves it.
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
            # What the group has not decided is gone: more than history.
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
    """Check that what was rejected lies before the group's offset: it was committed with it.

    Args:
        taken: What is taken over.
        end: The last rejected offset + 1; 0 where there is none.

    Raises:
        StateError: It does not: the offset was set back, or is not there any more.
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
    """Check that the input had as many partitions when a bucket was written.

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
