"""Produces transactions from columns as an upstream team would: Avro, keyed, partitioned by key.

The key is the customer id in UTF-8. The partitioner is ``murmur2_random``, as in the Java client,
so that a customer's records are in one partition whichever client produces them.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pyarrow as pa
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from stream_scorer.errors import TransactionError
from stream_scorer.kafka.topics import client_options
from stream_scorer.kafka.topics.offsets import admin, partitions, unreachable
from stream_scorer.ports import Int64
from stream_scorer.settings import Kafka

Encode = Callable[[pa.RecordBatch], Sequence[bytes]]
"""Turns rows with the schema's columns into Confluent-framed payloads, one per row."""

KEY_COLUMN = "customer_id"
_ROWS_AT_ONCE = 5_000
_QUEUE = 200_000
_ROOM_SECONDS = 0.05
_PACED_LINGER_MS = 1
_BURST_LINGER_MS = 20
_LEAST_SLEEP_SECONDS = 0.001
_FLUSH_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Riders:
    """r records for another topic, to be sent between the n records of a feed.

    Attributes:
        topic: Their topic; must exist.
        keys: r keys.
        values: r payloads.
        before: int64[r], ascending, 0 to n: each is sent right before the feed's record of this
            number, with the same Kafka timestamp; n means after the last record.
    """

    topic: str
    keys: Sequence[bytes]
    values: Sequence[bytes]
    before: Int64


Outgoing = tuple[str, bytes | None, bytes | None, int]
"""Topic, key, value and Kafka timestamp in ms; 0 is now."""


def options(kafka: Kafka, linger_ms: float) -> dict[str, Any]:
    """Return the options of an idempotent, non-transactional producer with large batches."""
    return client_options.common(kafka) | {
        "client.id": f"{kafka.group}-feed",
        "enable.idempotence": True,
        "acks": "all",
        "partitioner": "murmur2_random",
        "compression.type": "lz4",
        "linger.ms": linger_ms,
        "batch.num.messages": 50_000,
        "batch.size": 1_000_000,
        "queue.buffering.max.messages": _QUEUE + 1,
        "delivery.report.only.error": True,
        "delivery.timeout.ms": int(_FLUSH_SECONDS * 1_000),
    }


class Pace:
    """A schedule: record i is due at start + i / rate, independent of earlier delays.

    Args:
        rate: Records per second.
        clock: Seconds since the epoch.
    """

    def __init__(self, rate: float, clock: Callable[[], float] = time.time) -> None:
        self._rate = rate
        self._clock = clock
        self._start = clock()
        self._given = 0

    def due(self, most: int) -> Int64:
        """Return int64[n], n ≤ ``most``: the scheduled times (ms) of the records due by now."""
        behind = int((self._clock() - self._start) * self._rate) + 1 - self._given
        numbers = self._given + np.arange(max(min(behind, most), 0))
        self._given += len(numbers)
        return ((self._start + numbers / self._rate) * 1_000).astype(np.int64)

    @property
    def next_seconds(self) -> float:
        """Seconds until the next record is due; 0 or less if it is due now."""
        return self._start + self._given / self._rate - self._clock()


