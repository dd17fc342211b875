"""A batch that cannot be inflated: its records are dead letters, all others are decided."""

from collections.abc import Callable

import pytest
from confluent_kafka import Producer

from stream_scorer.kafka.topics import client_options
from stream_scorer.models.stores.deployment import Deployment
from stream_scorer.settings import Kafka
from stream_scorer.state.commands.inspect import open_checkpoint
from stream_scorer.state.commands.rebuild import rebuild
from stream_scorer.telemetry import BatchUnreadable
from tests.support.faults.reference_run import (
    Record,
    committed,
    everything_once,
    feed,
    outcome,
    transactions,
)
from tests.support.state.rejecting import dumps, replay_letters
from tests.support.state.stage import Crash, live, restored_only, settings_of

pytestmark = pytest.mark.kafka

BOMBS = 150
BATCH = 60
"""Records per transaction; a restart begins inside the batch that cannot be inflated."""


def feed_bomb(kafka: Kafka, partition: int) -> None:
    """Send 150 MB of zeros as one record batch of a few KB."""
    options = {
        "compression.type": "zstd", "linger.ms": 60_000, "batch.size": 1_000_000_000,
        "queue.buffering.max.kbytes": 2_000_000, "message.max.bytes": 1_000_000_000,
    }  # fmt: skip
    producer = Producer(client_options.common(kafka) | options)
    for _ in range(BOMBS):
        producer.produce(kafka.topics.transactions, bytes(1_000_000), b"mallory", partition)
    assert producer.flush(60) == 0


def crash_inside(kafka: Kafka, partition: int, first: int) -> Callable[[str], None]:
    """Return a hook that crashes once, at a commit between two records of the batch."""
    crashed: list[int] = []

    def hook(stage: str) -> None:
        if stage != "commit" or crashed:
            return
        place = committed(kafka)[partition] - first
        if 0 < place < BOMBS:
            crashed.append(place)
            raise Crash

    return hook


@pytest.mark.thorough
def test_each_record_of_such_a_batch_is_a_dead_letter_once(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka]
) -> None:
    ours = kafka_topics(kafka_settings(session_timeout_ms=6_000, socket_timeout_ms=3_000))
    records = transactions(2, customers=40)
    before, after = records[: len(records) // 2], records[len(records) // 2 :]
    bomb = Record(before[0].key, None, "UNREADABLE")
    ends = feed(ours, before)
    feed_bomb(ours, bomb.partition)
    ends[bomb.partition] += BOMBS
    for partition, count in feed(ours, after).items():
        ends[partition] += count
    records = (*before, *[bomb] * BOMBS, *after)

    settings = settings_of(ours, batch=BATCH)
    first = ends[bomb.partition] - sum(r.partition == bomb.partition for r in after) - BOMBS
    lives = [live(settings, ends, crash_inside(ours, bomb.partition, first))]
    assert lives[0].crashed
    lives.append(live(settings, ends))
    found = outcome(ours)
    everything_once(found, records)
    letter = found.dead_letters[bomb.partition, first]
    assert letter[0] == "UNREADABLE"
    assert "receive.message.max.bytes" in letter[1]
    told = [each for life in lives for each in life.heard.of(BatchUnreadable)]
    assert {(each.topic, each.partition) for each in told} == {
        (ours.topics.transactions, bomb.partition)
    }
    assert BOMBS - BATCH <= sum(each.records for each in told) <= BOMBS

    # A rebuild from the input also skips the batch, and gives the same state.
    expected = dumps(restored_only(settings))
    rebuild(open_checkpoint(settings), Deployment("fraud:1.0.0"))
    assert dumps(restored_only(settings)) == expected
    copied = replay_letters(ours)
    assert "UNREADABLE" not in copied.copied
    assert copied.passed_over["UNREADABLE"] == BOMBS
