"""The brokers for the contract of transactions: the unit tests' fake broker, or a real one."""

import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from confluent_kafka import Consumer, KafkaError, TopicPartition

from stream_scorer.kafka.client.consumer import ColumnConsumer, Rebalance
from stream_scorer.kafka.client.producer import ColumnProducer
from stream_scorer.kafka.loop.producer import ProducerClient
from stream_scorer.kafka.topics import client_options
from stream_scorer.ports import BytesColumn
from stream_scorer.settings import Kafka
from tests.support.contract.raw_requests import RawRequests
from tests.support.kafka.fake_broker import Broker, Clock, Refused
from tests.support.kafka.fake_consumer import FakeConsumer
from tests.support.kafka.fake_network import Network
from tests.support.kafka.fake_producer import FakeProducer

PARTITIONS = 2
_SECONDS = 60.0
Leaving = Callable[[tuple[int, ...]], None]


def _nothing(_: tuple[int, ...]) -> None:
    pass


class Requests(Protocol):
    """Single requests, as :class:`RawRequests` sends them."""

    def init(self, name: str, timeout: float = 60.0) -> tuple[int, int]: ...
    def add_partitions(self, name: str, producer: int, epoch: int) -> int: ...
    def add_offsets(self, name: str, producer: int, epoch: int) -> int: ...
    def end(self, name: str, producer: int, epoch: int, *, committed: bool) -> int: ...
    def offset_commit(
        self, name: str, producer: int, epoch: int, offset: int, member: tuple[str, int] = ("", -1)
    ) -> int: ...


class Ground(Protocol):
    """A broker with one topic and one group.

    Attributes:
        topic: The topic; its offsets are what the group commits, and records go there, too.
        requests: Single requests.
    """

    topic: str

    @property
    def requests(self) -> Requests: ...

    def producer(self, name: str, timeout: float = 60.0) -> ProducerClient:
        """Return a client that has no epoch yet."""
        ...

    def member(self, partitions: int) -> Any:
        """Return a consumer that has joined the group and has so many partitions."""
        ...

    def visible(self, count: int = 0) -> list[bytes]:
        """Return the values that a read-committed reader gets, at least ``count``.

        A broker may answer a commit before its markers are written, so this waits for them.
        """
        ...

    def outlive(self, seconds: float) -> None:
        """Let time pass until the broker has ended transactions that were open for so long."""
        ...


def send(producer: ProducerClient, topic: str, value: bytes) -> None:
    producer.produce(topic, BytesColumn.of([value]), BytesColumn.of([b"k"]), None, None)


class FakeRequests:
    """Single requests to the fake broker."""

    def __init__(self, broker: Broker, topic: str, group: str) -> None:
        self._broker = broker
        self._place = (topic, 0)
        self._group = group

    def init(self, name: str, timeout: float = 60.0) -> tuple[int, int]:
        while True:
            try:
                return self._broker.init_producer_id(name, timeout)
            except Refused as refused:
                assert refused.code == KafkaError.CONCURRENT_TRANSACTIONS  # noqa: PT017 any other ends it

    def add_partitions(self, name: str, producer: int, epoch: int) -> int:
        return _code(lambda: self._broker.add_partitions(name, producer, epoch, [self._place]))

    def add_offsets(self, name: str, producer: int, epoch: int) -> int:
        return _code(lambda: self._broker.add_offsets(name, producer, epoch, self._group))

    def end(self, name: str, producer: int, epoch: int, *, committed: bool) -> int:
        return _code(lambda: self._broker.end_txn(name, producer, epoch, committed=committed))

    def offset_commit(
        self, name: str, producer: int, epoch: int, offset: int, member: tuple[str, int] = ("", -1)
    ) -> int:
        offsets = {self._place: (offset, b"")}
        return _code(
            lambda: self._broker.offset_commit(name, producer, epoch, self._group, member, offsets)
        )


def _code(ask: Any) -> int:
    try:
        ask()
    except Refused as refused:
        return refused.code
    return 0


