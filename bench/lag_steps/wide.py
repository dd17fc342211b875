"""Passes over many partitions: a record waits in each, and one member owns all of them."""

import statistics
import time
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from bench.lag_steps.traffic import commit
from stream_scorer.closing import Closing
from stream_scorer.lag.broker.looks import Place
from stream_scorer.lag.watch.passes import LagPasses, LagSnapshot

GROUP = "wide"
PASSES_LEAST = 6
_PREFIX = "wide-"
_CREATED_AT_ONCE = 100
"""Topics of one request."""
_ANSWER_SECONDS = 120.0
_LED_SECONDS = 600.0
_PAUSE_SECONDS = 2.0


class PassTimes(NamedTuple):
    """How long passes took, seconds.

    Attributes:
        first: The first, which connects, and asks all partitions for the group's offsets.
        median: Of the others.
        slowest: Of the others; once a minute one of them asks all partitions again.
        passes: Their number, the first included.
        incomplete: Of all, those that did not report a waiting record and an owner of each
            partition.
        reason: What the last of these did not do; empty if there are none.
    """

    first: float
    median: float
    slowest: float
    passes: int
    incomplete: int = 0
    reason: str = ""


class Owner(Closing):
    """The only member of the group; it owns all partitions and reads nothing.

    Args:
        bootstrap: The cluster.
        partitions: Their number; the call returns when it owns them.
    """

    def __init__(self, bootstrap: str, partitions: int) -> None:
        self._consumer: Any = Consumer(
            {
                "bootstrap.servers": bootstrap, "group.id": GROUP, "client.id": "wide-0",
                "enable.auto.commit": False, "max.poll.interval.ms": 900_000, "log_level": 0,
            }
        )  # fmt: skip
        self._consumer.subscribe([f"^{_PREFIX}.*"], on_assign=_pause)
        deadline = time.monotonic() + _ANSWER_SECONDS
        while len(self._consumer.assignment()) < partitions:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the member does not own {partitions} partitions")
            self._consumer.poll(0.5)

    def close(self) -> None:
        """Leave the group."""
        self._consumer.close()


def create_wide(bootstrap: str, topics: int, partitions: int) -> set[Place]:
    """Create topics with a record and a committed offset before it in each partition.

    Args:
        bootstrap: The cluster.
        topics: Their number.
        partitions: Of all topics together.
    """
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    sizes = [partitions // topics + (number < partitions % topics) for number in range(topics)]
    for begin in range(0, topics, _CREATED_AT_ONCE):
        wanted = [
            NewTopic(f"{_PREFIX}{number}", num_partitions=sizes[number], replication_factor=1)
            for number in range(begin, min(begin + _CREATED_AT_ONCE, topics))
        ]
        for future in admin.create_topics(wanted, request_timeout=_ANSWER_SECONDS).values():
            future.result()
    places = {
        (f"{_PREFIX}{number}", partition)
        for number, size in enumerate(sizes)
        for partition in range(size)
    }
    _wait_until_led(admin, len(places))
    _fill(bootstrap, places)
    commit(bootstrap, GROUP, dict.fromkeys(places, 0))
    return places


def time_passes(passes: LagPasses, places: Collection[Place], seconds: float) -> PassTimes:
    """Make passes one after the other, and return how long they took.

    Args:
        passes: Watches the group.
        places: The partitions that each pass must judge.
        seconds: For how long, after the first; six passes are made at least.
    """
    found = [passes.run()]
    until = time.monotonic() + seconds
    while len(found) < PASSES_LEAST or time.monotonic() < until:
        time.sleep(_PAUSE_SECONDS)
        found.append(passes.run())
    missed = [reason for each in found if (reason := what_is_missing(each, places))]
    return times_of([each.seconds for each in found])._replace(
        incomplete=len(missed), reason=missed[-1] if missed else ""
    )


def times_of(seconds: Sequence[float]) -> PassTimes:
    """Return the times of passes, the first of which comes first."""
    first, *others = (round(each, 3) for each in seconds)
    return PassTimes(first, round(statistics.median(others), 3), max(others), len(seconds))


def what_is_missing(snapshot: LagSnapshot, places: Collection[Place]) -> str:
    """Return what a pass did not do of the work that it is timed for; empty if it did all."""
    judged = {
        at
        for (_, at), each in snapshot.judgements.items()
        if each.to_high and each.owner
    }  # fmt: skip
    if snapshot.error or judged != set(places):
        return (
            f"a pass saw a waiting record and an owner in {len(judged)} of {len(places)} "
            f"partitions: {snapshot.error}"
        )
    return ""


def _pause(consumer: Any, assigned: list[Any]) -> None:
    consumer.assign(assigned)
    consumer.pause(assigned)


def _fill(bootstrap: str, places: Collection[Place]) -> None:
    """Send a record to each partition, or several.

    A broker may not know all new partitions yet when another one does: records that fail are sent
    again.
    """
    producer = Producer({"bootstrap.servers": bootstrap, "acks": 1, "log_level": 0})
    left = set(places)
    errors: list[KafkaError] = []

    def note(error: KafkaError | None, message: Any) -> None:
        if error is None:
            left.discard((message.topic(), message.partition()))
        else:
            errors.append(error)

    deadline = time.monotonic() + _ANSWER_SECONDS
    while left:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{len(left)} partitions did not get a record: {errors[-1:]}")
        producer.list_topics(timeout=_ANSWER_SECONDS)
        for topic, partition in sorted(left):
            try:
                producer.produce(topic, b"x" * 60, partition=partition, on_delivery=note)
            except KafkaException as error:  # its topic is not known yet
                errors.append(error.args[0])
            producer.poll(0)
        producer.flush(_ANSWER_SECONDS)


def _wait_until_led(admin: AdminClient, partitions: int) -> None:
    """Wait until the brokers have created all partitions."""
    deadline = time.monotonic() + _LED_SECONDS
    while time.monotonic() < deadline:
        known = admin.list_topics(timeout=30.0).topics
        led = [
            partition
            for name, topic in known.items()
            if name.startswith(_PREFIX)
            for partition in topic.partitions.values()
            if partition.leader >= 0
        ]
        if len(led) == partitions:
            return
        time.sleep(1.0)
    raise TimeoutError(f"only {len(led)} of {partitions} partitions have a leader")
