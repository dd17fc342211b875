"""When rows are late, one batch waits, and no other until the missing rows have come."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from confluent_kafka import Producer

from stream_scorer.codec.reading.decode import ColumnDecoder
from stream_scorer.codec.records.record import RecordCodec
from stream_scorer.core.decision.observe import PartitionRings
from stream_scorer.core.events.batch import EventBatch
from stream_scorer.core.features.compile import compile_features
from stream_scorer.kafka.reading.topic_follower import TopicFollower
from stream_scorer.kafka.topics import client_options
from stream_scorer.registry.sources import open_registry, reader_schema
from stream_scorer.settings import Kafka, Settings
from stream_scorer.telemetry import DependencyBack, DependencyUnavailable, Event
from stream_scorer.terminals.follower import TerminalFollower
from tests.integration.terminals.test_scorer import FEATURES
from tests.support.terminals.stage import (
    DAY,
    DEADLINE_SECONDS,
    HOUR,
    PARTITIONS,
    PLAN,
    START,
)

pytestmark = [pytest.mark.kafka, pytest.mark.thorough]

COMPILED = compile_features(FEATURES, PLAN)
WAIT_SECONDS = 2.0
NEEDED = START + 100 * DAY


class Scene:
    """A follower of watermarks that a test publishes, and the waits of its batches."""

    def __init__(self, kafka: Kafka) -> None:
        self.told: list[Event] = []
        self._kafka = kafka
        schema = reader_schema("terminal-profile.v2")
        registry = open_registry(Settings(kafka=kafka).registry)
        self._codec = RecordCodec(registry.id_for("terminal-profiles-value", schema), schema)
        self._rings = PartitionRings(COMPILED)
        self.follower = TerminalFollower(
            lambda: TopicFollower(kafka, kafka.topics.terminal_profiles),
            ColumnDecoder(registry, schema, PLAN),
            replace(PLAN, terminal_wait_ms=int(WAIT_SECONDS * 1_000)),
            COMPILED.engine.delayed, self._rings, self.told.append,
        )  # fmt: skip

    def publish(self, mark: int) -> None:
        """Publish that all rows up to a time are there, and let the follower read it."""
        producer = Producer(client_options.common(self._kafka))
        for partition in range(PARTITIONS):
            value = self._codec.encode({
                "terminal_id": None, "event_time": mark, "fraud": False, "source_partition": -1,
                "source_offset": -1, "partitions": PARTITIONS,
            })  # fmt: skip
            producer.produce(self._kafka.topics.terminal_profiles, value, partition=partition)
        assert producer.flush(30) == 0
        self.follower.begin([])
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not self.follower.catch_up():
            assert time.monotonic() < deadline
        assert self.follower.table.watermark == mark

    def batch(self, needed: int, partition: int = 0) -> bool:
        """Begin a batch that needs rows up to a time; return whether it waited for them."""
        self._rings.of(partition)
        when = np.array([needed + PLAN.terminal_delay_ms])
        events = EventBatch(
            pa.record_batch({"event_time": pa.array(when).cast(pa.timestamp("ms"))}),
            np.array([partition], np.int32), np.zeros(1, np.int64),
            np.array([time.time_ns() // 1_000_000]),
        )  # fmt: skip
        begun = time.monotonic()
        while self.follower.waiting([events]):
            self.follower.wait(0.1)
        self.follower.judge(events)
        return time.monotonic() - begun >= WAIT_SECONDS

    def drop(self, partition: int) -> None:
        self._rings.drop(partition)

    def degraded(self) -> bool:
        """Return whether the last report is that rows are missing."""
        kinds = (DependencyUnavailable, DependencyBack)
        told = [event for event in self.told if isinstance(event, kinds)]
        return bool(told) and isinstance(told[-1], DependencyUnavailable)


@pytest.fixture
def scene(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka]
) -> Iterator[Scene]:
    scene = Scene(kafka_topics(kafka_settings()))
    yield scene
    scene.follower.close()


def test_a_slow_but_moving_profiler_delays_one_batch(scene: Scene) -> None:
    scene.publish(NEEDED - DAY)
    assert scene.batch(NEEDED)
    assert scene.degraded()
    for hours in range(20, 0, -4):
        scene.publish(NEEDED - hours * HOUR)
        # The needed time also moves.
        assert not scene.batch(NEEDED + (20 - hours) * HOUR)
        assert scene.degraded()
    scene.publish(NEEDED + 16 * HOUR - 1)
    assert not scene.batch(NEEDED + 16 * HOUR)
    assert scene.degraded()
    scene.publish(NEEDED + 16 * HOUR)
    assert not scene.batch(NEEDED + 16 * HOUR)
    assert not scene.degraded()
    # It has caught up, so the next late batch waits.
    assert scene.batch(NEEDED + 16 * HOUR + 1)
    assert scene.degraded()


def test_an_older_partition_does_not_clear_what_another_misses(scene: Scene) -> None:
    scene.publish(NEEDED - DAY)
    assert scene.batch(NEEDED, partition=1)
    scene.publish(NEEDED - DAY + HOUR)
    assert not scene.batch(NEEDED - 2 * DAY, partition=0)
    assert scene.degraded()
    assert not scene.batch(NEEDED, partition=1)
    # When the partition moves to another scorer, no rows are missing here.
    scene.drop(1)
    assert not scene.batch(NEEDED - 2 * DAY, partition=0)
    assert not scene.degraded()


def test_an_event_far_ahead_is_forgotten_with_the_next_one(scene: Scene) -> None:
    scene.publish(NEEDED)
    assert scene.batch(NEEDED + 1_000 * DAY)
    assert scene.degraded()
    assert not scene.batch(NEEDED)
    assert not scene.degraded()
    assert scene.batch(NEEDED + 1)
