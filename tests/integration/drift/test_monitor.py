"""Aborts and a restart change nothing that the monitor publishes."""

from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import Producer

from stream_scorer.codec.records.record import RecordCodec
from stream_scorer.codec.records.record_reader import RecordReader
from stream_scorer.drift.monitor import monitor_loop
from stream_scorer.kafka.reading.read_to_end import read_all
from stream_scorer.kafka.topics import client_options
from stream_scorer.models.stores.deployment import Deployment
from stream_scorer.ports import TransactionAborted
from stream_scorer.registry.sources import reader_schema
from stream_scorer.settings import Kafka, Monitor, Scorer, Settings
from stream_scorer.telemetry import BatchAborted, BatchCommitted, Event
from tests.support.drift.simulated import changed, summaries, transactions, watch, windows

pytestmark = pytest.mark.kafka

SUMMARY = RecordCodec(10, reader_schema("summary.v2"))


def publish(kafka: Kafka, made: list[dict[str, Any]]) -> None:
    producer = Producer(client_options.producer(kafka, f"{kafka.group}-test"))
    producer.init_transactions(10)
    for at in range(0, len(made), 3):
        producer.begin_transaction()
        for summary in made[at : at + 3]:
            producer.produce(kafka.topics.summaries, SUMMARY.encode(summary))
        producer.commit_transaction(10)


class Run:
    """A monitor that aborts its first transaction, and each one that has an event."""

    def __init__(self, settings: Settings, *, aborts: bool) -> None:
        self.told: list[Event] = []
        self._sent = 0
        self._aborts = aborts
        self.loop = monitor_loop(settings, Deployment(start="earliest"), self.told.append, self.at)

    def at(self, stage: str) -> None:
        if stage == "send" and self._aborts:
            self._sent += 1
            if self._sent % 2:
                raise TransactionAborted("injected", network=True)

    def until(self, summaries: int) -> None:
        committed = 0
        while committed < summaries:
            self.loop.step()
            committed = sum(h.records for h in self.told if isinstance(h, BatchCommitted))
        self.loop.stop()
        self.loop.run()


def test_aborts_and_a_restart_change_nothing(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[[Kafka], Kafka]
) -> None:
    kafka = kafka_topics(kafka_settings())
    settings = Settings(
        kafka=kafka,
        monitor=Monitor(group=f"{kafka.group}-monitor"),
        scorer=Scorer(maximum_batch=12),
    ).of_process("monitor")
    made = summaries(changed(transactions(16), 8, 2.0, 4), batch=2_500)
    expected = sorted(
        (drift.signal, drift.start, drift.estimate)
        for signal in settings.monitor.signals
        for drift in watch(windows(made), signal)
    )
    assert len(expected) >= 2

    cut = len(made) // 2 + 4
    publish(kafka, made[:cut])
    first = Run(settings, aborts=True)
    first.until(cut)
    publish(kafka, made[cut:])
    second = Run(settings, aborts=True)
    second.until(len(made) - cut)

    assert sum(isinstance(h, BatchAborted) for h in first.told + second.told) > 4
    reader = RecordReader(settings.registry)
    found = [reader.decode(m.value()) for m in read_all(kafka, kafka.topics.drift_events)]
    assert expected == sorted(
        (event["signal"], round(event["window_start"].timestamp() * 1_000), event["estimate"])
        for event in found
    )
