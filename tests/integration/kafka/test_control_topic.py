"""The control log on a real broker: concurrent writers, open transactions, and refusals."""

import time
from collections.abc import Callable, Iterator

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from stream_scorer.codec.records.record import RecordCodec
from stream_scorer.errors import RolloutError, SettingsError, TransactionError, UnavailableError
from stream_scorer.kafka.loop.control_topic import KeptTopic, append
from stream_scorer.kafka.topics import client_options
from stream_scorer.kafka.topics.create_topics import create_topics
from stream_scorer.kafka.topics.offsets import admin
from stream_scorer.registry.sources import reader_schema
from stream_scorer.rollout.log.control_log import ControlLog
from stream_scorer.rollout.plan.command_kinds import CommandKind, Rollback, Step
from stream_scorer.settings import Kafka, Settings
from tests.support.faults.process import wait_until
from tests.support.rollout.scene import plan

pytestmark = pytest.mark.kafka


@pytest.fixture
def cluster(kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka]) -> Kafka:
    return kafka_topics(kafka_settings(), 1)


@pytest.fixture
def open_log(cluster: Kafka) -> Iterator[Callable[[], ControlLog]]:
    opened: list[ControlLog] = []

    def make() -> ControlLog:
        opened.append(ControlLog(Settings(kafka=cluster)))
        return opened[-1]

    yield make
    for log in opened:
        log.close()


def test_only_a_topic_of_append_time_gives_the_brokers_time(cluster: Kafka) -> None:
    topic = cluster.topics.rollout
    client = admin(cluster)
    for kind in ("CreateTime", "LogAppendTime"):
        entry = ConfigEntry(
            "message.timestamp.type", kind, incremental_operation=AlterConfigOpType.SET
        )
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
        client.incremental_alter_configs([resource])[resource].result()
        # A broker may apply a topic's new setting a moment later.
        wait_until(lambda: _time_of(client, topic) == kind, "the topic has its time")  # noqa: B023 called now
        append(cluster, topic, kind.encode())
    reader = KeptTopic(cluster, topic)
    try:
        records = {each.value: each.appended_at for each in reader.to_end()}
    finally:
        reader.close()
    # Records of before a change keep what they had.
    assert records[b"CreateTime"] is None
    appended_at = records[b"LogAppendTime"]
    assert appended_at is not None
    assert abs(appended_at - time.time() * 1_000) < 60_000


def _time_of(client: AdminClient, topic: str) -> str:
    (found,) = client.describe_configs([ConfigResource(ResourceType.TOPIC, topic)]).values()
    return str(found.result()["message.timestamp.type"].value)


def test_rollout_topics_keep_everything_or_are_reported(
    kafka_settings: Callable[..., Kafka],
) -> None:
    settings = kafka_settings()
    client = admin(settings)
    short = NewTopic(settings.topics.activations, 1, 1, config={"retention.ms": "1000"})
    client.create_topics([short])[settings.topics.activations].result()
    reports = {report.name: report for report in create_topics(settings, 3, 1)}
    rollout = reports[settings.topics.rollout]
    assert (rollout.created, rollout.partitions, rollout.remark) == (True, 1, "")
    assert reports[settings.topics.shadow_scores].partitions == 3
    assert "retention.ms 1000 is below -1" in reports[settings.topics.activations].remark
    (found,) = client.describe_configs(
        [ConfigResource(ResourceType.TOPIC, settings.topics.rollout)]
    ).values()
    kept = found.result()
    assert {n: kept[n].value for n in ("cleanup.policy", "retention.ms", "retention.bytes")} == {
        "cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1",
    }  # fmt: skip
    assert kept["message.timestamp.type"].value == "LogAppendTime"


def test_one_of_two_concurrent_writers_wins_the_other_is_refused(
    cluster: Kafka, open_log: Callable[[], ControlLog]
) -> None:
    ann, bob = open_log(), open_log()
    ann.append(CommandKind.PLAN, plan(), None, 1_000)
    bob.refresh()
    # Both have read to the same end. Ann's record is written first.
    lost = bob.encode(bob.prepare(CommandKind.STEP, Step(stage=1), None, 1_001))
    won = ann.append(CommandKind.ROLLBACK, Rollback(reason="alerts"), None, 1_002)
    append(cluster, cluster.topics.rollout, lost)
    assert bob.refresh() == ann.refresh()
    assert [entry.refused for entry in bob.log.entries] == [
        "", "", "has number 2, and 3 is next: another command came first",
    ]  # fmt: skip
    assert won.command is not None
    assert won.command == bob.log.entries[1].command
    with pytest.raises(RolloutError, match="step is refused: the rollout has been rolled back"):
        bob.append(CommandKind.STEP, Step(stage=1), None)
    assert len(bob.log.entries) == 3


