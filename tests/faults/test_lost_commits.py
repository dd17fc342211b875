"""A commit without an answer, and one that arrives late, end like those of an undisturbed run."""

from collections.abc import Callable

import pytest

from stream_scorer.kafka.loop.producer import TransactionalProducer
from stream_scorer.kafka.reading.read_to_end import read_all
from stream_scorer.kafka.topics.offsets import LATEST, admin, offsets
from stream_scorer.ports import BytesColumn, Outgoing
from stream_scorer.settings import Kafka
from stream_scorer.telemetry import (
    BatchAborted,
    BatchCommitted,
    CommitSettled,
    Event,
    ProducerReborn,
)
from tests.support.faults.process import wait_until
from tests.support.faults.proxy import Api, Behind, Direction, Fault, Proxy
from tests.support.faults.reference_run import (
    Outcome,
    everything_once,
    feed,
    same,
    scored,
    transactions,
)

pytestmark = pytest.mark.kafka

SOCKET_MS = 1_000
TRANSACTION_MS = 4_000
RECORDS = transactions()[:2_000]


@pytest.fixture(scope="module")
def settings(
    behind: Behind, kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka]
) -> Callable[[], Kafka]:
    return lambda: kafka_topics(
        kafka_settings(
            bootstrap=behind.bootstrap,
            socket_timeout_ms=SOCKET_MS,
            transaction_timeout_ms=TRANSACTION_MS,
        )
    )


@pytest.fixture(scope="module")
def undisturbed(settings: Callable[[], Kafka]) -> Outcome:
    kafka = settings()
    found, _ = scored(kafka, feed(kafka, RECORDS))
    everything_once(found, RECORDS)
    return found


class Faults:
    """Arms one fault after another: the first after some commits, each next after one more.

    Args:
        proxy: The proxy.
        kinds: (API, direction, number of frames) of each fault.
    """

    def __init__(self, proxy: Proxy, *kinds: tuple[Api, Direction, int]) -> None:
        self._proxy = proxy
        self._left = list(kinds)
        self._commits = 0
        self.armed: list[Fault] = []

    def __call__(self, event: Event) -> None:
        if isinstance(event, ProducerReborn):
            for fault in self.armed:
                fault.left = 0 if fault.hit.is_set() else fault.left
        if not isinstance(event, BatchCommitted):
            return
        self._commits += 1
        fired = all(fault.hit.is_set() for fault in self.armed)
        if self._left and fired and self._commits > 1:
            api, direction, times = self._left.pop(0)
            self.armed.append(self._proxy.fault(api, direction, "drop", times))

    @property
    def over(self) -> bool:
        """Whether each fault has happened."""
        return not self._left and all(fault.hit.is_set() for fault in self.armed)


@pytest.mark.parametrize(
    "direction", ["answer", pytest.param("request", marks=pytest.mark.thorough)]
)
def test_a_commit_without_an_answer_is_settled(
    behind: Behind,
    settings: Callable[[], Kafka],
    undisturbed: Outcome,
    direction: Direction,
) -> None:
    kafka = settings()
    faults = Faults(behind.proxy, (Api.END_TXN, direction, 1_000))
    found, heard = scored(kafka, feed(kafka, RECORDS), told=faults, batch=200)
    assert faults.over
    happened = direction == "answer"
    assert heard.of(CommitSettled) == [CommitSettled(committed=happened)]
    assert len(heard.of(BatchAborted)) == (0 if happened else 1)
    same(found, undisturbed)


@pytest.mark.thorough
def test_each_request_or_its_answer_may_be_lost_once(
    behind: Behind, settings: Callable[[], Kafka], undisturbed: Outcome
) -> None:
    kafka = settings()
    apis = (
        Api.PRODUCE,
        Api.ADD_PARTITIONS,
        Api.ADD_OFFSETS,
        Api.OFFSET_COMMIT,
        Api.END_TXN,
    )
    directions: tuple[Direction, Direction] = ("request", "answer")
    faults = Faults(behind.proxy, *((api, way, 1) for api in apis for way in directions))
    found, _ = scored(kafka, feed(kafka, RECORDS), told=faults, batch=50)
    assert faults.over
    same(found, undisturbed)


class WithoutRebirth(TransactionalProducer):
    """A producer without the rule that it is replaced after a slow commit."""

    def rebirth(self, cause: str, stop: Callable[[], bool] = lambda: False) -> None:
        del cause, stop


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("kind", "visible"),
    [(TransactionalProducer, [b"first"]), (WithoutRebirth, [b"first", b"aborted"])],
)
def test_a_late_commit_ends_no_other_transaction(
    behind: Behind,
    settings: Callable[[], Kafka],
    kind: type[TransactionalProducer],
    visible: list[bytes],
) -> None:
    kafka = settings()
    topic = kafka.topics.summaries
    producer = kind(kafka, kafka.group, lambda _: None)
    producer.begin()
    producer.send(Outgoing(topic, BytesColumn.of([b"first"]), BytesColumn.nulls(1)))
    late = behind.proxy.fault(Api.END_TXN, "request", "hold")
    # The client sends the request again on another connection, and reports nothing.
    producer.commit()
    assert late.held

    producer.begin()
    producer.send(Outgoing(topic, BytesColumn.of([b"aborted"]), BytesColumn.nulls(1)))
    wait_until(lambda: ends(kafka, topic, stable=False) == 3, "the record is at the broker")
    behind.proxy.release(late)
    producer.abort()
    producer.close()
    wait_until(
        lambda: ends(kafka, topic, stable=True) == ends(kafka, topic, stable=False) > 3,
        "its transaction is over",
    )
    assert [message.value() for message in read_all(kafka, topic)] == visible


def ends(kafka: Kafka, topic: str, *, stable: bool) -> int:
    """Return the end offset of a topic with one partition."""
    return offsets(admin(kafka), kafka, [(topic, 0)], LATEST, stable=stable)[topic, 0]
