"""What is asked of brokers, with librdkafka's own broker in this process."""

import time
from collections.abc import Iterator

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from stream_scorer.errors import UnavailableError
from stream_scorer.lag.broker import group_offsets
from stream_scorer.lag.broker.group_offsets import GroupOffsets
from stream_scorer.lag.broker.looks import PartitionLook
from stream_scorer.lag.broker.partition_offsets import NO_LEADER, PartitionOffsets
from stream_scorer.lag.broker.record_reader import FirstRecordReader, FoundRecord
from stream_scorer.settings import Kafka
from tests.support.kafka.mock_broker import mock_broker

NOW_MS = 1_700_000_000_000
NOWHERE = "127.0.0.1:1"


@pytest.fixture
def kafka() -> Iterator[Kafka]:
    """A broker whose topic ``t`` has 10 records in partition 0 and none in the others."""
    with mock_broker() as address:
        producer = Producer({"bootstrap.servers": address})
        for number in range(10):
            producer.produce("t", str(number), partition=0, timestamp=NOW_MS + number * 1_000)
        assert producer.flush(10) == 0
        yield Kafka(bootstrap=address, group="g")


def test_offsets_of_all_partitions_come_in_one_request_each(kafka: Kafka) -> None:
    with PartitionOffsets(kafka) as offsets:
        leaders = {at: leader for at, leader in offsets.leaders().items() if at[0] == "t"}
        found = offsets.ends(leaders, offsets.starts(leaders))
    assert len(leaders) >= 2
    assert found[("t", 0)] == PartitionLook(0, 10, 10)
    assert found[("t", 1)] == PartitionLook(0, 0, 0)


def test_what_cannot_be_asked_has_a_reason(kafka: Kafka) -> None:
    with PartitionOffsets(kafka, seconds=1.0) as offsets:
        leaders = {("t", 0): 1, ("t", 1): -1, ("t", 999): 1}
        found = offsets.ends(leaders, offsets.starts(leaders))
    assert found[("t", 0)].high == 10
    assert found[("t", 1)].error == NO_LEADER
    assert found[("t", 999)].high is None
    assert found[("t", 999)].error


def test_without_a_broker_nothing_is_known() -> None:
    kafka = Kafka(bootstrap=NOWHERE, group="g")
    began = time.monotonic()
    with PartitionOffsets(kafka, seconds=0.3) as offsets:
        with pytest.raises(UnavailableError):
            offsets.leaders()
        starts = offsets.starts({("t", 0): 1, ("t", 1): 1})
        found = offsets.ends({("t", 0): 1, ("t", 1): 1}, starts)
    assert all("broker 1 does not answer" in each.error for each in found.values())
    # What failed once is not asked again.
    assert time.monotonic() - began < 5.0


def test_the_first_record_from_an_offset_on(kafka: Kafka) -> None:
    with FirstRecordReader(kafka) as reader:
        # The connection is kept, and offsets go back and forth.
        for offset in (4, 0, 9, 4):
            found = reader.first_records({("t", 0): offset, ("t", 1): 0})
            seconds = NOW_MS / 1_000 + offset
            value = str(offset).encode()
            assert found[("t", 0)] == FoundRecord(offset, seconds, value)
            assert found[("t", 1)] == FoundRecord(None)
        assert reader.first_records({("t", 0): 10}) == {("t", 0): FoundRecord(None)}
        assert reader.first_records({}) == {}


def test_a_reading_does_not_wait_for_the_one_before(kafka: Kafka) -> None:
    # After pause(), one in five readings of this broker takes a second, and nearly each of Kafka.
    with FirstRecordReader(kafka) as reader:
        reader.first_records({("t", 0): 4, ("t", 1): 0})
        for number in range(30):
            found = reader.first_records({("t", 0): number % 10, ("t", 1): 0}, seconds=0.9)
            assert (len(found), found["t", 0].offset) == (2, number % 10)


def test_a_partition_that_is_not_there_costs_the_others_nothing(kafka: Kafka) -> None:
    with FirstRecordReader(kafka) as reader:
        for _ in range(2):
            found = reader.first_records({("t", 0): 4, ("t", 999): 0}, seconds=0.9)
            assert {at: each.offset for at, each in found.items()} == {("t", 0): 4}


def test_records_that_do_not_come_are_left_out() -> None:
    with FirstRecordReader(Kafka(bootstrap=NOWHERE, group="g"), seconds=0.3) as reader:
        assert reader.first_records({("t", 0): 4}) == {}


def test_topics_without_offsets_and_owners_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    # An operator deletes a group's offsets of a topic that it does not read any more.
    monkeypatch.setattr(group_offsets, "_DISCOVERY_SECONDS", 0.0)
    committed = {("old", 0): 100, ("t", 0): 4}
    every = [(topic, number) for topic in ("old", "t", "idle") for number in (0, 1)]
    with GroupOffsets(Kafka(bootstrap=NOWHERE, group="g"), ["g"], seconds=0.3) as groups:
        monkeypatch.setattr(groups, "_committed", lambda *_: dict(committed))
        # It owns a topic in which it has committed nothing.
        owned = [("idle", 0), ("idle", 1)]
        assert groups.places("g", every, owned) == {*committed, *owned}
        del committed["old", 0]
        # Members own nothing while they share the partitions anew.
        monkeypatch.setattr(group_offsets, "_DISCOVERY_SECONDS", 60.0)
        assert groups.places("g", every, owned) == {("old", 0), ("t", 0), *owned}
        monkeypatch.setattr(group_offsets, "_DISCOVERY_SECONDS", 0.0)
        assert groups.places("g", every, []) == {("t", 0), *owned}
        assert groups.places("g", every, []) == {("t", 0)}
        # A topic that is deleted is not asked for, either.
        monkeypatch.setattr(group_offsets, "_DISCOVERY_SECONDS", 60.0)
        assert groups.places("g", [("idle", 0)], []) == set()


def test_committed_offsets_of_named_groups(kafka: Kafka) -> None:
    other = {"bootstrap.servers": kafka.bootstrap, "group.id": "other"}
    consumer = Consumer(other)
    consumer.commit(offsets=[TopicPartition("t", 0, 7)], asynchronous=False)
    consumer.close()
    places = {("t", 0), ("t", 1)}
    with GroupOffsets(kafka, ["other", "g"]) as groups:
        assert groups.names() == ["g", "other"]
        assert groups.committed("other", places) == {("t", 0): 7}
        assert groups.committed("g", places) == {}
        assert groups.committed("g", ()) == {}
        # Found by asking for all; later only what is known is asked for.
        assert groups.places("other", places, ()) == {("t", 0)}
        assert groups.places("other", {*places, ("t", 2)}, {("t", 1)}) == {("t", 0), ("t", 1)}


def test_offsets_that_cannot_be_read_have_a_reason() -> None:
    with GroupOffsets(Kafka(bootstrap=NOWHERE, group="g"), ["g"], seconds=0.3) as groups:
        found = groups.committed("g", {("t", 0)})
        assert isinstance(found, str)
        assert "cannot be read" in found
        assert groups.places("g", {("t", 0)}, ()) == set()
        assert groups.members(["g"])["g"].error == "its coordinator does not answer"


def test_a_pattern_needs_an_answer() -> None:
    with (
        GroupOffsets(Kafka(bootstrap=NOWHERE, group="g"), ["g*"], seconds=0.3) as groups,
        pytest.raises(UnavailableError),
    ):
        groups.names()
