"""A bare exactly-once loop, as lean as we can build it: the floor of ``bench/latency.py``.

Records go in and out as columns, unchanged, through the same librdkafka. What makes it lean:

- A poll takes what is there and waits for nothing more; the broker answers a fetch within 5 ms.
- The producer has no linger and does not compress; requests are repeated after 1 to 5 ms.
- Offsets go first. For a moment after a commit the coordinator refuses to add to the next
  transaction. librdkafka then repeats AddOffsetsToTxn after ``retry.backoff.ms``, but
  AddPartitionsToTxn after a fixed 20 ms.
- A commit wakes up when the last record is delivered. Without delivery reports, librdkafka's flush
  looks for that every 10 ms; with reports as events, it waits for a condition.
- The output's partition is the input's, so that no key is hashed.
- Partitions are assigned by hand: no rebalance, no heartbeats.
- All on one thread, without garbage collection.
"""

import gc
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Event
from typing import Any, Final

from bench.latency_steps.stages import Batch, write_batches
from stream_scorer.kafka.client.consumer import ColumnConsumer, GroupMetadata
from stream_scorer.kafka.client.library import check_error, milliseconds, places
from stream_scorer.kafka.client.producer import ColumnProducer
from stream_scorer.kafka.topics import client_options
from stream_scorer.settings import Settings, load_settings

RUNNING = "the bare loop runs"
LEAN_CONSUMER: Final[dict[str, Any]] = {
    "fetch.wait.max.ms": 5,
    "fetch.error.backoff.ms": 1,
    "fetch.queue.backoff.ms": 1,
    "retry.backoff.ms": 1,
    "retry.backoff.max.ms": 5,
}
LEAN_PRODUCER: Final[dict[str, Any]] = {
    "linger.ms": 0,
    "compression.type": "none",
    # RD_KAFKA_EVENT_DR. A record that is not delivered ends this process after the time limit.
    "enabled_events": 1,
    "delivery.report.only.error": True,
    "retry.backoff.ms": 1,
    "retry.backoff.max.ms": 5,
}
_WAIT_SECONDS = 0.1
_ANSWER_SECONDS = 30.0


class LeanProducer(ColumnProducer):
    """A producer that sends offsets on the caller's thread, without a guard against a hang."""

    def add_offsets(self, topic: str, offsets: Mapping[int, int], group: GroupMetadata) -> None:
        """Put a group's next offsets into the transaction; raises KafkaException."""
        with places(topic, offsets) as listed:
            check_error(
                self._api.send_offsets_to_transaction(
                    self._client.handle, listed, group.address, milliseconds(_ANSWER_SECONDS)
                )
            )


def prepare(arguments: Sequence[str]) -> Callable[[], None]:
    """Return the run of the loop.

    Args:
        arguments: The trace's file, and the number of partitions.
    """
    file, partitions = Path(arguments[0]), int(arguments[1])
    batches: list[Batch] = []

    def run() -> None:
        ended = Event()
        # A transaction in progress is finished and noted: a reader may have its decisions already.
        signal.signal(signal.SIGTERM, lambda *_: ended.set())
        gc.disable()
        try:
            copy(load_settings(), partitions, batches, ended.is_set)
        finally:
            write_batches(file, batches)

    return run


def copy(
    settings: Settings, partitions: int, batches: list[Batch], ended: Callable[[], bool]
) -> None:
    """Copy the input to the decisions until ``ended``; note each transaction."""
    kafka, clock = settings.kafka, time.time
    source, output = kafka.topics.transactions, kafka.topics.decisions
    most = settings.scorer.maximum_batch
    options = client_options.consumer(kafka) | {"auto.offset.reset": "earliest"} | LEAN_CONSUMER
    consumer = ColumnConsumer(options, source)
    consumer.assign(dict.fromkeys(range(partitions), 0))
    producer = LeanProducer(
        client_options.producer(kafka, f"{kafka.group}-{kafka.instance}") | LEAN_PRODUCER
    )
    producer.init_transactions(_ANSWER_SECONDS)
    group = consumer.group_metadata()
    print(RUNNING, flush=True)
    while not ended():
        polled = consumer.poll(most, _WAIT_SECONDS, 0.0)
        if polled.failures:
            raise SystemExit(f"{source}: {polled.failures[0].error.str()}")
        raw = polled.records
        if raw is None:
            continue
        begun = clock()
        ends = raw.next_offsets()
        producer.begin_transaction()
        producer.add_offsets(source, ends, group)
        added = clock()
        producer.produce(output, raw.values, raw.keys, raw.partition)
        sent = clock()
        producer.commit_transaction(_ANSWER_SECONDS)
        committed = clock()
        laps = {"offsets": added - begun, "send": sent - added, "commit": committed - sent}
        batches.append(Batch(committed, len(raw), ends, laps))
