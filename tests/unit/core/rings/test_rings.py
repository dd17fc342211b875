"""Rings and their kernel equal plain Python, and an undo leaves no trace."""

from typing import Literal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_scorer.core.kernels.folding import ADDED, CAPPED, DUPLICATE, LATE
from stream_scorer.core.kernels.store import UNITS
from stream_scorer.core.rings.rings import CustomerRings, Retention, RingColumns
from tests.support.core.ring_oracle import (
    Event,
    OracleRings,
    check_blocks,
    check_table,
    content,
    counts_and_sums,
    fold,
    hashes,
    raw,
)
from tests.support.effort import examples

WINDOWS = (4, 10, 25)
Fate = Literal["kept", "undone", "two kept", "second undone", "both undone"]
FATES: tuple[Fate, ...] = ("kept", "undone", "two kept", "second undone", "both undone")


def pair(
    lateness: int, cap: int, windows: tuple[int, ...] = WINDOWS
) -> tuple[CustomerRings, OracleRings]:
    retention = Retention(lateness, max(windows, default=0) + lateness, cap)
    return CustomerRings(retention, counts_and_sums(windows)), OracleRings(retention, windows)


def live(rings: CustomerRings, oracle: OracleRings, batches: list[list[Event]], fate: Fate) -> None:
    """Give the batches to both, apply the drawn fate, and compare all that is visible."""
    first, *rest = batches
    after_none = oracle.copy()
    journal, seen = fold(rings, first)
    assert seen == oracle.fold(first)
    after_first = oracle.copy()
    assert content(rings) == list(oracle.events())
    expected = after_first
    if fate == "kept":
        rings.release(journal)
    elif fate == "undone":
        rings.undo(journal)
        expected = after_none
    else:
        second = rest[0] if rest else first
        ahead, seen = fold(rings, second)
        assert seen == oracle.fold(second)
        if fate == "two kept":
            rings.release(journal)
            rings.release(ahead)
            expected = oracle
        elif fate == "second undone":
            rings.release(journal)
            rings.undo(ahead)
        else:
            rings.undo(ahead)
            rings.undo(journal)
            expected = after_none
    assert content(rings) == list(expected.events())
    check_blocks(rings)
    check_table(rings)
    oracle._rings = expected._rings


events = st.lists(
    st.builds(
        Event,
        customer=st.sampled_from(["", "a", "b", "ab", "ä"]),
        transaction=st.integers(0, 30).map(str),
        time=st.integers(0, 60),
        amount=st.integers(0, 10**12),
    ),
    max_size=12,
)


@settings(max_examples=examples(250), deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.lists(events, min_size=2, max_size=2), st.sampled_from(FATES)), max_size=6
    ),
    lateness=st.integers(0, 30),
    cap=st.integers(1, 9),
    windows=st.sampled_from([(), (1,), WINDOWS]),
)
def test_any_stream_and_any_batch_outcomes_equal_plain_python(
    steps: list[tuple[list[list[Event]], Fate]], lateness: int, cap: int, windows: tuple[int, ...]
) -> None:
    rings, oracle = pair(lateness, cap, windows)
    for batches, fate in steps:
        live(rings, oracle, batches, fate)


@pytest.mark.thorough
@pytest.mark.parametrize("seed", [0, 1])
def test_every_array_grows_while_batches_come_and_go(seed: int) -> None:
    rings, oracle = pair(lateness=200, cap=50, windows=(40, 300, 900))
    before = rings._store
    random = np.random.default_rng(seed)
    number = 0

    def batch(step: int) -> list[Event]:
        nonlocal number
        made = []
        for _ in range(int(random.integers(1, 120))):
            number += 1
            # A few customers have many events, most have few; times ascend with wide variation.
            customer = int(random.integers(0, 4 if random.random() < 0.5 else 300))
            at = 25 * step + int(random.integers(-300, 100))
            repeated = number - int(random.integers(0, 3)) if random.random() < 0.1 else number
            made.append(
                Event(f"customer-{customer:06d}", str(repeated), at, int(random.integers(0, 9_999)))
            )
        return made

    for step in range(120):
        fate = FATES[int(random.integers(0, len(FATES)))]
        live(rings, oracle, [batch(step), batch(step)], fate)
    now = rings._store._asdict()
    grown = {name for name, array in before._asdict().items() if len(now[name]) > len(array)}
    assert grown >= {"table", "slots", "keys", "key_words", "words", "times", "tags"}


