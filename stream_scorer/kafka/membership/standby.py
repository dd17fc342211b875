"""Whether a process without partitions is on standby, or something is wrong."""

import threading
from collections.abc import Callable, Iterable
from typing import Self

from confluent_kafka import ConsumerGroupState
from confluent_kafka.admin import ConsumerGroupDescription

from stream_scorer.errors import SettingsError, UnavailableError
from stream_scorer.kafka.topics import client_options
from stream_scorer.kafka.topics.groups import Groups
from stream_scorer.kafka.topics.offsets import partitions
from stream_scorer.settings import Kafka
from stream_scorer.telemetry import (
    Event,
    Listener,
    StandingBy,
)
from stream_scorer.telemetry.partitions import follow_assignment

_ASK_SECONDS = 1.0


def spare(
    group: ConsumerGroupDescription | None, member: str, topic: str, numbers: Iterable[int]
) -> bool:
    """Return whether a member rightly has no partition.

    It is on standby if the group is stable, knows the member, and others have every partition. A
    partition that is being moved to another member does not count as assigned.

    Args:
        group: The broker's description of the group; None if it does not know the group.
        member: The member's client id.
        topic: The topic that the group reads.
        numbers: The topic's partitions.
    """
    if group is None or group.state != ConsumerGroupState.STABLE:
        return False
    others = {
        at.partition
        for each in group.members
        if each.client_id != member and each.assignment
        for at in each.assignment.topic_partitions
        if at.topic == topic
    }
    known = any(each.client_id == member for each in group.members)
    return known and others >= set(numbers)


class Standby:
    """Reports whether a process without partitions is on standby; queries the broker only then.

    A listener for changes of partitions, with a separate thread while its context lasts.

    Args:
        kafka: The cluster, the group, and this process's name in it.
        topic: The topic that it reads.
        listener: Notified with :class:`~stream_scorer.telemetry.StandingBy` after each query.
        every_seconds: Time between two queries.
    """

    def __init__(
        self, kafka: Kafka, topic: str, listener: Listener, every_seconds: float = _ASK_SECONDS
    ) -> None:
        self._kafka = kafka
        self._topic = topic
        self._listener = listener
        self._every_seconds = every_seconds
        self._lock = threading.Lock()
        self._assigned: set[int] = set()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="standby", daemon=True)

    def __call__(self, event: Event) -> None:
        """Note partitions that were assigned or revoked."""
        with self._lock:
            follow_assignment(self._assigned, event)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._thread.join()

    def _run(self) -> None:
        ask = self._question()
        while not self._closing.wait(self._every_seconds):
            with self._lock:
                idle = not self._assigned
            if not idle:
                continue
            try:
                found = ask()
            except (UnavailableError, SettingsError):
                found = False
            with self._lock:
                if not self._assigned:
                    # Under the lock, so that a later assignment is reported after this.
                    self._listener(StandingBy(found))

    def _question(self) -> Callable[[], bool]:
        groups = Groups(self._kafka)
        member = client_options.member_name(self._kafka)

        def ask() -> bool:
            numbers = partitions(groups.client, self._kafka, [self._topic])[self._topic]
            group = groups.described(self._kafka.group, 0.0)
            return spare(group, member, self._topic, numbers)

        return ask
