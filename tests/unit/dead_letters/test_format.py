from collections.abc import Sequence

import numpy as np
import pytest

from stream_scorer.core.events.batch import RejectReason
from stream_scorer.dead_letters.format import (
    NAMES,
    ORIGINAL_BYTES_MAX,
    DeadLetter,
    omitted_text,
    parse,
    size_of,
)
from stream_scorer.kafka.topics.client_options import MESSAGE_BYTES_MAX
from stream_scorer.ports import BytesColumn, Headers, RawRecords
from tests.support.dead_letters.produced import Produced, letters_of

ORIGINAL: Headers = [("trace", b"1"), ("empty", None), ("trace", b"2")]


class Message:
    """A produced record, as a consumer gets it."""

    def __init__(self, record: Produced) -> None:
        self._record = record

    def value(self) -> bytes | None:
        return self._record.value

    def key(self) -> bytes | None:
        return self._record.key

    def headers(self) -> Headers:
        return self._record.headers

    def partition(self) -> int:
        return 1

    def offset(self) -> int:
        return 44

    def timestamp(self) -> tuple[int, int]:
        return 1, 1_700_000_000_500


@pytest.fixture
def raw() -> RawRecords:
    return RawRecords(
        values=BytesColumn.of([b"good", None, b"\x00\xff"]),
        keys=BytesColumn.of([b"k0", b"k1", None]),
        headers=[None, ORIGINAL, None],
        partition=np.array([0, 3, 2], np.int32),
        offset=np.array([10, 2**40, 12], np.int64),
        timestamp=np.array([1, 1_700_000_000_000, 3], np.int64),
    )


def letters(
    raw: RawRecords, rows: Sequence[int], reasons: Sequence[RejectReason], details: Sequence[str]
) -> list[Produced]:
    return letters_of(
        raw, rows, reasons, details, topic="t.dlq", source_topic="t", instance="pod-1"
    )


def test_the_original_is_untouched_and_headers_describe_it(raw: RawRecords) -> None:
    reasons = [RejectReason.EMPTY, RejectReason.MALFORMED]
    null, bad = letters(raw, [1, 2], reasons, ["null value", "größer"])
    assert (null.topic, null.value, null.key) == ("t.dlq", None, b"k1")
    assert null.headers == [
        ("trace", b"1"),
        ("empty", None),
        ("trace", b"2"),
        ("dlq.reason", b"EMPTY"),
        ("dlq.detail", b"null value"),
        ("dlq.source.topic", b"t"),
        ("dlq.source.partition", b"3"),
        ("dlq.source.offset", b"1099511627776"),
        ("dlq.source.timestamp", b"1700000000000"),
        ("dlq.instance", b"pod-1"),
    ]
    assert (bad.value, bad.key) == (b"\x00\xff", None)
    assert bad.headers is not None
    assert bad.headers[:2] == [("dlq.reason", b"MALFORMED"), ("dlq.detail", "größer".encode())]
    assert ORIGINAL is not None
    assert len(ORIGINAL) == 3


def test_reading_gives_back_what_was_written(raw: RawRecords) -> None:
    (record,) = letters(raw, [1], [RejectReason.EMPTY], ["größer"])
    letter = parse(Message(record))
    assert letter.source == "t:3:1099511627776"
    assert (letter.reason, letter.detail, letter.instance) == ("EMPTY", "größer", "pod-1")
    assert (letter.value, letter.key, letter.headers) == (None, b"k1", ORIGINAL)
    assert letter.source_timestamp == 1_700_000_000_000
    assert (letter.partition, letter.offset, letter.timestamp) == (1, 44, 1_700_000_000_500)


def test_a_dead_letter_sent_again_keeps_its_first_headers(raw: RawRecords) -> None:
    (first,) = letters(raw, [1], [RejectReason.EMPTY], ["first"])
    again = RawRecords(
        BytesColumn.of([first.value]), BytesColumn.of([first.key]), [first.headers],
        np.array([0], np.int32),
        np.array([5], np.int64), np.array([6], np.int64),
    )  # fmt: skip
    (second,) = letters(again, [0], [RejectReason.EMPTY], ["second"])
    letter = parse(Message(second))
    assert letter.detail == "second"
    assert letter.headers == first.headers


@pytest.mark.parametrize(
    ("detail", "header"),
    [
        ("f" * 500_000, b"f" * 512),
        ("é" * 500, "é".encode() * 256),
        ("x" + "€" * 500, b"x" + "€".encode() * 170),
        ("half \ud800 a character", b"half \\ud800 a character"),
    ],
)
def test_a_detail_is_complete_characters_in_512_bytes(
    raw: RawRecords, detail: str, header: bytes
) -> None:
    (letter,) = letters(raw, [0], [RejectReason.INCOMPATIBLE_SCHEMA], [detail])
    assert letter.headers is not None
    assert dict(letter.headers)["dlq.detail"] == header
    assert parse(Message(letter)).detail.encode() == header


def test_lengths_that_differ_are_refused(raw: RawRecords) -> None:
    with pytest.raises(ValueError, match="shorter"):
        letters(raw, [0, 1], [RejectReason.EMPTY, RejectReason.EMPTY], ["only one"])


