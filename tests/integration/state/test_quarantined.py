"""A quarantined record that is replayed after the fix is decided once, even with a kill."""

import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from confluent_kafka import Producer

from stream_scorer.kafka.reading.read_to_end import read_all
from stream_scorer.kafka.topics import client_options
from stream_scorer.scoring import work as scoring
from stream_scorer.settings import Kafka
from tests.faults.suite import scorer_with_hooks
from tests.support.faults.poison import poisoned
from tests.support.faults.process import ScorerProcess, wait_until
from tests.support.faults.reference_run import (
    PARTITIONS,
    Outcome,
    Record,
    committed,
    everything_once,
    feed,
    outcome,
    transactions,
)
from tests.support.state.rejecting import beside, dumps, ends_of, replay_letters
from tests.support.state.stage import live, restored_only, settings_of

pytestmark = pytest.mark.kafka

EVERY = 97


def with_poison(days: int) -> tuple[Record, ...]:
    """Return valid transactions of few customers; for some of them the hooks raise.

    Their customers have earlier and later transactions, which show whether they were folded.
    """
    good = [record for record in transactions(days, customers=40) if not record.bad]
    return tuple(poisoned(r) if n % EVERY == EVERY // 2 else r for n, r in enumerate(good))


def by_id(found: Outcome) -> dict[str, dict[str, Any]]:
    """Return decisions by transaction; assert that each is decided once."""
    ids = Counter(each["transaction_id"] for each in found.decisions.values())
    assert set(ids.values()) == {1}
    return {each["transaction_id"]: each for each in found.decisions.values()}


def failing() -> Any:
    """Return a context in which batches with a poisoned transaction fail."""
    return patch.object(
        scoring, "decide_batch", scorer_with_hooks.preceded(scorer_with_hooks.raise_for_poison)
    )


def test_a_replayed_quarantined_record_is_decided_once(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka]
) -> None:
    records = with_poison(days=3)
    ours = kafka_topics(kafka_settings(session_timeout_ms=6_000))
    first = feed(ours, records)
    with failing():
        live(settings_of(ours), first)
    everything_once(outcome(ours), records)
    assert replay_letters(ours).copied.keys() == {"INTERNAL"}
    live(settings_of(ours), ends_of(ours))
    found = outcome(ours)
    assert found.doubled == []
    assert len(by_id(found)) == len(records)


@pytest.mark.thorough
def test_a_quarantined_record_is_decided_once_despite_a_kill(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka], tmp_path: Path
) -> None:
    records = with_poison(days=6)
    poison = sum(record.bad == "INTERNAL" for record in records)
    ours = kafka_topics(kafka_settings(session_timeout_ms=6_000))
    first = feed(ours, records)

    def process(name: str, *more: str, **options: Any) -> ScorerProcess:
        return ScorerProcess(ours, tmp_path / f"{name}.log", *more, **options)

    broken: dict[str, Any] = {
        "program": scorer_with_hooks.program("--raises-for-poison"), "variables":
        scorer_with_hooks.variables(),
    }  # fmt: skip
    with process("broken", "--from", "earliest", **broken) as scorer:
        wait_until(lambda: committed(ours) == first, lambda: f"all decided: {scorer.said}")
        scorer.kill()
    everything_once(outcome(ours), records)
    calm_kafka = beside(ours, kafka_topics, kafka_settings(session_timeout_ms=6_000))
    with failing():
        live(settings_of(calm_kafka), first)

    # The cause is fixed: the new process has no hooks.
    with process("fixed") as scorer:
        scorer.wait_ready()
        assert replay_letters(ours).copied == {"INTERNAL": poison}
        ends = ends_of(ours)
        wait_until(lambda: committed(ours) == ends, lambda: f"all decided: {scorer.said}")
        scorer.kill()
    with process("last") as scorer:
        scorer.wait_ready()
        assert replay_letters(ours).copied == {}
        scorer.send(signal.SIGTERM)
        assert scorer.wait() == 0, scorer.said
    found = outcome(ours)
    assert found.doubled == []
    assert len(by_id(found)) == len(records)
    assert len(found.dead_letters) == poison

    # The same input without crashes.
    expected = live(settings_of(calm_kafka), ends)
    state = restored_only(settings_of(ours))
    assert dumps(state) == dumps(expected)
    assert outcome(calm_kafka).decisions == found.decisions

    # An input without the originals, decided by a scorer that never failed.
    never_kafka = kafka_topics(kafka_settings(session_timeout_ms=6_000))
    never = live(settings_of(never_kafka), copied_without(ours, never_kafka, found.dead_letters))
    assert never.rings() == state.rings()
    assert by_id(outcome(never_kafka)) == by_id(found)


def copied_without(
    source: Kafka, target: Kafka, places: dict[tuple[int, int], Any]
) -> dict[int, int]:
    """Copy an input without some of its records; return the number in each partition."""
    producer = Producer(
        client_options.common(target) | {"enable.idempotence": True, "linger.ms": 20}
    )
    counts = dict.fromkeys(range(PARTITIONS), 0)
    for message in read_all(source, source.topics.transactions):
        if (message.partition(), message.offset()) in places:
            continue
        producer.produce(
            target.topics.transactions, message.value(), message.key(), message.partition(),
            timestamp=message.timestamp()[1],
        )  # fmt: skip
        counts[message.partition()] += 1
    assert producer.flush(30) == 0
    return counts
