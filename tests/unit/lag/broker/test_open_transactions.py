"""The brokers' own records of transactions, as Kafka 4.3.1 wrote them, and hostile ones."""

import struct

from hypothesis import given
from hypothesis import strategies as st

from stream_scorer.lag.broker.open_transactions import (
    TOPIC,
    OpenTransaction,
    OpenTransactions,
    open_transaction,
    transactional_id,
)
from stream_scorer.settings import Kafka
from tests.support.kafka.mock_broker import mock_broker

KEY = b"\x00\x00\x00\nupstream-x"
ONGOING = (
    b"\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"  # version, producer id, epoch
    b"\x00\x00\xea`\x01\x02\x03t1\x02\x00\x00\x00\x00\x00"  # 60 s, ongoing, partition 0 of t1
    b"\x00\x00\x01\xa2$\xf3\xc4\xd2\x00\x00\x01\xa2$\xf3\xc4\xd2"
    b"\x01\x00\x08\x00\x00\x00\x00\x00\x00\x00\x00"
)
"""A value of version 1, with tagged fields at its end."""


def classic(status: int, topics: dict[str, list[int]]) -> bytes:
    """Return a value of version 0."""
    value = struct.pack(">hqhib", 0, 77, 3, 15_000, status) + struct.pack(">i", len(topics))
    for topic, numbers in topics.items():
        value += struct.pack(">h", len(topic)) + topic.encode()
        value += struct.pack(f">i{len(numbers)}i", len(numbers), *numbers)
    return value + struct.pack(">qq", 2_000, 1_000)


def test_a_recorded_transaction_is_read() -> None:
    assert transactional_id(KEY) == "upstream-x"
    assert open_transaction("upstream-x", ONGOING) == OpenTransaction(
        "upstream-x", 0, 1_795_916_285.138, 60.0, (("t1", 0),)
    )


def test_the_older_format_is_read() -> None:
    found = open_transaction("a", classic(1, {"x": [0, 5], "yy": [2]}))
    assert found == OpenTransaction("a", 77, 1.0, 15.0, (("x", 0), ("x", 5), ("yy", 2)))


def test_a_transaction_that_is_being_ended_is_open() -> None:
    # A coordinator that hangs while it ends a transaction blocks its readers, too.
    for status in (1, 2, 3, 7):
        assert open_transaction("a", classic(status, {"x": [0]})) is not None


def test_an_ended_transaction_is_not_open() -> None:
    for status in (0, 4, 5, 6):
        assert open_transaction("a", classic(status, {"x": [0]})) is None
    assert open_transaction("a", None) is None


def test_another_key_is_not_a_transaction() -> None:
    for key in (None, b"", b"\0\1\0\1a", b"\0\0\0\5abc", b"\0\0\0\1abc"):
        assert transactional_id(key) is None


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_left(value: bytes) -> None:
    found = open_transaction("a", b"\0\1" + value)
    assert found is None or len(found.places) <= 200


def test_a_count_beyond_the_record_is_refused() -> None:
    value = struct.pack(">hqhib", 0, 1, 1, 1, 1) + struct.pack(">i", 2**31 - 1)
    assert open_transaction("a", value) is None


def test_it_is_known_whether_all_were_read() -> None:
    # A transaction without a name is to be aborted by hand: only if it is sure that it has none.
    with mock_broker(topics={TOPIC: 3}) as address:
        with OpenTransactions(Kafka(bootstrap=address, group="g"), seconds=30.0) as transactions:
            assert not transactions.complete
            assert transactions.by_place() == {}
            assert transactions.complete
        with OpenTransactions(Kafka(bootstrap=address, group="g"), seconds=0.0) as transactions:
            transactions.by_place()
            assert not transactions.complete
    with OpenTransactions(Kafka(bootstrap="127.0.0.1:1", group="g"), seconds=0.3) as transactions:
        assert transactions.by_place() == {}
        assert not transactions.complete
