"""Every client that may produce can send headers: how many are read, and how names are decoded."""

from collections.abc import Iterator, Sequence

import pytest

from stream_scorer.kafka.client.consumer import HEADERS_PER_POLL, ColumnConsumer
from stream_scorer.ports import Headers
from tests.support.kafka.mock_broker import RawHeaders, mock_broker, produce

DEADLINE_SECONDS = 60.0
NAMES_OF_ANY_BYTES: RawHeaders = [(b"\xff\xfe", b"x"), (b"a\0b", b"y"), (b"", b""), (b"n", None)]


@pytest.fixture(scope="module")
def broker() -> Iterator[str]:
    with mock_broker() as address:
        yield address


def read(
    broker: str, topic: str, headers: Sequence[RawHeaders], per_poll: int = HEADERS_PER_POLL
) -> list[Headers]:
    """Return the headers that one poll reads of records with these headers."""
    produce(broker, topic, headers)
    consumer = ColumnConsumer({"bootstrap.servers": broker, "group.id": "g"}, topic, per_poll)
    try:
        consumer.assign({0: 0})
        # It returns as soon as it has all.
        records = consumer.poll(len(headers), DEADLINE_SECONDS, DEADLINE_SECONDS).records
        assert records is not None
        assert len(records) == len(headers)
        return list(records.headers or [None] * len(headers))
    finally:
        consumer.close()


def test_a_poll_reads_no_headers_past_its_limit(broker: str) -> None:
    many: RawHeaders = [(b"%d" % n, b"") for n in range(50_000)]
    found = read(broker, "many", [*[many] * 20, [(b"traceparent", b"1")]], per_poll=120_000)
    assert [len(each or ()) for each in found] == [128] * 3 + [0] * 18
    assert found[0] == [(str(n), b"") for n in range(128)]


def test_the_limit_does_not_concern_records_with_few_headers(broker: str) -> None:
    assert HEADERS_PER_POLL // 25_000 == 40
    few: RawHeaders = [(b"traceparent", b"1"), (b"n", None)]
    found = read(broker, "few", [few, [], few] * 10)
    whole: Headers = [("traceparent", b"1"), ("n", None)]
    assert found == [whole, None, whole] * 10


def test_a_record_s_headers_end_at_64_kib(broker: str) -> None:
    exact: RawHeaders = [(b"a", bytes(65_000)), (b"bb", bytes(533)), (b"c", b"")]
    over: RawHeaders = [(b"a", bytes(65_000)), (b"bb", bytes(534)), (b"c", b"d")]
    first: RawHeaders = [(b"x" * 70_000, b""), (b"c", b"d")]
    found = read(broker, "long", [exact, over, first])
    assert [[name for name, _ in each or ()] for each in found] == [["a", "bb"], ["a"], []]


def test_a_name_of_any_bytes_is_text_to_its_first_nul(broker: str) -> None:
    (found,) = read(broker, "names", [NAMES_OF_ANY_BYTES])
    assert found == [("\ufffd\ufffd", b"x"), ("a", b"y"), ("", b""), ("n", None)]


def test_no_headers_are_parsed_of_more_than_100_000(broker: str) -> None:
    headers: RawHeaders = [(b"h", b"")] * 100_001
    found = read(broker, "most", [headers, headers[1:]])
    assert [len(each or ()) for each in found] == [0, 128]
