"""Customers with a month of history: their rings, the checkpoint of these, and their next events.

A million histories through Kafka would take many minutes, so they are folded in bulk by the
scorer's own core, customer by customer, and dumped by its own checkpoint code. Each customer has 60
events in 30 days; the measured events continue at that pace, so that histories stay as long.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from stream_scorer.core.decision.observe import PartitionRings, observe
from stream_scorer.core.events.batch import EventBatch
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.features.compile import FeatureSet
from stream_scorer.core.rings.buckets import BUCKETS
from stream_scorer.kafka.topics.partitioner import partition_of
from stream_scorer.ports import Int64
from stream_scorer.settings import Kafka
from stream_scorer.state.checkpoints.formats import Record
from stream_scorer.state.checkpoints.ownership import Owner
from stream_scorer.state.checkpoints.schedule import UNWRITTEN, Schedule
from stream_scorer.state.partitions.checkpoint_writer import Checkpoints
from stream_scorer.state.stores.topic_store import TopicStore

EVENTS_EACH = 60
START_MS = 1_700_000_000_000
"""Where the histories end and the measured events begin; event time of 14 November 2023."""

_HISTORY_MS = 30 * 86_400_000
_APART_MS = _HISTORY_MS // EVENTS_EACH
_FIRST_LATER = 10**9
_TERMINALS = pa.array([f"p{number:05d}" for number in range(10_000)])
_MERCHANTS = pa.array(["5411", "5812", "5541", "4111", "5999", "7995"])
_COUNTRIES = pa.array(["DE", "FR", "NL", "AT", "IT"])
_CHANNELS = pa.array(["POS", "ECOM", "ATM"])
_CUSTOMERS_AT_ONCE = 1_000
_ROUND_BYTES = 8_000_000


def identities(customers: Int64) -> pa.StringArray:
    """Return the ids of customers by their numbers.

    >>> identities(np.array([7, 120])).to_pylist()
    ['c00000007', 'c00000120']
    """
    numbers = pc.utf8_lpad(pa.array(customers).cast(pa.string()), 8, "0")
    return pc.binary_join_element_wise("c", numbers, "")


def partitions_of(count: int, partitions: int) -> NDArray[np.int32]:
    """Return int32[count]: the partition of each customer, as our producers choose it."""
    keys = identities(np.arange(count)).cast(pa.binary()).to_pylist()
    return np.fromiter((partition_of(key, partitions) for key in keys), np.int32, count)


def events(customers: pa.StringArray, numbers: Int64, time_ms: Int64) -> pa.RecordBatch:
    """Return n transactions; the other fields follow from the first one's number.

    Args:
        customers: n ids.
        numbers: int64[n], unique.
        time_ms: int64[n], event times.
    """
    draw = np.random.default_rng(int(numbers[0]))
    n = len(numbers)

    def one_of(choices: pa.Array) -> pa.Array:
        return choices.take(pa.array(draw.integers(0, len(choices), n, np.int32)))

    return pa.record_batch(
        {
            "transaction_id": pa.array(numbers).cast(pa.string()),
            "event_time": pa.array(time_ms, pa.timestamp("ms")),
            "customer_id": customers,
            "terminal_id": one_of(_TERMINALS),
            "amount_minor": pa.array((100 * draw.gamma(2.0, 25.0, n)).astype(np.int64) + 1),
            "currency": pa.repeat("EUR", n),
            "channel": one_of(_CHANNELS),
            "mcc": one_of(_MERCHANTS),
            "country": one_of(_COUNTRIES),
            "card_present": pa.repeat(True, n),
            "device_id": pa.nulls(n, pa.string()),
        }
    )


def histories(customers: Int64) -> pa.RecordBatch:
    """Return the 60 events of each of c customers, customer after customer, in time order."""
    draw = np.random.default_rng(int(customers[0]))
    step = np.arange(EVENTS_EACH) * _APART_MS + START_MS - _HISTORY_MS
    times = step + draw.integers(0, _APART_MS, (len(customers), EVENTS_EACH))
    numbers = customers[:, None] * EVENTS_EACH + np.arange(EVENTS_EACH)
    who = pa.array(np.repeat(np.arange(len(customers), dtype=np.int32), EVENTS_EACH))
    return events(identities(customers).take(who), numbers.ravel(), times.ravel())


def later_events(first: int, count: int, keys: int) -> pa.RecordBatch:
    """Return the next events of ``keys`` customers, uniformly: events ``first`` to first + count.

    Time advances so that each customer has, on average, 60 events in 30 days.
    """
    numbers = np.arange(first, first + count)
    customers = np.random.default_rng((first, keys)).integers(0, keys, count)
    time_ms = START_MS + (numbers * (_APART_MS / keys)).astype(np.int64)
    return events(identities(customers), _FIRST_LATER + numbers, time_ms)


def fill(where: NDArray[np.int32], features: FeatureSet, plan: Plan) -> PartitionRings:
    """Return the rings of customers with their histories.

    Args:
        where: int32[c], each customer's partition.
        features: Determine what rings remember.
        plan: Validation limits.
    """
    rings = PartitionRings(features)

    def fill_partition(partition: int) -> None:
        rings.of(partition)
        mine = np.flatnonzero(where == partition)
        for at in range(0, len(mine), _CUSTOMERS_AT_ONCE):
            records = histories(mine[at : at + _CUSTOMERS_AT_ONCE])
            n = records.num_rows
            time_ms = records.column("event_time").cast(pa.int64()).to_numpy()
            batch = EventBatch(records, np.full(n, partition, np.int32), np.arange(n), time_ms)
            seen = observe(batch, rings, plan, features)
            rings.release(seen.journals)
            if len(seen.accepted) < n:
                raise SystemExit(f"history: {seen.rejections.details[0]}")

    with ThreadPoolExecutor(2) as threads:
        # Iterated, so that a thread's exception is raised here.
        for _ in threads.map(fill_partition, range(int(where.max(initial=0)) + 1)):
            pass
    return rings


def checkpoint(
    rings: PartitionRings, kafka: Kafka, partitions: int
) -> Iterator[tuple[int, Sequence[Record]]]:
    """Yield the checkpoint of rings as of input offset 0, as (partition, records)."""
    owner = Owner(kafka.group, kafka.topics.transactions)
    # One byte pays for one byte, and nothing else is free.
    schedule = Schedule(bytes_per_event=1.0, buckets_per_second=0.0)
    writer = Checkpoints(TopicStore(kafka, owner), owner, rings, schedule, lambda _: None)
    for partition in range(partitions):
        writer.start(partition, partitions, 0, 0, np.full(BUCKETS, UNWRITTEN, np.int64), {})
    while (share := writer.take(_ROUND_BYTES)).buckets:
        yield from ((held.partition, records) for held, records in share.buckets)
        writer.keep(share)
