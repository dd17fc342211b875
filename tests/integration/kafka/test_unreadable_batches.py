"""Every reader skips exactly the batches that librdkafka does not inflate."""

import time
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import pytest
from confluent_kafka import Producer

from stream_scorer.client.reading import PartitionReader
from stream_scorer.dead_letters.format import DeadLetter
from stream_scorer.dead_letters.sources import LetterSources
from stream_scorer.kafka.loop.control_topic import KeptTopic
from stream_scorer.kafka.loop.merged_topics import MergedSource
from stream_scorer.kafka.reading.read_to_end import Readers, follow, newest, read, read_all
from stream_scorer.kafka.reading.replay import InputReplay
from stream_scorer.kafka.reading.topic_follower import TopicFollower
from stream_scorer.kafka.reading.unreadable_batches import BatchEnds, PassingConsumer
from stream_scorer.kafka.topics import client_options
from stream_scorer.ports import RawRecords
from stream_scorer.settings import Kafka

pytestmark = pytest.mark.kafka

DEADLINE_SECONDS = 60.0
LARGE = bytes(150_000_000)
VALUES: list[bytes | None] = [
    b"a", b"b", None, None, None, b"c", None, b"d",
]  # fmt: skip
"""What readers must see: a batch of three records is too large, and one of a single record."""


def send(kafka: Kafka, topic: str, *values: bytes) -> None:
    """Send values as one record batch."""
    producer = Producer(
        {
            "bootstrap.servers": kafka.bootstrap, "compression.type": "zstd", "linger.ms": 60_000,
            "message.max.bytes": 1_000_000_000, "batch.size": 1_000_000_000,
            "queue.buffering.max.kbytes": 2_000_000,
            # A batch that is sent again has the same records.
            "enable.idempotence": True,
        }
    )  # fmt: skip
    failed: list[Any] = []
    for value in values:
        producer.produce(
            topic, value, partition=0,
            on_delivery=lambda error, _: failed.append(error) if error else None,
        )  # fmt: skip
    assert producer.flush(DEADLINE_SECONDS) == 0
    assert failed == []
    producer.close()


