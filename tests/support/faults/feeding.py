"""A steady feed: the load under which processes are stopped, killed and joined by others."""

import threading
import time

from confluent_kafka import Producer

from stream_scorer.kafka.topics import client_options
from stream_scorer.settings import Kafka
from tests.support.faults.reference_run import PARTITIONS, Record

PER_SECOND = 400


class SteadyFeed(threading.Thread):
    """Produces records at a steady pace until it is stopped.

    Args:
        kafka: The cluster.
        records: The records, in this order.
    """

    def __init__(self, kafka: Kafka, records: tuple[Record, ...]) -> None:
        super().__init__(name="steady-feed")
        self.sent: list[Record] = []
        self._kafka = kafka
        self._records = records
        self._enough = threading.Event()

    def run(self) -> None:
        producer = Producer(client_options.common(self._kafka) | {"enable.idempotence": True})
        started = time.monotonic()
        for number, record in enumerate(self._records):
            producer.produce(
                self._kafka.topics.transactions,
                record.value,
                record.key,
                partition=record.partition,
            )
            self.sent.append(record)
            producer.poll(0)
            if self._enough.wait(max(started + number / PER_SECOND - time.monotonic(), 0)):
                break
        producer.flush(30)

    def stop(self) -> tuple[Record, ...]:
        """Stop; return the sent records."""
        self._enough.set()
        self.join()
        return tuple(self.sent)

    @property
    def ends(self) -> dict[int, int]:
        """The end offset of each partition, by the sent records."""
        return {p: sum(record.partition == p for record in self.sent) for p in range(PARTITIONS)}
