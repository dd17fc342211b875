import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from confluent_kafka import Producer

from stream_scorer.errors import SettingsError, UnavailableError
from stream_scorer.kafka.reading import read_limit
from stream_scorer.kafka.reading import read_to_end as reading
from stream_scorer.kafka.reading.read_to_end import Readers, follow, newest, read, read_all
from stream_scorer.kafka.reading.record_at import RecordAt
from stream_scorer.kafka.topics import client_options
from stream_scorer.kafka.topics.offsets import bounds
from stream_scorer.settings import Kafka

pytestmark = pytest.mark.kafka


@pytest.fixture
def settings(kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka]) -> Kafka:
    return kafka_topics(kafka_settings())


@pytest.fixture
def producer(settings: Kafka) -> Any:
    made = Producer(client_options.producer(settings, settings.instance))
    made.init_transactions(10)
    return made


def transaction(producer: Any, topic: str, values: list[bytes], *, commit: bool = True) -> None:
    producer.begin_transaction()
    for number, value in enumerate(values):
        producer.produce(topic, value, partition=number % 4)
    assert producer.flush(10) == 0
    (producer.commit_transaction if commit else producer.abort_transaction)(10)


def test_reads_end_after_markers_and_aborted_records(settings: Kafka, producer: Any) -> None:
    topic = settings.topics.decisions
    transaction(producer, topic, [b"a", b"b", b"c"])
    transaction(producer, topic, [b"gone"] * 8, commit=False)
    transaction(producer, topic, [b"d"])
    transaction(producer, topic, [b"gone"] * 8, commit=False)
    started = time.monotonic()
    assert sorted(m.value() for m in read_all(settings, topic)) == [b"a", b"b", b"c", b"d"]
    assert time.monotonic() - started < read_limit.STALLED_SECONDS / 2
    assert [m.value() for m in newest(settings, topic, 1)] == [b"d"]
    assert len(list(newest(settings, topic, 3))) == 3
    assert len(list(newest(settings, topic, 99))) == 4
    assert list(newest(settings, topic, 0)) == []


def test_what_comes_after_the_start_is_not_read(settings: Kafka, producer: Any) -> None:
    topic = settings.topics.decisions
    transaction(producer, topic, [b"before"])
    first, end = bounds(settings, topic)
    transaction(producer, topic, [b"after"])
    assert [m.value() for m in read(settings, topic, first, end)] == [b"before"]


def newest_twenty(kafka: Kafka, topic: str) -> Iterator[Any]:
    return newest(kafka, topic, 20)


@pytest.mark.parametrize("reading", [read_all, newest_twenty])
def test_an_open_transaction_is_waited_for(
    settings: Kafka, producer: Any, reading: Callable[[Kafka, str], Iterator[Any]]
) -> None:
    topic = settings.topics.decisions
    transaction(producer, topic, [b"before"])
    producer.begin_transaction()
    producer.produce(topic, b"open", partition=0)
    assert producer.flush(10) == 0
    commit = threading.Timer(1.0, producer.commit_transaction, [10])
    commit.start()
    assert [m.value() for m in reading(settings, topic)] == [b"before", b"open"]
    commit.join()


@pytest.mark.parametrize("reading", [read_all, newest_twenty])
def test_an_open_transaction_fails_a_read_after_what_is_readable(
    settings: Kafka,
    producer: Any,
    reading: Callable[[Kafka, str], Iterator[Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    note = read_limit.ReadLimit.note

    def note_impatiently(
        limit: read_limit.ReadLimit, positions: dict[int, int], waited: float
    ) -> None:
        # The first record of a new consumer may take longer.
        if positions[0] == 2:
            monkeypatch.setattr(read_limit, "STALLED_SECONDS", 0.5)
        note(limit, positions, waited)

    monkeypatch.setattr(read_limit.ReadLimit, "note", note_impatiently)
    topic = settings.topics.decisions
    transaction(producer, topic, [b"before"])
    producer.begin_transaction()
    producer.produce(topic, b"open", partition=0)
    assert producer.flush(10) == 0
    messages = reading(settings, topic)
    assert next(messages).value() == b"before"
    with pytest.raises(UnavailableError, match="partition 0 is at offset 2 and ends at 3"):
        next(messages)
    producer.abort_transaction(10)


def test_a_bounded_read_waits_for_an_open_transaction(settings: Kafka, producer: Any) -> None:
    topic = settings.topics.decisions
    transaction(producer, topic, [b"before"])
    producer.begin_transaction()
    producer.produce(topic, b"open", partition=0)
    assert producer.flush(10) == 0
    readers = Readers(settings, topic)
    found: list[bytes] = []
    steps = readers.read(0)
    while not found:
        found += [message.value() for message in next(steps)]
    # The broker has returned no records many times, but the read's end is past the transaction.
    until = time.monotonic() + 1
    while time.monotonic() < until:
        assert next(steps) == []
    producer.commit_transaction(10)
    assert [message.value() for some in steps for message in some] == [b"open"]
    # Without an open transaction, the read ends at the last record.
    assert [m.value() for some in readers.read(0) for m in some] == [b"before", b"open"]
    readers.close()


def test_a_bounded_read_of_an_open_transaction_fails(
    settings: Kafka, producer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_OPEN_SECONDS", 0.3)
    producer.begin_transaction()
    producer.produce(settings.topics.decisions, b"open", partition=0)
    assert producer.flush(10) == 0
    with pytest.raises(UnavailableError, match="partition 0: a transaction has been open"):
        list(Readers(settings, settings.topics.decisions).read(0))
    producer.abort_transaction(10)


def test_an_empty_topic_is_read_immediately(settings: Kafka) -> None:
    assert list(read_all(settings, settings.topics.decisions)) == []
    assert list(newest(settings, settings.topics.decisions, 5)) == []


def test_an_unknown_topic_is_named(settings: Kafka) -> None:
    with pytest.raises(SettingsError, match="topic no-such: does not exist"):
        list(read_all(settings, "no-such"))


def test_following_gives_what_comes(settings: Kafka, producer: Any) -> None:
    topic = settings.topics.decisions
    transaction(producer, topic, [b"old"])
    asked: list[bool] = []
    messages = follow(settings, topic, bounds(settings, topic)[1], lambda: bool(asked))
    transaction(producer, topic, [b"gone"], commit=False)
    transaction(producer, topic, [b"new"])
    assert next(messages).value() == b"new"
    transaction(producer, topic, [b"newer"])
    assert next(messages).value() == b"newer"
    asked.append(True)
    assert list(messages) == []


def test_a_place_without_a_record_is_found_empty(settings: Kafka, producer: Any) -> None:
    topic = settings.topics.decisions
    transaction(producer, topic, [b"a"])
    records = RecordAt(settings, topic, "test")
    found = records.read(0, 0)
    assert found.value() == b"a"
    # The marker of the commit, the end, past it, an empty partition, and partitions that are not.
    places = [(0, 1), (0, 2), (0, 10**17), (1, 0), (4, 0), (99, 7), (10**9 - 1, 10**18 - 1)]
    assert [records.read(*place) for place in places] == [None] * len(places)
    records.close()