@pytest.fixture(scope="module")
def settings(kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka]) -> Kafka:
    made = kafka_topics(kafka_settings(), 1)
    third = LARGE[: len(LARGE) // 3]
    for topic in (made.topics.transactions, made.topics.rollout):
        for batch in ((b"a", b"b"), (third,) * 3, (b"c",), (LARGE,), (b"d",)):
            send(made, topic, *batch)
    return made


def polled(poll: Callable[[], RawRecords | None], count: int) -> RawRecords:
    """Poll until there are ``count`` records."""
    pieces: list[RawRecords] = []
    deadline = time.monotonic() + DEADLINE_SECONDS
    while sum(map(len, pieces)) < count:
        assert time.monotonic() < deadline, f"{sum(map(len, pieces))} of {count} records came"
        if (raw := poll()) is not None:
            pieces.append(raw)
    return RawRecords.join(pieces)


@pytest.fixture
def consumer(settings: Kafka) -> Iterator[PassingConsumer]:
    made = PassingConsumer(client_options.consumer(settings), settings.topics.transactions)
    yield made
    made.close()


@pytest.mark.parametrize(("start", "maximum"), [(0, 2), (3, 100)])
def test_what_cannot_be_inflated_comes_in_its_order_as_null(
    consumer: PassingConsumer, start: int, maximum: int
) -> None:
    consumer.assign({0: start})
    sizes: list[int] = []

    def poll() -> RawRecords | None:
        raw = consumer.poll(maximum, 0.1, 0.0).records
        sizes.append(0 if raw is None else len(raw))
        return raw

    raw = polled(poll, len(VALUES) - start)
    assert max(sizes) <= maximum
    assert list(raw.values) == VALUES[start:]
    assert raw.offset.tolist() == list(range(start, len(VALUES)))
    assert raw.unreadable is not None
    assert raw.unreadable.tolist() == [value is None for value in VALUES[start:]]
    consumer.seek({0: 4}, 10.0)
    assert list(polled(poll, len(VALUES) - 4).values) == VALUES[4:]


@pytest.mark.thorough
def test_a_search_ends_before_what_can_be_read(settings: Kafka) -> None:
    topic = settings.topics.transactions
    send(settings, topic, *(LARGE[:1_000_000],) * 150, b"last of its batch")
    send(settings, topic, b"next")
    ends = BatchEnds(client_options.reader(settings, "search"), topic)
    found = [ends.end(0, base) for base in (2, 6, 8, 0, 5)]
    ends.close()
    assert found == [5, 7, 8 + 151, 0, 5]
    start = {0: 8 + 151}
    assert [m.value() for m in read(settings, topic, start, {0: 8 + 152})] == [b"next"]


@pytest.mark.thorough
def test_every_reader_gets_past_them(settings: Kafka) -> None:
    topic = settings.topics.transactions
    end = len(VALUES)
    assert [m.value() for m in read(settings, topic, {0: 0}, {0: end})] == VALUES
    assert [m.value() for m in read(settings, topic, {0: 4}, {0: end})] == VALUES[4:]
    assert [m.offset() for m in read(settings, topic, {0: 3}, {0: 4})] == [3]
    came = islice(follow(settings, topic, {0: 0}, lambda: False), end)
    assert [m.value() for m in came] == VALUES
    replay = InputReplay(settings, topic, 0, 3, end)
    assert list(polled(replay.step, end - 3).values) == VALUES[3:]
    assert replay.done
    replay.close()
    reader = PartitionReader(settings, topic, {0: 0})
    assert [v for raw in reader.to({0: end}, 100) for v in raw.values] == VALUES
    reader.close()
    source = MergedSource(settings, [topic], [topic], "merged", "earliest")
    source.resume({0})
    merged = polled(lambda: source.poll(100, 0.0, 0.1), end)
    assert list(merged.values)[:end] == VALUES
    source.close()


def test_a_topic_of_ours_is_read_to_its_end(settings: Kafka) -> None:
    topic = settings.topics.rollout
    seen = [m.value() for m in read_all(settings, topic)]
    assert [value and len(value) for value in seen] == [value and len(value) for value in VALUES]
    assert seen == VALUES
    assert [m.value() for m in newest(settings, topic, 2)][-1:] == [b"d"]
    kept = KeptTopic(settings, topic)
    assert [(each.offset, each.value) for each in kept.to_end()] == list(enumerate(VALUES))
    kept.close()
    follower = TopicFollower(settings, topic)
    follower.mark_end()
    assert list(polled(lambda: follower.poll_to_end(2, 0.1), len(VALUES)).values) == VALUES
    assert follower.left == 0
    follower.close()
    told: list[tuple[int, int, int]] = []
    readers = Readers(settings, topic, lambda *batch: told.append(batch))
    found = [message.value() for some in readers.read(0) for message in some]
    readers.close()
    assert found == [value for value in VALUES if value is not None]
    unread = [offset for _, first, n in told for offset in range(first, first + n)]
    assert unread == [offset for offset, value in enumerate(VALUES) if value is None]


@pytest.mark.thorough
def test_nothing_equals_a_source_that_cannot_be_inflated(settings: Kafka) -> None:
    def letter(offset: int, value: bytes | None) -> DeadLetter:
        topic = settings.topics.transactions
        return DeadLetter(
            0, offset, 0, value, None, None, "UNREADABLE", "", topic, 0, offset, 0, "i"
        )

    sources = LetterSources(settings)
    letters = [letter(offset, value) for offset, value in enumerate(VALUES)]
    assert sources.same(letters) == {
        (0, offset) for offset, value in enumerate(VALUES) if value is not None
    }
    sources.close()
