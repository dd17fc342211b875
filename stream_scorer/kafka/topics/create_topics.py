"""Our topics: the needs of each; creates missing ones, leaves existing ones unchanged."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourceType,
    TopicMetadata,
)

from stream_scorer.errors import SettingsError, StreamScorerError, UnavailableError
from stream_scorer.kafka.topics.client_options import common
from stream_scorer.settings import Kafka

PARTITIONS = 4
INPUT_DAYS = 31
"""How long the input is kept by default: a history is rebuilt from it.

The longest window of the shipped models is 30 days; the lateness is added to it."""
# What a decision or dead letter may need in addition to its input: metadata, features, headers.
HEADROOM_BYTES = 65_536
_SECONDS = 15.0
_LEADER_SECONDS = 60.0
"""How long to wait for new partitions' leaders: a broker elects hundreds one after the other."""
# Only the newest record of a bucket counts, and a restore reads the complete topic: small segments
# and frequent compaction keep it near the size of the state.
COMPACTED = {
    "cleanup.policy": "compact",
    "min.cleanable.dirty.ratio": "0.2",
    "segment.bytes": str(64 * 2**20),
}
_FOR_EVER = -1
_RETENTION = "retention.ms"
_POLICY, _DELETE = "cleanup.policy", "delete"
# A restore and an auditor read these topics from the beginning, years later.
# In the registry of devices, compaction would let an old registration delete a revocation.
_KEPT_WHOLE = {_POLICY: _DELETE, _RETENTION: "-1", "retention.bytes": "-1"}
_MAXIMUM = "max.message.bytes"
_TIME_OF, _BY_BROKER = "message.timestamp.type", "LogAppendTime"
_DAY_MS = 86_400_000
_ALWAYS_IN_SYNC = 2
_UNREACHABLE = {
    KafkaError.REQUEST_TIMED_OUT,
    KafkaError._TRANSPORT,  # noqa: SLF001 librdkafka's own codes are named so
    KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001 the same
    KafkaError._TIMED_OUT,  # noqa: SLF001 the same
}


@dataclass(frozen=True, slots=True)
class TopicReport:
    """The result for one topic.

    Attributes:
        name: Topic.
        partitions: Its number of partitions.
        wanted: The requested number; an existing topic is left unchanged.
        created: Whether it was missing.
        maximum_bytes: Its largest accepted record batch.
        wanted_bytes: The least that it needs so that every input record's outcome fits.
        retention_ms: How long it keeps a record; -1 for ever.
        wanted_retention_ms: How long it should keep a record, at least; 0 without a requirement.
        cleanup_policy: What it does with old records.
        wanted_cleanup_policy: What it should do with them: ``delete`` or ``compact``.
    """

    name: str
    partitions: int
    wanted: int
    created: bool
    maximum_bytes: int
    wanted_bytes: int
    retention_ms: int = _FOR_EVER
    wanted_retention_ms: int = 0
    cleanup_policy: str = _DELETE
    wanted_cleanup_policy: str = _DELETE

    @property
    def remark(self) -> str:
        """A remark for the operator; empty if all is as requested."""
        remarks = []
        if self.partitions != self.wanted:
            remarks.append(f"has {self.partitions} partitions, not {self.wanted}; left as it is")
        if self.maximum_bytes < self.wanted_bytes:
            remarks.append(f"{_MAXIMUM} {self.maximum_bytes} is below {self.wanted_bytes}")
        if _shorter(self.retention_ms, self.wanted_retention_ms):
            remarks.append(
                f"{_RETENTION} {self.retention_ms} is below {self.wanted_retention_ms}: a restart "
                "misses what is gone; left as it is"
            )
        if self.cleanup_policy != self.wanted_cleanup_policy:
            remarks.append(
                f"{_POLICY} is {self.cleanup_policy}, not {self.wanted_cleanup_policy}; left as it "
                "is"
            )
        return "; ".join(remarks)


@dataclass(frozen=True, slots=True)
class _Configured:
    """How a topic is configured.

    Attributes:
        maximum_bytes: Its largest accepted record batch.
        retention_ms: How long it keeps a record; -1 for ever.
        cleanup_policy: What it does with old records.
    """

    maximum_bytes: int
    retention_ms: int
    cleanup_policy: str


def _shorter(retention: int, other: int) -> bool:
    if retention == _FOR_EVER:
        return False
    return other == _FOR_EVER or retention < other


