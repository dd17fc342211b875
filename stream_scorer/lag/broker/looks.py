"""What one look at the brokers brings, as plain data."""

from collections.abc import Mapping
from dataclasses import dataclass, field

Place = tuple[str, int]
"""Topic and partition."""


@dataclass(frozen=True, slots=True)
class PartitionLook:
    """The offsets of one partition.

    Attributes:
        start: First retained offset; None: not answered.
        stable: Last stable offset; None: not answered.
        high: High watermark; None: not answered.
        error: Why a number is missing.
    """

    start: int | None = None
    stable: int | None = None
    high: int | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class GroupLook:
    """One consumer group.

    Attributes:
        members: How many it has.
        owners: The member of each owned partition, as ``client at host``.
        places: The partitions that it has to do with: it committed in them, or its members read
            their topics.
        committed: Committed offset of each of them that has one.
        error: Why its offsets are missing.
        doubt: Why its members are not known.
        memberless: Whether it never had a member: its programs commit offsets without joining it.
    """

    members: int = 0
    owners: Mapping[Place, str] = field(default_factory=dict)
    places: frozenset[Place] = frozenset()
    committed: Mapping[Place, int] = field(default_factory=dict)
    error: str = ""
    doubt: str = ""
    memberless: bool = False


@dataclass(frozen=True, slots=True)
class Look:
    """All groups and their partitions at one time.

    Attributes:
        time: When the log ends were read, seconds since the epoch.
        partitions: By topic and partition; all partitions of the topics that a group reads.
        groups: By name.
        error: Why there are no numbers at all.
        spread: Seconds from reading committed offsets to reading log ends.
        left_out: Groups that match a pattern and are not watched: too many, or too long a name.
    """

    time: float
    partitions: Mapping[Place, PartitionLook] = field(default_factory=dict)
    groups: Mapping[str, GroupLook] = field(default_factory=dict)
    error: str = ""
    spread: float = 0.0
    left_out: int = 0
