"""Tables place ids and numbers that are made to collide like any others."""

import numpy as np
import pyarrow as pa
import pytest

from stream_scorer.core.kernels.aggregates import distinct, select
from stream_scorer.core.rings.buckets import bucket_of
from stream_scorer.core.rings.rings import CustomerRings, Retention
from stream_scorer.core.rings.storage import new_scratch
from stream_scorer.core.terminals.history import TerminalTable
from tests.support.core.colliding import alike
from tests.support.core.ring_oracle import Event, check_table, content, counts_and_sums, fold

COUNT = 4_096
RETENTION = Retention(lateness_ms=30, horizon_ms=90, cap=6)


def longest_run(taken: "np.ndarray[tuple[int], np.dtype[np.bool_]]") -> int:
    """Return the longest run of occupied places; it may continue from the end to the beginning."""
    free = np.flatnonzero(~np.tile(taken, 2))
    return int(np.diff(free).max()) - 1


def filled(ids: list[str]) -> CustomerRings:
    rings = CustomerRings(RETENTION, counts_and_sums([25]))
    rings.release(fold(rings, [Event(name, name, 1, 1) for name in ids])[0])
    return rings


def test_customers_with_one_hash_take_places_of_their_own() -> None:
    rings = filled(alike(COUNT))
    assert len(rings) == COUNT
    check_table(rings)
    assert longest_run(rings._store.table >= 0) < COUNT // 8


def test_customers_with_one_hash_are_dumped_in_order_of_ids() -> None:
    ids = alike(600)
    (bucket,) = set(bucket_of(pa.array(ids)).tolist())
    mixed = np.random.default_rng(3).permutation(np.array(ids)).tolist()
    dumped = filled(ids).dump(bucket)
    assert dumped is not None
    assert filled(mixed).dump(bucket) == dumped
    other = CustomerRings(RETENTION, counts_and_sums([25]))
    other.load(dumped)
    check_table(other)
    assert longest_run(other._store.table >= 0) < len(other._store.table) // 8
    assert list(content(other)) == list(content(filled(ids)))
    assert other.dump(bucket) == dumped


def test_two_rings_place_the_same_customers_in_different_ways() -> None:
    one, other = filled(alike(64)), filled(alike(64))
    assert (one._store.table != other._store.table).any()


def test_terminals_with_like_hashes_take_places_of_their_own() -> None:
    table = TerminalTable()
    hashes = np.arange(1, COUNT + 1, dtype=np.uint64) << np.uint64(40)
    table.add_hashed(hashes, np.full(COUNT, 1_000), np.zeros(COUNT, np.bool_))
    assert table._store.counters[0] == COUNT
    assert longest_run(table._store.table >= 0) < COUNT // 8


def test_values_made_to_collide_take_places_of_their_own() -> None:
    values = np.arange(1, COUNT + 1, dtype=np.int64) << np.int64(16)
    scratch = new_scratch(COUNT, 1)
    # The halves cancel when a value is folded, and the lower bits are equal.
    values |= values << np.int64(32)
    assert distinct(values, 0, COUNT, scratch) == COUNT
    assert longest_run(scratch.stamps[:-1] == 1) < COUNT // 8


def spoiling(count: int) -> list[int]:
    """Return an order of 0 ... count - 1 in which the median of three is always a bad pivot.

    An adversary fixes each value as late as possible (McIlroy, 1999): a value that is examined for
    a pivot becomes the least of the remaining ones.
    """
    given: dict[int, int] = {}
    order = list(range(count))
    low, middle = 0, count // 2
    while low <= middle:
        for place in (low, (low + count) >> 1, count - 1):
            given.setdefault(order[place], len(given))
        left, centre, right = (
            given[order[place]] for place in (low, (low + count) >> 1, count - 1)
        )
        pivot = sorted((left, centre, right))[1]
        for whole in (False, True):
            for c in range(low, count):
                value = order[c]
                order[c], order[low] = order[low], value
                known = given.get(value, count)
                low += known == pivot if whole else known < pivot
    for value in order:
        given.setdefault(value, len(given))
    return [given[place] for place in range(count)]


@pytest.mark.parametrize("count", [200, 1_000, 1_001])
def test_an_order_made_to_spoil_the_median_is_sorted_instead(count: int) -> None:
    values = np.array(spoiling(count), np.int64) * 3 - count
    expected = np.sort(values)
    middle = count // 2
    assert select(values, count, middle) == expected[middle]
    # Quickselect leaves values above the rank unsorted; after the final sort all are in order.
    assert values[middle:].tolist() == expected[middle:].tolist()


def test_the_median_of_a_random_order_needs_no_sort() -> None:
    values = np.random.default_rng(1).permutation(4_096).astype(np.int64)
    assert select(values, 4_096, 2_048) == 2_048
    assert values[2_048:].tolist() != list(range(2_048, 4_096))
