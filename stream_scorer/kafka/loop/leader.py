"""Leader election: the member of a group that has a topic's only partition is the leader.

The other members stand by. If the leader leaves or dies, the group gives the partition to another.
For a moment two members may believe that they lead. So what a leader does must be refused when a
second one does it, as the control log ensures.
"""

from collections.abc import Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition

from stream_scorer.errors import SettingsError, UnavailableError
from stream_scorer.kafka.topics import client_options
from stream_scorer.kafka.topics.offsets import admin, partitions
from stream_scorer.settings import Kafka
from stream_scorer.telemetry import Listener, PartitionsAssigned, PartitionsRevoked, ReplayProgress


class Leadership:
    """A membership of a group that reads a topic of one partition, but fetches no records.

    Rebalances happen inside :meth:`poll`.

    Args:
        kafka: The cluster; ``group`` and ``instance`` name the member.
        topic: Of one partition.
        listener: Notified when the partition is assigned or revoked.

    Raises:
        SettingsError: The topic does not exist, or has several partitions.
        UnavailableError: The broker does not answer.
    """

    def __init__(self, kafka: Kafka, topic: str, listener: Listener) -> None:
        if len(found := partitions(admin(kafka), kafka, [topic])[topic]) != 1:
            raise SettingsError(
                f"topic {topic}: has {len(found)} partitions, not one: no single member can lead",
                "name a topic that `stream-scorer topics create` made",
            )
        self._listener = listener
        self._leads = False
        # The leader reads nothing: the partition is only a token.
        options = client_options.member(kafka) | {"auto.offset.reset": "latest"}
        self._consumer = Consumer(options)
        self._consumer.subscribe(
            [topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost
        )

    def poll(self) -> bool:
        """Stay in the group, and return whether this member has the partition.

        Raises:
            UnavailableError: The topic is gone, or may not be read.
        """
        # The partition is paused: only group events and errors arrive.
        message: Any = self._consumer.poll(0)
        if message is not None and message.error() and message.error().fatal():
            raise UnavailableError(
                f"group membership ended: {message.error().str()}", "check the brokers"
            )
        return self._leads

    def note(self, places: Mapping[tuple[str, int], int]) -> None:
        """Commit how far this member has read as the group's offsets; they are used only for lag.

        Args:
            places: Next offset by topic and partition.
        """
        offsets = [TopicPartition(topic, number, at) for (topic, number), at in places.items()]
        try:
            self._consumer.commit(offsets=offsets, asynchronous=True)
        except KafkaException:
            # Nothing depends on it; the next commit includes it.
            return

    def close(self) -> None:
        """Leave the group, so that another member leads immediately."""
        self._consumer.close()

    def _assigned(self, consumer: Consumer, came: list[TopicPartition]) -> None:
        if not came:
            return
        consumer.incremental_assign([TopicPartition(at.topic, at.partition, 0) for at in came])
        consumer.pause(came)
        self._leads = True
        self._listener(PartitionsAssigned((0,), ()))
        # The partition has no state to restore.
        self._listener(ReplayProgress(0, 0, 0))

    def _revoked(self, consumer: Consumer, gone: list[TopicPartition]) -> None:
        self._gone(consumer, gone, lost=False)

    def _lost(self, consumer: Consumer, gone: list[TopicPartition]) -> None:
        self._gone(consumer, gone, lost=True)

    def _gone(self, consumer: Consumer, gone: list[TopicPartition], *, lost: bool) -> None:
        if not gone:
            return
        consumer.incremental_unassign(gone)
        self._leads = False
        self._listener(PartitionsRevoked((0,), lost))
