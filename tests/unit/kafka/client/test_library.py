"""A client of the library: it is freed completely, and its commits do not sleep."""

import gc
import time
import weakref
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from stream_scorer.kafka.client.c_calls import ignored_report
from stream_scorer.kafka.client.library import PRODUCER, LibraryClient
from stream_scorer.kafka.client.producer import ColumnProducer
from stream_scorer.kafka.topics import client_options
from stream_scorer.ports import BytesColumn
from stream_scorer.settings import Kafka
from tests.support.kafka.mock_broker import mock_broker

FAST_SECONDS = 0.009
"""librdkafka looks for delivered records every 10 ms; the fastest commit needs 1 to 2 ms."""


def test_a_freed_client_needs_no_garbage_collector() -> None:
    client = LibraryClient(PRODUCER, client_options.producer(Kafka(bootstrap="127.0.0.1:1"), "i"))
    kept = weakref.ref(client)
    gc.disable()
    try:
        client.destroy()
        del client
        assert kept() is None
    finally:
        gc.enable()


@pytest.mark.parametrize(
    "more",
    [{}, {"enabled_events": 1, "delivery.report.only.error": True}],
    ids=["callback", "events"],
)
def test_a_commit_waits_for_its_records_without_sleeping(more: dict[str, Any]) -> None:
    column = BytesColumn.of([b"%d" % number for number in range(50)])
    tries, fast = 0, 0
    with mock_broker() as address:
        producer = ColumnProducer(client_options.producer(Kafka(bootstrap=address), "i") | more)
        try:
            producer.init_transactions(30.0)
            # On a busy machine, few are not interrupted.
            while fast < 5 and tries < 100:
                tries += 1
                producer.begin_transaction()
                # Records that are delivered before the commit would hide its sleep.
                began = time.perf_counter()
                producer.produce("decisions", column, column)
                producer.commit_transaction(30.0)
                fast += time.perf_counter() - began < FAST_SECONDS
        finally:
            producer.close()
    assert fast == 5


def test_the_ignored_report_outlives_every_client() -> None:
    kept = weakref.ref(ignored_report())
    gc.collect()
    assert kept() is ignored_report()
    assert ignored_report().address


def test_a_record_that_is_not_delivered_is_noticed_at_the_commit() -> None:
    """Though its report is ignored: the library counts failures apart from reports."""
    column = BytesColumn.of([b"v"])
    with mock_broker(refused=KafkaError.TOPIC_AUTHORIZATION_FAILED) as address:
        producer = ColumnProducer(client_options.producer(Kafka(bootstrap=address), "i"))
        try:
            producer.init_transactions(30.0)
            producer.begin_transaction()
            producer.produce("decisions", column, column)
            with pytest.raises(KafkaException) as failed:
                producer.commit_transaction(30.0)
            assert failed.value.args[0].txn_requires_abort()
            producer.abort_transaction(30.0)
        finally:
            producer.close()
