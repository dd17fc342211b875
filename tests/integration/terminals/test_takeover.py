"""A scorer takes over a partition whose watermark is before all rows in its terminal table."""

import time
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest

from stream_scorer.codec.reading.decode import ColumnDecoder
from stream_scorer.core.decision.observe import PartitionRings
from stream_scorer.core.features.compile import compile_features
from stream_scorer.core.kernels.terminals import COUNT, RISK
from stream_scorer.kafka.reading.topic_follower import TopicFollower
from stream_scorer.registry.sources import open_registry, reader_schema
from stream_scorer.settings import Kafka, Settings
from stream_scorer.telemetry import Event, TerminalsRead
from stream_scorer.terminals import follower
from stream_scorer.terminals.follower import TerminalFollower
from tests.integration.terminals.test_scorer import FEATURES, seen
from tests.support.terminals.stage import (
    DAY,
    DEADLINE_SECONDS,
    PLAN,
    START,
    Row,
    expected,
    month,
    profiled,
    send,
)

pytestmark = [pytest.mark.kafka, pytest.mark.thorough]

COMPILED = compile_features(FEATURES, PLAN)
BEHIND, AHEAD = START + 30 * DAY, START + 55 * DAY
TERMINALS = [f"t{number}" for number in range(7)]


class Scene:
    """A follower of real rows, and rings whose watermarks a test sets."""

    def __init__(self, kafka: Kafka) -> None:
        self.told: list[Event] = []
        self.rings = PartitionRings(COMPILED)
        registry = open_registry(Settings(kafka=kafka).registry)
        self.follower = TerminalFollower(
            lambda: TopicFollower(kafka, kafka.topics.terminal_profiles),
            ColumnDecoder(registry, reader_schema("terminal-profile.v2"), PLAN),
            PLAN, COMPILED.engine.delayed, self.rings, self.told.append,
        )  # fmt: skip

    def take(self, partition: int, watermark: int) -> int:
        """Take over a restored partition; return the number of reading steps."""
        self.rings.of(partition).watermark = watermark
        self.follower.begin([partition])
        deadline = time.monotonic() + DEADLINE_SECONDS
        steps = 1
        while not self.follower.catch_up():
            assert time.monotonic() < deadline
            steps += 1
        return steps

    def see(self, at: int) -> tuple[np.ndarray, np.ndarray]:
        """Return (count, risk) by terminal, float64[7, 2], and where rows are missing, bool[7]."""
        observed = np.zeros((7, len(FEATURES)))
        lacking = self.follower.table.observe(
            COMPILED.engine.delayed, pa.array(TERMINALS), np.full(7, at), observed
        )
        return observed, lacking


def test_a_partition_older_than_the_table_rereads_the_rows(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    # Small steps, so that reading takes more than one, even with a quick broker.
    monkeypatch.setattr(follower, "_RECORDS", 100)
    kafka = kafka_topics(kafka_settings())
    records = month(days=60)
    send(kafka, records)
    profiled(kafka, len(records))
    rows = expected(records, 2**62)
    scene = Scene(kafka)
    assert scene.take(0, AHEAD) > 1
    whole = len(scene.follower.table)
    assert not scene.see(AHEAD)[1].any()
    assert scene.see(BEHIND)[1].all()

    # While the rows are read again, the table still serves the partition that is ahead.
    scene.rings.of(1).watermark = BEHIND
    scene.follower.begin([1])
    assert not scene.follower.catch_up()
    assert [h for h in scene.told if isinstance(h, TerminalsRead)][-1].left > 0
    hold(scene, AHEAD, rows)
    scene.take(1, BEHIND)
    for at in (BEHIND, AHEAD):
        hold(scene, at, rows)
    assert len(scene.follower.table) > whole

    # A partition that is not older than the table needs no reading.
    assert scene.take(2, BEHIND) == 1
    # Nor does a partition without a watermark, because all its events are new.
    scene.rings.of(3)
    scene.follower.begin([3])
    assert scene.follower.catch_up()
    scene.follower.close()


def hold(scene: Scene, at: int, rows: list[Row]) -> None:
    """Assert that an event at a time sees the expected rows, with none missing."""
    observed, lacking = scene.see(at)
    assert not lacking.any()
    columns = {kind: out for kind, _, out in COMPILED.engine.delayed.operations.tolist()}
    for terminal, found in zip(TERMINALS, observed, strict=True):
        told, frauds = seen(rows, terminal, at)
        assert found[columns[COUNT]] == told > 0
        assert found[columns[RISK]] == frauds / told