def test_a_command_that_came_second_is_refused(
    cluster: Kafka, open_log: Callable[[], ControlLog], monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, bob = open_log(), open_log()
    ann.append(CommandKind.PLAN, plan(), None)
    between = bob.encode

    def encode_late(command: object) -> bytes:
        """Write as the other client between the read of the end and the append."""
        ann.append(CommandKind.STEP, Step(stage=2), None)
        return between(command)  # type: ignore[arg-type]

    monkeypatch.setattr(bob, "encode", encode_late)
    with pytest.raises(RolloutError, match="step changed nothing: has number 2, and 3 is next"):
        bob.append(CommandKind.STEP, Step(stage=1), None)
    assert bob.log.state.stage == 2


def test_foreign_records_in_the_rollout_topic_change_nothing(
    cluster: Kafka, open_log: Callable[[], ControlLog]
) -> None:
    for value in (b"", b"hello", bytes(40), b"\0" + (999).to_bytes(4, "big") + b"x"):
        append(cluster, cluster.topics.rollout, value)
    label = RecordCodec(3, reader_schema("label.v1")).encode({
        "transaction_id": "t", "customer_id": "c", "terminal_id": "x", "event_time": 0,
        "is_fraud": True, "label_time": None, "source": None,
    })  # fmt: skip
    append(cluster, cluster.topics.rollout, label)
    log = open_log()
    assert log.append(CommandKind.PLAN, plan(), None).offset == 5
    assert [entry.refused.split(":")[0] for entry in log.log.entries] == [
        *["is not a command"] * 5, "",
    ]  # fmt: skip
    assert "but 'stream_scorer.v1.Label'" in log.log.entries[4].refused
    assert "schema id 999" in log.log.entries[3].refused


def test_a_follower_sees_a_command_but_not_an_aborted_one(
    cluster: Kafka, open_log: Callable[[], ControlLog]
) -> None:
    writer, follower = open_log(), open_log()
    entry = writer.append(CommandKind.PLAN, plan(), None)
    follower.refresh()
    producer = Producer(client_options.producer(cluster, f"{cluster.group}-controller"))
    producer.init_transactions(30)
    producer.begin_transaction()
    step = writer.prepare(CommandKind.STEP, Step(stage=1), None, 5_000)
    producer.produce(cluster.topics.rollout, writer.encode(step))
    assert producer.flush(30) == 0
    producer.abort_transaction(30)
    writer.append(CommandKind.STEP, Step(stage=2), None)
    while not (heard := follower.poll(10.0)):
        pass
    assert [(each.offset, each.refused) for each in heard] == [(entry.offset + 3, "")]
    assert follower.log.state.stage == 2


def test_an_open_transaction_before_it_holds_a_command_back(
    cluster: Kafka, open_log: Callable[[], ControlLog]
) -> None:
    writer = open_log()
    writer.append(CommandKind.PLAN, plan(), None)
    options = client_options.producer(cluster, f"{cluster.group}-controller")
    short = {"transaction.timeout.ms": 5_000, "socket.timeout.ms": 5_000}
    producer = Producer(options | short)
    producer.init_transactions(30)
    producer.begin_transaction()
    step = writer.prepare(CommandKind.STEP, Step(stage=1), None, 5_000)
    producer.produce(cluster.topics.rollout, writer.encode(step))
    assert producer.flush(30) == 0
    # The producer has stopped. The broker aborts its transaction, and then the command is read.
    entry = writer.append(CommandKind.ROLLBACK, Rollback(), None)
    assert entry.offset == 2
    assert entry.accepted
    del producer


def test_a_log_without_its_beginning_is_refused(
    cluster: Kafka, open_log: Callable[[], ControlLog]
) -> None:
    writer = open_log()
    writer.append(CommandKind.PLAN, plan(), None)
    writer.append(CommandKind.ROLLBACK, Rollback(), None)
    client = admin(cluster)
    place = TopicPartition(cluster.topics.rollout, 0, 1)
    (deleted,) = client.delete_records([place]).values()
    deleted.result()
    with pytest.raises(RolloutError, match=r"its beginning is gone, it starts at offset 1 —"):
        open_log()


def test_a_control_topic_of_several_partitions_is_refused(
    kafka_settings: Callable[..., Kafka],
) -> None:
    settings = kafka_settings()
    client: AdminClient = admin(settings)
    client.create_topics([NewTopic(settings.topics.rollout, 2, 1)])[
        settings.topics.rollout
    ].result()
    with pytest.raises(RolloutError, match="has 2 partitions, so its records have no single order"):
        KeptTopic(settings, settings.topics.rollout)


def test_a_missing_topic_is_named(kafka_settings: Callable[..., Kafka]) -> None:
    settings = kafka_settings()
    with pytest.raises(SettingsError, match="-rollout: does not exist"):
        ControlLog(Settings(kafka=settings))


def test_a_refusal_by_the_broker_is_reported(cluster: Kafka) -> None:
    with pytest.raises(TransactionError, match=r"the command was refused: .*too large"):
        append(cluster, cluster.topics.rollout, bytes(999_000) + bytes(60_000))


@pytest.mark.thorough
def test_a_silent_broker_is_an_outage() -> None:
    nowhere = Kafka(bootstrap="127.0.0.1:1", socket_timeout_ms=1_000)
    with pytest.raises(UnavailableError):
        ControlLog(Settings(kafka=nowhere))
