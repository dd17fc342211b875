"""Follows a topic on a thread, read committed, from given offsets on."""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from stream_scorer.errors import UnavailableError
from stream_scorer.kafka.reading.unreadable_batches import PassingConsumer
from stream_scorer.kafka.topics import client_options
from stream_scorer.kafka.topics.consumer_errors import refuse_unreadable
from stream_scorer.kafka.topics.offsets import ANSWER_SECONDS, unreachable, watermarks
from stream_scorer.ports import RawRecords
from stream_scorer.settings import Kafka
from stream_scorer.telemetry import DependencyBack, DependencyUnavailable, Listener

_RECORDS_AT_ONCE = 10_000
_WAIT_SECONDS = 0.1
_RETRY_SECONDS = 0.5
_NEW_PARTITIONS_SECONDS = 30.0


class Edges:
    """The offsets of a topic's partitions: at a time, and at the end.

    Args:
        kafka: The cluster.
        topic: The topic.
    """

    def __init__(self, kafka: Kafka, topic: str) -> None:
        self._kafka = kafka
        self._topic = topic
        # Never assigned. Uncommitted, because an end includes transactions that are still open.
        options = client_options.reader(kafka, f"{kafka.group}-serve")
        self._consumer: Any = Consumer(options | {"isolation.level": "read_uncommitted"})

    def partitions(self) -> tuple[int, ...]:
        """Return the topic's partitions.

        Raises:
            UnavailableError: The broker does not answer, or the topic does not exist.
        """
        try:
            known = self._consumer.list_topics(self._topic, ANSWER_SECONDS).topics[self._topic]
        except KafkaException as error:
            raise unreachable(self._kafka, error.args[0].str()) from error
        if known.error is not None or not known.partitions:
            raise UnavailableError(f"topic {self._topic}: does not exist", "create it")
        return tuple(sorted(known.partitions))

    def end(self, partition: int) -> int:
        """Return the next offset of a partition, open transactions included.

        Raises:
            UnavailableError: The broker does not answer.
        """
        try:
            _, end = watermarks(self._consumer, TopicPartition(self._topic, partition))
        except KafkaException as error:
            raise unreachable(self._kafka, error.args[0].str()) from error
        return int(end)

    def since(self, timestamp_ms: int) -> dict[int, int]:
        """Return by partition the first offset whose timestamp is not before a time, or the end.

        Raises:
            UnavailableError: The broker does not answer.
        """
        wanted = [TopicPartition(self._topic, p, timestamp_ms) for p in self.partitions()]
        try:
            found = self._consumer.offsets_for_times(wanted, ANSWER_SECONDS)
        except KafkaException as error:
            raise unreachable(self._kafka, error.args[0].str()) from error
        return {
            each.partition: each.offset if each.offset >= 0 else self.end(each.partition)
            for each in found
        }

    def close(self) -> None:
        """Close the connection."""
        self._consumer.close()


class TopicTail:
    """Calls a function with a topic's new records, on a thread.

    Args:
        kafka: The cluster.
        topic: The topic.
        start: First offset by partition.
        take: Called on the thread with records, in the order of their partition. If it raises
            ``UnavailableError``, it is called again with the same records.
        listener: Notified of outages.
    """

    def __init__(
        self,
        kafka: Kafka,
        topic: str,
        start: Mapping[int, int],
        take: Callable[[RawRecords], None],
        listener: Listener,
    ) -> None:
        self._topic = topic
        self._take = take
        self._listener = listener
        self._next = dict(start)
        self._consumer = PassingConsumer(
            client_options.reader(kafka, f"{kafka.group}-serve"), topic
        )
        self._consumer.assign(self._next)
        self._edges = Edges(kafka, topic)
        self._stopped = threading.Event()
        self._moved = threading.Condition()
        self._ended: dict[int, int] = {}
        self._barriers: list[tuple[int, int, Callable[[], None]]] = []
        self.failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=f"tail-{topic}", daemon=True)

    @property
    def partition_count(self) -> int:
        """Number of partitions of the topic."""
        return len(self._next)

    @property
    def stopped(self) -> bool:
        """Whether it is closed, or its thread has failed."""
        return self._stopped.is_set() or self.failure is not None

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def close(self) -> None:
        """Stop reading, and close the connections."""
        self._stopped.set()
        with self._moved:
            self._moved.notify_all()
        if self._thread.ident is not None:
            self._thread.join()
        self._consumer.close()
        self._edges.close()

    def ends(self) -> dict[int, int]:
        """Return the current end of each partition that is read; raises as ``Edges.end``."""
        return {partition: self._edges.end(partition) for partition in list(self._next)}

    def end(self, partition: int) -> int:
        """Return the current end of a partition; raises as ``Edges.end``."""
        return self._edges.end(partition)

    def wait_for(self, ends: Mapping[int, int]) -> None:
        """Wait until all records before these offsets were taken, or until it is closed.

        Raises:
            Exception: What ended the thread.
        """
        with self._moved:
            self._moved.wait_for(lambda: self.stopped or self.passed(ends))
        if self.failure is not None:
            raise self.failure

    def when_passed(self, partition: int, end: int, passed: Callable[[], None]) -> None:
        """Call a function when all records before an offset were taken: here, or on the thread."""
        with self._moved:
            self._barriers.append((partition, end, passed))
        if self.passed({partition: end}):
            self._call_passed()

    def passed(self, ends: Mapping[int, int]) -> bool:
        """Return whether all records before these offsets were taken."""
        return all(self._next.get(partition, end) >= end for partition, end in ends.items())

    def _run(self) -> None:
        out = False
        left: RawRecords | None = None
        looked = time.monotonic()
        while not self._stopped.is_set():
            try:
                if left is None:
                    left = self._poll()
                if left is not None:
                    self._take(left)
                    self._next |= left.next_offsets()
                    left = None
                self._note_ends()
                self._call_passed()
                if time.monotonic() - looked > _NEW_PARTITIONS_SECONDS:
                    looked = time.monotonic()
                    self._add_partitions()
                if out:
                    out = False
                    self._listener(DependencyBack(self._topic))
            except UnavailableError as error:
                out = True
                self._listener(DependencyUnavailable(self._topic, str(error)))
                self._stopped.wait(_RETRY_SECONDS)
            except BaseException as error:  # noqa: BLE001 a thread that ends must not look alive
                self.failure = error
                with self._moved:
                    self._moved.notify_all()
                return

    def _poll(self) -> RawRecords | None:
        polled = self._consumer.poll(_RECORDS_AT_ONCE, _WAIT_SECONDS, 0.0)
        failed: UnavailableError | None = None
        for each in polled.failures:
            if each.error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 the binding's own name
                self._ended[each.partition] = each.offset
                continue
            try:
                refuse_unreadable(self._topic, each)
            except UnavailableError as error:
                failed = error
        if polled.records is None and failed is not None:
            raise failed
        return polled.records

    def _note_ends(self) -> None:
        """Move past what is not a record: transaction markers and aborted records."""
        for partition, offset in self._ended.items():
            self._next[partition] = max(self._next.get(partition, 0), offset)
        self._ended.clear()

    def _add_partitions(self) -> None:
        new = {each: 0 for each in self._edges.partitions() if each not in self._next}
        if new:
            self._next |= new
            self._consumer.assign(self._next)

    def _call_passed(self) -> None:
        with self._moved:
            due = [each for each in self._barriers if self._next.get(each[0], each[1]) >= each[1]]
            self._barriers = [each for each in self._barriers if each not in due]
            self._moved.notify_all()
        for _, _, passed in due:
            passed()
