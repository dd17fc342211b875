"""Killed 20 times and moved to another instance, the monitor raises the same alarms."""

import random
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from stream_scorer.kafka.topics.lag import read_lag
from stream_scorer.kafka.topics.offsets import admin, partitions
from stream_scorer.settings import Kafka
from tests.support.drift.published import (
    HISTORY,
    expected,
    publish,
    published,
    store_and_stream,
)
from tests.support.faults.process import ScorerProcess, wait_until
from tests.support.faults.proxy import Behind

pytestmark = [pytest.mark.kafka, pytest.mark.thorough, pytest.mark.timeout(600)]

KILLS = 20
_IDLE_MOST = 2
"""Successive kills before a batch is committed: a third one stops the group, as it should."""


def test_kills_and_a_move_change_no_bit(
    behind: Behind,
    kafka_settings: Callable[..., Kafka],
    kafka_topics: Callable[..., Kafka],
    tmp_path: Path,
) -> None:
    ours = kafka_topics(kafka_settings(bootstrap=behind.bootstrap))
    group = f"{ours.group}-monitor"
    store = tmp_path / "models"
    read, stream = store_and_stream(store)
    topic = ours.topics.transactions
    calm = expected(read, stream, len(partitions(admin(ours), ours, [topic])[topic]))
    assert len(calm) >= 4
    publish(ours, stream)
    variables = {
        "STREAM_SCORER_MONITOR__GROUP": group,
        "STREAM_SCORER_MONITOR__HISTORY_FROM": HISTORY,
        "STREAM_SCORER_MODELS__DIRECTORY": str(store),
        # So small that most of the summaries are left when the last process begins.
        "STREAM_SCORER_SCORER__MAXIMUM_BATCH": "3",
    }

    def monitor(number: int, kafka: Kafka = ours) -> ScorerProcess:
        log = tmp_path / f"{number}.log"
        return ScorerProcess(
            kafka, log, "--from", "earliest", variables=variables, command="monitor"
        )

    def left() -> int:
        return sum(each.lag or 0 for each in read_lag(ours, group, ours.topics.summaries))

    def done() -> bool:
        # By age: the marker of the last summary's transaction is never delivered.
        return not any(
            e.seconds for e in read_lag(ours, group, ours.topics.summaries, seconds=True)
        )

    chance = random.Random(20)  # noqa: S311 a test's choice, no secret
    idle, ends = 0, []
    for number in range(KILLS):
        # The first two transactions are the mark of an attempt, and the first batch.
        ends.append(chance.randint(0 if idle < _IDLE_MOST else 2, 5))
        idle = idle + 1 if ends[-1] < 2 else 0
        with monitor(number) as process:
            process.wait_ready()
            behind.kill_in_a_transaction(process, after=ends[-1])
    assert {0, 1, 2} <= set(ends)
    assert left() > 0

    # A second instance of the group takes over when the first one leaves.
    other = ours.model_copy(update={"instance": "other"})
    with monitor(KILLS) as first, monitor(KILLS + 1, other) as second:
        first.wait_ready()
        before = left()
        wait_until(lambda: left() < before, lambda: f"progress: {first.said}")
        first.send(signal.SIGTERM)
        assert first.wait() == 0, first.said
        wait_until(done, lambda: f"everything read: {second.said}", 300.0)
        second.send(signal.SIGTERM)
        assert second.wait() == 0, second.said
    assert published(ours) == calm
