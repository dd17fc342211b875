"""Checkpoint formats on a real broker, including the previous version's."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition

from stream_scorer.errors import StateError
from stream_scorer.kafka.topics import client_options
from stream_scorer.kafka.topics.create_topics import grow
from stream_scorer.models.stores.deployment import Deployment
from stream_scorer.settings import Kafka, Settings
from stream_scorer.state.checkpoints.ownership import Owner
from stream_scorer.state.commands.inspect import inspect, open_checkpoint
from stream_scorer.state.commands.rebuild import rebuild
from stream_scorer.state.commands.repartition import repartition
from stream_scorer.state.stores.open import store_of
from tests.recorded.format1 import recorded
from tests.support.faults.process import wait_until
from tests.support.faults.reference_run import PARTITIONS, committed, feed, transactions
from tests.support.state.stage import Crash, live, restored_only, settings_of

pytestmark = pytest.mark.kafka

Made = Callable[..., Settings]


@pytest.fixture(params=["topic", pytest.param("files", marks=pytest.mark.thorough)])
def made(
    request: pytest.FixtureRequest,
    kafka_settings: Callable[..., Kafka],
    kafka_topics: Callable[..., Kafka],
    tmp_path: Path,
) -> Made:
    """Return a function that makes a group with the recording's input and offsets."""

    def make(**state: Any) -> Settings:
        kafka = kafka_topics(kafka_settings(session_timeout_ms=6_000))
        found = recorded()
        feed(kafka, transactions(found.days, found.customers))
        commit(kafka, found.committed)
        if request.param == "files":
            state["url"] = f"file://{tmp_path}/{kafka.group}"
        return settings_of(kafka, 40, **state)

    return make


def commit(kafka: Kafka, offsets: dict[int, int]) -> None:
    """Commit the group's offsets of the input as a consumer does."""
    consumer = Consumer(client_options.reader(kafka, kafka.group))
    topic = kafka.topics.transactions
    places = [TopicPartition(topic, partition, offset) for partition, offset in offsets.items()]
    consumer.commit(offsets=places, asynchronous=False)
    consumer.close()


def owner_of(settings: Settings) -> Owner:
    return Owner(settings.kafka.group, settings.kafka.topics.transactions)


def with_recording(settings: Settings) -> Settings:
    """Write the recorded checkpoint to the group's store."""
    owner = owner_of(settings)
    store = store_of(settings, owner)
    for partition in range(PARTITIONS):
        store.write(partition, recorded().records(owner, partition))
    return settings


def inspected(settings: Settings) -> Counter[int]:
    """Return the number of buckets of each format."""
    counts: Counter[int] = Counter()
    for each in inspect(open_checkpoint(settings)):
        counts.update(each.formats)
    return counts


def change(
    settings: Settings, partition: int, bucket: int, changed: Callable[[bytes], bytes]
) -> None:
    """Change the value of a bucket's record in its store."""
    owner = owner_of(settings)
    store = store_of(settings, owner)
    key = owner.key(partition, bucket, 0)
    newest = {k: v for records in store.read(partition) for k, v in records}[key]
    assert newest is not None
    assert changed(newest) != newest
    store.write(partition, [(key, changed(newest))])


def stopped(settings: Settings) -> StateError:
    with pytest.raises(StateError) as raised:
        restored_only(settings)
    with pytest.raises(StateError) as seen:
        inspect(open_checkpoint(settings))
    assert seen.value.what == raised.value.what
    assert raised.value.exit_code == 9
    assert "\n" not in str(raised.value)
    return raised.value


def test_the_recorded_checkpoint_restores_to_a_replays_state(made: Made) -> None:
    assert {value[:6] for value in recorded().values.values()} == {b"SCKP\x01\x00"}
    there = with_recording(made())
    assert set(inspected(there)) == {1}
    found = restored_only(there)
    whole = [each for each in found.restored.values() if each.buckets == 1024]
    assert any(0 < each.first_offset < each.end_offset for each in whole)
    replayed = restored_only(made())
    assert {each.first_offset for each in replayed.restored.values()} == {0}
    assert {each.buckets for each in replayed.restored.values()} == {0}
    assert found.at_restore == replayed.at_restore
    assert all(found.at_restore.values())


