"""The search for the end of a batch that cannot be inflated, and what a consumer returns then."""

from typing import Any

import numpy as np
import pytest
from confluent_kafka import KafkaError, KafkaException
from hypothesis import given
from hypothesis import strategies as st

from stream_scorer.errors import UnavailableError
from stream_scorer.kafka.client.consumer import ColumnConsumer, ConsumerError, Polled
from stream_scorer.kafka.reading import unreadable_batches as module
from stream_scorer.kafka.reading.unreadable_batches import BatchEnds, PassingConsumer
from stream_scorer.kafka.topics.consumer_errors import cannot_inflate
from stream_scorer.ports import BytesColumn, RawRecords

TOO_LARGE = KafkaError(KafkaError._BAD_COMPRESSION, "of 4606 bytes failed")
END = KafkaError(KafkaError._PARTITION_EOF, "end")
OUTSIDE = KafkaError(KafkaError._AUTO_OFFSET_RESET, "out of range")
AWAY = KafkaError(KafkaError._TRANSPORT, "down")


class Message:
    def __init__(self, offset: int, error: KafkaError | None = None) -> None:
        self._offset = offset
        self._error = error

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._offset

    def error(self) -> KafkaError | None:
        return self._error


class Log:
    """A partition of batches; a fetch inside one that is too large is an error at its first offset.

    Args:
        batches: (first offset, offset after it, whether it is too large), in order.
        events: Events before each fetch's result.
    """

    def __init__(self, batches: list[tuple[int, int, bool]], *events: Message) -> None:
        self.batches = batches
        self.events = events
        self.fetches: list[int] = []
        self._coming: list[Message] = []

    def assign(self, places: list[Any]) -> None:
        self.fetches.append(places[0].offset)
        self._coming = [*self.events, self._fetched(places[0].offset)]

    def _fetched(self, at: int) -> Message:
        for first, behind, large in self.batches:
            if at < behind:
                return Message(first, TOO_LARGE) if large else Message(max(at, first))
        end = self.batches[-1][1]
        return Message(at, END if at == end else OUTSIDE)

    def poll(self, _: float) -> Message | None:
        return self._coming.pop(0) if self._coming else None

    def close(self) -> None: ...


def ends_in(log: Log, monkeypatch: pytest.MonkeyPatch) -> BatchEnds:
    monkeypatch.setattr(module, "Consumer", lambda _: log)
    return BatchEnds({"group.id": "g"}, "t")


@given(
    sizes=st.lists(
        st.tuples(st.integers(1, 40), st.integers(0, 2), st.booleans()), min_size=1, max_size=8
    )
)
def test_the_end_of_each_batch_is_found_exactly(
    sizes: list[tuple[int, int, bool]],
) -> None:
    batches, at = [], 0
    for size, gap, large in sizes:
        # Between batches there may be a transaction's marker, or a gap left by compaction.
        batches.append((at + gap, at + gap + size, large))
        at += gap + size
    log = Log(batches, Message(0, AWAY))
    with pytest.MonkeyPatch.context() as patch:
        ends = ends_in(log, patch)
        for number, (first, behind, large) in enumerate(batches):
            found = ends.end(0, first)
            if not large:
                assert found == first
                continue
            following = batches[number + 1][0] if number + 1 < len(batches) else behind
            # After the last batch, any offset past it would do.
            assert found == behind
            assert found <= following
            assert ends.end(0, first) == found


