"""Our topics on a real broker: limits, partitions, and what is there already."""

from collections.abc import Callable

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from stream_scorer.errors import SettingsError, UnavailableError
from stream_scorer.kafka.topics import HEADROOM_BYTES, create_topics
from stream_scorer.settings import Kafka

pytestmark = pytest.mark.kafka


def test_missing_topics_are_created_and_a_second_call_leaves_them(
    kafka_settings: Callable[..., Kafka],
) -> None:
    settings = kafka_settings()
    topics = settings.topics
    first = {report.name: report for report in create_topics(settings, 3, 1)}
    assert set(first) == set(topics.model_dump().values())
    assert all(report.created and not report.remark for report in first.values())
    assert first[topics.labels].partitions == 3
    assert first[topics.summaries].partitions == first[topics.drift_events].partitions == 1
    of_input = first[topics.transactions].maximum_bytes
    for wide in (topics.decisions, topics.dead_letters):
        assert first[wide].maximum_bytes == of_input + HEADROOM_BYTES

    again = {report.name: report for report in create_topics(settings, 5, 1)}
    assert not any(report.created for report in again.values())
    assert again[topics.decisions].partitions == 3
    assert "has 3 partitions, not 5" in again[topics.decisions].remark
    assert again[topics.summaries].remark == ""


def test_an_existing_input_with_a_larger_limit_decides_the_others(
    kafka_settings: Callable[..., Kafka],
) -> None:
    settings = kafka_settings()
    topics = settings.topics
    admin = AdminClient({"bootstrap.servers": settings.bootstrap})
    wide = NewTopic(topics.transactions, 2, 1, config={"max.message.bytes": "2000000"})
    narrow = NewTopic(topics.dead_letters, 2, 1)
    for future in admin.create_topics([wide, narrow]).values():
        future.result()
    reports = {report.name: report for report in create_topics(settings, 2, 1)}
    assert reports[topics.decisions].maximum_bytes == 2_000_000 + HEADROOM_BYTES
    assert "max.message.bytes" in reports[topics.dead_letters].remark


def test_a_refusal_names_the_topic(kafka_settings: Callable[..., Kafka]) -> None:
    with pytest.raises(SettingsError, match=r"topic .*-transactions: .*replication"):
        create_topics(kafka_settings(), 1, 99)


def test_no_cluster_is_unavailable() -> None:
    settings = Kafka(bootstrap="127.0.0.1:1", socket_timeout_ms=1_000)
    with pytest.raises(UnavailableError, match="--bootstrap"):
        create_topics(settings)
