"""The process of a sink: a member of its own group on the topic of drift events."""

from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from stream_scorer.codec.records.record import RecordDecoder
from stream_scorer.drift.sinks.delivery import DriftSink, FedRecord, SinkLoop
from stream_scorer.drift.sinks.log import LogSink
from stream_scorer.drift.sinks.webhook import Webhook
from stream_scorer.errors import SettingsError, UnavailableError
from stream_scorer.kafka.topics import client_options
from stream_scorer.kafka.topics.offsets import admin, partitions
from stream_scorer.observability.logging import process_logger
from stream_scorer.processes.run_process import run_process
from stream_scorer.registry.sources import open_registry, reader_schema
from stream_scorer.settings import Kafka, Settings
from stream_scorer.telemetry import Listener, PartitionsAssigned, PartitionsRevoked, ReplayProgress


class KafkaFeed:
    """Reads the topic read-committed, from the group's committed offset on.

    Without one it begins at the oldest event, so that no alarm is lost.

    Args:
        kafka: The cluster, with the sink's group.
        listener: Notified of the partitions.

    Raises:
        SettingsError: The topic does not exist.
        UnavailableError: The broker does not answer.
    """

    def __init__(self, kafka: Kafka, listener: Listener) -> None:
        self._topic = kafka.topics.drift_events
        partitions(admin(kafka), kafka, [self._topic])
        self._listener = listener
        self._assigned: set[int] = set()
        self._last: FedRecord | None = None
        options = client_options.member(kafka, kafka.group) | {
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
        }
        self._consumer = Consumer(options)
        self._consumer.subscribe(
            [self._topic], on_assign=self._came, on_revoke=self._gone, on_lost=self._lost
        )

    def next(self, wait: float) -> FedRecord | None:
        """Return the next record; None if there is none for ``wait`` seconds.

        Raises:
            UnavailableError: The topic is gone or may not be read.
        """
        self._resume()
        message: Any = self._consumer.poll(wait)
        if message is None:
            return None
        if message.error():
            self._judge(message.error())
            return None
        self._last = FedRecord(message.partition(), message.offset(), message.value())
        return self._last

    def owns(self, record: FedRecord) -> bool:
        """Whether a record's partition is assigned to this process."""
        return record.partition in self._assigned

    def idle(self, seconds: float) -> None:
        """Stay in the group without reading."""
        places = [TopicPartition(self._topic, number) for number in self._assigned]
        if places:
            self._consumer.pause(places)
        message: Any = self._consumer.poll(seconds)
        if message is not None and message.error():
            self._judge(message.error())

    def commit(self, record: FedRecord) -> None:
        """Commit the offset after a record; a failure means that it may be sent again."""
        place = TopicPartition(self._topic, record.partition, record.offset + 1)
        try:
            self._consumer.commit(offsets=[place], asynchronous=False)
        except KafkaException as error:
            self._judge(error.args[0])

    def lag(self) -> int | None:
        """Return how many records are after the last one; None if unknown."""
        if self._last is None:
            return None
        place = TopicPartition(self._topic, self._last.partition)
        _, high = self._consumer.get_watermark_offsets(place, cached=True)
        return max(int(high) - self._last.offset - 1, 0) if high >= 0 else None

    def close(self) -> None:
        """Leave the group."""
        self._consumer.close()

    def _resume(self) -> None:
        places = [TopicPartition(self._topic, number) for number in self._assigned]
        if places:
            self._consumer.resume(places)

    def _judge(self, error: KafkaError) -> None:
        if error.fatal() or error.code() in {
            KafkaError.TOPIC_AUTHORIZATION_FAILED,
            KafkaError.GROUP_AUTHORIZATION_FAILED,
            KafkaError.UNKNOWN_TOPIC_OR_PART,
        }:
            raise UnavailableError(
                f"topic {self._topic}: {error.str()}", "check the topic and the rights of the sink"
            )

    def _came(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        if not places:
            return
        consumer.incremental_assign(places)
        numbers = tuple(sorted(each.partition for each in places))
        self._assigned |= set(numbers)
        self._listener(PartitionsAssigned(numbers, ()))
        for number in numbers:
            # A partition has no state to restore.
            self._listener(ReplayProgress(number, 0, 0))

    def _gone(
        self, consumer: Consumer, places: list[TopicPartition], *, lost: bool = False
    ) -> None:
        if not places:
            return
        consumer.incremental_unassign(places)
        numbers = tuple(sorted(each.partition for each in places))
        self._assigned -= set(numbers)
        self._listener(PartitionsRevoked(numbers, lost))

    def _lost(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        self._gone(consumer, places, lost=True)


def sink_of(settings: Settings, kind: str) -> DriftSink:
    """Return a sink.

    Args:
        settings: Their ``monitor`` has the webhook.
        kind: ``webhook`` or ``log``.

    Raises:
        SettingsError: There is no such sink, or its settings are missing.
    """
    if kind == "webhook":
        return Webhook.of(settings.monitor)
    if kind == "log":
        return LogSink(process_logger("drift-sink", settings.kafka.instance))
    raise SettingsError(f"unknown sink {kind!r}", "known are webhook and log")


def group_of(settings: Settings, kind: str) -> str:
    """Return the consumer group of a sink: each kind has its own, so each sends every event.

    Args:
        settings: Their ``monitor.sink_group`` is the beginning of its name.
        kind: ``webhook`` or ``log``.
    """
    return f"{settings.monitor.sink_group}-{kind}"


def sink_loop(settings: Settings, sink: DriftSink, listener: Listener) -> SinkLoop:
    """Make the loop of a sink.

    Args:
        settings: Their ``kafka.group`` is the sink's.
        sink: The sink.
        listener: Notified of all events.

    Raises:
        StreamScorerError: What keeps it from running.
    """
    decoder = RecordDecoder(
        open_registry(settings.registry),
        reader_schema("drift-event.v3", settings.registry.directory),
    )
    return SinkLoop(KafkaFeed(settings.kafka, listener), sink, decoder, listener)


def run_sink(settings: Settings, kind: str) -> None:
    """Run a sink until a signal ends it.

    Args:
        settings: The settings.
        kind: ``webhook`` or ``log``.

    Raises:
        StreamScorerError: What keeps it from running; see the tree in ``errors``.
    """
    sink = sink_of(settings, kind)
    kafka = settings.kafka.model_copy(update={"group": group_of(settings, kind)})
    own = settings.model_copy(update={"kafka": kafka})
    run_process(
        "drift-sink", own, kafka.topics.drift_events,
        lambda listener: sink_loop(own, sink, listener),
    )  # fmt: skip
