"""The demo's verifier with a real broker finds each kind of fault that a test creates."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest
from confluent_kafka import Producer

from stream_scorer.codec.records.record import RecordCodec
from stream_scorer.dead_letters.format import NAMES
from stream_scorer.demo.verifier import Verifier, verify
from stream_scorer.kafka.topics import client_options
from stream_scorer.registry.sources import FileRegistry, reader_schema
from stream_scorer.settings import SCHEMAS_DIRECTORY, Kafka, Registry

pytestmark = pytest.mark.kafka

Made = Callable[..., Kafka]


def decision(
    kafka: Kafka,
    partition: int,
    offset: int,
    outcome: str = "APPROVE",
    flags: Iterable[str] = (),
    terminal: str = "t",
) -> dict[str, Any]:
    schema = reader_schema("decision.v1")
    number = FileRegistry(SCHEMAS_DIRECTORY).id_for("decisions-value", schema)
    value = RecordCodec(number, schema).encode(
        {
            "transaction_id": f"{partition}-{offset}",
            "customer_id": "c",
            "terminal_id": terminal,
            "event_time": 1_522_540_800_000,
            "decided_at": 1_700_000_000_000,
            "score": offset / 100,
            "decision": outcome,
            "reasons": [] if outcome == "APPROVE" else ["TX_AMOUNT"],
            "flags": list(flags),
            "model": "fraud",
            "model_version": "1.0.0",
            "engine": 1,
            "features": bytes(range(256)),
            "source_topic": kafka.topics.transactions,
            "source_partition": partition,
            "source_offset": offset,
        }
    )
    return {"topic": kafka.topics.decisions, "value": value}


def letter(kafka: Kafka, partition: int, offset: int, reason: str = "EMPTY") -> dict[str, Any]:
    texts = (reason, "", kafka.topics.transactions, str(partition), str(offset), "0", "i")
    headers = [(name, text.encode()) for name, text in zip(NAMES, texts, strict=True)]
    return {"topic": kafka.topics.dead_letters, "value": None, "headers": headers}


def publish(kafka: Kafka, records: Iterable[dict[str, Any]], *, commit: bool = True) -> None:
    producer = Producer(client_options.producer(kafka, f"{kafka.group}-test"))
    producer.init_transactions(10)
    producer.begin_transaction()
    for record in records:
        producer.produce(**record)
    producer.flush(10)
    if commit:
        producer.commit_transaction(10)
    else:
        producer.abort_transaction(10)


@pytest.fixture
def kafka_two(kafka_settings: Made, kafka_topics: Made) -> Kafka:
    """Two partitions, each of: 0 to 8, a marker, an aborted record, a marker, 12, 13, a marker."""
    kafka = kafka_topics(kafka_settings(), partitions=2)
    for numbers, commit in ((range(9), True), (range(1), False), (range(2), True)):
        publish(
            kafka,
            [
                {"topic": kafka.topics.transactions, "value": b"x", "partition": part}
                for part in (0, 1)
                for _ in numbers
            ],
            commit=commit,
        )
    return kafka


def readable() -> list[tuple[int, int]]:
    """The places of ``kafka_two`` that have committed records."""
    return [(part, offset) for part in (0, 1) for offset in (*range(9), 12, 13)]


def test_each_record_with_one_outcome_is_exactly_once(kafka_two: Kafka) -> None:
    places = readable()
    publish(kafka_two, [decision(kafka_two, *place) for place in places[:-3]])
    publish(kafka_two, [decision(kafka_two, *places[-3], outcome="BLOCK")])
    publish(kafka_two, [letter(kafka_two, *place) for place in places[-2:]])
    publish(kafka_two, [decision(kafka_two, *places[0])], commit=False)

    found = verify(kafka_two, Registry())

    assert found.exactly_once
    assert (found.transactions, found.decisions, found.dead_letters) == (22, 20, 2)
    assert found.outcomes == {"APPROVE": 19, "REVIEW": 0, "BLOCK": 1}
    assert found.reasons == {"EMPTY": 2}
    assert not found.examples
    assert (found.arrivals.source_ms > 0).all()
    assert (found.arrivals.published_ms >= found.arrivals.source_ms).all()
    assert (found.arrivals.arrived_ms >= found.arrivals.published_ms).all()


def test_degraded_decisions_count_and_scores_keep_their_ids(
    kafka_two: Kafka,
) -> None:
    places = readable()
    flags = {(0, 2): ("degraded",), (1, 12): ("late", "degraded"), (1, 13): ("late",)}
    decisions = [
        # The word in another field does not count as a flag.
        decision(
            kafka_two, *at, flags=flags.get(at, ()), terminal="degraded-7" if at == (0, 3) else "t"
        )
        for at in places
    ]
    publish(kafka_two, decisions)
    # An aborted one does not count.
    publish(kafka_two, [decision(kafka_two, 0, 1, flags=("degraded",))], commit=False)

    found = verify(kafka_two, Registry())

    assert found.degraded == 2
    scores = dict(zip(found.scores.transaction_id.to_pylist(), found.scores.score, strict=True))
    assert scores == {f"{partition}-{offset}": offset / 100 for partition, offset in places}
    later = verify(kafka_two, Registry(), since={0: 3, 1: 13})
    assert later.degraded == 0
    assert len(later.scores.score) == len(later.scores.transaction_id) == later.decisions == 9


def test_each_kind_of_fault_is_found_and_named(kafka_two: Kafka) -> None:
    places = [place for place in readable() if place != (1, 12)]
    publish(kafka_two, [decision(kafka_two, *place) for place in places])
    publish(kafka_two, [decision(kafka_two, 0, 3), letter(kafka_two, 0, 4)])  # the second ones
    publish(kafka_two, [decision(kafka_two, 1, 10)])  # of an aborted input record
    publish(kafka_two, [{"topic": kafka_two.topics.decisions, "value": b"\0garbage"}])
    publish(kafka_two, [{"topic": kafka_two.topics.dead_letters, "value": b"not ours"}])

    found = verify(kafka_two, Registry())

    assert not found.exactly_once
    assert (found.duplicates, found.missing, found.unexpected, found.unreadable) == (2, 1, 1, 2)
    assert found.examples == {
        "duplicates": ((0, 3), (0, 4)),
        "missing": ((1, 12),),
        "unexpected": ((1, 10),),
    }


def test_outputs_are_counted_as_they_come(kafka_two: Kafka) -> None:
    places = readable()
    verifier = Verifier(kafka_two, Registry(), since={0: 5, 1: 5})
    try:
        publish(kafka_two, [decision(kafka_two, *place) for place in places[:12]])
        while verifier.seen < 12:
            verifier.read_more()
        publish(kafka_two, [letter(kafka_two, *place) for place in places[12:]])
        while verifier.seen < 22:
            verifier.read_more()
        found = verifier.finish()
    finally:
        verifier.close()
    assert found.exactly_once
    assert found.transactions == found.decisions + found.dead_letters == 12
    assert sum(found.outcomes.values()) == found.decisions
    assert sum(found.reasons.values()) == found.dead_letters
    assert verifier.first_seen is not None
    assert verifier.last_seen is not None
    assert verifier.first_seen <= verifier.last_seen