@pytest.mark.parametrize("scale", [1, pytest.param(2**22, marks=pytest.mark.thorough)])
def test_rings_longer_than_one_comparison(scale: int) -> None:
    windows = (40 * scale, 300 * scale, 900 * scale)
    rings, oracle = pair(lateness=300 * scale, cap=550, windows=windows)
    random = np.random.default_rng(4)

    def batch(step: int) -> list[Event]:
        numbers = range(step * 150, step * 150 + 150)
        return [
            Event(
                "a", str(n - int(random.integers(0, 2) * 300)),
                (2 * n - int(random.integers(0, 330))) * scale, int(random.integers(0, 10**12)),
            )
            for n in numbers
        ]  # fmt: skip

    longest = 0
    for step in range(12):
        live(rings, oracle, [batch(step), batch(step)], FATES[step % 4])
        longest = max(longest, len(content(rings)[0][1]))
    assert longest > 256


def test_undo_restores_the_same_cells() -> None:
    rings, _ = pair(lateness=5, cap=3)
    journal, _ = fold(rings, [Event("a", str(n), n, n) for n in range(3)])
    rings.release(journal)
    before = raw(rings)
    journal, _ = fold(rings, [Event("a", "x", 1, 7), Event("b", "y", 9, 9), Event("a", "z", 90, 1)])
    assert raw(rings) != before
    rings.undo(journal)
    assert raw(rings) == before


def many(number: int, customers: int, at: int) -> list[Event]:
    """Return so many events that every array must grow, with late and repeated ones."""
    random = np.random.default_rng(number)
    names = [f"{customer}{'x' * (customer % 50)}" for customer in range(customers)]
    return [
        Event(
            names[int(random.integers(0, customers))], f"{number}-{int(random.integers(0, 9_000))}",
            at + int(random.integers(0, 900)), n,
        )
        for n in range(10_000)
    ]  # fmt: skip


def test_undo_is_exact_when_arrays_grew_during_the_batch() -> None:
    rings, _ = pair(lateness=300, cap=20, windows=(600,))
    for step in range(3):
        journal, _ = fold(rings, many(step, 60, 100 * step))
        rings.release(journal)
    store, before = rings._store, raw(rings)
    journal, _ = fold(rings, many(9, 3_000, 700))
    now = rings._store._asdict()
    grown = {name for name, array in store._asdict().items() if len(now[name]) > len(array)}
    assert grown >= {"table", "slots", "keys", "words", "tags"}
    rings.undo(journal)
    assert raw(rings, without_table=True) == {k: v for k, v in before.items() if k != "table"}
    check_table(rings)
    check_blocks(rings)


def test_two_open_batches_undo_newest_first_to_the_exact_bytes() -> None:
    rings, _ = pair(lateness=300, cap=20, windows=(600,))
    journal, _ = fold(rings, many(0, 3_000, 0))
    rings.release(journal)
    states = [raw(rings)]
    first, _ = fold(rings, many(1, 3_000, 400))
    states.append(raw(rings))
    second, _ = fold(rings, many(2, 3_000, 900))
    rings.undo(second)
    assert raw(rings) == states[1]
    rings.undo(first)
    assert raw(rings) == states[0]


