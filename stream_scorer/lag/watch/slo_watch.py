"""Counts the service level objective, by looks that are close together."""

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol, Self

from stream_scorer.clocks import machine_seconds, steady_epoch_seconds
from stream_scorer.closing import Closing
from stream_scorer.errors import SettingsError, UnavailableError
from stream_scorer.lag.broker.group_offsets import GroupOffsets
from stream_scorer.lag.broker.looks import PartitionLook, Place
from stream_scorer.lag.broker.partition_offsets import PartitionOffsets
from stream_scorer.lag.broker.record_reader import FirstRecordReader, FoundRecord
from stream_scorer.lag.verdicts.slo import SloCount, SloCounter
from stream_scorer.lag.watch.watch_thread import WatchThread
from stream_scorer.settings import Settings
from stream_scorer.telemetry import Listener, SloCounted

_LEADERS_SECONDS = 10.0
"""How often new partitions and leaders are asked for."""
_FAR = 100
"""Offsets by which a group moves from one look to the next so that single ones do not matter."""
_READ_SHARE = 4
"""Reading may take the objective's time divided by this."""
_GAP_SECONDS = 5.0
_GAP_LOOKS = 3
"""After so many looks without numbers, and 5 s at least, a partition's records are unmeasured."""


class SloLooks(Protocol):
    """What brings the numbers: :class:`SloBrokers`."""

    def look(self) -> tuple[Mapping[Place, PartitionLook], Mapping[Place, int]]: ...  # noqa: D102
    def first_records(self, starts: Mapping[Place, int]) -> dict[Place, FoundRecord]: ...  # noqa: D102
    def close(self) -> None: ...  # noqa: D102


class SloBrokers(Closing):
    """Reads the offsets of one group in one topic, and records.

    Args:
        settings: The cluster, the group, its input and the time limits.
    """

    def __init__(self, settings: Settings) -> None:
        self.group = settings.lag.slo_group or settings.kafka.group
        self.topic = settings.kafka.topics.transactions
        self._kafka = settings.kafka
        seconds = settings.lag.request_seconds
        self._offsets = PartitionOffsets(settings.kafka, seconds)
        self._groups = GroupOffsets(settings.kafka, [self.group], seconds)
        # A record that cannot be read must not delay a look: it would count later ones as late.
        self._records = FirstRecordReader(settings.kafka, settings.lag.slo_seconds / _READ_SHARE)
        self._leaders: dict[Place, int] = {}
        self._asked = float("-inf")

    def close(self) -> None:
        """Close the connections."""
        self._offsets.close()
        self._groups.close()
        self._records.close()

    def look(self) -> tuple[Mapping[Place, PartitionLook], Mapping[Place, int]]:
        """Return the offsets of the topic's partitions, and the group's committed ones.

        Raises:
            SettingsError: The topic does not exist: nothing would ever be late.
            UnavailableError: The brokers do not answer.
        """
        if time.monotonic() - self._asked >= _LEADERS_SECONDS:
            leaders = self._offsets.leaders()
            self._leaders = {at: leader for at, leader in leaders.items() if at[0] == self.topic}
            self._asked = time.monotonic()
        if not self._leaders:
            self._asked = float("-inf")
            raise SettingsError(
                f"topic {self.topic}: does not exist on {self._kafka.bootstrap}",
                "create it (stream-scorer topics create), or correct kafka.topics.transactions",
            )
        starts = self._offsets.starts(self._leaders)
        committed = self._groups.committed(self.group, self._leaders)
        if isinstance(committed, str):
            raise UnavailableError(f"group {self.group}: {committed}", "check the brokers")
        ends = self._offsets.ends(self._leaders, starts)
        if any(each.error for each in ends.values()):
            self._asked = float("-inf")  # leaders may have moved
        return ends, committed

    def first_records(self, starts: Mapping[Place, int]) -> dict[Place, FoundRecord]:
        """Return the first record from each offset on."""
        return self._records.first_records(starts)


class _Offsets(NamedTuple):
    """The group's offset in a partition, the last stable one and the log's end."""

    committed: int
    stable: int
    high: int


class _Numbers(NamedTuple):
    """A look."""

    time: float
    offsets: Mapping[Place, _Offsets]


