"""The topics of the product on a real broker: limits, partitions, and existing topics."""

from collections.abc import Callable

import pytest
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

from stream_scorer.errors import SettingsError, UnavailableError
from stream_scorer.kafka.topics.create_topics import HEADROOM_BYTES, TopicReport, create_topics
from stream_scorer.settings import Kafka

pytestmark = pytest.mark.kafka


def test_missing_topics_are_created_once(
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
    assert not any("cleanup.policy" in report.remark for report in again.values())


def test_limit_and_partitions_of_the_input_apply_to_the_others(
    kafka_settings: Callable[..., Kafka],
) -> None:
    settings = kafka_settings()
    topics = settings.topics
    admin = AdminClient({"bootstrap.servers": settings.bootstrap})
    wide = NewTopic(topics.transactions, 2, 1, config={"max.message.bytes": "2000000"})
    narrow = NewTopic(topics.dead_letters, 2, 1)
    for future in admin.create_topics([wide, narrow]).values():
        future.result()
    reports = {report.name: report for report in create_topics(settings, replication=1)}
    assert reports[topics.state].partitions == reports[topics.decisions].partitions == 2
    assert reports[topics.decisions].maximum_bytes == 2_000_000 + HEADROOM_BYTES
    assert "max.message.bytes" in reports[topics.dead_letters].remark


DAY = 86_400_000


def test_terminal_rows_are_kept_as_long_as_a_scorer_needs_them(
    kafka_settings: Callable[..., Kafka],
) -> None:
    for_ever = kafka_settings()
    rows = {r.name: r for r in create_topics(for_ever, 1, 1)}[for_ever.topics.terminal_profiles]
    assert (rows.retention_ms, rows.remark) == (-1, "")

    bounded = kafka_settings()
    topics = bounded.topics
    admin = AdminClient({"bootstrap.servers": bounded.bootstrap})

    def create(topic: str, retention_ms: int) -> None:
        new = NewTopic(topic, 1, 1, config={"retention.ms": str(retention_ms)})
        admin.create_topics([new])[topic].result()

    def rows_of(lookback_days: int | None) -> TopicReport:
        reports = create_topics(bounded, 1, 1, lookback_days)
        return {report.name: report for report in reports}[topics.terminal_profiles]

    create(topics.transactions, 3 * DAY)
    rows = rows_of(37)
    assert (rows.created, rows.retention_ms, rows.remark) == (True, 40 * DAY, "")
    # An existing topic is not changed; a retention that is too short is reported.
    assert rows_of(None).remark == rows_of(30).remark == ""
    assert f"retention.ms {40 * DAY} is below {41 * DAY}" in rows_of(38).remark

    short = kafka_settings()
    topics, bounded = short.topics, short
    create(topics.transactions, 3 * DAY)
    create(topics.terminal_profiles, 2 * DAY)
    assert f"retention.ms {2 * DAY} is below {3 * DAY}" in rows_of(None).remark

    whole = kafka_settings()
    topics, bounded = whole.topics, whole
    create(topics.transactions, -1)
    # An input that is kept forever may be read again from its beginning.
    assert rows_of(37).retention_ms == -1


def test_the_registry_of_devices_keeps_everything_or_is_reported(
    kafka_settings: Callable[..., Kafka],
) -> None:
    fresh, before = kafka_settings(), kafka_settings()
    admin = AdminClient({"bootstrap.servers": fresh.bootstrap})
    made = {r.name: r for r in create_topics(fresh, 3, 1)}[fresh.topics.edge_registry]
    assert (made.created, made.partitions, made.remark) == (True, 1, "")
    (asked,) = admin.describe_configs(
        [ConfigResource(ResourceType.TOPIC, fresh.topics.edge_registry)]
    ).values()
    kept = asked.result()
    assert {n: kept[n].value for n in ("cleanup.policy", "retention.ms", "retention.bytes")} == {
        "cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1",
    }  # fmt: skip
    # Earlier commits made it so.
    topic = before.topics.edge_registry
    old = NewTopic(topic, 1, 1, config={"cleanup.policy": "compact"})
    admin.create_topics([old])[topic].result()
    found = {r.name: r for r in create_topics(before, 3, 1)}[topic]
    assert (found.created, found.cleanup_policy) == (False, "compact")
    assert "cleanup.policy is compact, not delete; left as it is" in found.remark
    assert f"retention.ms {7 * DAY} is below -1" in found.remark


def test_a_refusal_names_the_topic(kafka_settings: Callable[..., Kafka]) -> None:
    with pytest.raises(SettingsError, match=r"topic .*-transactions: .*replication"):
        create_topics(kafka_settings(), 1, 99)


def test_no_cluster_is_unavailable() -> None:
    settings = Kafka(bootstrap="127.0.0.1:1", socket_timeout_ms=1_000)
    with pytest.raises(UnavailableError, match="--bootstrap"):
        create_topics(settings)


def test_an_input_that_is_created_is_kept_for_the_longest_window(
    kafka_settings: Callable[..., Kafka],
) -> None:
    settings = kafka_settings()
    topics = settings.topics
    made = {report.name: report for report in create_topics(settings, 1, 1)}[topics.transactions]
    assert (made.retention_ms, made.remark) == (31 * DAY, "")
    again = {r.name: r for r in create_topics(settings, 1, 1, input_days=40)}[topics.transactions]
    assert again.retention_ms == 31 * DAY
    assert f"retention.ms {31 * DAY} is below {40 * DAY}" in again.remark


def test_an_input_with_a_shorter_retention_is_kept_and_reported(
    kafka_settings: Callable[..., Kafka],
) -> None:
    settings = kafka_settings()
    admin = AdminClient({"bootstrap.servers": settings.bootstrap})
    short = NewTopic(settings.topics.transactions, 1, 1, config={"retention.ms": str(DAY)})
    admin.create_topics([short])[settings.topics.transactions].result()
    found = {r.name: r for r in create_topics(settings, 1, 1)}[settings.topics.transactions]
    assert found.retention_ms == DAY
    assert f"retention.ms {DAY} is below {31 * DAY}" in found.remark
