"""When a group's coordinator is not found, the call that waits for it forever is abandoned."""

import threading
import time
from collections.abc import Callable

import pytest
from confluent_kafka import KafkaError, KafkaException

from stream_scorer.kafka.client.consumer import ColumnConsumer
from stream_scorer.kafka.client.producer import ColumnProducer
from stream_scorer.kafka.topics import client_options
from stream_scorer.settings import Kafka
from stream_scorer.telemetry import BatchAborted, Event, PartitionsAssigned, ProducerReborn
from tests.support.faults.process import wait_until
from tests.support.faults.proxy import Api, Behind, Fault
from tests.support.faults.reference_run import everything_once, feed, scored, transactions

pytestmark = [pytest.mark.kafka, pytest.mark.thorough]

LIMIT_SECONDS = 2.0
RECORDS = transactions()[:500]
ALWAYS = 1_000_000


@pytest.fixture
def topics(
    behind: Behind, kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka]
) -> Kafka:
    return kafka_topics(
        kafka_settings(
            bootstrap=behind.bootstrap,
            socket_timeout_ms=1_000,
            transaction_timeout_ms=int(LIMIT_SECONDS * 1_000),
        )
    )


def waiting() -> list[threading.Thread]:
    """Return the threads that send a client's offsets, or wait for the end of that call."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("offsets")]


def test_a_hanging_call_is_abandoned_and_its_client_freed_later(
    behind: Behind, topics: Kafka
) -> None:
    before = len(waiting())
    consumer = ColumnConsumer(client_options.member(topics), topics.topics.transactions)
    producer = ColumnProducer(client_options.producer(topics, f"{topics.group}-t"))
    producer.init_transactions(10.0)
    producer.begin_transaction()
    lost = behind.proxy.fault(Api.FIND_COORDINATOR, "request", "drop", ALWAYS)
    started = time.monotonic()
    with pytest.raises(KafkaException) as caught:
        producer.send_offsets_to_transaction(
            topics.topics.transactions, {0: 0}, consumer.group_metadata(), LIMIT_SECONDS
        )
    assert LIMIT_SECONDS <= time.monotonic() - started < LIMIT_SECONDS + 60
    assert lost.hit.is_set()
    assert caught.value.args[0].code() == KafkaError._TIMED_OUT
    assert caught.value.args[0].fatal()

    producer.close()
    assert len(waiting()) > before
    behind.proxy.forget(lost)
    wait_until(lambda: len(waiting()) == before, "the call is back and its client freed")
    consumer.close()


def test_the_scorer_continues_after_a_hanging_call(behind: Behind, topics: Kafka) -> None:
    armed: list[Fault] = []

    def told(event: Event) -> None:
        if isinstance(event, PartitionsAssigned):
            # The consumer has found it; the producer looks for it before its first offsets.
            armed.append(behind.proxy.fault(Api.FIND_COORDINATOR, "request", "drop", ALWAYS))
        if isinstance(event, BatchAborted):
            armed[0].left = 0

    found, heard = scored(topics, feed(topics, RECORDS), told=told, batch=200)
    (lost,) = armed
    assert lost.hit.is_set()
    behind.proxy.forget(lost)
    assert len(heard.of(BatchAborted)) == 1
    first, *others = (reborn.cause for reborn in heard.of(ProducerReborn))
    limit = f"{LIMIT_SECONDS + 1:g} s"
    assert first == f"fatal: no answer within {limit}, which the client does not notice"
    # A commit may take longer than the sockets' second where processors are short.
    assert set(others) <= {"slow commit"}
    everything_once(found, RECORDS)
