"""A cluster of fake clients that do what a test scripts."""

import time
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from stream_scorer.kafka.loop.producer import TransactionalProducer
from stream_scorer.ports import BytesColumn
from stream_scorer.settings import Kafka
from stream_scorer.telemetry import Event, ProducerReborn

SOCKET_MS = 1_000


def failure(
    code: int,
    text: str = "injected",
    *,
    fatal: bool = False,
    retriable: bool = False,
    abort: bool = False,
) -> KafkaException:
    return KafkaException(KafkaError(code, text, fatal, retriable, abort))


RETRIABLE = failure(KafkaError._TIMED_OUT, retriable=True)
ABORT = failure(KafkaError.INVALID_TXN_STATE, abort=True)
FATAL = failure(KafkaError.INVALID_TXN_STATE, fatal=True)
FENCED = failure(KafkaError._FENCED, fatal=True)
WRONG_STATE = failure(KafkaError._STATE, abort=True)
UNCLASSIFIED = failure(KafkaError.TOPIC_AUTHORIZATION_FAILED)
TOO_LARGE = failure(KafkaError.MSG_SIZE_TOO_LARGE)


class Cluster:
    """Makes scripted clients, and records their calls.

    Attributes:
        calls: (number of the client, method) in order.
        raises: The exceptions of a method's next calls.
        slow: Methods that take longer than a request may.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[int, str]] = []
        self.raises: dict[str, list[KafkaException]] = {}
        self.slow: set[str] = set()
        self.stuck = False
        self.clients: list[FakeClient] = []
        self.heard: list[Event] = []

    def make(self, options: dict[str, Any]) -> "FakeClient":
        client = FakeClient(self, len(self.clients), options)
        self.clients.append(client)
        return client

    def producer(self) -> TransactionalProducer:
        kafka = Kafka(bootstrap="b:1", instance="i", socket_timeout_ms=SOCKET_MS)
        return TransactionalProducer(kafka, "group", self.heard.append, make=self.make)

    @property
    def reborn(self) -> list[str]:
        return [each.cause for each in self.heard if isinstance(each, ProducerReborn)]


class FakeClient:
    """A producer that reaches no broker."""

    def __init__(self, cluster: Cluster, number: int, options: dict[str, Any]) -> None:
        self.options = options
        self.produced: list[tuple[str, Any]] = []
        self._cluster = cluster
        self._number = number

    def _called(self, method: str) -> None:
        self._cluster.calls.append((self._number, method))
        if method in self._cluster.slow:
            time.sleep(SOCKET_MS / 1_000)
        if errors := self._cluster.raises.get(method):
            raise errors.pop(0)

    def init_transactions(self, *_: Any, **__: Any) -> None:
        self._called("init")

    def begin_transaction(self) -> None:
        self._called("begin")

    def send_offsets_to_transaction(self, *_: Any, **__: Any) -> None:
        self._called("offsets")

    def commit_transaction(self, *_: Any, **__: Any) -> None:
        self._called("commit")

    def abort_transaction(self, *_: Any, **__: Any) -> None:
        self._called("abort")

    def produce(self, topic: str, values: BytesColumn, *_: Any) -> None:
        self._called("produce")
        self.produced += [(topic, value) for value in values]

    def poll(self, *_: Any, **__: Any) -> None:
        self._called("poll")

    def flush(self, _: float) -> bool:
        self._called("flush")
        return not self._cluster.stuck

    def purge(self) -> None:
        pass

    def close(self) -> None:
        self._called("close")