def replay_up_to(offsets: dict[int, int], made: Made) -> dict[int, Any]:
    """Return the rings after a replay of the input up to these offsets."""
    settings = made()
    commit(settings.kafka, offsets)
    return restored_only(settings).at_restore


@pytest.mark.thorough
def test_an_upgrade_and_a_downgrade_pass_through_both_formats(made: Made) -> None:
    settings = with_recording(made())

    # Upgrade: the first batches write format 2, next to existing buckets of format 1.
    batches = 0

    def hook(stage: str) -> None:
        nonlocal batches
        batches += stage == "begin"
        if batches == 4:
            raise Crash

    ends = dict.fromkeys(range(PARTITIONS), 10**9)
    assert live(settings, ends, hook, start=None).crashed
    # A file store writes shortly after the commit.
    wait_until(lambda: set(inspected(settings)) == {1, 2}, "both formats")
    stood = committed(settings.kafka)
    mixed = restored_only(settings)
    assert any(each.first_offset < each.end_offset for each in mixed.restored.values())
    assert mixed.at_restore == replay_up_to(stood, made)

    # Downgrade: the previous version can read the checkpoint once all of it is of format 1.
    older = in_format(settings, 1)
    for each in (older, settings):
        stood = committed(settings.kafka)
        rebuild(open_checkpoint(each), Deployment("fraud:1.0.0"))
        assert set(inspected(each)) == {each.state.write_format}
        assert restored_only(each).at_restore == replay_up_to(stood, made)


def in_format(settings: Settings, number: int) -> Settings:
    state = settings.state.model_copy(update={"write_format": number})
    return settings.model_copy(update={"state": state})


@pytest.mark.thorough
def test_every_writer_keeps_to_the_setting(made: Made) -> None:
    settings = made(write_format=1)
    ends = {partition: end + 5 for partition, end in recorded().committed.items()}
    live(settings, ends, start=None)
    assert inspected(settings) == Counter({1: 4 * 1024})
    grow(settings.kafka, settings.kafka.topics.transactions, 5)
    repartition(open_checkpoint(settings), Deployment("fraud:1.0.0"))
    assert inspected(settings) == Counter({1: 5 * 1024})
    rebuild(open_checkpoint(settings), Deployment("fraud:1.0.0"))
    assert inspected(settings) == Counter({1: 5 * 1024})


@pytest.mark.thorough
def test_a_label_that_was_changed_stops_it(made: Made) -> None:
    settings = made()
    rebuild(open_checkpoint(settings), Deployment("fraud:1.0.0"))
    committed = recorded().committed[2]
    old, new = f'"offset":{committed},'.encode(), f'"offset":{committed - 1},'.encode()
    change(settings, 2, 17, lambda value: value.replace(old, new))
    error = stopped(settings)
    name = f"checkpoint of {settings.kafka.topics.transactions} partition 2: bucket 17: "
    assert error.what.startswith(f"{name}its checksum is 0x")
    assert error.fix.endswith("stream-scorer state rebuild")
    rebuild(open_checkpoint(settings), Deployment("fraud:1.0.0"))
    assert len(restored_only(settings).restored) == PARTITIONS


@pytest.mark.thorough
def test_a_format_of_later_days_stops_it(made: Made) -> None:
    settings = made()
    rebuild(open_checkpoint(settings), Deployment("fraud:1.0.0"))
    change(settings, 1, 3, lambda value: value[:4] + b"\x07\x00" + value[6:])
    error = stopped(settings)
    assert "bucket 3 part 0: format 7 is not known; this version reads 1 and 2" in error.what
    assert error.fix.startswith("run the version that wrote it, or a later one, or")
