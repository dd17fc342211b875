"""Who of several processes acts: the member of a group that has a topic's only partition.

The others are members, too, and stand by: when the one leaves, or dies, the group gives the
partition to another. For a moment two may think that they are the one. So whoever acts must do it
in a way in which the second is refused, as the control log does.
"""

from collections.abc import Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition

from stream_scorer.errors import SettingsError, UnavailableError
from stream_scorer.kafka.topics import config
from stream_scorer.kafka.topics.offsets import admin, partitions
from stream_scorer.settings import Kafka
from stream_scorer.telemetry import Listener, PartitionsAssigned, PartitionsRevoked, ReplayProgress


class Leadership:
    """A membership of a group that reads a topic of one partition, and fetches nothing of it.

    Rebalances happen inside :meth:`poll`.

    Args:
        kafka: The cluster; ``group`` and ``instance`` name the member.
        topic: Of one partition.
        listener: Told when the partition comes and goes.

    Raises:
        SettingsError: The topic does not exist, or has several partitions.
        UnavailableError: The broker does not answer.
    """

    def __init__(self, kafka: Kafka, topic: str, listener: Listener) -> None:
        if len(found := partitions(admin(kafka), kafka, [topic])[topic]) != 1:
            raise SettingsError(
                f"topic {topic}: has {len(found)} partitions, and so no one member that leads",
                "name a topic that `stream-scorer topics create` made",
            )
        self._listener = listener
        self._leads = False
        # Who leads has nothing to read: the partition is a token.
        options = config.member(kafka) | {"auto.offset.reset": "latest"}
        self._consumer = Consumer(options)
        self._consumer.subscribe(
            [topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost
        )

    def poll(self) -> bool:
        """Stay in the group, and return whether this member has the partition.

        Raises:
            UnavailableError: The topic is gone, or must not be read.
        """
        # The partition is paused: what comes is the group's news, or an error.
        message: Any = self._consumer.poll(0)
        if message is not None and message.error() and message.error().fatal():
            raise UnavailableError(
                f"group membership ended: {message.error().str()}", "check the brokers"
            )
        return self._leads

    def note(self, places: Mapping[tuple[str, int], int]) -> None:
        """Let the group's committed offsets say how far this member has read, for lag alone.

        Args:
            places: Next offset by topic and partition.
        """
        offsets = [TopicPartition(topic, number, at) for (topic, number), at in places.items()]
        try:
            self._consumer.commit(offsets=offsets, asynchronous=True)
        except KafkaException:
            # Nothing rests on it; the next one tells as much.
            return

    def close(self) -> None:
        """Leave the group, so that another leads at once."""
        self._consumer.close()

    def _assigned(self, consumer: Consumer, came: list[TopicPartition]) -> None:
        if not came:
            return
        consumer.incremental_assign([TopicPartition(at.topic, at.partition, 0) for at in came])
        consumer.pause(came)
        self._leads = True
        self._listener(PartitionsAssigned((0,), ()))
        # Nothing of the partition's is to be restored.
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
