"""What is observed of one partition of one group, and what is concluded from it."""

from dataclasses import dataclass
from enum import StrEnum


class LagVerdict(StrEnum):
    """What a group does in a partition; the order is that of their weight, heaviest first."""

    LOST = "DATA LOST BY RETENTION"
    HANGING = "HANGING TRANSACTION"
    STOPPED = "STOPPED"
    STALLED = "STALLED"
    REWOUND = "REWOUND"
    UNKNOWN = "UNKNOWN"
    SLOW = "SLOW"
    EMPTY = "EMPTY"
    OK = "OK"


@dataclass(frozen=True, slots=True)
class LagSample:
    """One observation of one partition of one group.

    The numbers are read in this order: start, committed, stable, high. So ``start > committed`` is
    never a race between two requests, and lag is not negative.

    Attributes:
        time: When the log end was read, seconds since the epoch by the observer's clock.
        start: First retained offset; None: not answered.
        stable: Last stable offset; None: not answered.
        high: High watermark; None: not answered.
        committed: The group's committed offset; None: it has not committed.
        members: Members of the group.
        owner: The member that owns the partition, as ``client at host``; empty: none.
        memberless: Whether the group never had a member: its programs commit without joining it.
        on_demand: Whether a command reads it when someone runs it, as ``dlq replay``.
        readable: Whether the group gets a record at or after ``committed``. False: only transaction
            markers and aborted records are left. None: not looked at.
        record_offset: Offset of that record; None: not read.
        record_time: Its timestamp, seconds; None: not read, or it has none.
        error: Why an offset is missing; empty: none is.
        doubt: Why the members are not known, although the offsets are.
        spread: Seconds from reading ``committed`` to reading ``high``: the lag contains what was
            appended meanwhile.
    """

    time: float
    start: int | None = None
    stable: int | None = None
    high: int | None = None
    committed: int | None = None
    members: int = 0
    owner: str = ""
    readable: bool | None = None
    record_offset: int | None = None
    record_time: float | None = None
    error: str = ""
    doubt: str = ""
    spread: float = 0.0
    memberless: bool = False
    on_demand: bool = False

    @property
    def complete(self) -> bool:
        """Whether the sample can be judged."""
        return self.has_offsets and not self.doubt

    @property
    def has_offsets(self) -> bool:
        """Whether all offsets are known."""
        return not self.error and None not in (self.start, self.stable, self.high)

    @property
    def next_offset(self) -> int:
        """The group's committed offset, else the first retained: what rewinds and rates go by."""
        return (self.start or 0) if self.committed is None else self.committed

    @property
    def first_waiting(self) -> int:
        """The offset of the first record that may wait: those before the log's start are gone."""
        return max(self.next_offset, self.start or 0)

    @property
    def to_high(self) -> int:
        """Offsets to the high watermark."""
        return max((self.high or 0) - self.first_waiting, 0)

    @property
    def uncommitted(self) -> bool:
        """Whether the group reads uncommitted records: it is past the last stable offset."""
        return self.next_offset > (self.stable or 0)

    @property
    def reach(self) -> int:
        """The offset to which the group can read: the last stable offset or the high watermark."""
        return (self.high if self.uncommitted else self.stable) or 0

    @property
    def to_stable(self) -> int:
        """Offsets to ``reach``; 0 if none of them is a record that can be read."""
        if self.readable is False:
            return 0
        return max(self.reach - self.first_waiting, 0)


@dataclass(frozen=True, slots=True)
class LagRules:
    """The numbers of the rules.

    Attributes:
        interval: Seconds between two samples.
        window: Intervals over which rates are computed and losses and rewinds are reported.
        patience_factor: A pause is judged after this many times the longest usual pause.
        pause_most: Pauses that last longer are incidents: they teach no patience. Seconds.
        transaction_most: The same for upstream transactions, seconds.
        adopt_seconds: Time in which a group's members find a new partition
            (``metadata.max.age.ms``).
        report_least: Losses and rewinds are reported for so many seconds at least: Prometheus must
            see them, however short the interval is.
        spike: An interval with this many times the usual input is a burst.
    """

    interval: float = 10.0
    window: int = 6
    patience_factor: float = 1.5
    pause_most: float = 60.0
    transaction_most: float = 600.0
    adopt_seconds: float = 300.0
    report_least: float = 60.0
    spike: float = 3.0


@dataclass(frozen=True, slots=True)
class LagJudgement:
    """What is concluded of one partition.

    Attributes:
        verdict: See docs/SRE.md for the rules.
        reason: One sentence with its numbers.
        time: Of the last sample.
        to_high: Records to the high watermark.
        to_stable: Records that the group can read now.
        age: Seconds since the oldest of them was appended; None: not known.
        rate_in: Records appended per second, over the window; None: not known.
        rate_out: Records committed per second.
        drain_seconds: Until the lag is gone at these rates; infinite if it does not shrink, and
            while a transaction hangs. None if not known, and of an OK partition whose lag does not
            shrink, or is at most what the group reads in an interval.
        lost: Records deleted before the group read them, since the observation began.
        skew: Seconds by which the read record's timestamp is after (+) or before (-) the interval
            in which it was appended; None: no record was read.
        owner: The member that owns the partition.
        event_age: Seconds since the event time of the oldest of them; None: not known.
    """

    verdict: LagVerdict
    reason: str
    time: float
    to_high: int | None = None
    to_stable: int | None = None
    age: float | None = None
    rate_in: float | None = None
    rate_out: float | None = None
    drain_seconds: float | None = None
    lost: int = 0
    skew: float | None = None
    owner: str = ""
    event_age: float | None = None