def create_topics(
    kafka: Kafka, partitions: int | None = None, replication: int = -1,
    lookback_days: int | None = None, input_days: int = INPUT_DAYS,
) -> list[TopicReport]:  # fmt: skip
    """Create our missing topics, and report all of our topics.

    Args:
        kafka: The cluster and the topics' names.
        partitions: Partitions of topics that scale with the input; None: as many as the input has,
            or :data:`PARTITIONS` if it does not exist. Summaries, drift events, commands and state
            of the monitor, performance, the control log and its activations, and the registry of
            devices have one; the progress of devices has :data:`PARTITIONS`.
        replication: Copies of each partition; -1 takes the cluster's default.
        lookback_days: How far any model looks back at terminals: delay plus longest window. Their
            rows are kept for this time in addition to the input's retention, as a scorer may lag
            by that retention; None: for ever.
        input_days: How long an input topic that is created keeps its records, at least: the longest
            window of any model and the lateness. An existing one is reported, not changed.

    Raises:
        SettingsError: The cluster refuses the name, the partitions or the replication.
        UnavailableError: The cluster does not answer.
    """
    admin = AdminClient(common(kafka))
    topics = kafka.topics
    in_sync = {"min.insync.replicas": "2"} if replication > _ALWAYS_IN_SYNC else {}
    # The input first: if it exists, its partitions and its size limit decide the others'.
    created = _create(
        admin,
        [NewTopic(topics.transactions, partitions or PARTITIONS, replication, config=in_sync)],
    )
    if partitions is None:
        partitions = _partitions(admin, [topics.transactions])[topics.transactions]
    scaled = dict.fromkeys(
        (
            topics.transactions, topics.labels, topics.decisions, topics.dead_letters,
            topics.shadow_scores, topics.terminal_profiles, topics.state,
        ),
        partitions,
    )  # fmt: skip
    whole = [
        topics.rollout, topics.activations, topics.drift_commands, topics.performance,
        topics.edge_registry,
    ]  # fmt: skip
    single = (topics.summaries, topics.drift_events, topics.drift_state, *whole)
    wanted = scaled | dict.fromkeys(single, 1)
    wanted[topics.edge_progress] = PARTITIONS
    plain = [topics.labels, topics.summaries, topics.drift_events]
    wide = [topics.decisions, topics.dead_letters, topics.shadow_scores]
    created |= _create(admin, [NewTopic(t, wanted[t], replication, config=in_sync) for t in plain])
    _partitions(admin, [topics.transactions, *plain])
    input_ms = input_days * _DAY_MS
    of_input = _configured(admin, [topics.transactions])[topics.transactions]
    if topics.transactions in created and _shorter(of_input.retention_ms, input_ms):
        _keep(admin, topics.transactions, input_ms)
        of_input = replace(of_input, retention_ms=input_ms)
    least = of_input.maximum_bytes + HEADROOM_BYTES
    created |= _create(
        admin,
        [
            NewTopic(t, wanted[t], replication, config=in_sync | {_MAXIMUM: str(least)})
            for t in wide
        ],
    )
    # Kafka counts retention from a row's publication, which is the slack before it is needed.
    kept = _FOR_EVER
    if lookback_days is not None and of_input.retention_ms != _FOR_EVER:
        kept = of_input.retention_ms + lookback_days * _DAY_MS
    rows = {_POLICY: _DELETE, _RETENTION: str(kept)}
    special = {
        topics.state: COMPACTED, topics.drift_state: COMPACTED, topics.terminal_profiles: rows,
        topics.edge_progress: COMPACTED,
    }  # fmt: skip
    special |= dict.fromkeys(whole, _KEPT_WHOLE)
    # The end of a grant is judged by a time that no writer chooses.
    special[topics.rollout] = _KEPT_WHOLE | {_TIME_OF: _BY_BROKER}
    created |= _create(
        admin,
        [NewTopic(t, wanted[t], replication, config=in_sync | own) for t, own in special.items()],
    )
    found = _partitions(admin, list(wanted))
    configured = _configured(admin, list(wanted))
    configured[topics.transactions] = of_input
    # Without a lookback it is only known that the input's retention is too short.
    owed = dict.fromkeys(whole, _FOR_EVER)
    owed[topics.transactions] = input_ms
    owed[topics.terminal_profiles] = kept if lookback_days is not None else of_input.retention_ms
    return [
        TopicReport(
            name, found[name], count, name in created, configured[name].maximum_bytes,
            least if name in wide else 0, configured[name].retention_ms, owed.get(name, 0),
            configured[name].cleanup_policy, special.get(name, {}).get(_POLICY, _DELETE),
        )
        for name, count in wanted.items()
    ]  # fmt: skip


