"""First, last stable and end offsets of thousands of partitions: one request a broker for each.

Not by the admin client, which ends the process when its own time limit passes while a broker is
down (docs/adr/0016-adminclient-timeouts.md). ``Consumer.offsets_for_times`` sends one ListOffsets
for all partitions of a leader; with the protocol's own timestamps for "first" and "last" it returns
the start and, by the consumer's isolation level, the high watermark or the last stable offset.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition

from stream_scorer.closing import Closing
from stream_scorer.kafka.topics import client_options
from stream_scorer.kafka.topics.offsets import unreachable
from stream_scorer.lag.broker.looks import PartitionLook, Place
from stream_scorer.settings import Kafka

_LAST, _FIRST = -1, -2
"""ListOffsets' timestamps for the end and the beginning of a partition."""
NO_LEADER = "the partition has no leader"


class PartitionOffsets(Closing):
    """Reads the offsets of many partitions repeatedly, with two connections that are kept.

    Args:
        kafka: The cluster.
        seconds: How long a request may take.
    """

    def __init__(self, kafka: Kafka, seconds: float = 2.5) -> None:
        self._kafka = kafka
        self._seconds = seconds
        options = client_options.reader(kafka, f"{kafka.group}-lag")
        self._uncommitted = Consumer(options | {"isolation.level": "read_uncommitted"})
        self._committed = Consumer(options | {"isolation.level": "read_committed"})

    def close(self) -> None:
        """Close the connections."""
        self._uncommitted.close()
        self._committed.close()

    def leaders(self) -> dict[Place, int]:
        """Return the leading broker of every partition of the cluster; -1: it has none.

        Raises:
            UnavailableError: No broker answers.
        """
        try:
            # Each client keeps the leaders that it was told, and asks them.
            known = self._committed.list_topics(timeout=self._seconds)
            known = self._uncommitted.list_topics(timeout=self._seconds)
        except KafkaException as error:
            raise unreachable(self._kafka, error.args[0].str()) from error
        return {
            (name, partition): found.leader
            for name, topic in known.topics.items()
            for partition, found in topic.partitions.items()
        }

    def starts(self, leaders: Mapping[Place, int]) -> dict[Place, int | str]:
        """Return the first retained offset of each partition, or why it is missing.

        Args:
            leaders: The partitions, and the broker that leads each.
        """
        return self._ask(self._uncommitted, _FIRST, leaders)

    def ends(
        self, leaders: Mapping[Place, int], starts: Mapping[Place, int | str]
    ) -> dict[Place, PartitionLook]:
        """Return all offsets of each partition: first the last stable ones, then the ends.

        Args:
            leaders: As for :meth:`starts`.
            starts: Their first offsets, which were read before.
        """
        # What failed once fails again, and costs the time limit each time.
        asked = {at: leader for at, leader in leaders.items() if isinstance(starts.get(at), int)}
        stable = self._ask(self._committed, _LAST, asked)
        high = self._ask(self._uncommitted, _LAST, asked)
        return {at: _look(starts.get(at, ""), stable.get(at), high.get(at)) for at in leaders}

    def _ask(
        self, consumer: Any, timestamp: int, leaders: Mapping[Place, int]
    ) -> dict[Place, int | str]:
        """Ask each broker once; one that does not answer costs only its own partitions."""
        by_leader: dict[int, list[Place]] = defaultdict(list)
        for at, leader in leaders.items():
            by_leader[leader].append(at)
        found: dict[Place, int | str] = dict.fromkeys(by_leader.pop(-1, ()), NO_LEADER)
        for leader, places in by_leader.items():
            found |= self._ask_leader(consumer, timestamp, leader, places)
        return found

    def _ask_leader(
        self, consumer: Any, timestamp: int, leader: int, places: Iterable[Place]
    ) -> dict[Place, int | str]:
        wanted = [TopicPartition(*at, timestamp) for at in places]
        try:
            answers = consumer.offsets_for_times(wanted, self._seconds)
        except KafkaException as error:
            why = f"broker {leader} does not answer: {error.args[0].str()}"
            return dict.fromkeys(places, why)
        return {
            (each.topic, each.partition): each.offset if each.error is None else each.error.str()
            for each in answers
        }


def _look(start: int | str, stable: int | str | None, high: int | str | None) -> PartitionLook:
    errors = [each for each in (start, stable, high) if isinstance(each, str) and each]
    return PartitionLook(
        start if isinstance(start, int) else None,
        stable if isinstance(stable, int) else None,
        high if isinstance(high, int) else None,
        errors[0] if errors else "",
    )