class FakeGround:
    """The fake broker."""

    topic = "topic"

    def __init__(self) -> None:
        self._broker = Broker(Clock())
        self._broker.create(self.topic, PARTITIONS)
        self.requests = FakeRequests(self._broker, self.topic, "group")

    def producer(self, name: str, timeout: float = 60.0) -> FakeProducer:
        options = {
            "transactional.id": name, "transaction.timeout.ms": timeout * 1_000,
            "socket.timeout.ms": 3_000,
        }  # fmt: skip
        return FakeProducer(self._broker, Network(self._broker.clock), options)

    def member(self, partitions: int) -> FakeConsumer:
        made = FakeConsumer(self._broker, {"group.id": "group"}, self.topic)
        _join(made, partitions)
        return made

    def visible(self, count: int = 0) -> list[bytes]:
        del count  # its markers are there with its answer
        logs = (self._broker.logs[self.topic, partition] for partition in range(PARTITIONS))
        return [value or b"" for log in logs for _, (_, value) in log.visible()]

    def outlive(self, seconds: float) -> None:
        self._broker.clock.sleep(seconds + 1.0)


class KafkaGround:
    """A real broker."""

    def __init__(self, kafka: Kafka) -> None:
        self.topic = kafka.topics.transactions
        self.requests = RawRequests(kafka.bootstrap, self.topic, kafka.group)
        self._kafka = kafka
        self._open: list[Any] = []

    def producer(self, name: str, timeout: float = 60.0) -> ColumnProducer:
        kafka = self._kafka.model_copy(
            update={"transaction_timeout_ms": round(timeout * 1_000), "socket_timeout_ms": 1_000}
        )
        made = ColumnProducer(client_options.producer(kafka, name))
        self._open.append(made)
        return made

    def member(self, partitions: int, leaving: Leaving = _nothing) -> ColumnConsumer:
        """``leaving`` is called with partitions that are to leave, once."""
        made = ColumnConsumer(client_options.member(self._kafka), self.topic)
        self._open.append(made)
        _join(made, partitions, leaving)
        return made

    def visible(self, count: int = 0) -> list[bytes]:
        until = time.monotonic() + _SECONDS
        while len(found := self._visible()) < count:
            assert time.monotonic() < until, f"{len(found)} of {count} records are visible"
        return found

    def _visible(self) -> list[bytes]:
        reader = Consumer(client_options.reader(self._kafka, "reader"))
        reader.assign([TopicPartition(self.topic, p, 0) for p in range(PARTITIONS)])
        found: list[bytes] = []
        ends: set[int] = set()
        until = time.monotonic() + _SECONDS
        while len(ends) < PARTITIONS:
            assert time.monotonic() < until, "the topic cannot be read to its end"
            for message in reader.consume(100, 0.1):
                if message.error() is None:
                    found.append(message.value())
                else:
                    assert message.error().code() == KafkaError._PARTITION_EOF
                    ends.add(message.partition())
        reader.close()
        return found

    def outlive(self, seconds: float) -> None:
        """Wait until a reader gets the records after the open transaction."""
        del seconds
        behind = self.producer(f"{self._kafka.group}-behind")
        behind.init_transactions(_SECONDS)
        behind.begin_transaction()
        send(behind, self.topic, b"behind")
        behind.commit_transaction(_SECONDS)
        until = time.monotonic() + _SECONDS
        while b"behind" not in self.visible():
            assert time.monotonic() < until, "the broker does not end the old transaction"

    def close(self) -> None:
        for client in self._open:
            client.close()


def _join(consumer: Any, partitions: int, leaving: Leaving = _nothing) -> None:
    held: set[int] = set()
    asked: list[Leaving] = [leaving]

    def assigned(come: tuple[int, ...]) -> None:
        held.update(come)
        consumer.add(dict.fromkeys(come, 0))

    def gone(left: tuple[int, ...]) -> None:
        while asked:
            asked.pop()(left)
        held.difference_update(left)
        consumer.remove(left)

    consumer.subscribe(Rebalance(assigned=assigned, revoked=gone, lost=gone))
    until = time.monotonic() + _SECONDS
    while len(held) < partitions:
        assert time.monotonic() < until, "the group gives it nothing"
        consumer.poll(1, 0.1, 0.0)


def committed(consumer: Any) -> Mapping[int, int]:
    """Return the group's offsets, those that it has."""
    found = consumer.committed(tuple(range(PARTITIONS)), _SECONDS)
    return {partition: offset for partition, offset in found.items() if offset >= 0}
