"""Which records a poll keeps when their partition is revoked or returned within it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from confluent_kafka import KafkaError, KafkaException

from stream_scorer.kafka.client.consumer import Polled, Rebalance
from stream_scorer.kafka.loop import source as module
from stream_scorer.kafka.loop.source import KafkaSource
from stream_scorer.ports import BytesColumn, RawRecords
from stream_scorer.settings import Kafka


def records(*partitions: int) -> RawRecords:
    n = len(partitions)
    numbers = np.arange(n, dtype=np.int64)
    return RawRecords(
        BytesColumn.of([b"v"] * n), BytesColumn.nulls(n), None,
        np.array(partitions, np.int32), numbers, numbers,
    )  # fmt: skip


class FakeConsumer:
    """Each poll runs a test's action, and returns a test's records."""

    def __init__(self, *_: object) -> None:
        self.script: list[Any] = []
        self.fetched: set[int] = set()

    def subscribe(self, rebalance: Rebalance) -> None:
        self.rebalance = rebalance

    def committed(self, partitions: tuple[int, ...], _: float) -> dict[int, int]:
        return dict.fromkeys(partitions, 5)

    def noted(self, partitions: tuple[int, ...], _: float) -> dict[int, tuple[int, bytes]]:
        return dict.fromkeys(partitions, (5, b""))

    def add(self, offsets: Mapping[int, int]) -> None:
        self.fetched |= offsets.keys()

    def remove(self, partitions: tuple[int, ...]) -> None:
        self.fetched -= set(partitions)

    def pause(self, partitions: tuple[int, ...]) -> None:
        self.fetched -= set(partitions)

    def resume(self, partitions: tuple[int, ...]) -> None:
        self.fetched |= set(partitions)

    def seek(self, *_: object) -> None:
        raise KafkaException(KafkaError(KafkaError._STATE))

    def poll(self, *_: float) -> Polled:
        act, found = self.script.pop(0)
        act(self.rebalance)
        return Polled(found, ())


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> KafkaSource:
    monkeypatch.setattr(module, "PassingConsumer", FakeConsumer)
    made = KafkaSource(Kafka(bootstrap="b:1", instance="i"), "t", "g")
    made._consumer.script = [  # type: ignore[attr-defined]  # the fake's
        (lambda rebalance: rebalance.assigned((0, 1)), None)
    ]
    made.poll(10, 0.0, 0.0)
    made.events()
    made.resume({0, 1})
    return made


def script(source: KafkaSource, act: Any, found: RawRecords) -> None:
    source._consumer.script = [(act, found)]  # type: ignore[attr-defined]  # the fake's


def test_records_of_a_partition_revoked_in_the_poll_are_dropped(source: KafkaSource) -> None:
    script(source, lambda rebalance: rebalance.revoked((0,)), records(0, 1, 0, 1))
    polled = source.poll(10, 0.0, 0.0)
    assert polled is not None
    assert polled.partition.tolist() == [1, 1]
    assert source.settled([0, 1]) == {1}


def test_records_of_a_returned_unrestored_partition_are_dropped(
    source: KafkaSource,
) -> None:
    def leave_and_return(rebalance: Rebalance) -> None:
        rebalance.revoked((0,))
        rebalance.assigned((0,))

    script(source, leave_and_return, records(0, 1))
    polled = source.poll(10, 0.0, 0.0)
    assert polled is not None
    assert polled.partition.tolist() == [1]
    assert source.owns(0)
    assert source.settled([0, 1]) == {1}
    source.events()
    assert source.settled([0, 1]) == {0, 1}


def test_a_narrowed_source_fetches_no_other_partition(source: KafkaSource) -> None:
    consumer: Any = source._consumer
    source.narrow(frozenset({1}))
    assert consumer.fetched == {1}
    assert source.reading == {0, 1}
    source.pause()
    source.resume(set())
    assert consumer.fetched == {1}
    source.seek({0: 3, 1: 4})
    assert consumer.fetched == {1}
    source.narrow(frozenset())
    assert consumer.fetched == {0, 1}


def test_what_left_or_is_being_restored_narrows_nothing(source: KafkaSource) -> None:
    consumer: Any = source._consumer
    script(source, lambda rebalance: rebalance.assigned((2,)), records(0))
    source.poll(10, 0.0, 0.0)
    source.narrow(frozenset({2}))
    assert consumer.fetched == {0, 1}
    script(source, lambda rebalance: rebalance.revoked((1,)), records(0))
    source.narrow(frozenset({1}))
    source.poll(10, 0.0, 0.0)
    source.narrow(frozenset())
    assert consumer.fetched == {0}
