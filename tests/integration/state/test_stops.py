"""State that does not fit stops the scorer with the command that fixes it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import pytest
from confluent_kafka import (
    OFFSET_INVALID,
    Consumer,
    ConsumerGroupTopicPartitions,
    Producer,
    TopicPartition,
)

from stream_scorer.errors import StateError
from stream_scorer.kafka.topics import client_options
from stream_scorer.kafka.topics.create_topics import grow
from stream_scorer.kafka.topics.offsets import admin
from stream_scorer.models.stores.deployment import Deployment
from stream_scorer.settings import Kafka
from stream_scorer.state.checkpoints.formats import Bucket
from stream_scorer.state.checkpoints.ownership import Assembly, Owner
from stream_scorer.telemetry import StateRestored
from tests.support.faults.reference_run import committed, feed, outcome, transactions
from tests.support.state.stage import live, restored_only, settings_of

pytestmark = pytest.mark.kafka

Made = Callable[[], tuple[Kafka, dict[int, int]]]


@pytest.fixture
def scored(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka]
) -> tuple[Kafka, dict[int, int]]:
    """Return a group that has scored its input and written a checkpoint."""
    ours = kafka_topics(kafka_settings(session_timeout_ms=6_000))
    ends = feed(ours, transactions(days=4))
    # A graceful stop writes the complete checkpoint.
    assert not live(settings_of(ours, 40), ends).crashed
    return ours, ends


def set_offsets(kafka: Kafka, offsets: dict[int, int]) -> None:
    topic = kafka.topics.transactions
    places = [TopicPartition(topic, p, offset) for p, offset in offsets.items()]
    wanted = [ConsumerGroupTopicPartitions(kafka.group, places)]
    client = admin(kafka)
    client.alter_consumer_group_offsets(wanted)[kafka.group].result()


def write(kafka: Kafka, partition: int, records: list[tuple[bytes, bytes | None]]) -> None:
    producer = Producer(client_options.common(kafka))
    for key, value in records:
        producer.produce(kafka.topics.state, value, key, partition)
    assert producer.flush(30) == 0


def owner(kafka: Kafka) -> Owner:
    return Owner(kafka.group, kafka.topics.transactions)


def buckets(kafka: Kafka, partition: int) -> dict[int, Bucket]:
    consumer = Consumer(client_options.reader(kafka, f"{kafka.group}-test"))
    assembly = Assembly(owner(kafka), partition)
    consumer.assign([TopicPartition(kafka.topics.state, partition, 0)])
    while True:
        message: Any = consumer.poll(10)
        if message.error():
            break
        assembly.add([(message.key(), message.value())])
    consumer.close()
    return assembly.buckets()


def stopped(kafka: Kafka, deployment: Deployment | None = None) -> StateError:
    with pytest.raises(StateError) as raised:
        restored_only(settings_of(kafka), deployment=deployment)
    assert raised.value.exit_code == 9
    assert "\n" not in str(raised.value)
    return raised.value


def test_an_undisturbed_restart_continues(scored: tuple[Kafka, dict[int, int]]) -> None:
    ours, ends = scored
    found = restored_only(settings_of(ours)).restored
    assert {p: each.end_offset for p, each in found.items()} == ends
    assert {p: each.first_offset for p, each in found.items()} == ends
    assert all(each.buckets == 1024 for each in found.values())


def test_offsets_set_back_stop_it(scored: tuple[Kafka, dict[int, int]]) -> None:
    ours, ends = scored
    set_offsets(ours, {2: 1})
    error = stopped(ours)
    assert "committed offset 1 is before it" in error.what
    assert "state rebuild" in error.fix
    set_offsets(ours, ends)
    assert restored_only(settings_of(ours)).heard.of(StateRestored)


@pytest.mark.thorough
@pytest.mark.parametrize("start", ["earliest", "latest"])
def test_deleted_offsets_stop_every_start(
    scored: tuple[Kafka, dict[int, int]], start: Literal["earliest", "latest"]
) -> None:
    ours, _ = scored
    feed(ours, transactions(days=1))  # these would be skipped by --from latest
    client = admin(ours)
    client.delete_consumer_groups([ours.group])[ours.group].result()
    decided = len(outcome(ours).decisions)
    told = [stopped(ours, Deployment("fraud:1.0.0", start=start)) for _ in range(2)]
    for error in told:
        # Which partition reports it first depends on timing.
        assert "the group has no committed offset, though buckets" in error.what
        assert "find out who deleted the group's offsets" in error.fix
    assert set(committed(ours).values()) == {OFFSET_INVALID}
    assert len(outcome(ours).decisions) == decided


def test_deleted_input_stops_it(scored: tuple[Kafka, dict[int, int]]) -> None:
    ours, ends = scored
    places = [TopicPartition(ours.topics.transactions, 1, ends[1])]
    client = admin(ours)
    for future in client.delete_records(places).values():
        future.result()
    write(ours, 1, [*replace(buckets(ours, 1)[3], offset=1).records(owner(ours))])
    error = stopped(ours)
    assert f"bucket 3 needs the input from offset 1, and the oldest retained is {ends[1]}" in (
        error.what
    )
    assert "state rebuild" in error.fix


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        pytest.param(
            lambda b: replace(b, engine=b.engine + 1).records, "written by engine", id="engine"
        ),
        *(
            pytest.param(damage, told, id=name, marks=pytest.mark.thorough)
            for damage, told, name in (
                (
                    lambda b: replace(b, partitions=3).records,
                    "had 3 partitions; now it has 4",
                    "partitions",
                ),
                (
                    lambda b: replace(b, payload=b"\x01\x00garbage").records,
                    "bucket 3: bucket: its lengths",
                    "payload",
                ),
                (lambda _: lambda own: [(own.key(0, 3, 0), b"garbage!")], "3 part 0", "record"),
                (
                    lambda _: lambda own: [(own.key(0, 3, 0), None), (own.key(0, 3, 1), b"")],
                    "part 0",
                    "part",
                ),
            )
        ),
    ],
)
def test_a_bucket_that_does_not_fit_stops_it(
    scored: tuple[Kafka, dict[int, int]], damage: Any, told: str
) -> None:
    ours, _ = scored
    write(ours, 0, damage(buckets(ours, 0)[3])(owner(ours)))
    error = stopped(ours)
    assert told in error.what
    assert "state re" in error.fix


@pytest.mark.thorough
def test_more_partitions_stop_it(scored: tuple[Kafka, dict[int, int]]) -> None:
    ours, _ = scored
    grow(ours, ours.topics.transactions, 6)
    error = stopped(ours)
    assert "has 4 partitions, and the input" in error.what
    assert "state repartition" in error.fix
    # A partition without buckets is not treated as a new one either.
    grow(ours, ours.topics.state, 6)
    set_offsets(ours, {4: 0, 5: 0})
    assert "had 4 partitions; now it has 6" in stopped(ours).what
