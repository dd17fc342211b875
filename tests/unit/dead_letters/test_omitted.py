"""How a dead letter's source record is found in the input, and what it gives back."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from stream_scorer.core.events.batch import RejectReason
from stream_scorer.dead_letters.format import OMITTED, DeadLetter, parse
from stream_scorer.dead_letters.sources import LetterSources
from stream_scorer.ports import BytesColumn, Headers, RawRecords
from stream_scorer.settings import Kafka
from tests.support.dead_letters.produced import letters_of

LARGE = bytes(1_200_000)
ORIGINAL: Headers = [("trace", b"1")]


class Message:
    """A record, as a consumer gets it."""

    def __init__(self, value: bytes | None, key: bytes | None, headers: Headers) -> None:
        self._found = (value, key, headers)

    def value(self) -> bytes | None:
        return self._found[0]

    def key(self) -> bytes | None:
        return self._found[1]

    def headers(self) -> Headers:
        return self._found[2]

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return 5

    def timestamp(self) -> tuple[int, int]:
        return 1, 2


class Input(LetterSources):
    """An input with one record, at 0:5."""

    def __init__(self, message: Message) -> None:
        super().__init__(Kafka(bootstrap="b:1"))
        self._message = message
        self.reads = 0

    def _end(self, _: int) -> int:
        return 1 << 62

    def _read(self, partition: int, first: int, last: int) -> Iterator[RawRecords]:
        assert (partition, first, last) == (0, 5, 5)
        self.reads += 1
        message = self._message
        yield RawRecords(
            BytesColumn.of([message.value()]), BytesColumn.of([message.key()]),
            [message.headers()], np.array([0], np.int32), np.array([message.offset()], np.int64),
            np.array([2], np.int64),
        )  # fmt: skip


def letter_of(value: bytes | None, key: bytes | None, headers: Headers) -> DeadLetter:
    raw = RawRecords(
        BytesColumn.of([value]), BytesColumn.of([key]), [headers],
        np.array([0], np.int32), np.array([5], np.int64), np.array([6], np.int64),
    )  # fmt: skip
    (sent,) = letters_of(
        raw, [0], [RejectReason.TOO_LARGE], [""], topic="t.dlq", source_topic="t", instance="0"
    )
    return parse(Message(sent.value, sent.key, sent.headers))


@pytest.mark.parametrize(
    "original",
    [
        (b"small", b"k", ORIGINAL),
        (LARGE, b"k", ORIGINAL),
        (b"v", b"k", [("a", LARGE)]),
        (b"v", LARGE, ORIGINAL),
    ],
)
def test_an_original_gives_what_its_letter_leaves_out(
    original: tuple[bytes | None, bytes | None, Headers],
) -> None:
    letter = letter_of(*original)
    found = Input(Message(*original)).originals([letter])
    completed = found[letter.place]
    assert (completed.value, completed.key, completed.headers) == original
    assert completed.omitted == {}
    assert Input(Message(*original)).same([letter]) == {letter.place}


@pytest.mark.parametrize(
    "other",
    [
        (LARGE[1:], b"k", ORIGINAL),
        (None, b"k", ORIGINAL),
        (LARGE, b"other", ORIGINAL),
        (LARGE, b"k", [("trace", b"2")]),
        (LARGE, b"k", None),
    ],
)
def test_another_record_is_not_the_same(
    other: tuple[bytes | None, bytes | None, Headers],
) -> None:
    letter = letter_of(LARGE, b"k", ORIGINAL)
    assert Input(Message(*other)).same([letter]) == set()


def test_an_unreadable_record_is_not_the_same_as_an_empty_one() -> None:
    """The record's value and key are null here only because they cannot be read."""
    letter = letter_of(None, None, None)

    class Unreadable(Input):
        def _read(self, partition: int, first: int, last: int) -> Iterator[RawRecords]:
            for raw in super()._read(partition, first, last):
                yield replace(raw, unreadable=np.array([True]))

    empty = Message(None, None, None)
    assert Input(empty).same([letter]) == {letter.place}
    assert Unreadable(empty).same([letter]) == set()


def test_a_forged_omission_of_a_small_record_is_not_the_same() -> None:
    """Otherwise a forger could have the record decided again without knowing its content."""
    letter = letter_of(None, b"k", [(OMITTED, b"value 9")])
    assert letter.omitted == {}
    (sent,) = letters_of(
        RawRecords(
            BytesColumn.of([None]), BytesColumn.of([b"k"]), None,
            np.array([0], np.int32), np.array([5], np.int64), np.array([6], np.int64),
        ),
        [0], [RejectReason.TOO_LARGE], ["d" * 512], topic="t.dlq", source_topic="t", instance="0",
    )  # fmt: skip
    forged = parse(Message(None, b"k", [(OMITTED, b"value 9"), *(sent.headers or ())]))
    assert forged.omitted == {"value": 9}
    assert Input(Message(b"decided 9"[:9], b"k", None)).same([forged]) == set()


def test_an_unreadable_original_is_not_looked_for() -> None:
    letter = letter_of(LARGE, b"k", None)
    (unknown,) = [DeadLetter(**_fields(letter) | {"omitted": {"value": None}})]
    source = Input(Message(LARGE, b"k", None))
    assert source.same([unknown]) == set()
    assert source.reads == 0


def _fields(letter: DeadLetter) -> dict[str, Any]:
    return {name: getattr(letter, name) for name in DeadLetter.__dataclass_fields__}