@pytest.mark.parametrize(
    "headers",
    [
        None,
        [("dlq.reason", b"EMPTY")],
        [(name, b"1") for name in reversed(NAMES)],
        [*((name, b"1") for name in NAMES), ("later", b"1")],
        [(name, None) for name in NAMES],
    ],
)
def test_a_foreign_record_is_named_as_one(headers: Headers) -> None:
    with pytest.raises(ValueError, match="not a dead letter of this program"):
        parse(Message(Produced("t", b"", None, headers)))


def test_the_original_goes_back_unchanged_with_its_origin(raw: RawRecords) -> None:
    (first,) = letters(raw, [1], [RejectReason.EMPTY], ["null value"])
    letter = parse(Message(first))
    assert not letter.replayed
    assert ORIGINAL is not None
    assert (letter.source_topic, letter.source_partition) == ("t", 3)
    assert (letter.value, letter.key) == (None, b"k1")
    assert letter.headers_of_copy("t.dlq") == [("replayed-from", b"t.dlq:1:44"), *ORIGINAL]


def test_a_replayed_record_is_recognised_when_rejected_again(raw: RawRecords) -> None:
    (first,) = letters(raw, [2], [RejectReason.MALFORMED], ["bad"])
    back = parse(Message(first))
    headers = back.headers_of_copy("t.dlq")
    assert headers == [("replayed-from", b"t.dlq:1:44")]
    again = RawRecords(
        BytesColumn.of([back.value]), BytesColumn.of([back.key]), [headers],
        np.array([2], np.int32), np.array([90], np.int64), np.array([6], np.int64),
    )  # fmt: skip
    (second,) = letters(again, [0], [RejectReason.MALFORMED], ["bad"])
    assert parse(Message(second)).replayed


def one(value: bytes | None, key: bytes | None, headers: Headers) -> RawRecords:
    return RawRecords(
        BytesColumn.of([value]), BytesColumn.of([key]), [headers],
        np.array([0], np.int32), np.array([5], np.int64), np.array([6], np.int64),
    )  # fmt: skip


def left_out(value: bytes | None, key: bytes | None, headers: Headers) -> DeadLetter:
    """Return the dead letter of a record; assert that it fits."""
    detail = ["\u20ac" * 600]
    (sent,) = letters(one(value, key, headers), [0], [RejectReason.TOO_LARGE], detail)
    assert size_of(sent.value, sent.key, sent.headers) <= ORIGINAL_BYTES_MAX + 4_096
    assert min(MESSAGE_BYTES_MAX, 1_048_588 - 256) > ORIGINAL_BYTES_MAX + 4_096
    return parse(Message(sent))


LARGE = bytes(1_200_000)


@pytest.mark.parametrize(
    ("original", "kept", "text"),
    [
        ((bytes(8_000_000), b"k", ORIGINAL), (None, b"k", ORIGINAL), "value 8000000"),
        ((b"v", b"k", [("a", LARGE), ("b", b"")]), (None, b"k", None), "value 1, headers 2"),
        ((b"v", LARGE, ORIGINAL), (None, None, None), "value 1, headers 3, key 1200000"),
        ((None, LARGE, None), (None, None, None), "key 1200000"),
        ((b"v", b"k", [("n", b"")] * 100_000), (None, b"k", None), "value 1, headers 100000"),
        ((bytes(900_000), b"k", ORIGINAL), (bytes(900_000), b"k", ORIGINAL), ""),
    ],
)
def test_what_is_too_large_is_left_out_and_named(
    original: tuple[bytes | None, bytes | None, Headers],
    kept: tuple[bytes | None, bytes | None, Headers],
    text: str,
) -> None:
    letter = left_out(*original)
    assert (letter.value, letter.key, letter.headers) == kept
    assert omitted_text(letter.omitted) == text
    assert (letter.source, letter.reason) == ("t:0:5", "TOO_LARGE")
    value, key, _ = original
    assert letter.size >= len(value or b"") + len(key or b"")


@pytest.mark.parametrize("text", [b"value 8000000", b"", b"headers 0", b"\xff", None])
def test_an_original_may_have_a_header_of_that_name(text: bytes | None) -> None:
    own: Headers = [("a", b""), ("dlq.omitted", text)]
    letter = left_out(b"v", b"k", own)
    assert (letter.value, letter.headers, letter.omitted) == (b"v", own, {})


@pytest.mark.parametrize("text", ["value 3", "value 3, value 4", "value -3", "topic 3", "key 1"])
def test_an_omission_that_does_not_fit_is_the_originals_header(text: str) -> None:
    (sent,) = letters(one(b"v", b"k", None), [0], [RejectReason.EMPTY], [""])
    headers = [("dlq.omitted", text.encode()), *(sent.headers or ())]
    letter = parse(Message(Produced("t.dlq", b"v", b"k", headers)))
    assert (letter.headers, letter.omitted) == ([("dlq.omitted", text.encode())], {})


def test_a_length_may_be_unknown() -> None:
    (sent,) = letters(one(None, None, None), [0], [RejectReason.EMPTY], [""])
    headers = [("dlq.omitted", b"value ?"), *(sent.headers or ())]
    assert parse(Message(Produced("t.dlq", None, None, headers))).omitted == {"value": None}
