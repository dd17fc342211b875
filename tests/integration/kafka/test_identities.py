"""A process's identity at the broker: its transactional id and its membership, if it has one."""

import time
from collections.abc import Callable

import pytest
from confluent_kafka import KafkaException

from stream_scorer.errors import FencedError
from stream_scorer.kafka.client.consumer import GroupMetadata
from stream_scorer.kafka.client.library import library
from stream_scorer.kafka.client.producer import ColumnProducer
from stream_scorer.kafka.loop.producer import TransactionalProducer
from stream_scorer.kafka.loop.source import KafkaSource, NotAMember, Revoked
from stream_scorer.kafka.membership.transactional_id import command, fence_former, instance
from stream_scorer.kafka.topics import client_options
from stream_scorer.kafka.topics.groups import Groups, members
from stream_scorer.ports import BytesColumn, Outgoing
from stream_scorer.settings import Kafka
from tests.faults.verifier.reader import read_to_end
from tests.support.contract.raw_requests import RawRequests

pytestmark = pytest.mark.kafka

SECONDS = 30.0
PROTOCOLS = ["classic", pytest.param("consumer", marks=pytest.mark.thorough)]


@pytest.fixture
def settings(kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka]) -> Kafka:
    return kafka_topics(kafka_settings(), 1)


def nobody(_: object) -> None:
    pass


def put(producer: TransactionalProducer, topic: str, value: bytes) -> None:
    producer.begin()
    producer.send(Outgoing(topic, BytesColumn.of([value]), BytesColumn.of([b"k"])))


def committed(producer: TransactionalProducer, topic: str, value: bytes) -> None:
    put(producer, topic, value)
    producer.commit()


def visible(kafka: Kafka) -> list[bytes | None]:
    return [seen.value for seen in read_to_end(kafka.bootstrap, [kafka.topics.decisions])]


def test_a_dash_in_a_groups_name_does_not_merge_identities(settings: Kafka) -> None:
    kafka = settings
    topic = kafka.topics.decisions
    one = kafka.model_copy(update={"group": f"{kafka.group}-b", "instance": "c"})
    other = kafka.model_copy(update={"group": kafka.group, "instance": "b-c"})
    assert instance(one.group, "c").former == instance(other.group, "b-c").former
    first = TransactionalProducer(one, one.group, nobody)
    put(first, topic, b"first")
    second = TransactionalProducer(other, other.group, nobody)
    put(second, topic, b"second")
    # With one id, the second would have fenced the first and aborted its transaction.
    first.commit()
    second.commit()
    assert sorted(map(str, visible(kafka))) == ["b'first'", "b'second'"]
    first.close()
    second.close()


def test_the_first_start_fences_a_process_of_the_last_version(settings: Kafka) -> None:
    kafka = settings
    identity = instance(kafka.group, kafka.instance)
    old = ColumnProducer(client_options.producer(kafka, f"{kafka.group}-{kafka.instance}"))
    old.init_transactions(SECONDS)
    old.begin_transaction()
    late = BytesColumn.of([b"of the version before"])
    old.produce(kafka.topics.decisions, late, BytesColumn.of([b"k"]))
    old.flush(SECONDS)
    new = TransactionalProducer(kafka, kafka.group, nobody)
    fence_former(kafka, identity)
    with pytest.raises(KafkaException) as refused:
        old.commit_transaction(SECONDS)
    assert refused.value.args[0].fatal()
    committed(new, kafka.topics.decisions, b"new")
    assert visible(kafka) == [b"new"]
    new.close()
    old.close()


@pytest.mark.thorough
def test_a_command_and_an_instance_of_one_name_do_not_fence(settings: Kafka) -> None:
    kafka = settings
    named = kafka.model_copy(update={"instance": "one"})
    first = TransactionalProducer(named, named.group, nobody)
    put(first, kafka.topics.decisions, b"instance")
    shared = command(kafka.group, "one")
    second = TransactionalProducer(kafka, kafka.group, nobody, identity=shared)
    put(second, kafka.topics.decisions, b"command")
    first.commit()
    second.commit()
    # Two processes of the same command do fence.
    third = TransactionalProducer(kafka, kafka.group, nobody, identity=shared)
    with pytest.raises(FencedError, match="was taken over"):
        committed(second, kafka.topics.decisions, b"late")
    assert len(visible(kafka)) == 2
    for each in (first, second, third):
        each.close()


def joined(kafka: Kafka) -> KafkaSource:
    source = KafkaSource(kafka, kafka.topics.transactions, kafka.group, "earliest")
    until = time.monotonic() + SECONDS
    while not source.owns(0):
        assert time.monotonic() < until, "the group gives it nothing"
        source.poll(1, 0.0, 0.1)
    source.events()
    return source


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_broker_takes_a_workers_name_as_a_static_member(
    protocol: str, kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka]
) -> None:
    settings = kafka_settings(group_protocol=protocol, static_membership=True)
    kafka = kafka_topics(settings, 1).worker(3)
    source = joined(kafka)
    found = Groups(kafka).described(kafka.group)
    assert found is not None
    (member,) = found.members
    assert member.group_instance_id == f"{settings.group}-{settings.instance}/3"
    source.close()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_members_identity_has_generation_and_member(
    protocol: str, kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka]
) -> None:
    kafka = kafka_topics(kafka_settings(group_protocol=protocol), 1)
    source = joined(kafka)
    identity = source.group_metadata()
    assert identity.generation > 0
    assert [member for member, _ in members(kafka, kafka.group)] == [identity.member]
    source.close()


def test_the_client_of_an_expelled_member_sends_no_offsets(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka]
) -> None:
    kafka = kafka_topics(kafka_settings(session_timeout_ms=6_000, max_poll_interval_ms=60_000), 1)
    source = joined(kafka)
    requests = RawRequests(kafka.bootstrap, kafka.topics.transactions, kafka.group)
    assert requests.expel(source.group_metadata().member) == 0
    # It is not polled: librdkafka learns of it by the next heartbeat, in its own thread.
    until = time.monotonic() + SECONDS
    while (identity := source._consumer.group_metadata()).member:
        assert time.monotonic() < until, "no heartbeat was answered"
        time.sleep(0.02)
    assert identity.member == ""
    with pytest.raises(NotAMember, match=f"not a member of group {kafka.group}"):
        source.group_metadata()
    # The next poll reports it, and the group accepts the member again.
    while not source.owns(0) or not source.rebalanced:
        assert time.monotonic() < until, "it is not taken in again"
        source.poll(1, 0.0, 0.1)
    assert Revoked((0,), lost=True) in source.events()
    assert source.group_metadata().generation > 0
    source.close()


@pytest.mark.thorough
def test_the_broker_accepts_memberless_offsets_despite_members(
    settings: Kafka,
) -> None:
    """Such offsets must never be sent: only the client prevents it, the broker does not."""
    kafka = settings
    source = joined(kafka)
    assert source.group_metadata().generation > 0
    stranger = ColumnProducer(client_options.producer(kafka, f"{kafka.group}-stranger"))
    stranger.init_transactions(SECONDS)
    stranger.begin_transaction()
    nameless = GroupMetadata(
        library().consumer_group_metadata_new_with_genid(kafka.group.encode(), -1, b"", None)
    )
    stranger.send_offsets_to_transaction(kafka.topics.transactions, {0: 41}, nameless, SECONDS)
    stranger.commit_transaction(SECONDS)
    assert source.committed({0}) == {0: 41}
    stranger.close()
    source.close()
