"""A tail gives each record, in order, also after an outage, and knows what it has given."""

import queue
import threading

import numpy as np
import pytest
from confluent_kafka import KafkaError

from stream_scorer.errors import UnavailableError
from stream_scorer.kafka.client.consumer import ConsumerError, Polled
from stream_scorer.kafka.reading import topic_tail
from stream_scorer.kafka.reading.topic_tail import TopicTail
from stream_scorer.ports import BytesColumn, RawRecords
from stream_scorer.settings import Kafka
from stream_scorer.telemetry import DependencyBack, DependencyUnavailable, Event

SECONDS = 60.0
FORBIDDEN = ConsumerError(0, -1, KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED))


def records(first: int, count: int) -> RawRecords:
    return RawRecords(
        BytesColumn.of([b"%d" % (first + number) for number in range(count)]),
        BytesColumn.nulls(count), None, np.zeros(count, np.int32),
        np.arange(first, first + count), np.zeros(count, np.int64),
    )  # fmt: skip


def end(offset: int) -> ConsumerError:
    return ConsumerError(0, offset, KafkaError(KafkaError._PARTITION_EOF))


class Consumer:
    """A consumer of what a test gives."""

    coming: "queue.Queue[Polled]" = queue.Queue()

    def __init__(self, *_: object) -> None:
        pass

    def assign(self, _: object) -> None: ...
    def close(self) -> None: ...

    def poll(self, *_: object) -> Polled:
        try:
            return self.coming.get(timeout=0.01)
        except queue.Empty:
            return Polled(None, ())


class Edges:
    """Ends that a test gives."""

    ends = 0

    def __init__(self, *_: object) -> None:
        pass

    def end(self, _: int) -> int:
        return self.ends

    def close(self) -> None: ...


@pytest.fixture(autouse=True)
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    Consumer.coming = queue.Queue()
    monkeypatch.setattr(topic_tail, "PassingConsumer", Consumer)
    monkeypatch.setattr(topic_tail, "Edges", Edges)
    monkeypatch.setattr(topic_tail, "_RETRY_SECONDS", 0.01)


def test_records_are_given_again_after_an_outage() -> None:
    taken: list[int] = []
    heard: list[Event] = []
    failing = [True]

    def take(raw: RawRecords) -> None:
        if failing and raw.offset[0] == 2:
            failing.clear()
            raise UnavailableError("registry")
        taken.extend(raw.offset.tolist())

    tail = TopicTail(Kafka(), "decisions", {0: 0}, take, heard.append)
    Consumer.coming.put(Polled(records(0, 2), (FORBIDDEN,)))
    Consumer.coming.put(Polled(records(2, 3), ()))
    tail.start()
    tail.wait_for({0: 5})
    tail.close()
    assert taken == [0, 1, 2, 3, 4]
    assert [type(event) for event in heard] == [DependencyUnavailable, DependencyBack]


def test_a_barrier_waits_for_markers_as_well() -> None:
    tail = TopicTail(Kafka(), "decisions", {0: 0}, lambda _: None, lambda _: None)
    passed, early = threading.Event(), threading.Event()
    tail.when_passed(0, 0, early.set)
    assert early.is_set()
    tail.when_passed(0, 3, passed.set)
    tail.start()
    Consumer.coming.put(Polled(records(0, 2), ()))
    tail.wait_for({0: 2})
    assert not passed.is_set()
    # The last offset is a transaction marker: only the event of the end shows it.
    Consumer.coming.put(Polled(None, (end(3),)))
    assert passed.wait(SECONDS)
    # An end that is reported together with the records is after them.
    Edges.ends = 6
    Consumer.coming.put(Polled(records(3, 2), (end(6),)))
    tail.wait_for(tail.ends())
    tail.close()
    assert tail.stopped


def test_an_error_that_ends_the_thread_is_raised() -> None:
    def take(_: RawRecords) -> None:
        raise ZeroDivisionError

    tail = TopicTail(Kafka(), "decisions", {0: 0}, take, lambda _: None)
    Consumer.coming.put(Polled(records(0, 1), ()))
    tail.start()
    with pytest.raises(ZeroDivisionError):
        tail.wait_for({0: 1})
    assert tail.stopped
    tail.close()
