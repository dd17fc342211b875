"""A group's lag, from its committed offsets and the broker's end offsets.

A transactional producer commits the group's offsets, so the consumer's own lag is wrong; and a
group whose process is dead has none. Both ends matter. Records after the last stable offset cannot
be read yet. If the stable end stays below the high watermark, an upstream transaction was never
ended.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition

from stream_scorer.closing import Closing
from stream_scorer.errors import SettingsError, UnavailableError
from stream_scorer.kafka.topics import client_options
from stream_scorer.kafka.topics.groups import SETTLE_SECONDS, Groups, committed, settled
from stream_scorer.kafka.topics.offsets import (
    ANSWER_SECONDS,
    partitions,
    unreachable,
    watermarks,
)
from stream_scorer.settings import Kafka
from stream_scorer.telemetry import LagObserved, Listener


@dataclass(frozen=True, slots=True)
class PartitionLag:
    """A group's lag in one partition.

    Attributes:
        topic: The topic.
        partition: The partition.
        committed: The next offset that the group will read; None if it never committed.
        start: First retained offset.
        stable: Last stable offset: after it, a transaction is still open.
        high: High watermark.
        seconds: Age of the oldest record that is not committed; None if it was not requested.
    """

    topic: str
    partition: int
    committed: int | None
    start: int
    stable: int
    high: int
    seconds: float | None = None

    @property
    def lag(self) -> int | None:
        """Records to the high watermark, as Kafka's own tool counts; None without a commit."""
        return None if self.committed is None else max(self.high - self.committed, 0)

    @property
    def to_high(self) -> int:
        """Records to the high watermark; without a commit, all that are retained."""
        return max(self.high - self._from, 0)

    @property
    def to_stable(self) -> int:
        """Records that can be read now: to the last stable offset."""
        return max(self.stable - self._from, 0)

    @property
    def _from(self) -> int:
        return self.start if self.committed is None else self.committed


class LagReader(Closing):
    """Reads the lag of one group repeatedly.

    Args:
        kafka: The cluster.
        group: The consumer group.
        topic: The topic that it reads; None: every topic in which it committed or has a member.
        settle_seconds: How long a read waits for a group's moving coordinator.
    """

    def __init__(
        self,
        kafka: Kafka,
        group: str,
        topic: str | None = None,
        settle_seconds: float = SETTLE_SECONDS,
    ) -> None:
        self._kafka = kafka
        self._settle_seconds = settle_seconds
        self._group = group
        self._topic = topic
        self._groups = Groups(kafka)
        # These consumers never join. The admin client's calls for offsets crash the process when
        # brokers go down: those of a group with a segmentation fault (librdkafka#5040), those of
        # topics with a failed assertion (librdkafka#4605).
        options = client_options.reader(kafka, group)
        self._member = Consumer(options | {"isolation.level": "read_uncommitted"})
        self._reader = Consumer(options | {"isolation.level": "read_committed"})

    def close(self) -> None:
        """Close the connections."""
        self._member.close()
        self._reader.close()

    def read(self, *, seconds: bool = False) -> list[PartitionLag]:
        """Return the lag of every partition, ordered by topic and partition.

        Args:
            seconds: Whether to read one record per lagging partition for its age.

        Raises:
            SettingsError: The group or the topic is unknown.
            UnavailableError: The broker does not answer.
        """
        # Listing the topics also fails fast if there is no broker.
        named = [self._topic] if self._topic else None
        client = self._groups.client
        known = partitions(client, self._kafka, named)
        offsets = self._committed(known)
        topics = set(named or ()) or {topic for topic, _ in offsets} | self._assigned_topics()
        if not topics:
            raise SettingsError(
                f"group {self._group}: has neither committed offsets nor members",
                "a process that has just begun may still be starting: wait until /health/ready "
                "answers 200; or name the group of a running process: --group",
            )
        wanted = [
            (topic, partition)
            for topic, numbers in partitions(client, self._kafka, sorted(topics)).items()
            for partition in numbers
        ]
        lags = [self._lag(*at, offsets.get(at)) for at in wanted]
        return self._with_seconds(lags) if seconds else lags

    def _lag(self, topic: str, partition: int, committed: int | None) -> PartitionLag:
        at = TopicPartition(topic, partition)
        try:
            # In this order, so that the high watermark is not below the stable offset.
            _, stable = watermarks(self._reader, at)
            start, high = watermarks(self._member, at)
        except KafkaException as error:
            raise unreachable(self._kafka, error.args[0].str()) from error
        return PartitionLag(topic, partition, committed, start, stable, high)

    def _committed(self, known: Mapping[str, Sequence[int]]) -> dict[tuple[str, int], int]:
        """Return the last committed offsets in the given topics.

        Not only stable ones: those are refused while any transaction of the group is open, which is
        nearly always under load. An open transaction's offsets are not in the answer anyway.
        """
        wanted = [TopicPartition(topic, p) for topic, numbers in known.items() for p in numbers]
        try:
            return settled(
                lambda: committed(self._member, wanted, ANSWER_SECONDS), self._settle_seconds
            )
        except KafkaException as error:
            raise unreachable(self._kafka, error.args[0].str()) from error

    def _assigned_topics(self) -> set[str]:
        try:
            described = self._groups.described(self._group, 0.0)
        except UnavailableError:
            return set()  # a broker may refuse to describe a group that it does not know
        if described is None:
            return set()
        return {
            at.topic
            for member in described.members
            if member.assignment
            for at in member.assignment.topic_partitions
        }

    def _with_seconds(self, lags: list[PartitionLag]) -> list[PartitionLag]:
        behind = {(lag.topic, lag.partition): lag._from for lag in lags if lag.to_stable}  # noqa: SLF001 same module
        times = _first_times(self._kafka, behind, "read_committed")
        # Records of an open transaction have an age too: they cannot be read meanwhile.
        hidden = {
            (lag.topic, lag.partition): max(lag.stable, lag._from)  # noqa: SLF001 same module
            for lag in lags
            if lag.high > lag.stable and (lag.topic, lag.partition) not in times and lag.to_high
        }
        times |= _first_times(self._kafka, hidden, "read_uncommitted")
        now = time.time() * 1_000
        return [
            replace(lag, seconds=max(now - times.get((lag.topic, lag.partition), now), 0) / 1_000)
            for lag in lags
        ]


