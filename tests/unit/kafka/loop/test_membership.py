"""How a member joins its group, and which error it gets when it cannot continue."""

import ctypes
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from stream_scorer.errors import (
    FencedError,
    SettingsError,
    StreamScorerError,
    TransactionError,
    UnavailableError,
)
from stream_scorer.kafka.client.consumer import ColumnConsumer, GroupMetadata, Rebalance
from stream_scorer.kafka.client.library import _path, library
from stream_scorer.kafka.loop import source as module
from stream_scorer.kafka.loop.source import KafkaSource, NotAMember
from stream_scorer.kafka.topics import client_options
from stream_scorer.settings import Kafka

NOWHERE = "127.0.0.1:1"
BROKERS_TO_SAY = ("session.timeout.ms", "heartbeat.interval.ms", "partition.assignment.strategy")


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
@pytest.mark.parametrize("static", [False, True])
def test_the_library_takes_the_options_of_each_way_to_join(protocol: Any, static: bool) -> None:  # noqa: FBT001 a parameter of the test
    kafka = Kafka(
        bootstrap=NOWHERE, instance="a", group_protocol=protocol, static_membership=static
    )
    options = client_options.member(kafka.worker(3), "g")
    ColumnConsumer(options, "t").close()
    assert options.get("group.instance.id") == ("g-a/3" if static else None)
    assert [name in options for name in BROKERS_TO_SAY] == [protocol == "classic"] * 3


def test_a_fatal_error_among_the_records_is_raised() -> None:
    consumer = ColumnConsumer(client_options.member(Kafka(bootstrap=NOWHERE)), "t")
    raise_fatal = ctypes.CDLL(_path()).rd_kafka_test_fatal_error
    raise_fatal.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p)
    try:
        consumer.subscribe(Rebalance(lambda _: None, lambda _: None, lambda _: None))
        raise_fatal(consumer._client.handle, KafkaError.FENCED_INSTANCE_ID, b"injected")
        with pytest.raises(KafkaException, match="injected") as raised:
            consumer.poll(10, 10.0, 0.0)
    finally:
        consumer.close()
    assert raised.value.args[0].code() == KafkaError.FENCED_INSTANCE_ID
    assert raised.value.args[0].fatal()


def test_a_client_that_joins_no_group_has_no_member_options() -> None:
    kafka = Kafka(bootstrap=NOWHERE, static_membership=True, group_protocol="consumer")
    assert "group.instance.id" not in client_options.consumer(kafka)
    assert "group.protocol" not in client_options.consumer(kafka)


@pytest.mark.parametrize(
    ("code", "kind", "says"),
    [
        (KafkaError.FENCED_INSTANCE_ID, FencedError, "member g-i of group g was taken over"),
        (KafkaError.UNRELEASED_INSTANCE_ID, UnavailableError, "still holds member g-i"),
        (KafkaError.GROUP_ID_NOT_FOUND, UnavailableError, "members of the classic protocol"),
        (KafkaError.GROUP_AUTHORIZATION_FAILED, UnavailableError, "grant the ACLs"),
        (KafkaError.UNSUPPORTED_VERSION, SettingsError, "kafka.group_protocol"),
        (KafkaError.GROUP_MAX_SIZE_REACHED, TransactionError, "injected"),
    ],
)
@pytest.mark.parametrize("call", ["poll", "serve"])
def test_a_fatal_client_error_is_one_line_with_its_exit_code(
    code: int,
    kind: type[StreamScorerError],
    says: str,
    call: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Failing:
        def __init__(self, *_: object) -> None: ...

        def subscribe(self, _: object) -> None: ...

        def poll(self, *_: object) -> None:
            raise KafkaException(KafkaError(code, "injected", fatal=True))

    monkeypatch.setattr(module, "PassingConsumer", Failing)
    source = KafkaSource(Kafka(bootstrap=NOWHERE, instance="i"), "t", "g")
    arguments = {"poll": (10, 0.0, 0.0), "serve": (0.0,)}[call]
    with pytest.raises(kind, match=says):
        getattr(source, call)(*arguments)


@pytest.mark.parametrize(
    ("member", "generation", "refused"),
    [("m-1", 3, False), ("m-1", 0, False), ("", -1, True), ("", 3, True), ("m-1", -1, True)],
)
def test_offsets_are_not_sent_in_the_name_of_no_member(
    member: str,
    generation: int,
    refused: bool,  # noqa: FBT001 a parameter of the test
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = KafkaSource(Kafka(bootstrap=NOWHERE, instance="i"), "t", "g")
    try:
        make = library().consumer_group_metadata_new_with_genid
        identity = GroupMetadata(make(b"g", generation, member.encode(), None))
        assert (identity.member, identity.generation) == (member, generation)
        monkeypatch.setattr(source._consumer, "group_metadata", lambda: identity)
        if refused:
            with pytest.raises(NotAMember, match="not a member of group g"):
                source.group_metadata()
        else:
            assert source.group_metadata() is identity
    finally:
        source.close()


def test_a_client_that_has_not_joined_yet_is_not_a_member() -> None:
    source = KafkaSource(Kafka(bootstrap=NOWHERE, instance="i"), "t", "g")
    try:
        with pytest.raises(NotAMember):
            source.group_metadata()
    finally:
        source.close()
