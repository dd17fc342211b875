"""Customers whose records are in more than one partition are found."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from stream_scorer.core.events.batch import EventBatch
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.mapping.mapping import parse_events
from stream_scorer.errors import RegistryUnavailableError
from stream_scorer.kafka.topics.key_sample import CustomerPartitions, KeySample
from stream_scorer.ports import BytesColumn, RawRecords
from stream_scorer.telemetry import Event, KeyMisplaced, KeyOfAnother
from tests.support.codec.foreign_events import EVENTS

BY_PATH = Plan(events=parse_events(f'{EVENTS}\n[key]\npath = "id"'))


def batch(customers: list[str], partitions: list[int], first: int = 0) -> EventBatch:
    n = len(customers)
    records = pa.RecordBatch.from_arrays([pa.array(customers)], ["customer_id"])
    offsets = np.arange(first, first + n, dtype=np.int64)
    return EventBatch(records, np.array(partitions, np.int32), offsets, np.zeros(n, np.int64))


def polled(events: EventBatch, keys: list[bytes | None]) -> RawRecords:
    return RawRecords(
        BytesColumn.of([b"v"] * len(keys)), BytesColumn.of(keys), None, events.partition,
        events.offset, events.timestamp,
    )  # fmt: skip


def test_a_remembered_customer_in_another_partition_is_counted() -> None:
    places = CustomerPartitions(2)
    places.take(batch(["a"], [0]))
    assert places.counted() == (0, 0)
    places.take(batch(["b", "a", "c"], [1, 3, 2]))
    assert places.counted() == (1, 1)
    # Only two customers are remembered, so the third one does not count.
    places.take(batch(["a", "c", "c", "b", "d"], [0, 2, 1, 1, 1]))
    assert places.counted() == (3, 1)
    places.take(batch([], []))
    assert places.counted() == (0, 0)


def test_keys_with_a_path_are_judged_by_what_they_give() -> None:
    told: list[Event] = []
    asked: list[list[bytes | None]] = []

    def customers_of(keys: Sequence[bytes | None], plan: Plan) -> list[str | None]:
        assert plan is BY_PATH
        asked.append(list(keys))
        if len(asked) == 2:
            raise RegistryUnavailableError("registry", "gone")
        return [None if key is None else key.decode()[1:] for key in keys]

    sample = KeySample(told.append, customers_of)
    for number in range(192):
        events = batch(["b", "a"], [0, number % 2], 2 * number)
        key = b"xb" if number % 4 == 0 else b"xa"
        sample.take(polled(events, [b"other", None if number == 5 else key]), [events], 8, BY_PATH)
    assert [len(keys) for keys in asked] == [64, 64, 64]
    # The first `a` was in partition 0, and half of the later ones are in partition 1.
    assert told == [
        KeyMisplaced(63, 32), KeyOfAnother(64, 17), KeyMisplaced(64, 32), KeyMisplaced(64, 32),
        KeyOfAnother(64, 16),
    ]  # fmt: skip


def test_a_batch_without_transactions_is_not_sampled() -> None:
    told: list[Event] = []
    sample = KeySample(told.append, lambda keys, _: [None] * len(keys))
    for number in range(64):
        events = batch([], [])
        sample.take(polled(batch(["a"], [0], number), [b"a"]), [events], 4, Plan())
    assert told == []
