"""Finds what is unsafe in a cluster: settings of our topics, and missing access control."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import ConfigResource, ResourceType

from stream_scorer.hardening.settings_check import Finding
from stream_scorer.kafka.topics.offsets import admin, unreachable
from stream_scorer.settings import Kafka

_SECONDS: Final = 10.0
_COPIES_LEAST: Final = 3
_IN_SYNC_LEAST: Final = 2
_FOR_EVER: Final = "-1"
_UNLIMITED: Final = f"retention.ms={_FOR_EVER},retention.bytes={_FOR_EVER}"
_AHEAD_MOST_MS: Final = 3_600_000
"""Kafka's own default since 4.0."""


def cluster_findings(kafka: Kafka) -> Iterator[Finding]:
    """Yield what is unsafe in the topics that we use, and in the cluster's access control.

    Raises:
        UnavailableError: The cluster does not answer.
    """
    client = admin(kafka)
    try:
        known = client.list_topics(timeout=_SECONDS)
        topics = known.topics
        names = [name for name in kafka.topics.model_dump().values() if name in topics]
        asked = [ConfigResource(ResourceType.TOPIC, name) for name in names]
        answers = client.describe_configs(asked, request_timeout=_SECONDS) if asked else {}
        configured = {resource.name: each.result() for resource, each in answers.items()}
        access = list(_of_access(client, min(known.brokers)))
    except KafkaException as error:
        raise unreachable(kafka, error) from error
    for name in kafka.topics.model_dump().values():
        if name not in topics:
            yield Finding(f"topic {name}", "is missing", "stream-scorer topics create")
            continue
        partitions = topics[name].partitions
        copies = min(len(each.replicas) for each in partitions.values())
        values = {key: entry.value for key, entry in configured[name].items()}
        yield from _of_topic(kafka, name, len(partitions), copies, values)
    yield from access


def _of_topic(
    kafka: Kafka, name: str, partitions: int, copies: int, values: Mapping[str, str]
) -> Iterator[Finding]:
    what = f"topic {name}"
    alter = f"kafka-configs.sh --alter --topic {name} --add-config"
    if copies < _COPIES_LEAST:
        yield Finding(
            what, f"replication factor {copies}: one broker's loss may lose decisions",
            f"reassign its partitions to {_COPIES_LEAST} brokers",
        )  # fmt: skip
    if int(values["min.insync.replicas"]) < _IN_SYNC_LEAST:
        yield Finding(
            what, f"min.insync.replicas is {values['min.insync.replicas']}",
            f"{alter} min.insync.replicas={_IN_SYNC_LEAST}",
        )  # fmt: skip
    if values["unclean.leader.election.enable"] == "true":
        yield Finding(
            what, "unclean.leader.election.enable is true: committed records may be lost",
            f"{alter} unclean.leader.election.enable=false",
        )  # fmt: skip
    compacted = {kafka.topics.state, kafka.topics.drift_state, kafka.topics.edge_progress}
    wanted = "compact" if name in compacted else "delete"
    if values["cleanup.policy"] != wanted:
        # Retention at the same time: a compacted topic may have one of days, without effect yet.
        whole = f",{_UNLIMITED}" if name in _kept_whole(kafka) else ""
        yield Finding(
            what, f"cleanup.policy is {values['cleanup.policy']}",
            f"{alter} cleanup.policy={wanted}{whole}",
        )  # fmt: skip
    if name == kafka.topics.transactions and _takes_any_time(values):
        yield Finding(
            what, "takes timestamps of the far future: one record may expire all histories",
            f"{alter} message.timestamp.after.max.ms={_AHEAD_MOST_MS}",
        )  # fmt: skip
    if name in _merged(kafka) and _takes_any_time(values):
        yield Finding(
            what,
            "takes timestamps of the far future: after such a record, profiler and controller read "
            "its partition only when all others are silent",
            f"{alter} message.timestamp.after.max.ms={_AHEAD_MOST_MS}",
        )
    if name == kafka.topics.rollout:
        yield from _of_time(what, alter, values)
    if name in _kept_whole(kafka):
        yield from _of_whole(what, alter, partitions, values)


def _of_whole(
    what: str, alter: str, partitions: int, values: Mapping[str, str]
) -> Iterator[Finding]:
    if values["retention.ms"] != _FOR_EVER or values["retention.bytes"] != _FOR_EVER:
        yield Finding(
            what, "retention is limited: a start needs its first record",
            f"{alter} {_UNLIMITED}",
        )  # fmt: skip
    if partitions != 1:
        yield Finding(
            what, f"has {partitions} partitions: its records have no order",
            "create it again with one: stream-scorer topics create",
        )  # fmt: skip


def _of_time(what: str, alter: str, values: Mapping[str, str]) -> Iterator[Finding]:
    if values["message.timestamp.type"] != "LogAppendTime":
        yield Finding(
            what, "keeps its writers' times: plans of a trainer with a grant are refused",
            f"{alter} message.timestamp.type=LogAppendTime",
        )  # fmt: skip


def _kept_whole(kafka: Kafka) -> set[str]:
    """Return the topics that are read from their first record, in the order of one partition."""
    topics = kafka.topics
    return {
        topics.rollout, topics.activations, topics.drift_commands, topics.performance,
        topics.edge_registry,
    }  # fmt: skip


def _merged(kafka: Kafka) -> set[str]:
    """Return the topics that are read in the order of their records' timestamps."""
    topics = kafka.topics
    return {topics.decisions, topics.shadow_scores, topics.summaries, topics.labels}


def _takes_any_time(values: Mapping[str, str]) -> bool:
    """Whether a producer may set a record's timestamp more than an hour ahead."""
    if values["message.timestamp.type"] == "LogAppendTime":
        return False
    # Brokers before 3.6 do not have it, and limit nothing.
    limit = values.get("message.timestamp.after.max.ms")
    return limit is None or int(limit) > _AHEAD_MOST_MS


def _of_access(client: Any, broker: int) -> Iterator[Finding]:
    """Yield a finding if the cluster shows this user that it has no access control."""
    # librdkafka returns an empty list of ACLs, with an authorizer and without one.
    asked = ConfigResource(ResourceType.BROKER, str(broker))
    try:
        values = client.describe_configs([asked], request_timeout=_SECONDS)[asked].result()
    except KafkaException as error:
        # If the user may not read it, there is an authorizer.
        if error.args[0].code() == KafkaError.CLUSTER_AUTHORIZATION_FAILED:
            return
        raise
    if not values["authorizer.class.name"].value:
        yield Finding(
            "cluster", "has no authorizer: every client may write to every topic",
            "set authorizer.class.name, and the ACLs of docs/CONFIGURATION.md",
        )  # fmt: skip
