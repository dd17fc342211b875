"""A row for whose schema id the registry fails delays a scorer for seconds, and is then skipped."""

import time
from collections.abc import Callable

import pytest
from confluent_kafka import Producer

from stream_scorer.codec.reading.decode import ColumnDecoder
from stream_scorer.codec.records.record import RecordCodec
from stream_scorer.core.decision.observe import PartitionRings
from stream_scorer.core.features.compile import compile_features
from stream_scorer.kafka.reading.topic_follower import TopicFollower
from stream_scorer.kafka.topics import client_options
from stream_scorer.ports import Paused
from stream_scorer.registry.http_registry import HttpRegistry
from stream_scorer.registry.sources import reader_schema
from stream_scorer.settings import Kafka, Registry
from stream_scorer.telemetry import Event, RecordsSkipped
from stream_scorer.terminals.follower import TerminalFollower
from tests.integration.terminals.test_scorer import FEATURES
from tests.support.registry.fake_registry import Clock, Reply, answering
from tests.support.terminals.stage import DEADLINE_SECONDS, PARTITIONS, PLAN, START

pytestmark = [pytest.mark.kafka, pytest.mark.thorough]

OWN, BROKEN = 7, 9
SCHEMA = reader_schema("terminal-profile.v2")
REPLIES: dict[str, Reply] = {
    "/config": (200, {"compatibilityLevel": "FULL"}),
    f"/schemas/ids/{OWN}": (200, {"schema": SCHEMA}),
    f"/schemas/ids/{BROKEN}": (500, {"error_code": 50001, "message": "store"}),
}


def publish(kafka: Kafka) -> None:
    """Publish, to each partition, a row, one whose id the registry fails for, and a watermark."""
    row = {
        "terminal_id": "t", "event_time": START, "fraud": True, "source_partition": 0,
        "source_offset": 0, "partitions": 0,
    }  # fmt: skip
    mark = row | {"terminal_id": None, "partitions": PARTITIONS}
    producer = Producer(client_options.common(kafka))
    for partition in range(PARTITIONS):
        for schema_id, value in ((OWN, row), (BROKEN, row), (OWN, mark)):
            encoded = RecordCodec(schema_id, SCHEMA).encode(value)
            producer.produce(kafka.topics.terminal_profiles, encoded, partition=partition)
    assert producer.flush(30) == 0


def test_the_other_rows_are_read_when_the_id_counts_as_unknown(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka]
) -> None:
    kafka = kafka_topics(kafka_settings())
    publish(kafka)
    clock, told, pauses = Clock(), list[Event](), []
    compiled = compile_features(FEATURES, PLAN)
    with answering(lambda request: REPLIES[request.path.partition("?")[0]]) as url:
        follower = TerminalFollower(
            lambda: TopicFollower(kafka, kafka.topics.terminal_profiles),
            ColumnDecoder(HttpRegistry(Registry(url=url), clock), SCHEMA, PLAN),
            PLAN, compiled.engine.delayed, PartitionRings(compiled), told.append,
        )  # fmt: skip
        follower.begin([0])
        deadline, done = time.monotonic() + DEADLINE_SECONDS, False
        while not done:
            assert time.monotonic() < deadline
            try:
                done = follower.catch_up()
            except Paused as pause:
                pauses.append(pause.dependency)
                clock.now += 1.0
        follower.close()
    assert pauses == ["registry"] * 5
    assert len(follower.table) == PARTITIONS
    assert follower.table.watermark == START
    skipped = [each for each in told if isinstance(each, RecordsSkipped)]
    assert sum(each.records for each in skipped) == PARTITIONS
