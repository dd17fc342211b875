"""The check of a real cluster finds unsafe settings of topics, and missing access control."""

from collections.abc import Callable

import pytest
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from stream_scorer.hardening.cluster_check import cluster_findings
from stream_scorer.kafka.topics.create_topics import create_topics, grow
from stream_scorer.settings import Kafka

pytestmark = pytest.mark.kafka


def problems(kafka: Kafka, topic: str) -> str:
    return " ".join(f"{f.problem} | {f.fix}" for f in cluster_findings(kafka) if topic in f.setting)


def test_each_unsafe_setting_of_a_topic_is_found(kafka_settings: Callable[..., Kafka]) -> None:
    kafka = kafka_settings()
    topics = kafka.topics
    assert "stream-scorer topics create" in problems(kafka, topics.labels)
    create_topics(kafka, 2, 1)
    before = problems(kafka, topics.decisions)
    assert "replication factor 1" in before
    assert "min.insync.replicas is 1" in before
    assert "unclean" not in before
    for topic in (topics.state, topics.rollout, topics.decisions, topics.edge_registry):
        assert "cleanup.policy" not in problems(kafka, topic)
    assert "retention" not in problems(kafka, topics.rollout)
    assert "retention" not in problems(kafka, topics.edge_registry)
    assert "timestamp" not in problems(kafka, topics.rollout)
    assert "timestamp" not in problems(kafka, topics.transactions)

    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    for topic, name, value in (
        (topics.decisions, "unclean.leader.election.enable", "true"),
        (topics.decisions, "min.insync.replicas", "2"),
        (topics.state, "cleanup.policy", "delete"),
        (topics.labels, "cleanup.policy", "compact"),
        (topics.edge_registry, "cleanup.policy", "compact"),
        (topics.rollout, "retention.ms", "1000"),
        (topics.rollout, "message.timestamp.type", "CreateTime"),
        (topics.transactions, "message.timestamp.after.max.ms", "3600001"),
    ):
        entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
        for future in admin.incremental_alter_configs([resource]).values():
            future.result()
    grow(kafka, topics.activations, 2)
    after = problems(kafka, topics.decisions)
    assert "unclean.leader.election.enable=false" in after
    assert "min.insync.replicas" not in after
    assert "cleanup.policy=compact" in problems(kafka, topics.state)
    assert "cleanup.policy=delete" in problems(kafka, topics.labels)
    assert "retention" not in problems(kafka, topics.labels)
    # In one step, so that no registration is deleted between two.
    whole = "cleanup.policy=delete,retention.ms=-1,retention.bytes=-1"
    assert whole in problems(kafka, topics.edge_registry)
    assert "retention.ms=-1" in problems(kafka, topics.rollout)
    assert "timestamp.type=LogAppendTime" in problems(kafka, topics.rollout)
    assert "has 2 partitions" in problems(kafka, topics.activations)
    assert "after.max.ms=3600000" in problems(kafka, topics.transactions)


def test_a_cluster_without_access_control_is_found(kafka_settings: Callable[..., Kafka]) -> None:
    assert "has no authorizer" in problems(kafka_settings(), "cluster")
