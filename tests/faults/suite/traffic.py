"""The load: records at a steady pace, stored with the coordinates that the broker acknowledged."""

import itertools
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

from confluent_kafka import Producer

from tests.faults.verifier.payloads import Sent
from tests.faults.verifier.reader import Seen
from tests.support.faults.reference_run import Record, transactions

PER_SECOND = 300
_AHEAD = 10_000
_DAYS = 25
_CUSTOMERS = 5_000
_FLUSH_SECONDS = 120.0
_UNKNOWN = -1

_Bytes = tuple[int, bytes | None, bytes | None]
"""A record's partition, key and value."""


def traffic() -> tuple[Record, ...]:
    """Return the load, which lasts longer than any kind of fault.

    It spans less than the model's longest window. Nothing is evicted, so the verifier's replay need
    not know about eviction.
    """
    return transactions(_DAYS, _CUSTOMERS)


class Ledger:
    """The records that were sent, in the order of sending; used by several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._sent: list[Sent] = []
        self.failures: list[str] = []

    def produce(
        self, producer: Producer, topic: str, record: Record, partition: int | None = None
    ) -> None:
        """Hand a record to a producer; it is stored once the broker has acknowledged it."""
        number = next(self._numbers)

        def delivered(error: Any, message: Any) -> None:
            if error is not None:
                self.failures.append(str(error))
                return
            # The answer to a repeated request that the broker had already accepted has no offset.
            offset = _UNKNOWN if message.offset() is None else message.offset()
            sent = Sent(number, message.partition(), offset, record.key, record.value, record.bad)
            with self._lock:
                self._sent.append(sent)

        where = {} if partition is None else {"partition": partition}
        producer.produce(topic, record.value, record.key, on_delivery=delivered, **where)

    def add(self, records: Iterable[Seen]) -> None:
        """Add records of the input that another process has produced."""
        with self._lock:
            self._sent += [
                Sent(next(self._numbers), each.partition, each.offset, each.key, each.value)
                for each in records
            ]

    @property
    def acknowledged(self) -> int:
        """Number of records that the broker has acknowledged."""
        return len(self._sent)

    def locate(self, read: Callable[[], Iterable[Seen]]) -> None:
        """Complete the records with what only the input shows.

        The answer to a request that the broker had already accepted has no offset. And while a
        leader changes, an idempotent producer may send a record twice, and is told of one of them
        (librdkafka#4953). The copy is a record of the input like any other.

        Args:
            read: Reads all of the input.
        """
        found = sorted(read(), key=lambda seen: seen.place)
        with self._lock:
            claimed = {record.source for record in self._sent}
            free: dict[_Bytes, list[int]] = {}
            for seen in found:
                if (seen.partition, seen.offset) not in claimed:
                    free.setdefault(_bytes_of(seen), []).append(seen.offset)
            # Records of one producer are in a partition in the order of sending.
            sent = [
                replace(each, offset=free[_bytes_of(each)].pop(0)) if each.offset < 0 else each
                for each in sorted(self._sent, key=lambda record: record.sequence)
            ]
            self._sent = sent + [
                replace(record, offset=offset, copy=True)
                for content, record in {_bytes_of(each): each for each in sent}.items()
                for offset in free.get(content, ())
            ]

    def sent(self) -> list[Sent]:
        """Return the records that were acknowledged so far, in the order of sending."""
        with self._lock:
            return sorted(self._sent, key=lambda record: record.sequence)


def _bytes_of(record: Sent | Seen) -> _Bytes:
    return record.partition, record.key, record.value


def producer_options(bootstrap: str) -> dict[str, Any]:
    """Return the options of an upstream producer: idempotent, partitions like Java's client."""
    return {
        "bootstrap.servers": bootstrap,
        "enable.idempotence": True,
        "partitioner": "murmur2_random",
        "linger.ms": 5,
        "delivery.timeout.ms": 240_000,
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 500,
        "log_level": 0,
        # Connections break while faults happen; the delivery report shows what was not accepted.
        "error_cb": lambda _: None,
    }


class Feed(threading.Thread):
    """Produces at a steady pace until it is stopped or has no records left.

    It waits while 10,000 acknowledged records have no outcome. So the load lasts for a number of
    outcomes, however slowly a busy machine restarts a scorer.

    Args:
        bootstrap: Address of the cluster, not of a proxy with faults.
        topic: Input topic.
        ledger: Stores the records that were sent.
        records: The records, in this order.
        outcomes: Returns the number of outcomes so far.
        partitioner: librdkafka's option ``partitioner``.
        per_second: Its pace.

    Attributes:
        over: Whether it had no records left before it was stopped.
    """

    def __init__(
        self,
        bootstrap: str,
        topic: str,
        ledger: Ledger,
        records: Iterable[Record],
        outcomes: Callable[[], int],
        partitioner: str = "murmur2_random",
        per_second: float = PER_SECOND,
    ) -> None:
        super().__init__(name="feed", daemon=True)
        self._outcomes = outcomes
        self._producer = Producer(producer_options(bootstrap) | {"partitioner": partitioner})
        self._topic = topic
        self._ledger = ledger
        self._records = iter(records)
        self._between: list[tuple[Record, int | None]] = []
        self._enough = threading.Event()
        self._interval = 1 / per_second
        self.over = False

    def run(self) -> None:
        due = time.monotonic()
        for record in self._records:
            while self._between:
                self._ledger.produce(self._producer, self._topic, *self._between.pop(0))
            self._ledger.produce(self._producer, self._topic, record)
            self._producer.poll(0)
            due += self._interval
            while self._ledger.acknowledged - self._outcomes() > _AHEAD:
                due = time.monotonic() + self._interval
                if self._enough.wait(self._interval):
                    return
                self._producer.poll(0)
            if self._enough.wait(max(due - time.monotonic(), 0)):
                return
        self.over = True

    @property
    def left(self) -> Iterator[Record]:
        """The records that were not sent; another feed may send them once this one is stopped."""
        return self._records

    def insert(self, records: Iterable[Record], partition: int | None = None) -> None:
        """Send further records in between, with the same producer."""
        self._between.extend([(record, partition) for record in records])

    def stop(self) -> None:
        """Stop, and wait until everything is acknowledged.

        Raises:
            AssertionError: A record was not acknowledged.
        """
        self._enough.set()
        if self.is_alive():
            self.join()
        left = self._producer.flush(_FLUSH_SECONDS)
        assert not left, f"{left} records were not acknowledged"
        assert not self._ledger.failures, self._ledger.failures[:3]