def test_a_batch_of_one_record_takes_two_fetches(monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log([(0, 5, False), (5, 6, True), (6, 9, False)])
    assert ends_in(log, monkeypatch).end(0, 5) == 6
    assert log.fetches == [5, 6]


def test_a_search_ends_with_an_error_where_brokers_are_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = Log([(0, 5, True)])
    ends = ends_in(log, monkeypatch)
    monkeypatch.setattr(log, "poll", lambda _: None)
    times = iter(range(1_000))
    monkeypatch.setattr(module, "monotonic", lambda: next(times))
    with pytest.raises(UnavailableError, match="a batch at offset 0 cannot be inflated"):
        ends.end(0, 0)


def test_a_member_s_options_are_not_those_of_a_search(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[dict[str, Any]] = []
    log = Log([(0, 1, True)])

    def made(options: dict[str, Any]) -> Log:
        given.append(options)
        return log

    monkeypatch.setattr(module, "Consumer", made)
    options = {"group.id": "g", "group.instance.id": "i", "isolation.level": "read_committed"}
    assert BatchEnds(options, "t").end(0, 0) == 1
    assert "group.instance.id" not in given[0]
    assert given[0]["isolation.level"] == "read_committed"


def records(*offsets: int) -> RawRecords:
    n = len(offsets)
    at = np.array(offsets, np.int64)
    values = BytesColumn.of([b"v"] * n)
    return RawRecords(values, BytesColumn.nulls(n), None, np.zeros(n, np.int32), at, at)


class Scripted:
    """A consumer with scripted polls, which records its seeks."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.polls: list[Polled] = []
        self.sought: list[dict[int, int]] = []
        self.during: Any = None
        self.begun: dict[int, int] = {}
        patch.setattr(ColumnConsumer, "__init__", lambda it, *_: setattr(it, "_from", self.begun))
        patch.setattr(ColumnConsumer, "assign", lambda _, offsets: self.begun.update(offsets))
        patch.setattr(ColumnConsumer, "add", lambda _, offsets: self.begun.update(offsets))
        patch.setattr(ColumnConsumer, "remove", lambda _, gone: [self.begun.pop(p) for p in gone])
        patch.setattr(ColumnConsumer, "poll", lambda *_: self._poll())
        patch.setattr(ColumnConsumer, "seek", lambda _, offsets, __: self._seek(offsets))
        self.refuses = False

    def _poll(self) -> Polled:
        if self.during is not None:
            self.during()
        return self.polls.pop(0)

    def _seek(self, offsets: dict[int, int]) -> None:
        if self.refuses:
            raise KafkaException(KafkaError(KafkaError._STATE, "not fetching"))
        self.sought.append(dict(offsets))
        self.begun.update(offsets)


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> tuple[Scripted, PassingConsumer]:
    log = Log([(0, 2, False), (2, 7, True), (7, 9, False)])
    monkeypatch.setattr(module, "Consumer", lambda _: log)
    script = Scripted(monkeypatch)
    consumer = PassingConsumer({}, "t")
    consumer.assign({0: 0})
    return script, consumer


MET = ConsumerError(0, 2, TOO_LARGE)


def test_what_was_read_before_the_batch_comes_before_it(
    scripted: tuple[Scripted, PassingConsumer],
) -> None:
    script, consumer = scripted
    script.polls = [Polled(records(0, 1), (MET, MET))]
    polled = consumer.poll(100, 0.0, 0.0)
    assert polled.failures == ()
    assert polled.records is not None
    assert polled.records.offset.tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert polled.records.unreadable is not None
    assert polled.records.unreadable.tolist() == [False] * 2 + [True] * 5
    assert script.sought == [{0: 7}]


def test_a_poll_never_returns_more_than_it_may(
    scripted: tuple[Scripted, PassingConsumer],
) -> None:
    script, consumer = scripted
    script.polls = [
        Polled(records(0, 1), (MET,)), Polled(None, (MET,)), Polled(None, (MET,)),
    ]  # fmt: skip
    found = [consumer.poll(3, 0.0, 0.0).records for _ in range(3)]
    assert [raw.offset.tolist() for raw in found if raw is not None] == [[0, 1, 2], [3, 4, 5], [6]]
    assert script.sought == [{0: 3}, {0: 6}, {0: 7}]


def test_what_a_loop_reads_again_comes_again(scripted: tuple[Scripted, PassingConsumer]) -> None:
    script, consumer = scripted
    script.polls = [Polled(None, (MET,))] * 2
    consumer.poll(100, 0.0, 0.0)
    consumer.seek({0: 4}, 1.0)
    again = consumer.poll(100, 0.0, 0.0).records
    assert again is not None
    assert again.offset.tolist() == [4, 5, 6]


def test_nothing_is_passed_of_a_partition_that_moves_in_the_poll(
    scripted: tuple[Scripted, PassingConsumer],
) -> None:
    script, consumer = scripted
    script.polls = [Polled(None, (MET,)), Polled(None, (MET,)), Polled(None, (MET,))]

    def come_back() -> None:
        consumer.remove((0,))
        consumer.add({0: 0})

    script.during = come_back
    assert consumer.poll(100, 0.0, 0.0) == Polled(None, ())
    script.during = lambda: consumer.remove((0,))
    assert consumer.poll(100, 0.0, 0.0) == Polled(None, ())
    script.during = None
    assert consumer.poll(100, 0.0, 0.0) == Polled(None, ())
    assert script.sought == []


def test_what_cannot_be_sought_is_not_passed(scripted: tuple[Scripted, PassingConsumer]) -> None:
    script, consumer = scripted
    script.polls = [Polled(None, (MET,))]
    script.refuses = True
    assert consumer.poll(100, 0.0, 0.0) == Polled(None, ())


def test_other_errors_are_the_reader_s(scripted: tuple[Scripted, PassingConsumer]) -> None:
    script, consumer = scripted
    end = ConsumerError(0, 2, END)
    script.polls = [Polled(None, (end,)), Polled(None, (end, MET))]
    assert consumer.poll(100, 0.0, 0.0).failures == (end,)
    assert consumer.poll(100, 0.0, 0.0).failures == (end,)
    assert not cannot_inflate(END)


def test_the_mark_goes_with_its_record() -> None:
    raw = RawRecords.join([records(0, 1), module.unread(0, 2, 4), records(4)])
    marks = [False, False, True, True, False]
    assert raw.unreadable is not None
    assert raw.unreadable.tolist() == marks
    chosen = raw.take(np.array([3, 0])).unreadable
    assert chosen is not None
    assert chosen.tolist() == [True, False]
    span = raw.between(1, 3).unreadable
    assert span is not None
    assert span.tolist() == [False, True]
    moved = raw.of_partition(5).unreadable
    assert moved is not None
    assert moved.tolist() == marks
    assert RawRecords.join([records(0), records(1)]).unreadable is None