def test_the_pool_stays_when_rings_turn_over() -> None:
    rings, _ = pair(lateness=10, cap=1_000, windows=(100,))
    sizes = []
    for step in range(60):
        made = [
            Event(f"c{n % 40}", f"{step}-{n}", 100 * step + n // 10, 1) for n in range(1_000)
        ]  # fmt: skip
        journal, _ = fold(rings, made)
        rings.release(journal)
        sizes.append((int(rings._store.counters[UNITS]), len(rings._store.words)))
    assert len(set(sizes[5:])) == 1


def test_the_pool_does_not_grow_with_undone_batches() -> None:
    rings, _ = pair(lateness=10, cap=100)
    journal, _ = fold(rings, [Event(f"c{n % 9}", str(n), n, 1) for n in range(60)])
    rings.release(journal)
    used = int(rings._store.counters[UNITS])
    for step in range(50):
        grow = [Event(f"c{n % 30}", f"{step}-{n}", n, 1) for n in range(400)]
        journal, _ = fold(rings, grow)
        rings.undo(journal)
    check_blocks(rings)
    assert int(rings._store.counters[UNITS]) <= used + 400
    assert len(rings) == 9


def test_blocks_that_one_ring_outgrew_are_reused_by_another() -> None:
    rings, _ = pair(lateness=10, cap=100)
    journal, _ = fold(rings, [Event("big", str(n), n, 1) for n in range(20)])
    rings.release(journal)
    used = int(rings._store.counters[UNITS])
    fold(rings, [Event("small", "x", 1, 1)])
    assert int(rings._store.counters[UNITS]) == used


# -- the rules, one by one, by hand ---------------------------------------------------------


def see(
    rings: CustomerRings, *told: tuple[str, int, int]
) -> list[tuple[int, list[int], list[int]]]:
    return fold(rings, [Event("a", name, time, amount) for name, time, amount in told])[1]


def test_a_window_excludes_its_start_and_includes_the_event() -> None:
    rings, _ = pair(lateness=0, cap=9, windows=(10,))
    assert see(rings, ("1", 0, 5), ("2", 9, 7), ("3", 10, 11)) == [
        (ADDED, [1], [5]), (ADDED, [2], [12]), (ADDED, [2], [18]),
    ]  # fmt: skip


def test_among_equal_times_each_sees_those_that_came_before() -> None:
    rings, _ = pair(lateness=10, cap=9, windows=(10,))
    assert see(rings, ("1", 5, 1), ("2", 5, 2), ("3", 5, 4)) == [
        (ADDED, [1], [1]), (ADDED, [2], [3]), (ADDED, [3], [7]),
    ]  # fmt: skip


def test_events_within_lateness_enter_in_order_later_ones_do_not() -> None:
    rings, _ = pair(lateness=10, cap=9, windows=(30,))
    assert see(rings, ("1", 50, 1), ("2", 40, 2), ("3", 39, 4), ("4", 51, 8)) == [
        (ADDED, [1], [1]),
        (ADDED, [1], [2]),  # it does not see what is after it
        (LATE, [1], [4]),
        (ADDED, [3], [11]),  # the late one was not remembered
    ]


def test_lateness_follows_the_customer_not_the_partition() -> None:
    rings, _ = pair(lateness=0, cap=9)
    _, seen = fold(rings, [Event("a", "1", 1_000, 1), Event("b", "2", 1, 1)])
    assert [verdict for verdict, _, _ in seen] == [ADDED, ADDED]


def test_a_duplicate_with_other_values_changes_nothing() -> None:
    rings, _ = pair(lateness=10, cap=9)
    see(rings, ("1", 50, 1))
    before = content(rings)
    assert see(rings, ("1", 55, 9)) == [(DUPLICATE, [0, 0, 0], [0, 0, 0])]
    assert content(rings) == before


def test_an_id_is_forgotten_with_its_event_and_per_customer() -> None:
    rings, _ = pair(lateness=5, cap=9, windows=(10,))
    see(rings, ("1", 0, 1), ("2", 15, 1))
    assert see(rings, ("1", 15, 1))[0][0] == ADDED
    assert fold(rings, [Event("b", "1", 15, 1)])[1][0][0] == ADDED


def test_a_full_ring_is_flagged_and_loses_its_oldest() -> None:
    rings, _ = pair(lateness=100, cap=2, windows=(100,))
    assert see(rings, ("1", 1, 1), ("2", 2, 2), ("3", 3, 4), ("4", 0, 8)) == [
        (ADDED, [1], [1]), (ADDED, [2], [3]), (CAPPED, [2], [6]), (CAPPED, [1], [8]),
    ]  # fmt: skip


def test_a_full_ring_drops_an_event_that_is_older_than_all() -> None:
    rings, _ = pair(lateness=100, cap=2, windows=(100,))
    see(rings, ("1", 10, 1), ("2", 20, 2))
    before = raw(rings)
    assert see(rings, ("3", 9, 4)) == [(CAPPED, [1], [4])]
    assert raw(rings) == before
    # Among equal times, the one that arrived first is the oldest.
    assert see(rings, ("4", 10, 8)) == [(CAPPED, [1], [8])]
    assert [(t, a) for _, t, a, _ in content(rings)] == [([10, 20], [8, 2])]
    # An evicted event is forgotten, so it is not a duplicate.
    assert see(rings, ("3", 9, 4)) == [(CAPPED, [1], [4])]


def test_skipped_rows_have_no_effect() -> None:
    rings, _ = pair(lateness=5, cap=9, windows=(10,))
    other, _ = pair(lateness=5, cap=9, windows=(10,))
    see(other, ("1", 5, 1), ("3", 7, 4))
    verdict = np.zeros(3, np.uint8)
    observed = np.full((3, 2), -1.0)
    columns = RingColumns(
        pa.array(["a"] * 3), hashes(["a"] * 3), hashes(["1", "2", "3"]),
        np.array([5, 6, 7]), np.array([1, 2, 4]), np.empty((0, 3), np.int64),
    )  # fmt: skip
    rings.fold(np.arange(3), columns, np.array([False, True, False]), verdict, observed)
    assert content(rings) == content(other)
    assert observed.tolist() == [[1, 1], [-1, -1], [2, 5]]
