"""Dead letters are compared with their sources, whatever bytes the names of headers have."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition

from stream_scorer.dead_letters import sources
from stream_scorer.dead_letters.format import DeadLetter, headers_of, parse
from stream_scorer.dead_letters.sources import LetterSources
from stream_scorer.errors import UnavailableError
from stream_scorer.kafka.client.consumer import Polled
from stream_scorer.kafka.reading.read_limit import STALLED_SECONDS
from stream_scorer.ports import Headers
from stream_scorer.settings import Kafka, Topics
from tests.support.kafka.mock_broker import RawHeaders, mock_broker, produce

BAD: RawHeaders = [(b"\xff\xfe", b"x"), (b"a\0b", b"y")]
READ: Headers = [("\ufffd\ufffd", b"x"), ("a", b"y")]
LETTER = DeadLetter(
    0, 0, 0, b"v", None, None, "MALFORMED", "", "sources", 0, 0, 1_700_000_000_000, "0"
)
DEADLINE_SECONDS = 60.0


@pytest.fixture(scope="module")
def kafka() -> Iterator[Kafka]:
    with mock_broker() as address:
        found = Kafka(bootstrap=address, topics=Topics(transactions="sources"))
        many: RawHeaders = [(b"%d" % n, b"") for n in range(200)]
        produce(address, "sources", [[], BAD, many, [(b"n", None)]])
        yield found


def same(kafka: Kafka, headers: Mapping[int, Headers]) -> set[int]:
    """Return the source offsets at which the input has a letter with these headers."""
    letters = [
        replace(LETTER, offset=at, source_offset=at, headers=each) for at, each in headers.items()
    ]
    reader = LetterSources(kafka)
    try:
        return {offset for _, offset in reader.same(letters)}
    finally:
        reader.close()


def test_names_of_any_bytes_are_compared_as_a_scorer_reads_them(kafka: Kafka) -> None:
    first: Headers = [(str(n), b"") for n in range(128)]
    assert same(kafka, {0: None, 1: READ, 2: first, 3: [("n", None)]}) == {0, 1, 2, 3}


def test_a_letter_may_have_its_source_s_first_headers_only(kafka: Kafka) -> None:
    assert READ is not None
    assert same(kafka, {1: READ[:1]}) == {1}
    assert same(kafka, {1: None}) == {1}
    assert same(kafka, {1: READ[1:]}) == set()
    assert same(kafka, {0: READ, 1: [*READ, ("c", b"")], 3: [("n", b"")]}) == set()


def test_past_the_input_s_end_nothing_is_the_same(kafka: Kafka) -> None:
    assert same(kafka, {3: [("n", None)], 4: None, 9_000: None, 90_000: None}) == {3}


def test_an_offset_past_the_end_costs_no_read_of_the_input(kafka: Kafka) -> None:
    # So many polls of a few records count as 30 s without progress.
    produce(kafka.bootstrap, "long", [[]] * 5_000)
    long = kafka.model_copy(update={"topics": Topics(transactions="long")})
    assert same(long, {4_000: None, 10_000: None, 2**62: None}) == {4_000}


class Silent:
    """A consumer that receives nothing."""

    def __init__(self, *_: Any) -> None:
        self.polls = 0

    def watermarks(self, partition: int, seconds: float) -> tuple[int, int]:
        del partition, seconds
        return 0, 1

    def assign(self, offsets: Mapping[int, int]) -> None:
        del offsets

    def poll(self, maximum: int, wait: float, linger: float) -> Any:
        del maximum, wait, linger
        self.polls += 1
        return Polled(None, ())

    def close(self) -> None:
        pass


def test_only_waits_of_30_s_together_end_the_comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    silent = Silent()
    monkeypatch.setattr(sources, "PassingConsumer", lambda *_: silent)
    with pytest.raises(UnavailableError, match=r"sources: nothing could be read for 30 s"):
        LetterSources(Kafka(topics=Topics(transactions="sources"))).same([LETTER])
    assert silent.polls > STALLED_SECONDS / 0.1


def message_of(kafka: Kafka, topic: str, headers: RawHeaders) -> Any:
    """Return a record as confluent-kafka's consumer gets it."""
    produce(kafka.bootstrap, topic, [headers])
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": "g"})
    try:
        consumer.assign([TopicPartition(topic, 0, 0)])
        deadline = time.monotonic() + DEADLINE_SECONDS
        while True:
            assert time.monotonic() < deadline
            found: Any = consumer.poll(1.0)
            if found is not None and found.error() is None:
                return found
    finally:
        consumer.close()


def test_a_record_whose_header_names_are_not_utf_8_is_foreign(kafka: Kafka) -> None:
    good = message_of(kafka, "good-letters", [(b"a", b"1")])
    # Often enough for the interpreter to specialise the call of a C method.
    assert [headers_of(good) for _ in range(200)] == [[("a", b"1")]] * 200
    message = message_of(kafka, "letters", BAD)
    with pytest.raises(ValueError, match="name is not UTF-8"):
        headers_of(message)
    with pytest.raises(ValueError, match="not a dead letter"):
        parse(message)
    assert message.headers() == []


@pytest.mark.parametrize("error", [SystemError("result with an exception set"), UnicodeError()])
def test_whatever_the_library_raises_is_one_error(error: Exception) -> None:
    class Broken:
        def headers(self) -> Headers:
            raise error

        def set_headers(self, headers: Headers) -> None:
            assert headers == []

    with pytest.raises(ValueError, match="not a dead letter"):
        parse(Broken())