class Feed:
    """Sends transactions to a topic.

    Args:
        kafka: The cluster.
        encode: Columns to payloads, with the transaction schema's registered id.
        topic: The topic; must exist.
        rate: Records per second; None: as fast as the broker accepts them. The schedule starts with
            the first record, and a record's Kafka timestamp is its scheduled time.

    Raises:
        SettingsError: The topic does not exist.
        UnavailableError: The broker does not answer.
    """

    def __init__(self, kafka: Kafka, encode: Encode, topic: str, rate: float | None = None) -> None:
        partitions(admin(kafka), kafka, [topic])
        self._kafka = kafka
        self._encode = encode
        self._topic = topic
        self._rate = rate
        self._pace: Pace | None = None
        linger = _BURST_LINGER_MS if rate is None else _PACED_LINGER_MS
        self._producer = Producer(options(kafka, linger))
        self._failure: tuple[KafkaError, str] | None = None
        self.sent = 0

    def send(self, rows: pa.Table | pa.RecordBatch) -> None:
        """Send rows in their order; columns that are not in the schema are left out.

        Args:
            rows: Transactions by column; ``customer_id`` is required.

        Raises:
            UnavailableError: The broker did not accept a record in time.
            TransactionError: The broker refused a record.
        """
        table = pa.Table.from_batches([rows]) if isinstance(rows, pa.RecordBatch) else rows
        for batch in table.to_batches(max_chunksize=_ROWS_AT_ONCE):
            values = self._encode(batch)
            keys = batch.column(KEY_COLUMN).cast(pa.binary()).to_pylist()
            self.send_encoded(keys, values)

    def send_encoded(
        self,
        keys: Sequence[bytes | None],
        values: Sequence[bytes | None],
        riders: Riders | None = None,
    ) -> None:
        """Send payloads unchanged, on the same schedule; raises like :meth:`send`.

        Args:
            keys: n keys, n >= 1.
            values: n payloads.
            riders: Sent between them, exactly in their places; only the n records count for the
                schedule.
        """
        if self._rate is None and riders is None:
            self._produce_now(keys, values)
            self.sent += len(values)
            return
        at = 0
        for times in self._schedule(len(values)):
            behind = at + len(times)
            self._produce_at(_merged(self._topic, keys, values, times, riders, at))
            self.sent += len(times)
            at = behind

    def _schedule(self, count: int) -> Iterator[Int64]:
        """Yield the Kafka timestamps of ``count`` records, as they become due."""
        if self._rate is None:
            yield np.zeros(count, np.int64)
            return
        if self._pace is None:
            self._pace = Pace(self._rate)
        while count:
            times = self._pace.due(count)
            if len(times):
                count -= len(times)
                yield times
            elif (wait := self._pace.next_seconds) > 0:
                time.sleep(max(wait, _LEAST_SLEEP_SECONDS))

    def flush(self) -> None:
        """Wait until the broker has every record; raises like :meth:`send`."""
        if self._producer.flush(_FLUSH_SECONDS):
            raise unreachable(self._kafka, "did not take all records in time")
        self._refuse_failure()

    def _produce_now(self, keys: Sequence[bytes | None], values: Sequence[bytes | None]) -> None:
        """Send many records in one call: half the cost of single calls, timestamp now."""
        for at in range(0, len(values), _ROWS_AT_ONCE):
            part = slice(at, at + _ROWS_AT_ONCE)
            messages: list[dict[str, Any]] = [
                {"key": key, "value": value}
                for key, value in zip(keys[part], values[part], strict=True)
            ]
            # Make room first: if the queue fills up in between, a customer's later record could
            # overtake an earlier one that has to be sent again.
            while len(self._producer) > _QUEUE - len(messages):
                self._producer.poll(_ROOM_SECONDS)
                self._refuse_failure()
            queued = self._producer.produce_batch(
                self._topic, messages, on_delivery=self._delivered
            )
            if queued != len(messages):
                error = next(m["_error"] for m in messages if "_error" in m)
                self._failure = error, self._topic
            self._producer.poll(0)
            self._refuse_failure()

    def _produce_at(self, records: Iterable[Outgoing]) -> None:
        """Send records one by one: the call for many supports neither topics nor timestamps."""
        for topic, key, value, timestamp in records:
            while len(self._producer) >= _QUEUE:
                self._producer.poll(_ROOM_SECONDS)
                self._refuse_failure()
            try:
                self._producer.produce(
                    topic, value, key, timestamp=timestamp, on_delivery=self._delivered
                )
            except KafkaException as error:
                self._failure = error.args[0], topic
                self._refuse_failure()
        self._producer.poll(0)
        self._refuse_failure()

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._failure = error, message.topic()

    def _refuse_failure(self) -> None:
        if self._failure is None:
            return
        error, topic = self._failure
        if error.code() in {KafkaError._MSG_TIMED_OUT, KafkaError._TRANSPORT}:  # noqa: SLF001 the binding's public constants
            raise unreachable(self._kafka, error.str())
        raise TransactionError(
            f"topic {topic}: a record was refused: {error.str()}",
            "check the topic's limits and this client's permissions",
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.flush()


def _merged(
    topic: str,
    keys: Sequence[bytes | None],
    values: Sequence[bytes | None],
    times: Int64,
    riders: Riders | None,
    first: int,
) -> Iterator[Outgoing]:
    """Yield the records from ``first`` on, one per time, and the riders between them."""
    behind = first + len(times)
    if riders is None:
        riders = Riders("", (), (), np.empty(0, np.int64))
    rider = int(np.searchsorted(riders.before, first))
    due = riders.before.tolist()
    for number, timestamp in zip(range(first, behind), times.tolist(), strict=True):
        while rider < len(due) and due[rider] <= number:
            yield riders.topic, riders.keys[rider], riders.values[rider], timestamp
            rider += 1
        yield topic, keys[number], values[number], timestamp
    if behind == len(values):
        for last in range(rider, len(due)):
            yield riders.topic, riders.keys[last], riders.values[last], int(times[-1])
