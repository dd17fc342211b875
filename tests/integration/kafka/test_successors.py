"""How a member that was suspended finds out who owns its partitions now."""

from collections.abc import Callable

import pytest

from stream_scorer.kafka.loop import source as module
from stream_scorer.kafka.loop.source import KafkaSource, Revoked
from stream_scorer.settings import Kafka

pytestmark = pytest.mark.kafka

PARTITIONS = 2
POLLS = 600


def held(source: KafkaSource) -> int:
    return sum(map(source.owns, range(PARTITIONS)))


def joined(kafka: Kafka, partitions: int, *others: KafkaSource) -> KafkaSource:
    """Return a member that owns so many partitions; the others poll until then."""
    made = KafkaSource(kafka, kafka.topics.transactions, kafka.group, "earliest")
    for _ in range(POLLS):
        for each in (made, *others):
            each.poll(1, 0.0, 0.05)
        if held(made) == partitions and made._consumer.member_id():
            break
    assert held(made) == partitions
    for each in (made, *others):
        each.events()
    return made


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_a_namesake_is_distinguished_from_others_and_from_itself(
    protocol: str, kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka]
) -> None:
    kafka = kafka_topics(kafka_settings(group_protocol=protocol), PARTITIONS)
    first = joined(kafka, 2)
    assert not first.has_successor()
    other = joined(kafka.model_copy(update={"instance": "other"}), 1, first)
    assert not first.has_successor()
    assert not other.has_successor()
    namesake = joined(kafka, 0, first, other)
    assert first.has_successor()
    assert namesake.has_successor()
    assert not other.has_successor()
    namesake.close()
    assert not first.has_successor()
    other.close()
    first.close()


@pytest.mark.thorough
def test_a_late_poller_loses_its_partitions_and_leaves_no_trace(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka]
) -> None:
    settings = kafka_settings(session_timeout_ms=6_000, max_poll_interval_ms=6_000)
    kafka = kafka_topics(settings, PARTITIONS)
    late = joined(kafka, 2)
    left: list[tuple[int, ...]] = []
    late.before_revoke = left.append
    other = joined(kafka.model_copy(update={"instance": "other"}), 2)
    assert late.wait_for_revocation({0, 1})
    # The rebalance that it was asked for before it was expelled comes first, as if it were current.
    assert isinstance(late.events()[0], Revoked)
    assert left == []
    # That rebalance does not show what happened afterwards.
    assert late.before_revoke is not None
    late.close()
    other.close()


def test_an_owner_of_its_partitions_sees_no_revocation(
    kafka_settings: Callable[..., Kafka],
    kafka_topics: Callable[..., Kafka],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_HEARING_SECONDS", 0.3)
    source = joined(kafka_topics(kafka_settings(), PARTITIONS), 2)
    assert not source.wait_for_revocation({0, 1})
    source.close()
