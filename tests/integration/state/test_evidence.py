"""``state verify`` and ``state rebuild`` with too little input, and with a second version."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from confluent_kafka import Producer, TopicPartition

from stream_scorer.errors import StateError
from stream_scorer.kafka.topics import client_options
from stream_scorer.kafka.topics.create_topics import grow
from stream_scorer.kafka.topics.offsets import admin
from stream_scorer.models.stores.deployment import Deployment
from stream_scorer.settings import Kafka, Settings
from stream_scorer.state.checkpoints import history_start
from stream_scorer.state.checkpoints.history_coverage import INPUT
from stream_scorer.state.checkpoints.ring_columns import columns_of
from stream_scorer.telemetry import ModelWarming, StateIncomplete
from tests.integration.state.test_commands import Group
from tests.integration.state.test_next_version import settings
from tests.integration.state.test_stops import buckets, owner, write
from tests.support.faults.reference_run import feed, transaction_codec, transactions
from tests.support.state.stage import live, restored_only, settings_of

pytestmark = [pytest.mark.kafka, pytest.mark.thorough]

__all__ = ["settings"]

_DAY_MS = 86_400_000
START_MS = 1_522_540_800_000
TWO = ("--model", "fraud:1.0.0", "--warm", "fraud:1.3.0")


def delete(kafka: Kafka, offsets: dict[int, int]) -> None:
    """Delete the input before these offsets."""
    places = [TopicPartition(kafka.topics.transactions, p, offset) for p, offset in offsets.items()]
    client = admin(kafka)
    for future in client.delete_records(places).values():
        future.result()


def test_a_warmed_version_is_verified_rebuilt_and_moved_too(
    settings: Settings,
) -> None:
    ours = settings.kafka
    ends = feed(ours, transactions(days=10, customers=40))
    life = live(settings, ends, model="fraud:1.0.0", warm="fraud:1.3.0")
    group = Group(ours, ends, life, "")
    group.environment["STREAM_SCORER_MODELS__DIRECTORY"] = str(settings.models.directory)
    kept = life.rings()

    verified = group.told("verify", *TWO)["partitions"]
    assert [(v["buckets"], v["differing"]) for v in verified] == [(1024, [])] * 4
    assert sum(v["events"] for v in verified) > 100
    with pytest.raises(StateError, match="buckets differ"):
        group.run("verify", "--model", "fraud:1.0.0")

    group.run("rebuild", *TWO)
    labels = {(p, b.offset) for p in range(4) for b in buckets(ours, p).values()}
    assert labels == set(ends.items())
    both = Deployment(model="fraud:1.0.0", warm="fraud:1.3.0")
    rebuilt = restored_only(settings, deployment=both)
    assert rebuilt.rings() == kept
    told = rebuilt.heard.of(ModelWarming)
    assert {each.partition: each.features for each in told} == dict.fromkeys(range(4), ())

    grow(ours, ours.topics.transactions, 5)
    group.run("repartition", *TWO)
    told = restored_only(settings, 5, both).heard.of(ModelWarming)
    assert {each.partition: each.features for each in told} == dict.fromkeys(range(5), ())


@pytest.fixture
def scored(kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka]) -> Group:
    ours = kafka_topics(kafka_settings(session_timeout_ms=6_000))
    ends = feed(ours, transactions(days=4))
    return Group(ours, ends, live(settings_of(ours, 40), ends), "")


def test_an_empty_comparison_does_not_pass(scored: Group) -> None:
    delete(scored.kafka, {1: scored.ends[1]})
    with pytest.raises(StateError) as raised:
        scored.run("verify")
    assert raised.value.exit_code == 9
    assert raised.value.what == (
        "nothing could be compared in partition 1: too little of the input is retained from "
        f"offset {scored.ends[1]} on"
    )


def test_without_a_checkpoint_nothing_is_compared(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka]
) -> None:
    ours = kafka_topics(kafka_settings(session_timeout_ms=6_000))
    nobody: Any = None
    with pytest.raises(StateError, match="nothing could be compared: the group has no checkpoint"):
        Group(ours, {}, nobody, "").run("verify")


def test_retained_input_is_compared_and_differences_found(
    scored: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = scored.kafka
    monkeypatch.setattr(history_start, "FIRST", 20)
    delete(scored.kafka, {1: scored.ends[1] // 2})
    one, two, *_ = scored.told("verify")["partitions"]
    assert one["since"] is None
    assert two["differing"] == []
    assert 0 < two["events"] < one["events"]
    assert two["replayed"] == scored.ends[1] - scored.ends[1] // 2

    # Remove a customer from a bucket: first one with events only in the deleted input, then one
    # with events in the retained input.
    kept = {n: columns_of(b.payload) for n, b in buckets(ours, 1).items() if b.payload}
    recent = {n: dict(columns.events(two["since"])) for n, columns in kept.items()}
    old = next(n for n, columns in kept.items() if len(columns.customers) > len(recent[n]))
    new = next(n for n in kept if n != old and recent[n])
    forget(ours, old, next(c for c in kept[old].customers if c not in recent[old]))
    assert scored.told("verify")["partitions"][1]["differing"] == []
    forget(ours, new, next(iter(recent[new])))
    with pytest.raises(StateError, match=rf"^1 buckets differ from the input: 1/{new}\b"):
        scored.run("verify")


def forget(kafka: Kafka, number: int, customer: bytes) -> None:
    """Remove a customer from a bucket of partition 1."""
    bucket = buckets(kafka, 1)[number]
    columns = columns_of(bucket.payload)
    left = [at for at, each in enumerate(columns.customers) if each != customer]
    assert len(left) == len(columns.customers) - 1
    write(kafka, 1, [*replace(bucket, payload=columns.payload(left)).records(owner(kafka))])


def test_a_bucket_that_is_gone_is_named(scored: Group) -> None:
    for number in (17, 900):
        write(scored.kafka, 1, [(owner(scored.kafka).key(1, number, 0), None)])
    with pytest.raises(StateError) as raised:
        scored.run("verify")
    assert raised.value.what == (
        "2 buckets are missing, though later ones were written: 1/17, 1/900"
    )
    assert raised.value.exit_code == 9
    scored.run("rebuild")
    assert [v["missing"] for v in scored.told("verify")["partitions"]] == [[]] * 4


def test_one_old_record_at_the_beginning_claims_no_history(
    kafka_settings: Callable[..., Kafka],
    kafka_topics: Callable[..., Kafka],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nor does a rejected record, neither after a rebuild nor without a checkpoint."""
    monkeypatch.setattr(history_start, "FIRST", 20)
    ours = kafka_topics(kafka_settings(session_timeout_ms=6_000))
    encode = transaction_codec().encode
    producer = Producer(client_options.common(ours))
    for number in range(200):
        record: dict[str, Any] = {
            "transaction_id": f"t{number}", "event_time": START_MS + number * _DAY_MS // 10,
            "customer_id": f"c{number % 5}", "terminal_id": "x", "amount_minor": 100,
            "currency": "EUR",
        }  # fmt: skip
        if number == 100:
            record["event_time"] -= 900 * _DAY_MS
        if number == 101:
            record |= {"event_time": record["event_time"] + 900 * _DAY_MS, "amount_minor": -1}
        producer.produce(ours.topics.transactions, encode(record), b"c", partition=2)
    assert producer.flush(30) == 0
    ends = {2: 200}
    life = live(settings_of(ours, 40), ends)
    delete(ours, {2: 100})
    group = Group(ours, ends, life, "")
    since = START_MS + 12 * _DAY_MS + 3_600_000

    assert group.told("verify")["partitions"][2]["since"] == since
    group.run("rebuild")
    assert {each.since[INPUT] for each in buckets(ours, 2).values()} == {since}
    told = restored_only(settings_of(ours)).heard.of(StateIncomplete)
    assert told == [StateIncomplete(2, 100)]
