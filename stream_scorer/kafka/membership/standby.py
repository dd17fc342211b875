"""A process that was given no partition: does it stand by, or is something wrong?"""

import threading
from collections.abc import Callable, Iterable
from typing import Self

from confluent_kafka import ConsumerGroupState
from confluent_kafka.admin import ConsumerGroupDescription

from stream_scorer.errors import SettingsError, UnavailableError
from stream_scorer.kafka.topics import config
from stream_scorer.kafka.topics.groups import Groups
from stream_scorer.kafka.topics.offsets import partitions
from stream_scorer.settings import Kafka
from stream_scorer.telemetry import (
    Event,
    Listener,
    PartitionsAssigned,
    PartitionsRevoked,
    StandingBy,
)

_ASK_SECONDS = 1.0


def spare(
    group: ConsumerGroupDescription | None, member: str, topic: str, numbers: Iterable[int]
) -> bool:
    """Return whether a member is one that its group has nothing for, and that is as it should be.

    It is when the group is stable, knows the member, and others have every partition: a partition
    that is still on its way to somebody is nobody's.

    Args:
        group: What the broker says of the group; None where it does not know it.
        member: The member's client id.
        topic: What the group reads.
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
    """Tells whether a process without partitions stands by; asks the broker only while it has none.

    A listener that hears of partitions, with a thread of its own for as long as its context lasts.

    Args:
        kafka: The cluster, the group, and this process's name in it.
        topic: What it reads.
        listener: Told of :class:`~stream_scorer.telemetry.StandingBy` after each question.
        every_seconds: Between two questions.
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
        """Take note of partitions that came or left."""
        with self._lock:
            match event:
                case PartitionsAssigned():
                    self._assigned.update(event.partitions)
                case PartitionsRevoked():
                    self._assigned.difference_update(event.partitions)
                case _:
                    pass

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
                    # Under the lock: that partitions came is told after this, not in between.
                    self._listener(StandingBy(found))

    def _question(self) -> Callable[[], bool]:
        groups = Groups(self._kafka)
        member = config.member_name(self._kafka)

        def ask() -> bool:
            numbers = partitions(groups.client, self._kafka, [self._topic])[self._topic]
            group = groups.described(self._kafka.group, 0.0)
            return spare(group, member, self._topic, numbers)

        return ask