class _Gap(NamedTuple):
    """Offsets without a record; ``closed``: there is one at its end."""

    begin: int
    end: int
    closed: bool

    def reaches(self, offsets: _Offsets) -> bool:
        """Return whether it is known what is between the offsets."""
        return self.begin == offsets.committed and (self.closed or self.end >= offsets.stable)


class SloWatch(WatchThread):
    """Counts until closed.

    A partition whose numbers are missing is not counted then; after a gap its records are
    unmeasured (:class:`~stream_scorer.lag.verdicts.slo.SloCounter`).

    Args:
        looks: Brings the numbers.
        group: For the labels.
        topic: For the labels.
        listener: Notified of every count.
        limit: Seconds within which a record is to be decided.
        every_seconds: Time between two looks.
        clock: Seconds since the epoch, without steps.
    """

    def __init__(
        self,
        looks: SloLooks,
        group: str,
        topic: str,
        listener: Listener,
        limit: float,
        every_seconds: float,
        clock: Callable[[], float] = steady_epoch_seconds,
    ) -> None:
        super().__init__("slo-watch", "late decisions", listener, every_seconds, evenly=True)
        self._looks = looks
        self._labels = group, topic
        self._limit = limit
        self._gap = max(_GAP_SECONDS, _GAP_LOOKS * every_seconds)
        self._clock = clock
        self._counters: dict[Place, SloCounter] = {}
        self._before: _Numbers | None = None
        self._gaps: dict[Place, _Gap] = {}

    def start(self) -> Self:
        """Begin to count; returns itself."""
        self._listener(SloCounted(*self._labels, 0, 0, 0, self._clock()))
        return super().start()

    def _release(self) -> None:
        self._looks.close()

    def _work(self) -> None:
        self.count()

    def count(self) -> None:
        """Look once, and report what became due until the look before.

        A look is judged at the next one: then it is known whether the group stands still, and what
        it stands before is read. Without any numbers nothing is counted: a later look counts what
        is missing as unmeasured.

        Raises:
            UnavailableError: There are no numbers.
        """
        partitions, committed = self._looks.look()
        now = self._clock()
        offsets = {
            at: _Offsets(committed.get(at, each.start or 0), each.stable or 0, each.high or 0)
            for at, each in partitions.items()
            if not each.error and None not in (each.start, each.stable, each.high)
        }
        if not offsets:
            why = next((each.error for each in partitions.values() if each.error), "no offsets")
            raise UnavailableError(f"topic {self._labels[1]}: {why}", "check the brokers")
        before, self._before = self._before, _Numbers(now, offsets)
        found = SloCount()
        if before is not None:
            self._read_gaps(before.offsets, offsets)
            for at, each in before.offsets.items():
                counter = self._counters.setdefault(at, SloCounter(self._limit, self._gap))
                found += counter.add(before.time, each.high, self._past_gap(at, each))
        self._listener(
            SloCounted(*self._labels, found.good, found.bad, found.unmeasured, machine_seconds(now))
        )

    def _read_gaps(self, before: Mapping[Place, _Offsets], now: Mapping[Place, _Offsets]) -> None:
        """Read what is at the offsets from which the group moves little, where that is not known.

        Transaction markers and aborted records have offsets, and nothing decides them. Where the
        group moves far, they do not matter, and nothing is read: a look is close to the next, and
        reading takes longer than asking for offsets.
        """
        starts: dict[Place, int] = {}
        for at, each in before.items():
            if at in now and each.committed < each.stable:
                known = self._gaps.get(at)
                far = now[at].committed - each.committed > _FAR
                if not far and (known is None or not known.reaches(each)):
                    starts[at] = each.committed
        for at, record in self._looks.first_records(starts).items():
            end = now[at].stable if record.offset is None else record.offset
            self._gaps[at] = _Gap(starts[at], end, record.offset is not None)

    def _past_gap(self, at: Place, each: _Offsets) -> int:
        """Return the offset of the first record that the group has not decided."""
        gap = self._gaps.get(at)
        if gap is None or gap.begin != each.committed:
            return each.committed
        return max(min(gap.end, each.stable), each.committed)
