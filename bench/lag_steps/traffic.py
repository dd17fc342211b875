"""Producers and consumer groups that do what a state asks for."""

import contextlib
import threading
import time
from collections import Counter
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from stream_scorer.closing import Closing
from tests.support.faults.process import wait_until

_SLICE_SECONDS = 0.05
_CLOSE_SECONDS = 10.0
ANSWER_SECONDS = 60.0
_MOVED = frozenset(
    {
        KafkaError._NO_OFFSET,  # noqa: SLF001 the binding's own name
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.UNKNOWN_MEMBER_ID,
    }
)
"""Errors of a commit after which the next one works."""
_NOT_YET = frozenset(
    {
        KafkaError.NOT_COORDINATOR,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    }
)
"""Errors while a busy cluster makes the topic of the groups' offsets."""
_COORDINATOR_SECONDS = 120.0


class Input(Closing):
    """Sends records to many topics at a steady rate, and remembers when each was appended.

    Args:
        bootstrap: The cluster.

    Attributes:
        appended: When the record of an offset was sent and when its append was acknowledged, by
            topic, partition and offset.
        delays: The longest time between both, seconds, by topic.
        rates: Records per second by topic.
        skews: Seconds that are added to a record's timestamp, by topic.
        partitions: The partitions that take turns, by topic; default: the first.
    """

    def __init__(self, bootstrap: str) -> None:
        self._producer = Producer(
            {"bootstrap.servers": bootstrap, "linger.ms": 0, "acks": 1, "log_level": 0}
        )
        self.appended: dict[tuple[str, int, int], tuple[float, float]] = {}
        self.delays: dict[str, float] = {}
        self.rates: dict[str, float] = {}
        self.skews: dict[str, float] = {}
        self.partitions: dict[str, list[int]] = {}
        self._turns: dict[str, int] = {}
        self._left: Counter[str] = Counter()
        self._counting, self._rating = threading.Lock(), threading.Lock()
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=run, name="input", daemon=True)
            for run in (self._run, self._acknowledge)
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stop sending."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._producer.flush(_CLOSE_SECONDS)

    def end(self, topic: str) -> None:
        """Send no more records to a topic; returns when all are acknowledged."""
        with self._rating:
            del self.rates[topic]
        wait_until(
            lambda: not self._left[topic], f"all records of {topic} are appended", ANSWER_SECONDS
        )

    def send(self, topic: str, records: int) -> None:
        """Send records now."""
        partitions = self.partitions.get(topic, [0])
        first = self._turns.get(topic, 0)
        self._turns[topic] = first + records
        skew = self.skews.get(topic, 0.0)
        with self._counting:
            self._left[topic] += records
        for number in range(records):
            now = time.time()
            self._producer.produce(
                topic,
                b"x" * 60,
                partition=partitions[(first + number) % len(partitions)],
                timestamp=int((now + skew) * 1_000),
                on_delivery=lambda error, message, now=now: self._note(error, message, now),
            )

    def spread(self, topic: str, partitions: int) -> None:
        """Send to more partitions from now on; waits until the producer knows them."""

        def known() -> bool:
            found = self._producer.list_topics(topic, _CLOSE_SECONDS).topics[topic]
            return len(found.partitions) >= partitions

        wait_until(known, f"topic {topic} has {partitions} partitions", ANSWER_SECONDS)
        self.partitions[topic] = list(range(partitions))

    def _note(self, error: object, message: Any, now: float) -> None:
        topic, acknowledged = message.topic(), time.time()
        with self._counting:
            self._left[topic] -= 1
        if error is None:
            self.appended[topic, message.partition(), message.offset()] = now, acknowledged
            self.delays[topic] = max(acknowledged - now, self.delays.get(topic, 0.0))

    def _acknowledge(self) -> None:
        while not self._stop.is_set():
            self._producer.poll(_SLICE_SECONDS)

    def _run(self) -> None:
        due: dict[str, float] = {}
        last = time.monotonic()
        while not self._stop.wait(_SLICE_SECONDS):
            now = time.monotonic()
            for topic in list(self.rates):
                with self._rating:
                    due[topic] = due.get(topic, 0.0) + self.rates.get(topic, 0.0) * (now - last)
                    whole = int(due[topic])
                    due[topic] -= whole
                    self.send(topic, whole)
            last = now


class Member(Closing):
    """The only member of a group; it commits what it has read, several times a second.

    Args:
        bootstrap: The cluster.
        topic: What it reads.
        group: Its group.

    Attributes:
        per_second: Records that it reads per second at most.
        still: While it is set, the member reads nothing and stays in its group.
        rests: Set when it has noticed that.
    """

    def __init__(self, bootstrap: str, topic: str, group: str) -> None:
        self.per_second = float("inf")
        self.still, self.rests = threading.Event(), threading.Event()
        self._stop = threading.Event()
        self._consumer: Any = Consumer(
            {
                "bootstrap.servers": bootstrap, "group.id": group, "client.id": f"{group}-0",
                "enable.auto.commit": False, "auto.offset.reset": "earliest",
                "isolation.level": "read_committed", "session.timeout.ms": 45_000,
                "topic.metadata.refresh.interval.ms": 1_000, "fetch.wait.max.ms": 50,
                "queued.min.messages": 1_000, "log_level": 0,
            }
        )  # fmt: skip
        self._consumer.subscribe([topic])
        self._thread = threading.Thread(target=self._run, name=group, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Leave the group. A client whose broker is gone may not end; its thread keeps it."""
        self._stop.set()
        self._thread.join()
        closing = threading.Thread(target=self._consumer.close, daemon=True)
        closing.start()
        closing.join(_CLOSE_SECONDS)

    def _run(self) -> None:
        while not self._stop.is_set():
            if self.still.is_set():
                self.rests.set()
                self._stop.wait(_SLICE_SECONDS)
                continue
            slow = self.per_second < float("inf")
            most = max(int(self.per_second * _SLICE_SECONDS), 1) if slow else 5_000
            read = self._consumer.consume(most, _SLICE_SECONDS)
            if any(message.error() is None for message in read):
                self._commit()
            if slow:
                self._stop.wait(len(read) / self.per_second)

    def _commit(self) -> None:
        try:
            # Not synchronous: that waits as long as its broker is down.
            self._consumer.commit(asynchronous=True)
        except KafkaException as error:
            if error.args[0].code() not in _MOVED:
                raise


def commit(bootstrap: str, group: str, offsets: dict[tuple[str, int], int]) -> None:
    """Set the offsets of a group without members; waits for its coordinator."""
    deadline = time.monotonic() + _COORDINATOR_SECONDS
    options = {"bootstrap.servers": bootstrap, "group.id": group, "enable.auto.commit": False}
    with contextlib.closing(Consumer(options | {"log_level": 0})) as consumer:
        at = [TopicPartition(*place, offset) for place, offset in offsets.items()]
        while True:
            try:
                consumer.committed(at, timeout=_COORDINATOR_SECONDS)  # finds the coordinator
                consumer.commit(offsets=at, asynchronous=False)
            except KafkaException as error:
                if error.args[0].code() not in _NOT_YET or time.monotonic() > deadline:
                    raise
                time.sleep(_SLICE_SECONDS)
            else:
                return


def end_of(bootstrap: str, topic: str, partition: int = 0) -> int:
    """Return the log's end."""
    options = {"bootstrap.servers": bootstrap, "group.id": "ends", "log_level": 0}
    with contextlib.closing(Consumer(options)) as consumer:
        found: tuple[int, int] = consumer.get_watermark_offsets(
            TopicPartition(topic, partition), _CLOSE_SECONDS
        )
        return found[1]
