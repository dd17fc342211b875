"""A read-committed reader of the outputs on a separate thread, and a read from begin to end."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec

_POLL_SECONDS = 0.1
_MOST = 5_000
_METADATA_SECONDS = 20.0
_STALLED_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Seen:
    """One record of an output, as a reader got it.

    Attributes:
        topic: Output topic.
        partition: Its partition there.
        offset: Its offset there.
        key: Its key.
        value: Its value.
        headers: Its headers, in order.
        timestamp: Its Kafka timestamp, ms since the epoch.
        at: When it was read, monotonic seconds.
    """

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    timestamp: int
    at: float

    @property
    def place(self) -> tuple[str, int, int]:
        """Its (topic, partition, offset)."""
        return self.topic, self.partition, self.offset


def _options(bootstrap: str) -> dict[str, Any]:
    return {
        "bootstrap.servers": bootstrap,
        "group.id": "verifier",
        "isolation.level": "read_committed",
        "enable.auto.commit": False,
        "auto.offset.reset": "error",
        "enable.partition.eof": False,
        "fetch.wait.max.ms": 50,
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 500,
        "log_level": 0,
        # Connections break while faults happen; what cannot be read is missing at the end.
        "error_cb": lambda _: None,
    }


def partitions_of(bootstrap: str, topics: Sequence[str]) -> list[tuple[str, int]]:
    """Return the partitions of topics.

    Raises:
        KeyError: A topic does not exist, or no broker knows it in time.
    """
    client = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    deadline = time.monotonic() + _METADATA_SECONDS
    while True:
        # A broker may not yet know a topic that another one has just created.
        known = client.list_topics(timeout=_METADATA_SECONDS).topics
        if known.keys() >= set(topics) or time.monotonic() > deadline:
            break
        time.sleep(_POLL_SECONDS)
    return [(topic, number) for topic in topics for number in sorted(known[topic].partitions)]


def ends_of(bootstrap: str, places: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int]:
    """Return the high watermark of each (topic, partition)."""
    client = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    wanted = {TopicPartition(*place): OffsetSpec.latest() for place in places}
    answers = client.list_offsets(
        wanted,
        isolation_level=IsolationLevel.READ_UNCOMMITTED,
        request_timeout=_METADATA_SECONDS,
    )
    return {(at.topic, at.partition): each.result().offset for at, each in answers.items()}


def _seen(message: Any) -> Seen:
    return Seen(
        message.topic(), message.partition(), message.offset(), message.key(), message.value(),
        tuple(message.headers() or ()), message.timestamp()[1], time.monotonic(),
    )  # fmt: skip


def read_to_end(
    bootstrap: str, topics: Sequence[str], isolation: str = "read_committed"
) -> list[Seen]:
    """Read topics from their oldest records to their current ends.

    The ends are high watermarks. So the call waits for transactions that are open, and for markers
    that are not yet written.

    Args:
        bootstrap: Bootstrap address.
        topics: The topics.
        isolation: ``read_uncommitted`` also reads open and aborted transactions.

    Raises:
        TimeoutError: No progress for a minute, for example because of a hanging transaction.
    """
    ends = ends_of(bootstrap, partitions_of(bootstrap, topics))
    options = {"enable.partition.eof": True, "isolation.level": isolation}
    consumer = Consumer(_options(bootstrap) | options)
    found: list[Seen] = []
    try:
        consumer.assign([TopicPartition(*place, OFFSET_BEGINNING) for place in ends])
        left = {place: end for place, end in ends.items() if end}
        gained = time.monotonic()
        while left:
            for message in consumer.consume(_MOST, _POLL_SECONDS):
                place, error = (message.topic(), message.partition()), message.error()
                if error is None:
                    next_offset = message.offset() + 1
                    if message.offset() < ends[place]:
                        found.append(_seen(message))
                elif error.code() == KafkaError._PARTITION_EOF:
                    next_offset = message.offset()
                else:
                    continue
                gained = time.monotonic()
                if next_offset >= ends[place]:
                    left.pop(place, None)
            if time.monotonic() - gained > _STALLED_SECONDS:
                raise TimeoutError(f"no end of {sorted(left)} for {_STALLED_SECONDS:.0f} s")
    finally:
        consumer.close()
    return found


class LiveReader(threading.Thread):
    """Reads outputs as they grow, from their beginnings, until it is closed.

    Args:
        bootstrap: Bootstrap address, not of a proxy with faults.
        topics: The topics; they must exist.

    Attributes:
        seen: The records so far, in order; only ever appended to.
    """

    def __init__(self, bootstrap: str, topics: Sequence[str]) -> None:
        super().__init__(name="live-reader", daemon=True)
        self.seen: list[Seen] = []
        self._consumer = Consumer(_options(bootstrap))
        places = partitions_of(bootstrap, topics)
        self._consumer.assign([TopicPartition(topic, number, 0) for topic, number in places])
        self._enough = threading.Event()

    def run(self) -> None:
        while not self._enough.is_set():
            try:
                # consume() would wait for its complete timeout, and arrival times matter here.
                message = self._consumer.poll(_POLL_SECONDS)
            except KafkaException:
                continue
            if message is not None and message.error() is None:
                self.seen.append(_seen(message))

    def close(self) -> None:
        """Stop reading."""
        self._enough.set()
        self.join()
        self._consumer.close()