def largest_record(kafka: Kafka, topic: str) -> int | None:
    """Return a topic's ``max.message.bytes``; None if the cluster does not report it."""
    try:
        return _configured(AdminClient(common(kafka)), [topic])[topic].maximum_bytes
    except StreamScorerError:
        return None


def grow(kafka: Kafka, topic: str, partitions: int) -> None:
    """Give a topic more partitions, if it has fewer.

    Raises:
        SettingsError: The cluster refuses.
        UnavailableError: The cluster does not answer.
    """
    admin = AdminClient(common(kafka))
    if _partitions(admin, [topic])[topic] >= partitions:
        return
    wanted = NewPartitions(topic, partitions)
    try:
        admin.create_partitions([wanted], operation_timeout=_SECONDS)[topic].result()
    except KafkaException as error:
        raise _refused(f"topic {topic}", error) from error
    deadline = time.monotonic() + _SECONDS
    while _partitions(admin, [topic])[topic] < partitions:
        if time.monotonic() > deadline:
            raise UnavailableError(f"topic {topic}: has not grown after {_SECONDS:.0f} s")
        time.sleep(0.02)


def _create(admin: AdminClient, topics: Sequence[NewTopic]) -> set[str]:
    """Create topics; return the names of those that were missing."""
    created = set()
    for name, future in admin.create_topics(topics, operation_timeout=_SECONDS).items():
        try:
            future.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise _refused(f"topic {name}", error) from error
        else:
            created.add(name)
    return created


def _keep(admin: AdminClient, name: str, milliseconds: int) -> None:
    """Set how long a topic keeps its records."""
    entry = ConfigEntry(_RETENTION, str(milliseconds), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, name, incremental_configs=[entry])
    try:
        admin.incremental_alter_configs([resource], request_timeout=_SECONDS)[resource].result()
    except KafkaException as error:
        raise _refused(f"topic {name}", error) from error


def _listed(admin: AdminClient) -> dict[str, TopicMetadata]:
    """Return what the cluster reports of its topics."""
    try:
        return admin.list_topics(timeout=_SECONDS).topics
    except KafkaException as error:
        raise _refused("topics", error) from error


def _partitions(admin: AdminClient, awaited: Sequence[str]) -> dict[str, int]:
    """Return the partition counts once every awaited topic is known with its leaders.

    The controller acknowledges a new topic a moment before the brokers know it.
    """
    deadline = time.monotonic() + _LEADER_SECONDS
    while True:
        known = {
            name: len(topic.partitions)
            for name, topic in _listed(admin).items()
            if topic.partitions and all(p.leader >= 0 for p in topic.partitions.values())
        }
        missing = [name for name in awaited if name not in known]
        if not missing:
            return known
        if time.monotonic() > deadline:
            raise UnavailableError(
                f"topic {missing[0]}: no leader after {_LEADER_SECONDS:.0f} s", "is a broker down?"
            )
        time.sleep(0.02)


def _configured(admin: AdminClient, names: Sequence[str]) -> dict[str, _Configured]:
    """Return how topics are configured."""
    deadline = time.monotonic() + _SECONDS
    found: dict[str, _Configured] = {}
    while len(found) < len(names):
        asked = [ConfigResource(ResourceType.TOPIC, name) for name in names if name not in found]
        for resource, future in admin.describe_configs(asked, request_timeout=_SECONDS).items():
            try:
                entries = future.result()
                found[resource.name] = _Configured(
                    int(entries[_MAXIMUM].value),
                    int(entries[_RETENTION].value),
                    entries[_POLICY].value,
                )
            except KafkaException as error:
                # Any broker may be queried, and one may not know a new topic yet.
                new = error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART
                if not new or time.monotonic() > deadline:
                    raise _refused(f"topic {resource.name}", error) from error
                time.sleep(0.02)
    return found


def _refused(what: str, error: KafkaException) -> StreamScorerError:
    reason = error.args[0]
    if reason.code() in _UNREACHABLE:
        return UnavailableError(f"{what}: {reason.str()}", "is the cluster up at --bootstrap?")
    return SettingsError(f"{what}: {reason.str()}", "correct the name, partitions or replication")
