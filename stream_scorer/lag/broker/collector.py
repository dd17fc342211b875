"""One look at all groups and their partitions, in the order that makes the numbers comparable."""

import time
from collections.abc import Callable, Mapping, Sequence

from stream_scorer.clocks import steady_epoch_seconds
from stream_scorer.closing import Closing
from stream_scorer.errors import UnavailableError
from stream_scorer.lag.broker.group_offsets import GroupOffsets, with_committed
from stream_scorer.lag.broker.looks import GroupLook, Look, Place
from stream_scorer.lag.broker.partition_offsets import PartitionOffsets
from stream_scorer.settings import Kafka

_ALL_GROUPS = 3
"""All groups together may take the time of so many requests, each time that they are asked, or an
interval if that is longer."""


class Collector(Closing):
    """Looks at the brokers repeatedly; its connections are kept.

    Args:
        kafka: The cluster.
        patterns: Names of groups, with ``*`` and ``?``.
        seconds: How long a request may take.
        most: Groups that are watched.
        interval: Seconds between two looks.
        clock: Seconds since the epoch, without steps.
    """

    def __init__(
        self,
        kafka: Kafka,
        patterns: Sequence[str],
        seconds: float = 2.5,
        most: int = 200,
        interval: float = 0.0,
        clock: Callable[[], float] = steady_epoch_seconds,
    ) -> None:
        self._offsets = PartitionOffsets(kafka, seconds)
        self._groups = GroupOffsets(kafka, patterns, seconds, most)
        self._clock = clock
        self._all_seconds = max(_ALL_GROUPS * seconds, interval)

    def close(self) -> None:
        """Close the connections."""
        self._offsets.close()
        self._groups.close()

    def look(self) -> Look:
        """Return what the brokers report now; what they do not report has its reason.

        The order is: start of each partition, committed offsets, last stable offsets, log ends. So
        an offset before the start was never read, and no lag is negative.

        A look takes a bounded time, however many groups do not answer: a silent coordinator is not
        asked for offsets, and all groups share a time limit. A group that had no time left is asked
        first in the next look.
        """
        try:
            leaders = self._offsets.leaders()
            names = self._groups.names()
        except UnavailableError as error:
            return Look(self._clock(), error=str(error))
        groups = self._groups.members(names)
        in_turn = self._groups.in_turn(groups)
        until = time.monotonic() + self._all_seconds
        places = {name: self._places(name, leaders, groups[name], until) for name in in_turn}
        asked = {at: leaders[at] for at in set[Place]().union(*places.values())}
        starts = self._offsets.starts(asked)
        begun = self._clock()
        found: dict[str, GroupLook] = {}
        until = time.monotonic() + self._all_seconds
        for name in in_turn:
            silent = bool(groups[name].error)
            committed = {} if silent else self._groups.committed(name, places[name], until)
            found[name] = with_committed(groups[name], places[name], committed)
        ends = self._offsets.ends(asked, starts)
        now = self._clock()
        return Look(now, ends, found, spread=now - begun, left_out=self._groups.left_out)

    def _places(
        self, name: str, every: Mapping[Place, int], group: GroupLook, until: float
    ) -> set[Place]:
        """Return a group's partitions; a new one belongs to the members that read its topic."""
        topics = {topic for topic, _ in group.owners}
        owned = (at for at in every if at[0] in topics)
        return self._groups.places(name, every, owned, float("-inf") if group.error else until)
