"""A resumed partition is fetched immediately, from where it was: no record is lost or repeated."""

import statistics
import time
from collections.abc import Callable, Iterator

import pytest

from stream_scorer.kafka.client.consumer import ColumnConsumer
from tests.support.kafka.mock_broker import mock_broker, produce

RECORDS = 1_000
DEADLINE_SECONDS = 30.0
NAP_SECONDS = 0.6
"""The client's thread for the broker goes to sleep for a second at a time."""
SOON_SECONDS = 0.2
TURNS = 5


@pytest.fixture(scope="module")
def broker() -> Iterator[str]:
    with mock_broker() as address:
        produce(address, "t", [[]] * RECORDS)
        yield address


@pytest.fixture
def consumer(broker: str) -> Iterator[ColumnConsumer]:
    consumer = ColumnConsumer({"bootstrap.servers": broker, "group.id": "g"}, "t")
    try:
        yield consumer
    finally:
        consumer.close()


def offsets(consumer: ColumnConsumer, maximum: int = 20) -> list[int]:
    """Return the offsets of the next records."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        if (found := consumer.poll(maximum, 1.0, 0.0).records) is not None:
            return found.offset.tolist()
    raise AssertionError("no record")


def rest(consumer: ColumnConsumer) -> None:
    """Pause, as during a long computation."""
    consumer.pause((0,))
    assert consumer.poll(20, NAP_SECONDS, 0.0).records is None


def test_a_resumed_partition_is_fetched_immediately(consumer: ColumnConsumer) -> None:
    consumer.assign({0: 0})
    read, took = offsets(consumer), []
    for _ in range(TURNS):
        rest(consumer)
        began = time.monotonic()
        consumer.resume((0,))
        read += offsets(consumer)
        took.append(time.monotonic() - began)
    assert read == list(range(len(read)))
    assert statistics.median(took) < SOON_SECONDS


def test_pauses_without_a_record_between_them_repeat_nothing(consumer: ColumnConsumer) -> None:
    consumer.add({0: 100})
    for _ in range(2):
        rest(consumer)
        consumer.resume((0,))
        rest(consumer)
        consumer.resume((0,))
        read = offsets(consumer)
    rest(consumer)
    for _ in range(3):
        consumer.pause((0,))
        consumer.resume((0,))
    read += offsets(consumer)
    assert read == list(range(120, 160))


def test_an_assignment_ends_a_pause(consumer: ColumnConsumer) -> None:
    consumer.assign({0: 0})
    offsets(consumer)
    rest(consumer)
    consumer.assign({0: 300})
    assert offsets(consumer)[0] == 300


@pytest.mark.parametrize(
    "moves",
    [
        lambda it: it.seek({0: 300}, DEADLINE_SECONDS),
        lambda it: it.assign({0: 300}),
        lambda it: (it.remove((0,)), it.add({0: 300}), it.pause((0,))),
    ],
)
def test_a_place_chosen_during_a_pause_is_kept(
    consumer: ColumnConsumer, moves: Callable[[ColumnConsumer], object]
) -> None:
    consumer.add({0: 0})
    offsets(consumer)
    rest(consumer)
    moves(consumer)
    rest(consumer)
    consumer.resume((0,))
    assert offsets(consumer)[0] == 300


def test_a_partition_that_was_not_paused_continues(consumer: ColumnConsumer) -> None:
    consumer.assign({0: 0})
    read = offsets(consumer)
    for _ in range(TURNS):
        consumer.resume((0,))
        read += offsets(consumer)
    assert read == list(range(len(read)))
