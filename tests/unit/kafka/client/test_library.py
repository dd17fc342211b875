"""A client of the library: it is freed completely, and its commits do not sleep."""

import gc
import time
import weakref

from stream_scorer.kafka.client.library import PRODUCER, LibraryClient
from stream_scorer.kafka.client.producer import ColumnProducer
from stream_scorer.kafka.topics import client_options
from stream_scorer.ports import BytesColumn
from stream_scorer.settings import Kafka
from tests.support.kafka.mock_broker import mock_broker


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


def test_a_commit_waits_for_its_records_without_sleeping() -> None:
    column = BytesColumn.of([b"%d" % number for number in range(50)])
    seconds = []
    with mock_broker() as address:
        producer = ColumnProducer(client_options.producer(Kafka(bootstrap=address), "i"))
        try:
            producer.init_transactions(30.0)
            for _ in range(20):
                producer.begin_transaction()
                producer.produce("decisions", column, column)
                began = time.perf_counter()
                producer.commit_transaction(30.0)
                seconds.append(time.perf_counter() - began)
        finally:
            producer.close()
    # librdkafka looks for delivered records every 10 ms; the fastest commit needs 1 to 2 ms.
    assert min(seconds) < 0.009