def read_lag(
    kafka: Kafka, group: str, topic: str | None = None, *, seconds: bool = False
) -> list[PartitionLag]:
    """Return the lag of a group once; see :meth:`LagReader.read`."""
    with LagReader(kafka, group, topic) as reader:
        return reader.read(seconds=seconds)


def _first_times(
    kafka: Kafka, start: Mapping[tuple[str, int], int], isolation: str
) -> dict[tuple[str, int], int]:
    """Return the Kafka timestamp (ms) of the first record at or after each offset, if any."""
    if not start:
        return {}
    options = client_options.reader(kafka, f"{kafka.group}-reader") | {
        "isolation.level": isolation,
        # Only one record is needed: do not fetch more than one record batch.
        "queued.min.messages": 1,
        "max.partition.fetch.bytes": 1_024,
    }
    consumer = Consumer(options)
    pending, times = set(start), {}
    deadline = time.monotonic() + ANSWER_SECONDS
    try:
        consumer.assign([TopicPartition(*at, offset) for at, offset in start.items()])
        while pending:
            if time.monotonic() > deadline:
                raise unreachable(kafka, f"no record within {ANSWER_SECONDS:.0f} s")
            message: Any = consumer.poll(0.1)
            if message is None or (message.topic(), message.partition()) not in pending:
                continue
            at = (message.topic(), message.partition())
            pending.discard(at)
            if not message.error():
                times[at] = message.timestamp()[1]
            consumer.pause([TopicPartition(*at)])
    finally:
        consumer.close()
    return times


class LagWatch(Closing):
    """Observes a group's lag every few seconds on its own thread.

    While the broker does not answer, it reports empty mappings: no number is better than an old
    one that looks like progress.

    Args:
        kafka: The cluster.
        topic: The input topic.
        listener: Notified with a :class:`~stream_scorer.telemetry.LagObserved` each time.
        every_seconds: Time between two observations.
    """

    def __init__(
        self, kafka: Kafka, topic: str, listener: Listener, every_seconds: float = 5.0
    ) -> None:
        # It retries soon, and closing must not wait long.
        self._reader = LagReader(kafka, kafka.group, topic, settle_seconds=0.0)
        self._group, self._topic = kafka.group, topic
        self._listener = listener
        self._every_seconds = every_seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lag-watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop observing; returns when the thread has ended."""
        self._stop.set()
        self._thread.join()
        self._reader.close()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._listener(self._observe())
            self._stop.wait(self._every_seconds)

    def _observe(self) -> LagObserved:
        try:
            lags = self._reader.read(seconds=True)
        except Exception:  # noqa: BLE001 a thread that ends leaves numbers that look like progress
            return LagObserved({}, {}, group=self._group, topic=self._topic)
        return LagObserved(
            {lag.partition: lag.to_high for lag in lags},
            {lag.partition: lag.to_stable for lag in lags},
            {lag.partition: lag.seconds or 0.0 for lag in lags},
            group=self._group,
            topic=self._topic,
        )
